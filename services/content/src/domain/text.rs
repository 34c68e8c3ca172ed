//! Codes, markets and languages as authors write them.

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

/// An officially assigned code of ISO 3166-1 alpha-2.
pub(crate) fn is_market(text: &str) -> bool {
    MARKETS.binary_search(&text).is_ok()
}

/// What [`is_market`] wants.
pub(crate) const MARKET: &str = "Use an ISO 3166-1 alpha-2 code in capitals, for example DE.";

/// The officially assigned codes of ISO 3166-1 alpha-2, sorted.
const MARKETS: [&str; 249] = [
    "AD", "AE", "AF", "AG", "AI", "AL", "AM", "AO", "AQ", "AR", "AS", "AT", "AU", "AW", "AX", "AZ",
    "BA", "BB", "BD", "BE", "BF", "BG", "BH", "BI", "BJ", "BL", "BM", "BN", "BO", "BQ", "BR", "BS",
    "BT", "BV", "BW", "BY", "BZ", "CA", "CC", "CD", "CF", "CG", "CH", "CI", "CK", "CL", "CM", "CN",
    "CO", "CR", "CU", "CV", "CW", "CX", "CY", "CZ", "DE", "DJ", "DK", "DM", "DO", "DZ", "EC", "EE",
    "EG", "EH", "ER", "ES", "ET", "FI", "FJ", "FK", "FM", "FO", "FR", "GA", "GB", "GD", "GE", "GF",
    "GG", "GH", "GI", "GL", "GM", "GN", "GP", "GQ", "GR", "GS", "GT", "GU", "GW", "GY", "HK", "HM",
    "HN", "HR", "HT", "HU", "ID", "IE", "IL", "IM", "IN", "IO", "IQ", "IR", "IS", "IT", "JE", "JM",
    "JO", "JP", "KE", "KG", "KH", "KI", "KM", "KN", "KP", "KR", "KW", "KY", "KZ", "LA", "LB", "LC",
    "LI", "LK", "LR", "LS", "LT", "LU", "LV", "LY", "MA", "MC", "MD", "ME", "MF", "MG", "MH", "MK",
    "ML", "MM", "MN", "MO", "MP", "MQ", "MR", "MS", "MT", "MU", "MV", "MW", "MX", "MY", "MZ", "NA",
    "NC", "NE", "NF", "NG", "NI", "NL", "NO", "NP", "NR", "NU", "NZ", "OM", "PA", "PE", "PF", "PG",
    "PH", "PK", "PL", "PM", "PN", "PR", "PS", "PT", "PW", "PY", "QA", "RE", "RO", "RS", "RU", "RW",
    "SA", "SB", "SC", "SD", "SE", "SG", "SH", "SI", "SJ", "SK", "SL", "SM", "SN", "SO", "SR", "SS",
    "ST", "SV", "SX", "SY", "SZ", "TC", "TD", "TF", "TG", "TH", "TJ", "TK", "TL", "TM", "TN", "TO",
    "TR", "TT", "TV", "TW", "TZ", "UA", "UG", "UM", "US", "UY", "UZ", "VA", "VC", "VE", "VG", "VI",
    "VN", "VU", "WF", "WS", "YE", "YT", "ZA", "ZM", "ZW",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_languages_and_markets_have_a_shape() {
        assert!(MARKETS.is_sorted());
        for (good, bad) in [("DE", "de"), ("US", "EU"), ("NO", "")] {
            assert!(is_market(good) && !is_market(bad), "{good} {bad}");
        }
        for (good, bad) in [("de", "d"), ("pt-BR", "de_DE"), ("zh-Hant-TW", "de-"), ("en", "de\n")]
        {
            assert!(is_language(good) && !is_language(bad), "{good} {bad}");
        }
        for (good, bad) in [("efficacy", "a b"), ("a.b:c-d_1", "-a"), ("1", "")] {
            assert!(is_code(good) && !is_code(bad), "{good} {bad}");
        }
    }
}
