use eventstore::draw;
use rapport_proto::delivery::v1::{GateStep, TouchReady, TouchSkipped, Verdict, VerdictOutcome};
use rapport_proto::kpis::v1::experiment::AssignedBy;

use super::*;

pub(super) fn holdout() -> proto::Experiment {
    proto::Experiment {
        experiment: "winback".into(),
        assigned_by: Some(AssignedBy::Holdout("q1".into())),
        outcome: "Order Completed".into(),
        window: "3d".into(),
        control_share: 0.5,
        ..Default::default()
    }
}

fn start(experiment: proto::Experiment) -> proto::StartExperimentRequest {
    proto::StartExperimentRequest {
        parent: parent(),
        experiment: Some(experiment),
        ..Default::default()
    }
}

fn name() -> String {
    format!("tenants/{ACME}/experiments/winback")
}

/// What the gate says of a touch that reached a holdout.
fn reached(holdout: &str, held_out: bool) -> touch_event::Event {
    let verdict =
        |step: i32| Verdict { step, outcome: VerdictOutcome::Pass.into(), ..Default::default() };
    let mut verdicts: Vec<_> = (1..=GateStep::Holdout.into()).map(verdict).collect();
    let last = verdicts.last_mut().expect("seven");
    last.proof_ids = vec![holdout.into()];
    if held_out {
        last.outcome = VerdictOutcome::Fail.into();
        touch_event::Event::Skipped(TouchSkipped { verdicts, ..Default::default() })
    } else {
        touch_event::Event::Ready(TouchReady { verdicts, ..Default::default() })
    }
}

impl World {
    /// A touch that reached the holdout.
    async fn touched(&self, party: &str, held_out: bool, at: Timestamp) {
        self.know(party).await;
        let events = vec![reached("q1", held_out)];
        self.append::<Touch>(&format!("tch_{party}"), about(party, at), events).await;
    }

    async fn result(&self) -> proto::GetExperimentResponse {
        let get = proto::GetExperimentRequest { name: name(), ..Default::default() };
        self.experiments().get_experiment(get).await.expect("found").into_inner()
    }

