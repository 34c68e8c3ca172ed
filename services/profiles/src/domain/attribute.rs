//! Attributes of a party and properties of an interaction: clear values, which rules may read, and personal ones,
//! which they may not.

use std::collections::{BTreeMap, BTreeSet};

use rapport_proto::types::{Clear, Money, clear::Value};

use super::Invalid;

/// Most attributes that one command sets or removes.
pub(crate) const MOST_AT_ONCE: usize = 200;

/// An attribute's name: `[a-z][a-z0-9_]{0,62}`, which is also an identifier of the rule language.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let fits = (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        fits.then(|| Self(text.to_owned())).ok_or(Invalid::value(
            "Name the attribute with a lower-case letter, then at most 62 of a-z, 0-9 and _.",
        ))
    }
}

/// What a command changes in a party's attributes. A name is in one of the three only.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) clear: BTreeMap<String, Clear>,
    pub(crate) personal: BTreeMap<String, String>,
    pub(crate) removed: BTreeSet<String>,
}

impl Changes {
    pub(crate) fn set_clear(&mut self, name: Name, value: Clear) -> Result<(), Invalid> {
        self.free(&name)?;
        self.clear.insert(name.0, check(value)?);
        Ok(())
    }

    pub(crate) fn set_personal(&mut self, name: Name, value: &str) -> Result<(), Invalid> {
        self.free(&name)?;
        let text = chassis::text::prose("", value, 1..=2000)
            .map_err(|violation| Invalid::Value(violation.remedy.into()))?;
        self.personal.insert(name.0, text.to_owned());
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: Name) -> Result<(), Invalid> {
        self.free(&name)?;
        self.removed.insert(name.0);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.clear.is_empty() && self.personal.is_empty() && self.removed.is_empty()
    }

    fn free(&self, Name(name): &Name) -> Result<(), Invalid> {
        if self.clear.contains_key(name)
            || self.personal.contains_key(name)
            || self.removed.contains(name)
        {
            return Err(Invalid::value("Name an attribute once: clear, personal or to remove."));
        }
        Ok(())
    }
}

/// Values may be personal: only names are printed.
impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes")
            .field("clear", &self.clear.keys())
            .field("personal", &self.personal.keys())
            .field("removed", &self.removed)
            .finish()
    }
}

/// A clear value that can be computed with: a finite number, an exact amount, a short code, a time, a truth value.
pub(crate) fn check(clear: Clear) -> Result<Clear, Invalid> {
    match &clear.value {
        None => Err(Invalid::value("Give a number, money, code, time or flag.")),
        Some(Value::Number(number)) if !number.is_finite() => {
            Err(Invalid::value("Use a finite number."))
        }
        Some(Value::Money(money)) if !is_money(money) => Err(Invalid::value(
            "Use an ISO 4217 code and units and nanos of one sign, nanos below one unit.",
        )),
        Some(Value::Code(code)) => super::line(code, 1..=128).map(|_| ()),
        Some(Value::Time(time)) if super::instant(time).is_none() => {
            Err(Invalid::value("Use a time between the years 1 and 9999."))
        }
        Some(Value::Number(_) | Value::Money(_) | Value::Time(_) | Value::Flag(_)) => Ok(()),
    }?;
    Ok(clear)
}

fn is_money(money: &Money) -> bool {
    let code = money.currency_code.as_bytes();
    code.len() == 3
        && code.iter().all(u8::is_ascii_uppercase)
        && (-999_999_999..=999_999_999).contains(&money.nanos)
        && (money.units == 0 || money.nanos == 0 || (money.units > 0) == (money.nanos > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clear(value: Value) -> Clear {
        Clear { value: Some(value) }
    }

    fn money(code: &str, units: i64, nanos: i32) -> Clear {
        clear(Value::Money(Money { currency_code: code.into(), units, nanos }))
    }

    #[test]
    fn clear_values_can_be_computed_with() {
        for good in [
            clear(Value::Number(-0.5)),
            money("EUR", 12, 340_000_000),
            money("EUR", 0, -1),
            clear(Value::Code("oncology".into())),
            clear(Value::Flag(false)),
            clear(Value::Time(prost_types::Timestamp { seconds: 1, nanos: 0 })),
        ] {
            assert!(check(good.clone()).is_ok(), "{good:?}");
        }
        for bad in [
            Clear { value: None },
            clear(Value::Number(f64::NAN)),
            clear(Value::Number(f64::INFINITY)),
            money("eur", 1, 0),
            money("EUR", 1, -1),
            money("EUR", 0, 1_000_000_000),
            clear(Value::Code(String::new())),
            clear(Value::Code("x".repeat(129))),
            clear(Value::Code("a\u{202e}".into())),
            clear(Value::Time(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 })),
        ] {
            assert!(check(bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_stands_in_one_place() {
        let name = || Name::parse("licence_valid").expect("a name");
        let mut changes = Changes::default();
        assert_eq!(changes.set_clear(name(), clear(Value::Flag(true))), Ok(()));
        assert!(changes.set_personal(name(), "yes").is_err() && changes.remove(name()).is_err());
        for text in ["", "Name", "1st", "a-b", "naïve", "a\0"] {
            assert!(Name::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn personal_values_are_not_printed() {
        let mut changes = Changes::default();
        changes.set_personal(Name::parse("first_name").expect("a name"), "Ada").expect("a value");
        assert!(!format!("{changes:?}").contains("Ada"));
    }
}
