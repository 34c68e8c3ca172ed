//! What crosses does not depend on when the reactor and the timers run: here they run when the test says so.

use chassis::deps::Deps;
use chassis::limited;
use chassis::service::Service;
use eventstore::{Handler, Metadata, Outcome, Timer, TimerHandler as _, TimerKey};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use rapport_proto::profiles::v1::consent_service_server::ConsentServiceServer;
use rapport_proto::profiles::v1::party_service_server::PartyServiceServer;
use rapport_proto::profiles::v1::segment_service_server::SegmentServiceServer;
use rapport_proto::profiles::v1::source_service_server::SourceServiceServer;

use super::history::{self, Step};
use super::*;
use crate::segments::{consumer, cross, sweep};
use crate::timers::Timers;

/// The service without its consumers and timers.
fn quiet(deps: &Deps) -> Service {
    let definitions = Definitions::new(&deps.store);
    let api = crate::grpc::Api::new(deps, &definitions);
    let max_bytes = deps.max_message_bytes;
    Service::new()
        .serve(limited!(PartyServiceServer::new(api.clone()), max_bytes))
        .serve(limited!(ConsentServiceServer::new(api.clone()), max_bytes))
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

    /// What the next event leads to; nothing when there is none.
    async fn react(&self) -> Option<(u64, Option<eventstore::Unit>)> {
        let store = self.world.store();
        let Handler::Reactor(reactor) = consumer(&self.definitions).handler else {
            panic!("it is a reactor")
        };
        let next = store.read(self.followed, 1).await.expect("read");
        let next = store.recorded(next).await.expect("decoded").pop()?;
        let meta = self.meta(format!("event/{}", next.position));
        let unit = reactor.react(store, &next, meta).await.expect("followed");
        Some((next.position, unit))
    }

    /// Follows every event there is.
    async fn follow(&mut self) {
        self.follow_some(usize::MAX).await;
    }

    /// Follows so many events at once.
    async fn follow_run(&mut self, count: usize) {
        let store = self.world.store();
        let Handler::Reactor(reactor) = consumer(&self.definitions).handler else {
            panic!("it is a reactor")
        };
        let run = store.read(self.followed, count).await.expect("read");
        let run = store.recorded(run).await.expect("decoded");
        let told = run.iter().filter(|it| reactor.reads(&it.envelope.r#type));
        let told = told.map(|it| (it, self.meta(format!("event/{}", it.position)))).collect();
        for unit in reactor.react_all(store, told).await {
            if let Some(unit) = unit.expect("followed") {
                let outcome = store.append(unit).await;
                assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
            }
        }
        let followed = run.last().map_or(self.followed, |it| it.position);
        self.note(followed).await;
    }

    /// Follows so many events.
    async fn follow_some(&mut self, count: usize) {
        let mut left = count;
        while left > 0
            && let Some((position, unit)) = self.react().await
        {
            if let Some(unit) = unit {
                let outcome = self.world.store().append(unit).await;
                assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
            }
            self.followed = position;
            left -= 1;
        }
        self.note(self.followed).await;
    }

    /// Writes down up to where events were followed.
    async fn note(&mut self, followed: u64) {
        self.followed = followed;
        let store = self.world.store();
        let handled = eventstore::values![CONSUMER, "profiles", followed];
        eventstore::consumer::read_checkpoint(store, CONSUMER, "profiles").await.expect("read");
        let sql = "UPDATE checkpoint SET position = $3 WHERE consumer = $1 AND source = $2";
        store.database().exec(sql, handled).await.expect("moved");
    }

    /// Fires what is due, whatever it is. What waits for the reactor fires later.
    async fn fire_due(&self) {
        let handler = Timers { definitions: self.definitions.clone() };
        let sql = "SELECT DISTINCT kind FROM timer";
        for row in self.world.store().query(sql, vec![]).await.expect("read") {
            for timer in self.timers(row.text(0).expect("a kind")).await {
                if timer.key.due_at <= self.world.now() {
                    let meta = self.firing(&timer);
                    let fired = handler.fire(self.world.store(), &timer, meta).await;
                    assert!(fired.is_ok() || fired.is_err_and(|it| it.is_transient()), "{timer:?}");
                }
            }
        }
    }

    /// Lets everything happen that is due.
    async fn settle(&mut self) {
        loop {
            let due = self.world.store().next_due().await.expect("read");
            let head = self.world.head();
            if due.is_none_or(|it| it > self.world.now()) && self.followed == head {
                return;
            }
            self.follow().await;
            self.fire_due().await;
        }
    }

    /// The timers of a kind that stand.
    async fn timers(&self, kind: &str) -> Vec<Timer> {
        let sql = "SELECT id, due_at, stream FROM timer WHERE kind = $1 ORDER BY due_at, id";
        let rows = self.world.store().query(sql, eventstore::values![kind]).await.expect("read");
        let timer = |row: &eventstore::Row| {
            let (id, due_at) = (row.text(0).expect("an id").to_owned(), row.time(1).expect("due"));
            let stream = row.text(2).expect("a stream").to_owned();
            let key = TimerKey { tenant: ACME.into(), id, due_at };
            Timer { key, kind: kind.into(), stream }
        };
        rows.iter().map(timer).collect()
    }

    fn firing(&self, timer: &Timer) -> Metadata {
        Metadata { fires: Some(timer.key.clone()), ..self.meta(timer.key.request_id()) }
    }

    /// Fires the one timer of crossings that stands.
    async fn fire(&self) -> Result<(), eventstore::Error> {
        let timers = self.timers("segment.crossing").await;
        let timer = timers.first().expect("a timer stands");
        cross(&self.definitions, self.world.store(), timer, self.firing(timer)).await
    }

    /// Looks at everybody for every version that is new.
    async fn sweep(&self) {
        for timer in self.timers("segment.recompute").await {
            let swept = sweep(&self.definitions, self.world.store(), &timer, self.firing(&timer));
            swept.await.expect("swept");
        }
    }

    /// What a membership's events say: the version, and whether the party is in; `None` is a timer.
    async fn told(&self, party_id: &str, segment_id: &str) -> Vec<(u32, Option<bool>)> {
        let told = |event| match event {
            Event::Entered(it) => (it.version, Some(true)),
            Event::Exited(it) => (it.version, Some(false)),
            Event::CrossingExpected(it) => (it.version, None),
        };
        self.world.memberships(party_id, segment_id).await.into_iter().map(told).collect()
    }

    async fn stage(&self, party_id: &str, stage: &str) {
        let stage = clear::Value::Code(stage.into());
        self.world.set_attribute(party_id, "stage", stage).await;
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
            waiting.stage(&party, stage).await;
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
    let timers = waiting.timers("segment.crossing").await;
    let due: Vec<_> = timers.iter().map(|it| it.key.due_at).collect();
    assert_eq!(due, [day(170)], "it is stated anew, for the last order");
    assert_eq!(waiting.world.crossings(&party, "lapsing").await, []);
    waiting.world.harness.stop().await;
}

/// A party is in by both versions all the time. The reactor has not come to what happened before the new version was
/// saved, nor to what happened since, when everybody is looked at.
#[tokio::test]
async fn who_is_in_by_both_versions_crosses_nothing_while_the_reactor_lags() {
    let mut waiting = Waiting::start().await;
    waiting.world.save_segment("early", "attributes.stage in ['new', 'active']").await;
    let party = waiting.world.party_of(PartyKind::Hcp).await;
    waiting.stage(&party, "new").await;
    waiting.follow().await;
    waiting.sweep().await;
    assert_eq!(waiting.told(&party, "early").await, [(1, Some(true))]);
    waiting.stage(&party, "active").await;
    waiting.world.save_segment("early", "attributes.stage in ['new', 'active', 'late']").await;
    waiting.stage(&party, "late").await;
    waiting.stage(&party, "new").await;
    waiting.sweep().await;
    waiting.follow().await;
    assert_eq!(waiting.told(&party, "early").await, [(1, Some(true))]);
    waiting.world.harness.stop().await;
}

/// Whoever comes first, the sweep of a new version or the reactor, and wherever the reactor stands: the same crossings.
#[tokio::test]
async fn a_sweep_does_not_foresee_what_the_reactor_has_yet_to_follow() {
    let mut told = Vec::new();
    for (before, between) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut waiting = Waiting::start().await;
        waiting.world.save_segment("early", "attributes.stage == 'new'").await;
        let party = waiting.world.party_of(PartyKind::Hcp).await;
        waiting.stage(&party, "other").await;
        waiting.follow().await;
        waiting.sweep().await;
        waiting.world.save_segment("early", "attributes.stage in ['new', 'active']").await;
        if before {
            waiting.sweep().await;
        }
        // The party is out, in, out and in: the sweep must not find it in and the reactor then take that back.
        for stage in ["none", "new", "other", "active"] {
            waiting.stage(&party, stage).await;
            if between {
                waiting.follow().await;
            }
        }
        waiting.sweep().await;
        waiting.follow().await;
        told.push(waiting.told(&party, "early").await);
        waiting.world.harness.stop().await;
    }
    assert_eq!(told[0], [(2, Some(true)), (2, Some(false)), (2, Some(true))]);
    assert!(told.iter().all(|it| *it == told[0]), "{told:?}");
}

/// Both look at a party at the same time: the sweep finds it out, the reactor in again.
#[tokio::test]
async fn of_a_sweep_and_the_reactor_the_later_one_finds_that_the_party_was_moved() {
    let mut waiting = Waiting::start().await;
    waiting.world.save_segment("early", "attributes.stage in ['new', 'other']").await;
    let party = waiting.world.party_of(PartyKind::Hcp).await;
    waiting.stage(&party, "other").await;
    waiting.follow().await;
    waiting.sweep().await;
    waiting.world.save_segment("early", "attributes.stage == 'new'").await;
    waiting.follow().await;
    waiting.stage(&party, "new").await;
    let (_, unit) = waiting.react().await.expect("an event");
    waiting.sweep().await;
    let outcome = waiting.world.store().append(unit.expect("it says what the sweep says")).await;
    assert!(matches!(outcome, Outcome::Conflict), "{outcome:?}");
    waiting.follow().await;
    let told = [(1, Some(true)), (2, Some(false)), (2, Some(true))];
    assert_eq!(waiting.told(&party, "early").await, told);
    waiting.world.harness.stop().await;
}

/// The timer was stated by the version before, for an instant at which the new one did not count yet.
#[tokio::test]
async fn a_late_timer_does_not_judge_the_past_by_a_new_version() {
    for swept_first in [true, false] {
        let mut waiting = Waiting::start().await;
        let world = &waiting.world;
        world.shop().await;
        world.save_trait(kind("days_since_order", proto::TraitKind::DaysSince)).await;
        world.save_segment("recent", "traits.days_since_order < 90").await;
        let party = world.party_of(PartyKind::Hcp).await;
        world.orders(&party, &[START]).await;
        waiting.follow().await;
        waiting.world.harness.clock.set(day(50));
        waiting.world.orders(&party, &[day(50)]).await;
        waiting.follow().await;
        // The timer stands at day 90 and is needed at day 140. It is late when the new version is saved.
        waiting.world.harness.clock.set(day(95));
        let rule = "now >= timestamp('2026-04-04T00:00:00Z')";
        waiting.world.save_segment("recent", rule).await;
        if swept_first {
            waiting.sweep().await;
        }
        waiting.fire().await.expect("fired");
        waiting.sweep().await;
        waiting.follow().await;
        let told = waiting.told(&party, "recent").await;
        let crossings: Vec<_> = told.into_iter().filter(|it| it.1.is_some()).collect();
        assert_eq!(crossings, [(1, Some(true))], "in by both versions");
        waiting.world.harness.stop().await;
    }
}

/// A run reads once what its events are judged by; one after another, each reads for itself.
#[tokio::test]
async fn events_followed_at_once_lead_to_what_they_lead_to_one_after_another() {
    let mut told = Vec::new();
    for at_once in [false, true] {
        let mut waiting = Waiting::start().await;
        let world = &waiting.world;
        world.shop().await;
        let month = proto::Trait { window: "30d".into(), ..counted("orders_30d") };
        world.save_trait(month).await;
        world.save_segment("active", "traits.orders_30d >= 2").await;
        world.save_segment("early", "attributes.stage == 'new'").await;
        world.save_segment("allowed", "consent['PROMOTIONAL/EMAIL/northwind']").await;
        world.save_segment("austrian", "party.market == 'AT' && traits.orders_30d > 0").await;
        waiting.sweep().await;
        let mut parties = Vec::new();
        for _ in 0..2 {
            parties.push(waiting.world.party_of(PartyKind::Hcp).await);
        }
        for (number, stage) in (0..).zip(["new", "old", "new", "old"]) {
            let now = day(number * 12);
            waiting.world.harness.clock.set(now);
            for party in &parties {
                waiting.stage(party, stage).await;
                waiting.world.orders(party, &[now, day(number * 12 - 5)]).await;
            }
            waiting.world.consents().record_consent(grant(&parties[0])).await.expect("recorded");
            let market = if number % 2 == 0 { "AT" } else { "DE" };
            let name = party_name(&parties[0]);
            let moved =
                proto::MovePartyRequest { name, market: market.into(), ..Default::default() };
            waiting.world.parties().move_party(moved).await.expect("moved");
        }
        // Between two events of the run the timer of the first is due.
        waiting.world.harness.clock.set(day(90));
        waiting.world.orders(&parties[1], &[day(90)]).await;
        match at_once {
            true => waiting.follow_run(1_000).await,
            false => waiting.follow().await,
        }
        let mut all = Vec::new();
        for party in &parties {
            for segment in ["active", "early", "allowed", "austrian"] {
                all.push(waiting.world.crossings(party, segment).await);
            }
        }
        told.push(all);
        waiting.world.harness.stop().await;
    }
    assert_eq!(told[0].iter().map(Vec::len).collect::<Vec<_>>(), [1, 4, 5, 4, 2, 4, 0, 0]);
    assert_eq!(told[0], told[1]);
}

/// What may happen while the reactor and the timers wait, and when each of them goes on.
#[derive(Clone, Debug)]
enum Turn {
    Step(Step),
    Follow(usize),
    Run(usize),
    Fire,
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        4 => history::step().prop_map(Turn::Step),
        1 => (1..6_usize).prop_map(Turn::Follow),
        2 => (1..12_usize).prop_map(Turn::Run),
        1 => Just(Turn::Fire),
    ];
    prop::collection::vec(turn, 10..40)
}

/// The generator is seeded by proptest; a failure prints the turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_lags_memberships_end_as_a_recompute_from_the_log() {
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..8 {
        let turns = turns().new_tree(&mut runner).expect("turns").current();
        println!("{turns:?}");
        let mut waiting = Waiting::start().await;
        history::define(&waiting.world).await;
        let mut parties = Vec::new();
        for _ in 0..history::PARTIES {
            parties.push(waiting.world.party_of(PartyKind::Hcp).await);
        }
        for turn in turns {
            match turn {
                Turn::Step(Step::Wait(hours)) => {
                    let later = Timestamp(waiting.world.now().0 + hours * DAY / 24);
                    waiting.world.harness.clock.set(later);
                }
                Turn::Step(step) => history::take(&waiting.world, step, &parties).await,
                Turn::Follow(count) => waiting.follow_some(count).await,
                Turn::Run(count) => waiting.follow_run(count).await,
                Turn::Fire => waiting.fire_due().await,
            }
        }
        waiting.settle().await;
        let stated = history::stated(&waiting.world, &parties).await;
        assert_eq!(stated, history::recomputed(&waiting.world, &parties).await);
        waiting.world.harness.stop().await;
    }
}
