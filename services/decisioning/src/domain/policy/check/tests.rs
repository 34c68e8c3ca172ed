use rapport_proto::decisioning::v1::{ContactLine, ContextWeight, OutcomeSuppression};

use super::super::super::decide::tests::{AT, policy};
use super::*;

fn found(policy: &proto::Policy, known: &Known) -> Vec<(String, String)> {
    findings(policy, known).into_iter().map(|it| (it.place, it.code)).collect()
}

fn told(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(place, code)| ((*place).to_owned(), (*code).to_owned())).collect()
}

fn known() -> Known {
    Known { now: AT, ..Known::default() }
}

#[test]
fn a_sound_policy_has_no_findings() {
    assert_eq!(findings(&policy(), &known()), []);
}

#[test]
fn ids_are_unique_and_references_lead_somewhere() {
    let mut policy = policy();
    policy.actions[1].action = "write".into();
    policy.actions[1].group = "none".into();
    policy.actions[1].treatments[0].module = "a b".into();
    policy.levers = vec![proto::Lever {
        lever: "l".into(),
        action: "none".into(),
        weight: 2_000.0,
        owner: "o".into(),
        reason: "r".into(),
        ..proto::Lever::default()
    }];
    let expected = told(&[
        ("actions[1].action", "duplicate"),
        ("actions[1].group", "dangling"),
        ("actions[1].treatments[0].module", "id_invalid"),
        ("levers[0].action", "dangling"),
        ("levers[0].weight", "value_invalid"),
        ("levers[0].until", "value_invalid"),
    ]);
    assert_eq!(found(&policy, &known()), expected);
}

#[test]
fn values_lie_in_their_ranges() {
    let mut policy = policy();
    policy.policy = "other".into();
    policy.explore = Some(proto::Explore { epsilon: Some(1.5) });
    policy.do_nothing_score = f64::NAN;
    policy.affinity_half_life = "0d".into();
    policy.actions[0].value = 0.0;
    policy.actions[0].rewards[0].value = 1.5;
    policy.actions[0].rewards[0].within = "soon".into();
    policy.actions[0].treatments.clear();
    policy.context_weights = vec![ContextWeight { id: "c".into(), ..ContextWeight::default() }];
    policy.contact_policy = vec![ContactLine {
        id: "l".into(),
        counts: vec!["Call Completed".into()],
        window: "367d".into(),
        max: 0,
        hard: true,
        ..ContactLine::default()
    }];
    policy.suppressions = vec![OutcomeSuppression {
        id: "s".into(),
        outcome: "TaskDismissed".into(),
        window: "7d".into(),
        duration: "7d".into(),
        count: 1,
        scope: "party".into(),
        ..OutcomeSuppression::default()
    }];
    let expected = told(&[
        ("policy", "id_invalid"),
        ("explore.epsilon", "value_invalid"),
        ("do_nothing_score", "value_invalid"),
        ("affinity_half_life", "value_invalid"),
        ("actions[0].value", "value_invalid"),
        ("actions[0].rewards[0].within", "value_invalid"),
        ("actions[0].rewards[0].value", "value_invalid"),
        ("actions[0].treatments", "value_invalid"),
        ("context_weights[0].when", "rule_invalid"),
        ("contact_policy[0].max", "value_invalid"),
        ("contact_policy[0].hard", "value_invalid"),
        ("suppressions[0].scope", "value_invalid"),
    ]);
    assert_eq!(found(&policy, &known()), expected);
}

#[test]
fn names_are_checked_once_any_are_known() {
    let mut policy = policy();
    policy.actions[0].eligibility = "traits.orders > 1.0".into();
    assert_eq!(found(&policy, &known()), []);
    let known = Known {
        traits: [("order".to_owned(), Type::Number)].into(),
        modules: ["visit".to_owned()].into(),
        ..known()
    };
    let all = findings(&policy, &known);
    let places: Vec<_> =
        all.iter().map(|it| (it.place.as_str(), it.code.as_str(), it.column)).collect();
    assert_eq!(
        places,
        [
            ("actions[0].eligibility", "rule_invalid", 1),
            ("actions[0].treatments[0].module", "module_unknown", 0),
            ("actions[0].treatments[1].module", "module_unknown", 0),
        ]
    );
    assert!(all[0].text.contains("did you mean `traits.order`"));
    policy.actions[0].eligibility = "traits.order == 'x'".into();
    assert_eq!(findings(&policy, &known)[0].code, "rule_invalid");
}
