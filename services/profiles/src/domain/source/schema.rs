//! Sorts the properties of an interaction by the schema of its source: declared ones are clear and must have the
//! declared kind, all others are personal.

use std::collections::BTreeMap;

use prost_types::{Struct, Value, value::Kind};
use rapport_proto::types::{Clear, ClearKind, Money, clear};

use crate::domain::attribute;

/// Properties, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sorted {
    pub(crate) clear: BTreeMap<String, Clear>,
    /// Absent when nothing is left for it.
    pub(crate) personal: Option<Struct>,
}

/// A declared property with a value of another kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Give the property {name:?} as {expected}, as the source's schema declares it.")]
pub(crate) struct Misfit {
    /// A declared name, so it is the source's own and not hostile.
    name: String,
    expected: &'static str,
}

/// A null declares absence, so a declared property may be null.
pub(crate) fn sort(
    schema: &BTreeMap<String, ClearKind>,
    properties: Struct,
) -> Result<Sorted, Misfit> {
    let mut sorted = Sorted::default();
    let mut personal = Struct::default();
    for (name, value) in properties.fields {
        match schema.get(&name) {
            None => {
                personal.fields.insert(name, value);
            }
            Some(_) if matches!(value.kind, None | Some(Kind::NullValue(_))) => {}
            Some(kind) => {
                let value = fit(*kind, &value).and_then(|it| attribute::check(it).ok());
                let Some(value) = value else {
                    return Err(Misfit { name, expected: expected(*kind) });
                };
                sorted.clear.insert(name, value);
            }
        }
    }
    sorted.personal = (!personal.fields.is_empty()).then_some(personal);
    Ok(sorted)
}

fn expected(kind: ClearKind) -> &'static str {
    match kind {
        ClearKind::Unspecified => "nothing",
        ClearKind::Number => "a number",
        ClearKind::Money => "{currency_code, amount}",
        ClearKind::Code => "a text of 1 to 128 characters",
        ClearKind::Time => "an RFC 3339 time",
        ClearKind::Flag => "true or false",
    }
}

fn fit(kind: ClearKind, value: &Value) -> Option<Clear> {
    let value = match (kind, value.kind.as_ref()?) {
        (ClearKind::Number, Kind::NumberValue(number)) => clear::Value::Number(*number),
        (ClearKind::Flag, Kind::BoolValue(flag)) => clear::Value::Flag(*flag),
        (ClearKind::Code, Kind::StringValue(code)) => clear::Value::Code(code.clone()),
        (ClearKind::Time, Kind::StringValue(text)) => clear::Value::Time(time(text)?),
        (ClearKind::Money, Kind::StructValue(fields)) => clear::Value::Money(money(fields)?),
        (
            ClearKind::Unspecified
            | ClearKind::Number
            | ClearKind::Money
            | ClearKind::Code
            | ClearKind::Time
            | ClearKind::Flag,
            _,
        ) => return None,
    };
    Some(Clear { value: Some(value) })
}

fn time(text: &str) -> Option<prost_types::Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    let nanos = time.as_nanosecond();
    Some(prost_types::Timestamp {
        seconds: i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?,
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?,
    })
}

fn money(fields: &Struct) -> Option<Money> {
    let field = |name: &str| fields.fields.get(name).and_then(|value| value.kind.as_ref());
    let Kind::StringValue(currency_code) = field("currency_code")? else {
        return None;
    };
    let (units, nanos) = match field("amount")? {
        Kind::StringValue(amount) => decimal(amount)?,
        // The shortest decimal that reads as this number is the one that was written.
        Kind::NumberValue(amount) => decimal(&amount.to_string())?,
        Kind::NullValue(_) | Kind::BoolValue(_) | Kind::StructValue(_) | Kind::ListValue(_) => {
            return None;
        }
    };
    Some(Money { currency_code: currency_code.clone(), units, nanos })
}

