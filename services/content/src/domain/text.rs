//! Codes and languages as authors write them.

/// A code that a program may branch on: 1 to 64 of ASCII letters, digits, `.`, `_`, `:` and `-`, starting with a letter
/// or digit.
pub(crate) fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
}

/// What [`is_code`] wants.
pub(crate) const CODE: &str =
    "Use a code: 1 to 64 of A-Z, a-z, 0-9, '.', '_', ':' and '-', starting with a letter or digit.";

/// A language tag of the shape BCP 47 gives it: `de`, `pt-BR`. Whether its subtags are registered is not checked.
pub(crate) fn is_language(text: &str) -> bool {
    let mut subtags = text.split('-');
    let primary = subtags.next().unwrap_or_default();
    text.len() <= 35
        && (2..=8).contains(&primary.len())
        && primary.bytes().all(|b| b.is_ascii_alphabetic())
        && subtags
            .all(|it| (1..=8).contains(&it.len()) && it.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// What [`is_language`] wants.
pub(crate) const LANGUAGE: &str = "Use a BCP 47 language tag, for example de or pt-BR.";

/// What [`is_market`](rapport_proto::is_market) wants.
pub(crate) const MARKET: &str = "Use an ISO 3166-1 alpha-2 code in capitals, for example DE.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_languages_have_a_shape() {
        for (good, bad) in [("de", "d"), ("pt-BR", "de_DE"), ("zh-Hant-TW", "de-"), ("en", "de\n")]
        {
            assert!(is_language(good) && !is_language(bad), "{good} {bad}");
        }
        for (good, bad) in [("efficacy", "a b"), ("a.b:c-d_1", "-a"), ("1", "")] {
            assert!(is_code(good) && !is_code(bad), "{good} {bad}");
        }
    }
}
