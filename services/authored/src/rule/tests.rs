//! Rules: what they mean, what they refuse, that they agree with CEL's own interpreter.

use std::collections::BTreeMap;

use eventstore::Timestamp;

use super::*;

mod agreement;
mod bounds;
mod meaning;
mod reasons;
mod refusals;

type Known = BTreeMap<String, Value>;

fn catalogue() -> Catalogue {
    let traits = [
        ("orders", Type::Number),
        ("spent", Type::Number),
        ("orders-90d", Type::Number),
        ("tier", Type::Text),
        ("opted", Type::Bool),
        ("last_visit", Type::Time),
    ];
    Catalogue::new()
        .party()
        .open("attributes")
        .record("traits", traits)
        .list("segments", Type::Text)
        .list("scores", Type::Number)
        .map("consent", Type::Bool)
        .value("now", Type::Time)
}

/// What most tests know: nothing of `spent`, `tier` and any attribute but these.
fn facts() -> Known {
    let day = 86_400_000_000;
    let facts: [(&str, Value); 14] = [
        ("party.market", "DE".into()),
        ("party.kind", "HCP".into()),
        ("traits.orders", 3.0.into()),
        ("traits.orders-90d", 1.0.into()),
        ("traits.opted", false.into()),
        ("traits.last_visit", Timestamp(90 * day).into()),
        ("segments", Value::list(["lapsing", "prescriber"])),
        ("scores", Value::list([1.0, 2.5, 4.0])),
        ("consent.PROMOTIONAL/EMAIL/northwind", true.into()),
        ("attributes.licence_valid", true.into()),
        ("attributes.beds", 120.0.into()),
        ("attributes.specialty", "oncology".into()),
        ("attributes.since", Timestamp(10 * day).into()),
        ("now", Timestamp(100 * day).into()),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

fn rule(text: &str) -> Rule {
    match Rule::compile(text, &catalogue(), &Type::Bool) {
        Ok(rule) => rule,
        Err(problem) => panic!("{text}: {problem}"),
    }
}

fn problem(text: &str) -> Problem {
    Rule::compile(text, &catalogue(), &Type::Bool).expect_err(text)
}

/// `true`, `false` or `unknown:<name>`.
fn told(truth: &Truth) -> String {
    truth.unknown().unwrap_or_else(|| truth.is_true().to_string())
}
