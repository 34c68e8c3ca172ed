//! The fixed tables of the domain: what follows from what, and is never chosen freely.

use crate::types::{Audience, ContentClass, PartyKind, Purpose};

/// Who a party of a kind counts as when something is said to it.
pub fn audience_of(kind: PartyKind) -> Audience {
    match kind {
        PartyKind::Unspecified => Audience::Unspecified,
        PartyKind::Hcp | PartyKind::Pharmacist => Audience::Hcp,
        PartyKind::Patient => Audience::Patient,
        PartyKind::Caregiver => Audience::Public,
        PartyKind::Payer => Audience::Payer,
        PartyKind::Hco => Audience::Institution,
        PartyKind::Regulator => Audience::Authority,
        PartyKind::Employee => Audience::Internal,
    }
}

/// Why a party is contacted when content of a class is said.
pub fn purpose_of(class: ContentClass) -> Purpose {
    match class {
        ContentClass::Unspecified => Purpose::Unspecified,
        ContentClass::RxPromotional | ContentClass::DiseaseAwareness => Purpose::Promotional,
        ContentClass::MedicalInformation => Purpose::MedicalInformation,
        ContentClass::Service => Purpose::Service,
        ContentClass::Survey => Purpose::Research,
        ContentClass::SafetyCommunication => Purpose::Safety,
        ContentClass::Internal => Purpose::Internal,
    }
}

/// A market as authors and programs write it: an officially assigned code of ISO 3166-1 alpha-2, in capitals.
pub fn is_market(code: &str) -> bool {
    market(code).is_some()
}

/// The market of a code, kept for ever.
pub fn market(code: &str) -> Option<&'static str> {
    MARKETS.binary_search(&code).ok().map(|index| MARKETS[index])
}

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
    fn markets_are_the_assigned_codes() {
        assert!(MARKETS.is_sorted());
        for code in ["DE", "US", "NO", "ZW", "AD"] {
            assert_eq!(market(code), Some(code));
        }
        for code in ["", "de", "UK", "EU", "XX", "ZZ", "DEU", "D\0", "\u{202e}DE"] {
            assert!(!is_market(code), "{code:?}");
        }
    }
}
