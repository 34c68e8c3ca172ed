//! Worlds whose arms are known. Every world has a seed of its own, stated in its name: `draw(seed, key)` is all the chance
//! there is.

use eventstore::draw;
use rapport_proto::delivery::v1::{GateStep, TouchReady, TouchSkipped, Verdict, VerdictOutcome};
use rapport_proto::journeys::v1::{InstanceSplit, InstanceStarted};
use rapport_proto::kpis::v1::Experiment;
use rapport_proto::kpis::v1::experiment::AssignedBy;
use rapport_proto::profiles::v1::InteractionRecorded;

use super::*;
use crate::convert::plan;
use crate::rollup::definition::of_experiment;
use crate::rollup::experiment::Compared;

fn holdout(share: f64) -> Experiment {
    Experiment {
        experiment: "winback".into(),
        assigned_by: Some(AssignedBy::Holdout("q1".into())),
        outcome: "Order Completed".into(),
        window: "30d".into(),
        control_share: share,
        ..Default::default()
    }
}

fn verdicts(held_out: bool) -> Vec<Verdict> {
    let pass = |step: GateStep| Verdict {
        step: step.into(),
        outcome: VerdictOutcome::Pass.into(),
        ..Default::default()
    };
    let steps = [
        GateStep::Live,
        GateStep::Recipient,
        GateStep::ContactPoint,
        GateStep::Consent,
        GateStep::CountryRule,
        GateStep::Content,
    ];
    let outcome = if held_out { VerdictOutcome::Fail } else { VerdictOutcome::Pass };
    let seventh = Verdict {
        outcome: outcome.into(),
        proof_ids: vec!["q1".into()],
        ..pass(GateStep::Holdout)
    };
    steps.map(pass).into_iter().chain([seventh]).collect()
}

fn touch(position: u64, party: &str, at: Timestamp, held_out: bool) -> Said {
    let verdicts = verdicts(held_out);
    let said = if held_out {
        let it = TouchSkipped { reason: "holdout".into(), verdicts, ..Default::default() };
        Said::new("delivery", position, at, &it)
    } else {
        Said::new("delivery", position, at, &TouchReady { verdicts, ..Default::default() })
    };
    said.party(party)
}

fn ordered(position: u64, party: &str, at: Timestamp) -> Said {
    let it = InteractionRecorded { name: "Order Completed".into(), ..Default::default() };
    Said::new("profiles", position, at, &it).party(party)
}

/// Parties that are held out by the stable hash, order with a probability by arm, and are seen with one.
struct World {
    seed: String,
    parties: u64,
    share: f64,
    /// Probability of an order: held out, treated.
    orders: [f64; 2],
    /// Share of the treated that is lost on the way.
    lost: f64,
}

impl World {
    fn said(&self) -> Vec<Said> {
        let mut said = Vec::new();
        for number in 0..self.parties {
            let party = format!("pty_{number}");
            let chance = |what: &str| draw(&format!("{}/{what}", self.seed), &party);
            let held_out = draw(&self.seed, &format!("{party}/2026-Q1")) < self.share;
            if !held_out && chance("lost") < self.lost {
                continue;
            }
            let at = days(number as i64 % 20);
            said.push(touch(number * 2 + 1, &party, at, held_out));
            if chance("orders") < self.orders[usize::from(!held_out)] {
                said.push(ordered(number * 2 + 2, &party, Timestamp(at.0 + 5 * DAY)));
            }
        }
        said
    }

    fn compared(&self) -> Compared {
        compared(&holdout(self.share), &self.said(), days(60))
    }
}

fn told(document: &Experiment, said: &[Said]) -> Vec<Contribution> {
    let series = of_experiment(document).expect("an experiment");
    said.iter().flat_map(|it| series.contributions(&it.event())).collect()
}

fn compared(document: &Experiment, said: &[Said], as_of: Timestamp) -> Compared {
    with_patients(document, said, as_of, &[])
}

fn with_patients(
    document: &Experiment,
    said: &[Said],
    as_of: Timestamp,
    patients: &[&str],
) -> Compared {
    let plan = plan(document);
    let patients = patients.iter().map(|it| (*it).to_owned()).collect();
    plan.compare(&plan.units(&told(document, said), as_of), &patients)
}

