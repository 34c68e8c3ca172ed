//! Every target is killed again and again (SIGKILL) while instances run on PostgreSQL and nats-server, and orders come at
//! any time: every instance ends where it ends when nobody is killed, and no message is sent twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eventstore::{Ids, Timestamp};
use rapport::remote::told;
use rapport_proto::delivery::v1::touch::State;
use rapport_proto::profiles::v1::{NewInteraction, RecordInteractionsRequest, new_interaction};
use rapport_proto::types::PartyKind;
use support::{Topology, eventually};

use crate::stage::Stage;

/// Parties that run through the journey; while they are on their way targets are killed.
const PARTIES: usize = 40;
/// Kills in a run at least.
const KILLS: usize = 50;
/// How long everything may take to settle after the last kill: a claim of a killed process holds for half a minute.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two kills, in which things go on.
const BREATH: Duration = Duration::from_millis(200);

const JOURNEY: &str = r#"
journey: hardy
sender: northwind
markets: [US]
audiences: [HCP]
entry: {event: {event: Started}}
reentry: never
start: choose
nodes:
  choose: {decide: {slot: {channels: [EMAIL]}, groups: [win-back], chosen: write, nothing: part, unavailable: lost}}
  write: {touch: {decision: choose, sent: part, skipped: held, failed: lost}}
  part: {split: {salt: hardy, arms: [{name: a, weight: 1, next: pause}, {name: b, weight: 1, next: watch}]}}
  pause: {wait: {for: 2s, next: again}}
  again: {touch: {module: letter, channel: EMAIL, sent: done, skipped: held, failed: lost}}
  watch: {wait_event: {any: [{event: Ordered, next: ordered}], timeout: 1h, timed_out: late}}
  done: {exit: {outcome: done}}
  ordered: {exit: {outcome: ordered}}
  late: {exit: {outcome: late}}
  held: {exit: {outcome: held}}
  lost: {exit: {outcome: lost}}
"#;

/// What became of a party: outcome, and per touch its module and state.
type Ends = BTreeMap<String, (String, Vec<(String, i32)>)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_instance_ends_where_an_undisturbed_run_does() {
    let (undisturbed, stage) = run(None).await;
    stage.finish().await;
    let outcomes: BTreeSet<_> = undisturbed.values().map(|it| it.0.as_str()).collect();
    assert!(outcomes.contains("done") && outcomes.contains("ordered"), "{outcomes:?}");
    let seed = u64::from_be_bytes(Ids::system().bytes::<8>());
    println!("seed of the kills: {seed}");
    let (disturbed, stage) = run(Some(seed)).await;
    let mut differing = Vec::new();
    for (party, ends) in disturbed.iter().filter(|it| undisturbed.get(it.0) != Some(it.1)) {
        let steps = stage.steps(&stage.instance(party).await).await;
        differing.push(format!("{:?} became {ends:?}: {steps:?}", undisturbed.get(party)));
    }
    assert_eq!(differing, Vec::<String>::new(), "seed {seed}");
    stage.finish().await;
}

async fn run(seed: Option<u64>) -> (Ends, Stage) {
    let mut stage = Stage::on_system_clock(Topology::Distributed).await;
    stage.cast.publish_journey(JOURNEY).await.expect("published");
    let mut parties = Vec::new();
    for number in 0..PARTIES {
        parties.push(stage.party(&format!("p{number}"), PartyKind::Hcp, "US", "").await);
    }
    let ids = Ids::seeded(seed.unwrap_or_default());
    let mut killed = Vec::new();
    for (n, (name, number)) in schedule(&ids).into_iter().enumerate() {
        record(&stage, &parties[number], name, &format!("{name}-{number}")).await;
        if seed.is_some() && n % 4 > 0 {
            killed.push(kill(&mut stage, &ids));
            tokio::time::sleep(BREATH).await;
        }
    }
    settled(&stage, &parties).await;
    if seed.is_some() {
        let hit: BTreeSet<_> = killed.iter().collect();
        assert!(killed.len() >= KILLS, "{} kills", killed.len());
        assert_eq!(hit.len(), rapport::targets::TARGETS.len(), "every target was hit: {hit:?}");
    }
    (ends(&stage, &parties).await, stage)
}

/// Everybody starts in turn, and orders at any time after that: at once, while a decision is made or a message is on its
/// way, or when the instance has waited for it for long.
fn schedule(ids: &Ids) -> Vec<(&'static str, usize)> {
    let mut schedule: Vec<_> = (0..PARTIES).map(|number| ("Started", number)).collect();
    for number in 0..PARTIES {
        let started = schedule.iter().position(|it| *it == ("Started", number)).expect("starts");
        let after = usize::from(ids.bytes::<1>()[0]) % (schedule.len() - started);
        schedule.insert(started + 1 + after, ("Ordered", number));
    }
    schedule
}

/// Kills a target by chance and starts it again; says which.
fn kill(stage: &mut Stage, ids: &Ids) -> &'static str {
    let targets = rapport::targets::TARGETS;
    let target = targets[usize::from(ids.bytes::<1>()[0]) % targets.len()].name;
    stage.platform.restart(target);
    stage.meet();
    target
}

/// Records an interaction; tried again until `profiles` is there.
async fn record(stage: &Stage, party: &str, name: &str, message_id: &str) {
    eventually("the interaction is recorded", async || {
        let request = RecordInteractionsRequest {
            parent: stage.remote.name("sources", "shop"),
            interactions: vec![NewInteraction {
                message_id: message_id.into(),
                name: name.into(),
                occurred_time: Some(Timestamp::real().to_proto()),
                party: Some(new_interaction::Party::PartyId(party.to_owned())),
                ..NewInteraction::default()
            }],
            request_id: format!("record-{message_id}"),
        };
        told(stage.remote.sources.clone().record_interactions(request).await).is_ok()
    })
    .await;
}

/// Waits until every party's instance has ended.
async fn settled(stage: &Stage, parties: &[String]) {
    let give_up = tokio::time::Instant::now() + PATIENCE;
    for party in parties {
        loop {
            let instances = stage.instances(party).await;
            let newest = instances.first();
            if newest.is_some_and(|it| it.end_time.is_some()) {
                break;
            }
            if tokio::time::Instant::now() > give_up {
                let steps = match newest {
                    Some(it) => stage.steps(it).await,
                    None => Vec::new(),
                };
                panic!(
                    "{party} does not settle: {newest:?} {steps:?} {:?}",
                    stage.touches(party).await
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Where everybody ended; checks that each message left once.
async fn ends(stage: &Stage, parties: &[String]) -> Ends {
    let files = stage.outbox();
    let mut ends = Ends::new();
    for party in parties {
        let mut touches = stage.touches(party).await;
        touches.sort_by_key(|it| it.create_time.map(|at| (at.seconds, at.nanos)));
        for touch in touches.iter().filter(|it| it.state() == State::Sent) {
            let id = &touch.request.as_ref().expect("a request").touch_id;
            let left = files.iter().filter(|it| it.contains(id.as_str())).count();
            assert_eq!(left, 1, "{id} left once");
        }
        let told = |it: &rapport_proto::delivery::v1::Touch| {
            (it.request.clone().unwrap_or_default().module, it.state)
        };
        let instance = stage.instance(party).await;
        ends.insert(party.clone(), (instance.outcome, touches.iter().map(told).collect()));
    }
    let sent = ends.values().flat_map(|it| &it.1).filter(|it| it.1 == State::Sent as i32).count();
    assert_eq!(files.len(), sent, "as many files as messages sent");
    ends
}