    async fn result_when(&self, parties: u64) -> proto::ExperimentResult {
        let mut result = proto::ExperimentResult::default();
        for _ in 0..6_000 {
            result = self.result().await.result.expect("a result");
            if result.arms.iter().map(|it| it.parties).sum::<u64>() == parties {
                return result;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{result:?}")
    }
}

/// Twenty parties, half of them held out; every treated one and every other held-out one orders.
async fn history(world: &World) {
    for number in 0..20 {
        let party = format!("pty_{number}");
        world.touched(&party, number < 10, day(0)).await;
        if number >= 10 || number % 2 == 0 {
            world.did(&party, "Order Completed", day(1)).await;
        }
    }
    world.pass(3 * DAY);
    world.touched("pty_late", false, day(3)).await;
}

#[tokio::test]
async fn arms_are_compared_whether_the_analysis_was_defined_before_or_after() {
    let world = World::start().await;
    world.experiments().start_experiment(start(holdout())).await.expect("started");
    history(&world).await;
    world.read_all().await;
    let result = world.result_when(21).await;
    let arms: Vec<_> =
        result.arms.iter().map(|it| (it.arm.as_str(), it.parties, it.complete, it.mean)).collect();
    assert_eq!(arms, [("control", 10, 10, 0.5), ("treated", 11, 10, 1.0)]);
    assert_eq!(result.difference, Some(0.5));
    assert!(result.lower > Some(0.0) && !result.sample_ratio_mismatch);
    let delivery = world.harness.deps("delivery").store.head().position;
    assert_eq!(result.positions["delivery"], delivery);

    let late = proto::Experiment { experiment: "late".into(), ..holdout() };
    world.experiments().start_experiment(start(late)).await.expect("started");
    let get = proto::GetExperimentRequest {
        name: format!("tenants/{ACME}/experiments/late"),
        min_positions: result.positions.clone(),
        rerandomise: 100,
        seed: "seed".into(),
    };
    let found = patiently(async || world.experiments().get_experiment(get.clone()).await).await;
    assert_eq!(found.result.expect("a result").arms, result.arms);
    assert!(found.coverage.is_some_and(|it| it > 0.8), "{:?}", found.coverage);

    let list =
        proto::ListExperimentsRequest { parent: parent(), page_size: 1, ..Default::default() };
    let listed = world.experiments().list_experiments(list).await.expect("listed").into_inner();
    assert_eq!((listed.experiments.len(), listed.next_page_token.is_empty()), (1, false));
}

#[tokio::test]
async fn a_closed_experiment_stays_as_it_is_also_after_a_rebuild() {
    let world = World::start().await;
    world.experiments().start_experiment(start(holdout())).await.expect("started");
    world.experiments().start_experiment(start(holdout())).await.expect("already so");
    let other = proto::Experiment { window: "9d".into(), ..holdout() };
    let refused = world.experiments().start_experiment(start(other)).await.expect_err("another");
    assert_eq!(told(&refused), (Code::AlreadyExists, "EXPERIMENT_EXISTS".into()));
    history(&world).await;
    world.read_all().await;
    world.result_when(21).await;
    let close =
        proto::CloseExperimentRequest { name: name(), reason: "over".into(), ..Default::default() };
    let closed = world.experiments().close_experiment(close.clone()).await.expect("closed");
    let closed = closed.into_inner().result.expect("a result");

    world.pass(30 * DAY);
    world.touched("pty_new", true, day(4)).await;
    world.did("pty_1", "Order Completed", day(2)).await;
    world.read_all().await;
    let again = world.experiments().close_experiment(close).await.expect("already so");
    assert_eq!(again.into_inner().result, Some(closed.clone()));
    let cache = crate::view::series::Cache::default();
    let consumer = crate::consumers::consumer(&cache);
    eventstore::consumer::reset(world.store(), &consumer).await.expect("emptied");
    let result = world.result_when(21).await;
    assert_eq!(result.positions, closed.positions);
    world.read_all().await;
    for _ in 0..6_000 {
        if world.result().await.result.as_ref() == Some(&closed) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let found = world.result().await;
    assert_eq!(found.result, Some(closed));
    assert!(found.close_time.is_some());
}

#[tokio::test]
async fn what_came_of_few_patients_is_withheld() {
    let world = World::start().await;
    world.experiments().start_experiment(start(holdout())).await.expect("started");
    for number in 0..20 {
        let kind = if number < 6 { PartyKind::Pharmacist } else { PartyKind::Patient };
        world.register(&format!("pty_{number}"), kind).await;
    }
    history(&world).await;
    world.read_all().await;
    let result = world.result_when(21).await;
    let shown: Vec<_> = result.arms.iter().map(|it| (it.suppressed, it.mean)).collect();
    assert_eq!(shown, [(true, 0.0), (false, 1.0)]);
    assert_eq!((result.difference, result.withheld.as_str()), (None, "few_patients"));
    let get = proto::GetExperimentRequest { name: name(), rerandomise: 100, ..Default::default() };
    let found = world.experiments().get_experiment(get).await.expect("found").into_inner();
    assert_eq!(found.coverage, None);
}

#[tokio::test]
async fn only_a_holdout_is_drawn_anew() {
    let world = World::start().await;
    let split = proto::Experiment {
        assigned_by: Some(AssignedBy::Split("winback/choose".into())),
        control_arm: "nothing".into(),
        ..holdout()
    };
    world.experiments().start_experiment(start(split)).await.expect("started");
    let get =
        proto::GetExperimentRequest { name: name(), rerandomise: 2_000, ..Default::default() };
    let refused = world.experiments().get_experiment(get).await.expect_err("a split");
    assert_eq!(fields(&refused), ["rerandomise", "rerandomise"]);
}

/// What is planted in a world, by its seed: how often the held-out and the treated order, and how many of the treated
/// are lost on the way.
struct Planted {
    seed: &'static str,
    orders: [f64; 2],
    lost: f64,
}

const PARTIES: usize = 600;
const SHARE: f64 = 0.3;

impl Planted {
    /// Lets it happen, an experiment of its own for each seed, with parties and orders of its own.
    async fn happen(&self, world: &World) -> proto::Experiment {
        let (mut touches, mut orders) = (Vec::new(), Vec::new());
        for number in 0..PARTIES {
            let party = format!("pty_{}_{number}", self.seed);
            let chance = |what: &str| draw(&format!("{}/{what}", self.seed), &party);
            let held_out = chance("held-out") < SHARE;
            if !held_out && chance("lost") < self.lost {
                continue;
            }
            let touch =
                (format!("tch_{party}"), about(&party, day(0)), reached(self.seed, held_out));
            touches.push(touch);
            if chance("orders") < self.orders[usize::from(!held_out)] {
                let it = InteractionRecorded { name: self.seed.into(), ..Default::default() };
                let it = interaction_event::Event::Recorded(it);
                orders.push((format!("itx_{party}"), about(&party, day(1)), it));
            }
        }
        world.append_each::<Touch>(touches).await;
        world.append_each::<Interaction>(orders).await;
        proto::Experiment {
            experiment: self.seed.into(),
            assigned_by: Some(AssignedBy::Holdout(self.seed.into())),
            outcome: self.seed.into(),
            control_share: SHARE,
            ..holdout()
        }
    }
}

#[tokio::test]
async fn what_was_planted_is_found_where_people_look_for_it() {
    let world = World::start().await;
    let nothing = Planted { seed: "nothing", orders: [0.25, 0.25], lost: 0.0 };
    let uplift = Planted { seed: "uplift", orders: [0.2, 0.4], lost: 0.0 };
    let mismatch = Planted { seed: "mismatch", orders: [0.25, 0.25], lost: 0.6 };
    for planted in [&nothing, &uplift, &mismatch] {
        let experiment = planted.happen(&world).await;
        world.experiments().start_experiment(start(experiment)).await.expect("started");
    }
    // The windows end: somebody else comes by a week later.
    world.pass(7 * DAY);
    world.did("pty_other", "Portal Visited", day(7)).await;
    world.read_all().await;
    let find = async |planted: &Planted| {
        let get = proto::GetExperimentRequest {
            name: format!("tenants/{ACME}/experiments/{}", planted.seed),
            min_positions: ["delivery", "profiles"]
                .map(|of| (of.to_owned(), world.harness.deps(of).store.head().position))
                .into(),
            rerandomise: 200,
            seed: format!("anew/{}", planted.seed),
        };
        let found = patiently(async || world.experiments().get_experiment(get.clone()).await).await;
        (found.result.expect("a result"), found.coverage.expect("drawn anew"))
    };
    let covers =
        |it: &proto::ExperimentResult, value| it.lower <= Some(value) && Some(value) <= it.upper;

    let (found, coverage) = find(&nothing).await;
    assert_eq!(found.arms.iter().map(|it| it.complete).sum::<u64>(), PARTIES as u64);
    assert!(covers(&found, 0.0) && !found.sample_ratio_mismatch, "{found:?}");
    assert!((0.90..=0.99).contains(&coverage), "{coverage}");
    let (found, coverage) = find(&uplift).await;
    assert!(covers(&found, 0.2) && !covers(&found, 0.0), "{found:?}");
    // Drawn anew there is nothing to find, whatever was planted.
    assert!((0.90..=0.99).contains(&coverage), "{coverage}");
    let (found, _) = find(&mismatch).await;
    assert!(found.sample_ratio_mismatch && found.sample_ratio_p < 0.001, "{found:?}");
    assert_eq!((found.difference, found.lower, found.upper), (None, None, None));
}
