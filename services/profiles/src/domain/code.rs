//! Short codes: reasons, roles, topics, who verified something.

use super::Invalid;

/// A code that a program may branch on: 1 to 64 of ASCII letters, digits, `.`, `_`, `:` and `-`, starting with a
/// letter or digit. Never free text, so it may stand on the log in clear.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Code(String);

impl Code {
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let fits = (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
        fits.then(|| Self(text.to_owned()))
            .ok_or(Invalid::value("Use a code: 1 to 64 of A-Z, a-z, 0-9, '.', '_', ':' and '-', starting with a letter or digit."))
    }

    /// A code that may be absent.
    pub(crate) fn parse_optional(text: &str) -> Result<Option<Self>, Invalid> {
        if text.is_empty() { Ok(None) } else { Self::parse(text).map(Some) }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text of an optional code as events have it: empty when absent.
pub(crate) fn text(code: Option<&Code>) -> String {
    code.map(|code| code.0.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_short_ascii_without_spaces() {
        for good in ["double-opt-in", "GDPR:17", "nppes", "1"] {
            assert_eq!(Code::parse(good).expect("a code").as_str(), good);
        }
        let long = "x".repeat(65);
        for bad in ["", "a b", "-a", "é", "a\u{202e}", "a\n", long.as_str()] {
            assert!(Code::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_absent_code_is_empty_on_the_log() {
        assert_eq!(Code::parse_optional(""), Ok(None));
        assert_eq!(text(None), "");
    }
}
