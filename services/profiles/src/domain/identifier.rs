//! Names of a party in external systems.

use rapport_proto::types::PartyKind;
use unicode_normalization::UnicodeNormalization as _;

use super::Invalid;

/// System of the US National Provider Identifier.
pub(crate) const NPI: &str = "npi";

/// An identifier in the one form under which it is looked up.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identifier {
    system: String,
    value: String,
}

impl Identifier {
    /// Normalises a value as its system asks for: an NPI is ten digits with a check digit; any other value is taken
    /// in Unicode form NFKC, without outer spaces, 1 to 256 characters. Letter case is kept: systems differ in it.
    pub(crate) fn parse(system: &str, value: &str) -> Result<Self, Invalid> {
        if !chassis::name::is_authored_id(system) {
            const REMEDY: &str =
                "Let the system start with a lower-case letter, then 1 to 62 of a-z, 0-9 and -.";
            return Err(Invalid::value(REMEDY));
        }
        // The length is looked at first: nobody makes us normalise a megabyte.
        super::line(value, 1..=256)?;
        let normal: String = value.trim().nfkc().collect();
        let normal = super::line(normal.trim(), 1..=256)?;
        let value = if system == NPI { npi(normal)? } else { normal.to_owned() };
        Ok(Self { system: system.to_owned(), value })
    }

    pub(crate) fn system(&self) -> &str {
        &self.system
    }

    pub(crate) fn value(&self) -> &str {
        &self.value
    }
}

/// The value may be personal: it is not printed.
impl std::fmt::Debug for Identifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identifier({})", self.system)
    }
}

/// Whether a kind of party can have an identifier of the system: providers alone have an NPI.
pub(crate) fn fits(system: &str, kind: PartyKind) -> bool {
    system != NPI || matches!(kind, PartyKind::Hcp | PartyKind::Hco | PartyKind::Pharmacist)
}

/// Ten digits, the first 1 or 2, the last a Luhn check digit over the number with the prefix 80840 (CMS, "Requirements
/// for National Provider Identifier (NPI) and NPI check digit", 2004). The prefix adds the constant 24.
fn npi(text: &str) -> Result<String, Invalid> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let shaped = text.len() == 10 && digits.len() == 10 && matches!(digits[0], 1 | 2);
    if !shaped {
        return Err(Invalid::Identifier("Use the ten digits of the NPI; the first is 1 or 2."));
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| if place % 2 == 0 { *digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    if !(sum + 24).is_multiple_of(10) {
        return Err(Invalid::Identifier(
            "Check the NPI: its check digit does not fit the other nine.",
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_npi_has_its_check_digit() {
        // 1234567893 is the example of the CMS document.
        for good in ["1234567893", " 1234567893 ", "１２３４５６７８９３"] {
            assert_eq!(Identifier::parse(NPI, good).expect("valid").value(), "1234567893");
        }
        let bad =
            ["1234567890", "123456789", "12345678933", "3234567893", "12345678x3", "123-456-7893"];
        for value in bad {
            let refused = Identifier::parse(NPI, value).expect_err(value);
            assert!(matches!(refused, Invalid::Identifier(_)), "{value}");
        }
    }

    #[test]
    fn one_digit_of_ten_is_right() {
        let valid =
            (0..10).filter(|last| Identifier::parse(NPI, &format!("123456789{last}")).is_ok());
        assert_eq!(valid.collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn look_alikes_become_one_value() {
        let crm = |value| Identifier::parse("crm", value).expect("valid");
        assert_eq!(crm(" ＡＢ１ "), crm("AB1"));
        assert_ne!(crm("AB1"), crm("ab1"));
    }

    #[test]
    fn hostile_values_are_refused() {
        let long = "x".repeat(1 << 20);
        for value in ["", " ", "a\0b", "a\u{202e}b", "a\nb", &long] {
            assert!(Identifier::parse("crm", value).is_err(), "{value:.20}");
        }
        for system in ["", "C", "Crm", "crm id", "crm\0", &long] {
            assert!(Identifier::parse(system, "1").is_err(), "{system:.20}");
        }
    }

    #[test]
    fn a_patient_has_no_npi() {
        assert!(
            fits(NPI, PartyKind::Hcp)
                && !fits(NPI, PartyKind::Patient)
                && fits("crm", PartyKind::Patient)
        );
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(value in any::<String>()) {
            if let Ok(once) = Identifier::parse("crm", &value) {
                prop_assert_eq!(Identifier::parse("crm", once.value()), Ok(once.clone()));
            }
        }
    }
}
