use rapport_proto::kpis::v1::{Measure, Ratio, Selection, Span, measure};
use rapport_proto::types::Finding;

use super::*;

const GOOD: &str = "metric: answers
unit: COUNT
source: feedback
event: rapport.feedback.v1.ResponseSubmitted
each: answers
filter: \"item.kind == 'NPS'\"
measure: {count: true}
dimensions: {survey: event.survey}
";

fn findings(change: impl FnOnce(&mut Metric)) -> Vec<Finding> {
    let mut metric: Metric = authored::document::parse(GOOD).expect("a document");
    change(&mut metric);
    Definition::compile(&metric, 1).err().unwrap_or_default()
}

fn places(change: impl FnOnce(&mut Metric)) -> Vec<String> {
    findings(change).into_iter().map(|it| it.place).collect()
}

fn measured(measure: measure::Measure) -> Option<Measure> {
    Some(Measure { measure: Some(measure) })
}

#[test]
fn everything_that_is_wrong_is_told_at_its_place() {
    assert_eq!(places(|_| ()), [""; 0]);
    assert_eq!(places(|it| it.metric = "Answers".into()), ["metric"]);
    assert_eq!(places(|it| it.unit = 0), ["unit"]);
    assert_eq!(places(|it| it.unit = 5), ["unit"]);
    assert_eq!(places(|it| it.source = "audit".into()), ["source"]);
    assert_eq!(places(|it| it.event = "rapport.feedback.v1.Answer".into()), ["event"]);
    assert_eq!(places(|it| it.event = "rapport.delivery.v1.TouchSent".into()), ["event"]);
    assert_eq!(places(|it| it.each = "survey".into()), ["each"]);
    assert_eq!(places(|it| it.filter = "item.scor > 3".into()), ["filter"]);
    assert_eq!(places(|it| it.measure = None), ["measure"]);
    assert_eq!(places(|it| it.bucket = 9), ["bucket"]);
    assert_eq!(places(|it| it.time_zone = "Mars/Olympus".into()), ["time_zone"]);
    assert_eq!(
        places(|it| it.measure = measured(measure::Measure::Count(false))),
        ["measure.count"]
    );
    let below = |kind: &str, below| [(kind.to_owned(), below)].into();
    assert_eq!(places(|it| it.suppress_below = below("DOG", 5)), ["suppress_below.DOG"]);
    assert_eq!(places(|it| it.suppress_below = below("HCP", 1)), ["suppress_below.HCP"]);
    let named = |name: &str| [(name.to_owned(), "event.survey".to_owned())].into();
    assert_eq!(places(|it| it.dimensions = named("party_kind")), ["dimensions.party_kind"]);
    assert_eq!(places(|it| it.dimensions = named("Survey")), ["dimensions.Survey"]);
    let time = || [("at".to_owned(), "occurred_at".to_owned())].into();
    assert_eq!(places(|it| it.dimensions = time()), ["dimensions.at"]);
}

#[test]
fn what_is_sealed_cannot_be_named() {
    for rule in ["item.text.ciphertext == 'x'", "has(item.text)"] {
        let found = findings(|it| it.filter = rule.into());
        assert_eq!((found.len(), found[0].code.as_str()), (1, "rule_invalid"), "{rule}");
    }
}

#[test]
fn keys_are_in_both_events_or_in_neither() {
    let per = || {
        Some(Selection {
            source: "feedback".into(),
            event: "rapport.feedback.v1.InvitationSent".into(),
            ..Default::default()
        })
    };
    let ratio = |key: &[&str], per_key: &[&str]| {
        let own = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect();
        measured(measure::Measure::Ratio(Ratio {
            per: per(),
            key: own(key),
            per_key: own(per_key),
        }))
    };
    let with = |measure: Option<Measure>| {
        places(|it| {
            it.measure = measure;
            it.dimensions.clear();
        })
    };
    assert_eq!(with(ratio(&[], &[])), [""; 0]);
    assert_eq!(with(ratio(&["event.invitation_id"], &["event.invitation_id"])), [""; 0]);
    assert_eq!(with(ratio(&["event.invitation_id"], &[])), ["measure.ratio.per_key"]);
    assert_eq!(with(ratio(&["event.invitation"], &["id"])), ["measure.key"]);
    let span = Span { until: per(), q: 0.5, ..Default::default() };
    assert_eq!(with(measured(measure::Measure::Span(span))), ["measure.span.key"]);
    let never = Span {
        until: per(),
        key: vec!["id".into()],
        until_key: vec!["id".into()],
        ..Default::default()
    };
    assert_eq!(with(measured(measure::Measure::Span(never))), ["measure.span.q"]);
    // Dimensions of a ratio without keys must be in both events.
    assert_eq!(places(|it| it.measure = ratio(&[], &[])), ["dimensions.survey"]);
}

#[test]
fn nested_fields_clear_values_and_lists_can_be_named() {
    let rules = [
        ("profiles", "rapport.profiles.v1.InteractionRecorded", "event.clear.revenue > 10.0"),
        (
            "profiles",
            "rapport.profiles.v1.InteractionRecorded",
            "event.clear[\"list price\"] > 1.0",
        ),
        ("profiles", "rapport.profiles.v1.ConsentWithdrawn", "event.key.channel == 'EMAIL'"),
        ("delivery", "rapport.delivery.v1.TouchSent", "event.verdict.outcome == 'PASS'"),
        ("decisioning", "rapport.decisioning.v1.DecisionMade", "'EMAIL' in event.channels"),
        ("decisioning", "rapport.decisioning.v1.DecisionMade", "event.positions.profiles > 3.0"),
        (
            "delivery",
            "rapport.delivery.v1.TouchOpened",
            "recorded_at - occurred_at < duration(\"1h\")",
        ),
    ];
    for (source, event, rule) in rules {
        let found = findings(|it| {
            it.source = source.into();
            it.event = event.into();
            it.each.clear();
            it.dimensions.clear();
            it.filter = rule.into();
        });
        assert_eq!(found, [], "{rule}");
    }
}