#[test]
fn an_arm_with_few_patients_shows_nothing_of_what_came_of_them() {
    let parties: Vec<String> = (0..20).map(|it| format!("pty_{it}")).collect();
    let said: Vec<_> = (1..)
        .zip(&parties)
        .map(|(position, party)| touch(position, party, days(0), position % 2 == 0))
        .collect();
    // Every second party is held out: pty_1, pty_3, ….
    let patients: Vec<&str> = parties.iter().skip(1).step_by(2).map(String::as_str).collect();
    let compared = |count: usize| with_patients(&holdout(0.5), &said, days(60), &patients[..count]);
    for few in 1..5 {
        let few = compared(few);
        let suppressed: Vec<_> = few.arms.iter().map(|it| it.suppressed).collect();
        assert_eq!(suppressed, [true, false]);
        assert_eq!((few.arms[0].mean, few.arms[0].deviation), (0.0, 0.0));
        assert_eq!((few.difference, few.withheld), (None, "few_patients"));
    }
    for shown in [0, 5] {
        let shown = compared(shown);
        assert!(shown.arms.iter().all(|it| !it.suppressed));
        assert_eq!(shown.withheld, "");
        assert!(shown.difference.is_some());
    }
}

#[test]
fn in_two_hundred_worlds_without_effect_the_interval_covers_zero_as_often_as_it_says() {
    let worlds = (0..200).map(|number| World {
        seed: format!("no-effect/{number}"),
        parties: 600,
        share: 0.3,
        orders: [0.25, 0.25],
        lost: 0.0,
    });
    let compared: Vec<_> = worlds.map(|it| it.compared()).collect();
    let covered =
        compared.iter().filter(|it| it.difference.is_some_and(|it| it.covers(0.0))).count();
    assert!((180..=198).contains(&covered), "{covered} of 200");
    assert!(compared.iter().filter(|it| it.mismatch).count() <= 2);
}

#[test]
fn a_planted_uplift_is_recovered() {
    let world =
        World { seed: "uplift".into(), parties: 4_000, share: 0.3, orders: [0.2, 0.32], lost: 0.0 };
    let found = world.compared();
    let difference = found.difference.expect("a difference");
    assert!(difference.covers(0.12) && !difference.covers(0.0), "{difference:?}");
    assert!(!found.mismatch);
    let arms: Vec<_> = found.arms.iter().map(|it| it.arm.as_str()).collect();
    assert_eq!(arms, ["control", "treated"]);
}

#[test]
fn a_planted_mismatch_is_flagged_and_the_difference_withheld() {
    let world = World {
        seed: "mismatch".into(),
        parties: 4_000,
        share: 0.3,
        orders: [0.2, 0.2],
        lost: 0.15,
    };
    let found = world.compared();
    assert!(found.mismatch && found.sample_ratio_p < 0.001, "{}", found.sample_ratio_p);
    assert_eq!(found.difference, None);
    assert!(!World { lost: 0.0, ..world }.compared().mismatch);
}

#[test]
fn arms_drawn_anew_cover_zero_whatever_the_effect() {
    let world =
        World { seed: "redrawn".into(), parties: 800, share: 0.3, orders: [0.1, 0.4], lost: 0.0 };
    let document = holdout(0.3);
    let plan = plan(&document);
    let units = plan.units(&told(&document, &world.said()), days(60));
    let coverage = plan.coverage(&units, "seed", 200, "q1").expect("drawn");
    assert!((0.90..=0.99).contains(&coverage), "{coverage}");
    assert_eq!(plan.coverage(&units, "seed", 200, "q1"), Some(coverage));
    assert_eq!(plan.coverage(&units, "seed", 0, "q1"), None);
}

