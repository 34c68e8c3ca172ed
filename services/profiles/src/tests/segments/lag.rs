//! What crosses does not depend on when the reactor and the timers run: here they run when the test says so.

use chassis::deps::Deps;
use chassis::limited;
use chassis::service::Service;
use eventstore::{Handler, Metadata, Outcome, Timer, TimerKey};
use rapport_proto::profiles::v1::party_service_server::PartyServiceServer;
use rapport_proto::profiles::v1::segment_service_server::SegmentServiceServer;
use rapport_proto::profiles::v1::source_service_server::SourceServiceServer;

use super::*;
use crate::segments::{Definitions, consumer, cross};

/// The service without its consumers and timers.
fn quiet(deps: &Deps) -> Service {
    let definitions = Definitions::new(&deps.store);
    let api = crate::grpc::Api::new(deps, &definitions);
    let max_bytes = deps.max_message_bytes;
    Service::new()
        .serve(limited!(PartyServiceServer::new(api.clone()), max_bytes))
        .serve(limited!(SegmentServiceServer::new(api.clone()), max_bytes))
        .serve(limited!(SourceServiceServer::new(api), max_bytes))
}

/// A world whose reactor and timers wait.
struct Waiting {
    world: World,
    definitions: Definitions,
    /// Up to where events were followed.
    followed: u64,
}

impl Waiting {
    async fn start() -> Self {
        let target = Target { service: quiet, ..TARGET };
        let world = World { harness: Harness::start(&[target]).await };
        let definitions = Definitions::new(world.store());
        Self { world, definitions, followed: 0 }
    }

    fn meta(&self, request_id: String) -> Metadata {
        Metadata {
            tenant: ACME.into(),
            method: "test".into(),
            request_id,
            at: self.world.now(),
            ..Metadata::default()
        }
    }

    /// Follows every event there is.
    async fn follow(&mut self) {
        let store = self.world.store();
        let Handler::Reactor(reactor) = consumer(&self.definitions).handler else {
            panic!("it is a reactor")
        };
        loop {
            let page = store.read(self.followed, 100).await.expect("read");
            let page = store.recorded(page).await.expect("decoded");
            for event in &page {
                let meta = self.meta(format!("event/{}", event.position));
                if let Some(unit) = reactor.react(store, event, meta).await.expect("followed") {
                    let outcome = store.append(unit).await;
                    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
                }
                self.followed = event.position;
            }
            if page.is_empty() {
                break;
            }
        }
        let handled = eventstore::values![CONSUMER, "profiles", self.followed];
        eventstore::consumer::read_checkpoint(store, CONSUMER, "profiles").await.expect("read");
        let sql = "UPDATE checkpoint SET position = $3 WHERE consumer = $1 AND source = $2";
        store.database().exec(sql, handled).await.expect("moved");
    }

    /// Fires the one timer of crossings that stands.
    async fn fire(&self) -> Result<(), eventstore::Error> {
        let sql = "SELECT id, due_at, stream FROM timer WHERE kind = 'segment.crossing'";
        let rows = self.world.store().query(sql, vec![]).await.expect("read");
        let row = rows.first().expect("a timer stands");
        let (id, due_at) = (row.text(0).expect("an id").to_owned(), row.time(1).expect("due"));
        let key = TimerKey { tenant: ACME.into(), id, due_at };
        let meta = Metadata { fires: Some(key.clone()), ..self.meta(key.request_id()) };
        let stream = row.text(2).expect("a stream").to_owned();
        let timer = Timer { key, kind: "segment.crossing".into(), stream };
        cross(&self.definitions, self.world.store(), &timer, meta).await
    }

    async fn lapsing(&self) -> String {
        self.world.shop().await;
        self.world.save_trait(counted("orders")).await;
        self.world.save_trait(kind("days_since_order", proto::TraitKind::DaysSince)).await;
        let rule = "traits.days_since_order >= 90 && traits.orders >= 2";
        self.world.save_segment("lapsing", rule).await;
        self.world.party_of(PartyKind::Hcp).await
    }
}

#[tokio::test]
async fn an_event_is_judged_by_what_was_recorded_up_to_it_however_late_it_is_followed() {
    let mut told = Vec::new();
    for prompt in [true, false] {
        let mut waiting = Waiting::start().await;
        waiting.world.save_segment("new", "attributes.stage == 'new'").await;
        let party = waiting.world.party_of(PartyKind::Hcp).await;
        for (number, stage) in (0..).zip(["new", "active", "new"]) {
            waiting.world.harness.clock.set(Timestamp(START.0 + number * 5_000));
            let stage = clear::Value::Code(stage.into());
            waiting.world.set_attribute(&party, "stage", stage).await;
            if prompt {
                waiting.follow().await;
            }
        }
        waiting.world.harness.clock.set(day(1));
        waiting.follow().await;
        told.push(waiting.world.crossings(&party, "new").await);
        waiting.world.harness.stop().await;
    }
    let at = |millis: i64| Timestamp(START.0 + millis * 1_000);
    assert_eq!(told[0], [(true, START, false), (false, at(5), false), (true, at(10), false)]);
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn time_and_events_take_turns_in_the_order_of_their_instants_whoever_is_late() {
    let mut told = Vec::new();
    for late_timer in [true, false] {
        let mut waiting = Waiting::start().await;
        let party = waiting.lapsing().await;
        waiting.world.orders(&party, &[day(-1), START]).await;
        waiting.follow().await;
        waiting.world.harness.clock.set(day(100));
        if !late_timer {
            waiting.fire().await.expect("fired");
        }
        waiting.world.orders(&party, &[day(100)]).await;
        waiting.follow().await;
        told.push(waiting.world.crossings(&party, "lapsing").await);
        waiting.world.harness.stop().await;
    }
    assert_eq!(told[0], [(true, day(90), true), (false, day(100), false)]);
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn a_timer_waits_for_what_was_recorded_before_it_was_due() {
    let mut waiting = Waiting::start().await;
    let party = waiting.lapsing().await;
    waiting.world.orders(&party, &[day(-1), START]).await;
    waiting.follow().await;
    waiting.world.harness.clock.set(day(80));
    waiting.world.orders(&party, &[day(80)]).await;
    waiting.world.harness.clock.set(day(95));
    let early = waiting.fire().await.expect_err("an order is not followed yet");
    assert!(early.is_transient(), "{early}");
    waiting.follow().await;
    waiting.fire().await.expect("fired");
    assert_eq!(waiting.world.crossings(&party, "lapsing").await, []);
    assert_eq!(waiting.world.timers().await, 1, "it is stated anew, for the last order");
    waiting.world.harness.stop().await;
}
