//! Instances whose beginnings are committed here, as the workers would: what follows needs no other service.

use eventstore::{
    AsOf, Decider as _, Metadata, Outcome, Store, Timer, TimerHandler as _, TimerKey,
};

use super::*;
use crate::domain::entry::{self, Asked, Entry};
use crate::domain::instance::reading::Reading;
use crate::domain::instance::{self, Instance, Step};
use crate::graph::Reentry;
use crate::graphs::Graphs;

impl World {
    fn store(&self) -> &Store {
        &self.harness.deps("journeys").store
    }

    /// Lets a party in, past `profiles`.
    async fn enter(&self, party_id: &str) -> String {
        let (store, at) = (self.store(), self.harness.clock.now());
        let meta = Metadata {
            tenant: ACME.into(),
            method: "test".into(),
            request_id: format!("enter/{party_id}/{}", at.0),
            at,
            ..Metadata::default()
        };
        let stream = entry::stream_id("welcome", party_id);
        let before = store.load::<Entry>(ACME, &stream, AsOf::Now).await.expect("read");
        let asked = Asked {
            tenant: ACME.into(),
            journey_id: "welcome".into(),
            version: 1,
            party_id: party_id.into(),
            entry_key: String::new(),
            market: "DE".into(),
            cause: None,
            request: 0,
            reentry: Reentry::Unlimited,
            kept_out: None,
        };
        let answer = entry::Command::Answer(Box::new(asked));
        let Ok(entered) = Entry::decide(&before.state, answer, at);
        let [proto::entry_event::Event::Entered(it)] = entered.as_slice() else {
            panic!("entered")
        };
        let instance_id = it.instance_id.clone();
        let graph = Graphs::new(store).get(ACME, "welcome", 1).await.expect("read");
        let started = proto::InstanceStarted {
            instance_id: instance_id.clone(),
            journey_id: "welcome".into(),
            version: 1,
            party_id: party_id.into(),
            entry_number: it.entry_number,
            node: graph.start.clone(),
            market: "DE".into(),
            started_at: Some(at.to_proto()),
            ..Default::default()
        };
        let step = Step { tenant: ACME.into(), graph, reading: Reading::default().into() };
        let start =
            instance::Command::Start { started: Box::new(started), heard: Vec::new(), step };
        let state = instance::State::default();
        let events = Instance::decide(&state, start, at).expect("started");
        let mut unit = store.unit(meta);
        unit.push::<Entry>(&stream, before.version, &before.state, entered).await.expect("pushed");
        unit.push::<Instance>(&instance_id, 0, &state, events).await.expect("pushed");
        let outcome = store.append(unit.finish().expect("a unit")).await;
        assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
        instance_id
    }

    async fn instance(&self, id: &str) -> proto::Instance {
        let request = proto::GetInstanceRequest { name: instance_name(id), ..Default::default() };
        let reply = self.client().get_instance(request).await.expect("found").into_inner();
        reply.instance.expect("an instance")
    }

