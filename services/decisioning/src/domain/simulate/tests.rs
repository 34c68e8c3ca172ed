use prost::Message as _;
use rapport_proto::decisioning::v1::{ContactLine, HappeningKind};

use super::super::decide::tests::{Fixture, fixture, happened};
use super::*;

fn history() -> Vec<(Fixture, DecisionMade)> {
    (0..50)
        .map(|number| {
            let mut world = fixture();
            world.decision_id = format!("dec_{number}");
            world.wish.k = 1 + number % 3;
            world.party.set("attributes.tier", f64::from(number % 4));
            world.policy.actions[1].eligibility = "attributes.tier >= 2.0".into();
            world.policy.contact_policy = vec![ContactLine {
                id: "mails".into(),
                counts: vec!["EMAIL".into()],
                window: "7d".into(),
                max: 1,
                ..ContactLine::default()
            }];
            if number % 5 == 0 {
                let day = 86_400 * 1_000_000;
                world.happenings = vec![happened(HappeningKind::Contact, "EMAIL", day)];
            }
            let made = world.decide();
            (world, made)
        })
        .collect()
}

fn simulate(change: impl Fn(&mut Fixture)) -> SimulationSummary {
    let mut tally = Tally::until(7);
    for (mut world, before) in history() {
        change(&mut world);
        let pack = world.compiled_pack();
        let after = again(&before, &world.compiled(), pack.as_ref(), &world.modules);
        tally.add(&before, &after);
    }
    tally.finish()
}

#[test]
fn an_unchanged_policy_gives_no_difference() {
    for (world, before) in history() {
        let pack = world.compiled_pack();
        // From the bytes that are stored, to the same bytes.
        let stored = before.encode_to_vec();
        let read = DecisionMade::decode(stored.as_slice()).expect("a record");
        let after = again(&read, &world.compiled(), pack.as_ref(), &world.modules);
        assert_eq!(after, before);
        assert_eq!(after.encode_to_vec(), stored);
    }
    let summary = simulate(|_| ());
    assert_eq!((summary.decisions, summary.changed, summary.now_nothing), (50, 0, 0));
    assert_eq!(summary.chosen_before, summary.chosen_after);
    assert_eq!(summary.stopped_before, summary.stopped_after);
    assert_eq!((summary.position, summary.unread), (7, Vec::new()));
}

#[test]
fn what_no_rule_read_then_is_told() {
    let summary = simulate(|world| {
        world.policy.actions[0].suitability =
            "attributes.tier >= 0.0 && traits.orders_90d > 0.0 && context.trigger == 'visit'"
                .into();
    });
    assert_eq!(summary.unread, ["traits.orders_90d"]);
}

#[test]
fn a_stricter_rule_shows_in_the_funnel() {
    let summary = simulate(|world| {
        world.policy.actions[0].eligibility = "attributes.tier >= 9.0".into();
        world.policy.actions[1].eligibility = "attributes.tier >= 9.0".into();
    });
    assert_eq!(summary.changed, 50);
    assert_eq!(summary.stopped_after["eligibility"], 150);
    assert_eq!(summary.chosen_after, [(DO_NOTHING.to_owned(), 50)].into());
    assert!(summary.now_nothing > 0);
}