/// An exact amount with at most nine decimals, as units and billionths of one sign.
fn decimal(text: &str) -> Option<(i64, i32)> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |it: &str| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(part) || part.len() > 9 {
        return None;
    }
    let units: i64 = whole.parse().ok()?;
    let nanos: i32 = format!("{part:0<9}").parse().ok()?;
    Some((sign * units, i32::try_from(sign).ok()? * nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value(kind: Kind) -> Value {
        Value { kind: Some(kind) }
    }

    fn text(text: &str) -> Value {
        value(Kind::StringValue(text.into()))
    }

    fn amount(currency: &str, amount: Value) -> Value {
        let fields = [("currency_code".into(), text(currency)), ("amount".into(), amount)];
        value(Kind::StructValue(Struct { fields: fields.into() }))
    }

    fn sorted(kind: ClearKind, given: Value) -> Result<Sorted, Misfit> {
        let schema = BTreeMap::from([("p".to_owned(), kind)]);
        sort(&schema, Struct { fields: [("p".to_owned(), given)].into() })
    }

    #[test]
    fn declared_properties_are_clear_and_all_others_personal() {
        let schema = BTreeMap::from([
            ("total".to_owned(), ClearKind::Money),
            ("vip".to_owned(), ClearKind::Flag),
        ]);
        let properties = [
            ("total".to_owned(), amount("EUR", text("-12.5"))),
            ("vip".to_owned(), value(Kind::BoolValue(true))),
            ("note".to_owned(), text("allergic to penicillin")),
        ];
        let sorted = sort(&schema, Struct { fields: properties.into() }).expect("it fits");
        assert_eq!(sorted.clear.keys().collect::<Vec<_>>(), ["total", "vip"]);
        let total = Money { currency_code: "EUR".into(), units: -12, nanos: -500_000_000 };
        assert_eq!(sorted.clear["total"].value, Some(clear::Value::Money(total)));
        assert_eq!(sorted.personal.expect("one left").fields.keys().collect::<Vec<_>>(), ["note"]);
    }

    #[test]
    fn every_kind_has_its_form() {
        let good = [
            (ClearKind::Number, value(Kind::NumberValue(1.5))),
            (ClearKind::Code, text("oncology")),
            (ClearKind::Time, text("2026-02-28T12:00:00.5+01:00")),
            (ClearKind::Money, amount("USD", value(Kind::NumberValue(0.1)))),
            (ClearKind::Flag, value(Kind::BoolValue(false))),
        ];
        for (kind, given) in good {
            assert_eq!(sorted(kind, given).expect("it fits").clear.len(), 1, "{kind:?}");
        }
        let bad = [
            (ClearKind::Number, text("1.5")),
            (ClearKind::Number, value(Kind::NumberValue(f64::NAN))),
            (ClearKind::Code, text(&"x".repeat(129))),
            (ClearKind::Code, value(Kind::BoolValue(true))),
            (ClearKind::Time, text("yesterday")),
            (ClearKind::Time, value(Kind::NumberValue(0.0))),
            (ClearKind::Money, value(Kind::NumberValue(5.0))),
            (ClearKind::Money, amount("euro", text("1"))),
            (ClearKind::Money, amount("EUR", text("1e3"))),
            (ClearKind::Money, amount("EUR", text("0.1234567891"))),
            (ClearKind::Money, amount("EUR", text("99999999999999999999"))),
            (ClearKind::Money, amount("EUR", value(Kind::NumberValue(f64::INFINITY)))),
            (ClearKind::Flag, text("true")),
        ];
        for (kind, given) in bad {
            assert!(sorted(kind, given).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn a_null_is_an_absent_property() {
        let sorted = sorted(ClearKind::Number, value(Kind::NullValue(0))).expect("it fits");
        assert_eq!(sorted, Sorted::default());
    }

    proptest! {
        #[test]
        fn amounts_survive(units in -1_000_000_i64..1_000_000, cents in 0..100_i32) {
            let written = format!("{units}.{cents:02}");
            let (read, nanos) = decimal(&written).expect("a decimal");
            prop_assert_eq!(read, units);
            prop_assert_eq!(nanos.abs(), cents * 10_000_000);
        }

        #[test]
        fn no_amount_panics(text in any::<String>(), number in any::<f64>()) {
            let _ = decimal(&text);
            let _ = sorted(ClearKind::Money, amount("EUR", value(Kind::NumberValue(number))));
            let _ = time(&text);
        }
    }
}
