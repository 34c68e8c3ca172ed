//! More than one unit holds: an event that concerns hundreds of streams, a version with hundreds of instances.

use eventstore::{Decider as _, Metadata, ORIGIN, Outcome, Reactor as _, Recorded, Store, Stored};
use prost::Message as _;
use rapport_proto::profiles::v1::InteractionRecorded;
use rapport_proto::types::Envelope;

use super::*;
use crate::consumers::Reports;
use crate::domain::entry::{self, Entry};
use crate::domain::instance::reading::Reading;
use crate::domain::instance::{self, Instance, Step};
use crate::domain::journey::{self, Journey};
use crate::graphs::Graphs;

/// Instances of the crowd, all of one party.
const MANY: usize = 620;
/// Journeys that the same event lets the party into.
const JOURNEYS: usize = 230;

const WATCH: &str = "journey: watch
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {event: {event: Order Completed}}
reentry: {unlimited: {}}
start: hope
nodes:
  hope: {wait_event: {any: [{event: Order Completed, next: done}], timeout: 3d, timed_out: done}}
  done: {exit: {outcome: ordered}}
";

impl World {
    fn journeys(&self) -> &Store {
        &self.harness.deps("journeys").store
    }

    pub(super) fn meta(&self, request_id: &str) -> Metadata {
        Metadata {
            tenant: ACME.into(),
            method: "test".into(),
            request_id: request_id.into(),
            at: self.harness.clock.now(),
            ..Metadata::default()
        }
    }

    /// Makes journeys live that differ in their names only.
    async fn publish(&self, ids: &[String]) {
        for (n, some) in ids.chunks(100).enumerate() {
            let mut unit = self.journeys().unit(self.meta(&format!("publish/{n}")));
            for id in some {
                let mut definition: proto::Journey =
                    authored::document::parse(WATCH).expect("a journey");
                definition.journey.clone_from(id);
                let drafted = proto::JourneyVersionDrafted {
                    version: 1,
                    journey: Some(definition.clone()),
                    hash: vec![1; 32],
                    ..Default::default()
                };
                let activated = proto::JourneyVersionActivated {
                    version: 1,
                    journey: Some(definition),
                    hash: vec![1; 32],
                    ..Default::default()
                };
                let events = vec![
                    proto::journey_event::Event::Drafted(drafted),
                    proto::journey_event::Event::Activated(activated),
                ];
                unit.push::<Journey>(id, 0, &journey::State::default(), events)
                    .await
                    .expect("pushed");
            }
            let outcome = self.journeys().append(unit.finish().expect("a unit")).await;
            assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
        }
    }

    /// Starts instances of a journey for one party, past `profiles` and past re-entry.
    async fn crowd(&self, journey_id: &str) -> Vec<String> {
        let (store, at) = (self.journeys(), self.harness.clock.now());
        let graph = Graphs::new(store).get(ACME, journey_id, 1).await.expect("read");
        let ids: Vec<_> = (0..MANY).map(|n| format!("ins_{n:04}")).collect();
        for some in ids.chunks(100) {
            let mut unit = store.unit(self.meta(&format!("crowd/{}", some[0])));
            for id in some {
                let started = proto::InstanceStarted {
                    instance_id: id.clone(),
                    journey_id: journey_id.into(),
                    version: 1,
                    party_id: "pty_1".into(),
                    node: graph.start.clone(),
                    market: "DE".into(),
                    started_at: Some(at.to_proto()),
                    ..Default::default()
                };
                let reading = Reading::default().into();
                let step = Step { tenant: ACME.into(), graph: graph.clone(), reading };
                let start = instance::Command::Start {
                    started: Box::new(started),
                    heard: Vec::new(),
                    step,
                };
                let state = instance::State::default();
                let events = Instance::decide(&state, start, at).expect("started");
                unit.push::<Instance>(id, 0, &state, events).await.expect("pushed");
            }
            let outcome = store.append(unit.finish().expect("a unit")).await;
            assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
        }
        ids
    }

    /// How many instances stand still, and how many have not ended.
    async fn count(&self) -> (u64, u64) {
        const COUNT: &str =
            "SELECT COALESCE(SUM(paused), 0), COUNT(*) FROM instance WHERE ended_at = $1";
        let end = eventstore::values![eventstore::Timestamp::MAX];
        let rows = self.journeys().query(COUNT, end).await.expect("read");
        (rows[0].count(0).expect("a number"), rows[0].count(1).expect("a number"))
    }