    /// Waits until an instance is in a state.
    async fn until(&self, id: &str, state: proto::instance::State) -> proto::Instance {
        let reached = async {
            loop {
                let instance = self.instance(id).await;
                if instance.state() == state {
                    return instance;
                }
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("in time")
    }

    async fn steps(&self, id: &str) -> Vec<proto::InstanceStep> {
        let request =
            proto::ListInstanceStepsRequest { parent: instance_name(id), ..Default::default() };
        self.client().list_instance_steps(request).await.expect("listed").into_inner().steps
    }

    async fn pause(&self, timers: proto::TimerMode) {
        let request = proto::PauseJourneyRequest {
            name: welcome(),
            timers: timers.into(),
            reason: "incident".into(),
            ..Default::default()
        };
        self.client().pause_journey(request).await.expect("paused");
    }

    async fn resume(&self) {
        let request = proto::ResumeJourneyRequest { name: welcome(), ..Default::default() };
        self.client().resume_journey(request).await.expect("resumed");
    }
}

fn instance_name(id: &str) -> String {
    format!("tenants/{ACME}/instances/{id}")
}

const DAY: Duration = Duration::from_secs(86_400);

fn day(n: u32) -> Option<prost_types::Timestamp> {
    Some(chassis::testing::START.plus(DAY * n).to_proto())
}

use proto::instance::State as S;

#[tokio::test]
async fn an_instance_is_shown_where_it_stands_and_its_steps_are_sentences() {
    let world = World::start().await;
    world.live(WELCOME).await;
    let id = world.enter("pty_1").await;
    let instance = world.instance(&id).await;
    assert_eq!((instance.state(), instance.node.as_str()), (S::Waiting, "rest"));
    assert_eq!((instance.due_time, instance.end_time), (day(10), None));
    let texts: Vec<_> = world.steps(&id).await.into_iter().map(|it| it.text).collect();
    assert_eq!(
        texts,
        ["Entered version 1 of welcome, entry number 1.", "Waits until 2026-01-11T00:00:00Z.",]
    );
    let nodes = world.get().await.nodes;
    assert_eq!(nodes, [proto::NodeCount { node: "rest".into(), version: 1, instances: 1 }]);
    world.harness.stop().await;
}

#[tokio::test]
async fn ejecting_ends_an_instance_once() {
    let world = World::start().await;
    world.live(WELCOME).await;
    let id = world.enter("pty_1").await;
    let request = proto::EjectInstanceRequest {
        name: instance_name(&id),
        reason: "mistake".into(),
        request_id: "eject-0001".into(),
    };
    let ejected =
        world.client().eject_instance(request.clone()).await.expect("ejected").into_inner();
    let instance = ejected.instance.expect("an instance");
    assert_eq!((instance.state(), instance.outcome.as_str()), (S::Ejected, "mistake"));
    let again =
        world.client().eject_instance(request.clone()).await.expect("answered").into_inner();
    assert_eq!((again.instance, again.position), (Some(instance), ejected.position));
    let other = proto::EjectInstanceRequest { request_id: "eject-0002".into(), ..request };
    let status = world.client().eject_instance(other).await.expect_err("ended");
    assert_eq!(told(&status), (Code::FailedPrecondition, "INSTANCE_ENDED".into()));
    // The end of the entry is in the same unit, and the timer is gone.
    let entry = world.store().load::<Entry>(ACME, "welcome.pty_1", AsOf::Now).await.expect("read");
    assert!(entry.state.runs().is_empty());
    assert_eq!(world.store().next_due().await.expect("read"), None);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_pause_freezes_timers_and_instances_follow() {
    let world = World::start().await;
    world.live(WELCOME).await;
    let ids = [world.enter("pty_1").await, world.enter("pty_2").await];
    world.harness.clock.advance(DAY * 4);
    world.pause(proto::TimerMode::Freeze).await;
    for id in &ids {
        assert_eq!(world.until(id, S::Paused).await.due_time, None);
    }
    world.harness.clock.advance(DAY * 10);
    world.resume().await;
    for id in &ids {
        // Six days were left on day 4; it is day 14.
        assert_eq!(world.until(id, S::Waiting).await.due_time, day(20));
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn retiring_ejects_what_is_left() {
    let world = World::start().await;
    world.live(WELCOME).await;
    let running = world.enter("pty_1").await;
    world.pause(proto::TimerMode::Run).await;
    world.until(&running, S::Paused).await;
    let retire = proto::RetireJourneyRequest {
        name: welcome(),
        version: 1,
        reason: "recalled".into(),
        ..Default::default()
    };
    world.client().retire_journey(retire).await.expect("retired");
    assert_eq!(world.until(&running, S::Ejected).await.outcome, "recalled");
    world.harness.stop().await;
}

#[tokio::test]
async fn the_gate_is_told_why_an_instance_may_not_speak() {
    let world = World::start().await;
    world.live(WELCOME).await;
    let id = world.enter("pty_1").await;
    let check = |request_id: &str| proto::CheckInstanceRequest {
        name: instance_name(&id),
        touch_id: "tch_1".into(),
        request_id: request_id.into(),
        ..Default::default()
    };
    let rule = async |request_id: &str| {
        let reply =
            world.client().check_instance(check(request_id)).await.expect("answered").into_inner();
        assert!(!reply.live);
        reply.rule
    };
    assert_eq!(rule("check-0001").await, "not_waiting");
    world.pause(proto::TimerMode::Run).await;
    assert_eq!(rule("check-0002").await, "paused");
    assert_eq!(world.instance(&id).await.state(), S::Paused, "whoever hears it will hear the end");
    world.resume().await;
    world.until(&id, S::Waiting).await;
    let eject = proto::EjectInstanceRequest {
        name: instance_name(&id),
        reason: "x".into(),
        ..Default::default()
    };
    world.client().eject_instance(eject).await.expect("ejected");
    assert_eq!(rule("check-0003").await, "ended");
    world.harness.stop().await;
}

#[tokio::test]
async fn a_wait_does_not_end_without_facts() {
    let world = World::start().await;
    world.live(WELCOME).await;
    let id = world.enter("pty_1").await;
    world.harness.clock.advance(DAY * 10);
    // `profiles` is not there: the handler says so, and the timer stays.
    let deps = world.harness.deps("journeys");
    let worker = crate::timers::Worker::new(deps, &Graphs::new(&deps.store));
    let due = world.harness.clock.now();
    let key = TimerKey { tenant: ACME.into(), id: format!("w/{id}/rest/1"), due_at: due };
    let stream = format!("instance/{id}");
    let timer = Timer { key: key.clone(), kind: crate::view::LOOK.into(), stream };
    let meta = Metadata { tenant: ACME.into(), at: due, fires: Some(key), ..Metadata::default() };
    let error = worker.fire(&deps.store, &timer, meta).await.expect_err("no facts");
    assert!(error.is_transient());
    assert_eq!(world.instance(&id).await.node, "rest");
    assert_eq!(world.store().next_due().await.expect("read"), Some(due));
    world.harness.stop().await;
}

#[tokio::test]
async fn instances_are_listed_newest_first_by_pages() {
    let world = World::start().await;
    world.live(WELCOME).await;
    let mut entered = Vec::new();
    for n in 0..5 {
        entered.push(world.enter(&format!("pty_{}", n % 2)).await);
        world.harness.clock.advance(Duration::from_secs(1));
    }
    entered.reverse();
    let page = async |journey_id: &str, party_id: &str, page_token: String| {
        let request = proto::ListInstancesRequest {
            parent: parent(),
            page_size: 2,
            page_token,
            journey_id: journey_id.into(),
            party_id: party_id.into(),
            ..Default::default()
        };
        world.client().list_instances(request).await.expect("listed").into_inner()
    };
    for (journey_id, party_id, expected) in [
        ("", "", entered.clone()),
        ("welcome", "", entered.clone()),
        ("", "pty_0", vec![entered[0].clone(), entered[2].clone(), entered[4].clone()]),
        ("welcome", "pty_1", vec![entered[1].clone(), entered[3].clone()]),
        ("other", "", vec![]),
        ("other", "pty_1", vec![]),
    ] {
        let (mut ids, mut token) = (Vec::new(), String::new());
        loop {
            let reply = page(journey_id, party_id, token).await;
            ids.extend(reply.instances.into_iter().map(|it| it.instance_id));
            token = reply.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(ids, expected, "{journey_id} {party_id}");
    }
    let steps = proto::ListInstanceStepsRequest {
        parent: instance_name(&entered[0]),
        page_size: 1,
        ..Default::default()
    };
    let first =
        world.client().list_instance_steps(steps.clone()).await.expect("listed").into_inner();
    let second =
        proto::ListInstanceStepsRequest { page_token: first.next_page_token.clone(), ..steps };
    let second = world.client().list_instance_steps(second).await.expect("listed").into_inner();
    assert_eq!((first.steps[0].number, second.steps[0].number), (1, 2));
    assert_eq!(second.next_page_token, "");
    world.harness.stop().await;
}
