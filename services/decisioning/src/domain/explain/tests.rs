use rapport_proto::decisioning::v1::{ContactLine, HappeningKind};

use super::super::decide::tests::{Fixture, fixture, happened};
use super::*;

/// A world whose first decision does something that has a runner-up.
fn chosen() -> (Fixture, DecisionMade) {
    let mut world = fixture();
    for number in 0.. {
        world.decision_id = format!("dec_{number}");
        let made = world.decide();
        if made.chosen[0].action == "write" && made.chosen[0].treatment == "mail" {
            return (world, made);
        }
    }
    unreachable!("it is drawn some time")
}

#[test]
fn the_same_record_has_the_same_words() {
    let (_, made) = chosen();
    assert_eq!(explain(&made), explain(&made));
}

#[test]
fn shares_of_the_factors_sum_to_one() {
    let (_, made) = chosen();
    let told = explain(&made);
    assert_eq!(told.runner_up, "write by FIELD_TASK (task)");
    let sum: f64 = told.shares.iter().map(|it| it.share).sum();
    assert!((sum - 1.0).abs() < 1e-9, "{:?}", told.shares);
    assert_eq!(told.shares[0].factor, "P");
    assert!((told.shares[0].share - 1.0).abs() < 1e-9);
}

#[test]
fn exploration_names_its_probability_and_the_top_scored() {
    let (_, made) = chosen();
    // The unknown channel has a mean of one half, the known one of three eighths.
    let told = explain(&made);
    let explored = told.sentences.iter().find(|it| it.contains("exploration")).expect("a sentence");
    assert!(explored.contains("the top-scored was write by FIELD_TASK (task) (0.5000)"));
    assert!(explored.contains(&percent(made.chosen[0].pi)));
    assert_eq!(told.candidates[0].code, "chosen");
    assert_eq!(told.candidates[1].code, "not_drawn");
    assert_eq!(told.candidates[2].code, "outscored");
}

#[test]
fn every_reason_is_a_sentence_with_its_value() {
    let mut world = fixture();
    world.policy.actions[0].eligibility = "attributes.licence".into();
    let told = explain(&world.decide());
    assert_eq!(
        told.candidates[0].text,
        "write by EMAIL (mail) is not eligible: `attributes.licence` needs attributes.licence, which is unknown."
    );
    world.policy.actions[0].eligibility = "traits.orders_90d >= 2.0".into();
    let told = explain(&world.decide());
    assert_eq!(
        told.candidates[0].text,
        "write by EMAIL (mail) is not eligible: `traits.orders_90d >= 2.0` needs >= 2, and traits.orders_90d = 1."
    );
    assert_eq!(told.candidates[0].code, "eligibility");
    assert!(told.sentences.iter().any(|it| it == "2 candidates were stopped: 2 by eligibility."));
}

#[test]
fn a_full_contact_line_says_when() {
    let mut world = fixture();
    world.policy.contact_policy = vec![ContactLine {
        id: "mails".into(),
        counts: vec!["EMAIL".into()],
        window: "7d".into(),
        max: 1,
        ..ContactLine::default()
    }];
    world.happenings = vec![happened(HappeningKind::Contact, "EMAIL", 86_400 * 1_000_000)];
    let told = explain(&world.decide());
    assert_eq!(
        told.candidates[0].text,
        "write by EMAIL (mail) would be too much: mails counts 1 in 7d, needed < 1; allowed again at \
         2026-01-07T00:00:00.000000Z."
    );
    assert!(told.candidates[0].next_allowed_time.is_some());
}

#[test]
fn nothing_to_do_is_explained_too() {
    let mut world = fixture();
    world.pack = None;
    let told = explain(&world.decide());
    assert_eq!(told.sentences[0], "Nothing is done: no action passed every check.");
    assert_eq!(
        told.candidates[0].text,
        "write by EMAIL (mail) was not possible: the rules of DE do not allow it (DE: no_pack)."
    );
    assert!(told.shares.is_empty());
}