#[test]
fn outcomes_count_in_the_window_and_open_windows_are_left_out() {
    let said = [
        touch(1, "a", days(0), true),
        touch(2, "a", days(9), true),
        ordered(3, "a", days(0)),
        ordered(4, "a", days(31)),
        touch(5, "b", days(0), false),
        ordered(6, "b", days(30)),
        touch(7, "c", days(10), false),
        ordered(8, "c", days(11)),
    ];
    let found = compared(&holdout(0.3), &said, days(30));
    let arms: Vec<_> = found.arms.iter().map(|it| (it.parties, it.complete, it.mean)).collect();
    assert_eq!(arms, [(1, 1, 0.0), (2, 1, 1.0)]);
    let later = Experiment { from: Some(days(5).to_proto()), ..holdout(0.3) };
    let found = compared(&later, &said, days(60));
    let arms: Vec<_> = found.arms.iter().map(|it| (it.parties, it.complete, it.mean)).collect();
    assert_eq!(arms, [(1, 1, 1.0), (1, 1, 1.0)]);
}

#[test]
fn a_touch_that_failed_before_the_holdout_is_no_index_instant() {
    let mut failed = verdicts(true);
    failed[3].outcome = VerdictOutcome::Fail.into();
    failed[6].outcome = VerdictOutcome::NotReached.into();
    let skipped = TouchSkipped { reason: "consent".into(), verdicts: failed, ..Default::default() };
    let consent = Said::new("delivery", 1, days(0), &skipped).party("a");
    let mut other = verdicts(true);
    other[6].proof_ids = vec!["q4".into()];
    let skipped = TouchSkipped { reason: "holdout".into(), verdicts: other, ..Default::default() };
    let other = Said::new("delivery", 2, days(0), &skipped).party("b");
    assert_eq!(told(&holdout(0.3), &[consent, other]), []);
}

#[test]
fn values_are_summed_over_the_window() {
    use rapport_proto::types::{Clear, clear};
    let document = Experiment { value: "event.clear.revenue".into(), ..holdout(0.3) };
    let spent = |position: u64, revenue| {
        let value = Clear { value: Some(clear::Value::Number(revenue)) };
        let it = InteractionRecorded {
            name: "Order Completed".into(),
            clear: [("revenue".to_owned(), value)].into(),
            ..Default::default()
        };
        Said::new("profiles", position, days(2), &it).party("a")
    };
    let said = [touch(1, "a", days(0), false), spent(2, 10.5), spent(3, 0.25)];
    assert_eq!(compared(&document, &said, days(40)).arms[1].mean, 10.75);
}

#[test]
fn a_split_is_compared_from_the_first_pass_through_it() {
    let document = Experiment {
        assigned_by: Some(AssignedBy::Split("winback/choose".into())),
        control_arm: "nothing".into(),
        ..holdout(0.5)
    };
    let started = |position, instance: &str, journey: &str| {
        let it = InstanceStarted { journey_id: journey.into(), ..Default::default() };
        Said::new("journeys", position, days(0), &it).id(instance)
    };
    let split = |position, instance: &str, party: &str, node: &str, arm: &str| {
        let it = InstanceSplit { node: node.into(), arm: arm.into(), ..Default::default() };
        Said::new("journeys", position, days(0), &it).id(instance).party(party)
    };
    let mut said = vec![
        split(1, "ins_1", "a", "choose", "nothing"),
        started(2, "ins_1", "winback"),
        started(3, "ins_2", "winback"),
        split(4, "ins_2", "b", "choose", "mail"),
        split(5, "ins_2", "b", "later", "other"),
        started(6, "ins_3", "another"),
        split(7, "ins_3", "c", "choose", "mail"),
        ordered(8, "b", days(1)),
    ];
    let found = compared(&document, &said, days(40));
    let arms: Vec<_> = found.arms.iter().map(|it| (it.arm.as_str(), it.parties, it.mean)).collect();
    assert_eq!(arms, [("nothing", 1, 0.0), ("mail", 1, 1.0)]);
    said.reverse();
    assert_eq!(compared(&document, &said, days(40)), found);
}

#[test]
fn the_more_parties_there_are_the_fewer_worlds_are_drawn() {
    use crate::rollup::experiment::{Unit, Units};
    let of = |parties: usize| {
        let unit = Unit { party_id: "a".into(), arm: "control".into(), outcome: 0 };
        Units { complete: vec![unit; parties], ..Units::default() }.most_draws()
    };
    assert_eq!(of(0), 20_000_000);
    assert_eq!((of(20_000), of(100_000), of(30_000_000)), (1_000, 200, 0));
}