    async fn until_count(&self, expected: (u64, u64)) {
        let reached = async {
            while self.count().await != expected {
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), reached).await.expect("in time");
    }
}

/// An order of the party, as `profiles` tells it.
async fn order(store: &Store, position: u64) -> Recorded {
    happened(store, "Order Completed", position).await
}

/// Something that the party did.
pub(super) async fn happened(store: &Store, name: &str, position: u64) -> Recorded {
    let said = InteractionRecorded { name: name.into(), ..Default::default() };
    let envelope = Envelope {
        tenant: ACME.into(),
        source: "profiles".into(),
        r#type: "rapport.profiles.v1.InteractionRecorded".into(),
        party_id: "pty_1".into(),
        payload: said.encode_to_vec(),
        ..Default::default()
    };
    let envelope = envelope.encode_to_vec().into();
    let stored = Stored { position, chain: ORIGIN, envelope, hop: String::new() };
    store.recorded(vec![stored]).await.expect("readable").remove(0)
}

/// How many instances were woken once, and how many journeys were asked once to let the party in.
async fn heard(store: &Store, instances: &[String], journeys: &[String]) -> (usize, usize) {
    let woken = store.load_many::<Instance>(ACME, instances).await.expect("read");
    let most = woken.iter().map(|it| it.state.open.len()).max();
    assert!(most <= Some(1), "woken twice by one event");
    let entries: Vec<_> = journeys.iter().map(|it| entry::stream_id(it, "pty_1")).collect();
    let asked = store.load_many::<Entry>(ACME, &entries).await.expect("read");
    let most = asked.iter().map(|it| it.state.open.len()).max();
    assert!(most <= Some(1), "asked twice by one event");
    let woken = woken.iter().filter(|it| it.state.open.len() == 1).count();
    (woken, asked.iter().filter(|it| it.state.open.len() == 1).count())
}

#[tokio::test]
async fn an_event_reaches_everybody_it_concerns_once() {
    let world = World::start().await;
    let journeys: Vec<_> = (0..JOURNEYS).map(|n| format!("watch-{n}")).collect();
    world.publish(&journeys).await;
    let instances = world.crowd("watch-0").await;
    let store = world.journeys();
    let reports = Reports::new(store, &Graphs::new(store));
    let event = order(store, 7).await;
    let meta = world.meta("journeys/profiles/7");
    // Four units are committed; the process dies before the last one, that moves the checkpoint.
    let last = reports.react(store, &event, meta.clone()).await.expect("handled");
    assert!(last.is_some());
    let (woken, asked) = heard(store, &instances, &journeys).await;
    assert_eq!(woken + asked, 800);
    // Whoever handles it again does the rest.
    let last = reports.react(store, &event, meta.clone()).await.expect("handled").expect("a unit");
    let outcome = store.append(last).await;
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
    assert_eq!(heard(store, &instances, &journeys).await, (MANY, JOURNEYS));
    // Once more: there is nothing left to do.
    assert!(reports.react(store, &event, meta).await.expect("handled").is_none());
    assert_eq!(heard(store, &instances, &journeys).await, (MANY, JOURNEYS));
    world.harness.stop().await;
}

#[tokio::test]
async fn everybody_follows_a_version() {
    let world = World::start().await;
    world.publish(&["watch".to_owned()]).await;
    world.crowd("watch").await;
    let name = format!("tenants/{ACME}/journeys/watch");
    let all = u64::try_from(MANY).expect("few");
    let pause = proto::PauseJourneyRequest {
        name: name.clone(),
        timers: proto::TimerMode::Freeze.into(),
        reason: "incident".into(),
        ..Default::default()
    };
    world.client().pause_journey(pause.clone()).await.expect("paused");
    world.until_count((all, all)).await;
    let resume = proto::ResumeJourneyRequest { name: name.clone(), ..Default::default() };
    world.client().resume_journey(resume).await.expect("resumed");
    world.until_count((0, all)).await;
    let retire = proto::RetireJourneyRequest {
        name,
        version: 1,
        reason: "recalled".into(),
        ..Default::default()
    };
    world.client().retire_journey(retire).await.expect("retired");
    world.until_count((0, 0)).await;
    world.harness.stop().await;
}
