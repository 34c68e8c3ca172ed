//! Reactors that see a run whole, and what keeps a replica that is behind from reacting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use eventstore::consumer::{list_parked, retry_parked};
use eventstore::{
    AsOf, Consumer, Decider as _, Error, Handler, Metadata, Reactor, Recorded, Store, Unit, values,
};
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::consumers::{Running, caught_up};
use crate::on_every_pair;
use crate::rig::{Command, Place, Rig, eventually, fill, meta};

on_every_pair! {
    what_an_event_leads_to_counts_for_the_next_of_its_run
    an_event_of_a_run_that_cannot_be_handled_parks_its_stream_only
    a_replica_that_is_behind_does_not_react_inside_a_unit
    a_reaction_inside_a_unit_that_fails_is_not_passed_over_by_the_end_of_the_unit
}

fn consumer(reactor: Arc<dyn Reactor>) -> Consumer {
    let handler = Handler::Reactor(reactor);
    Consumer { name: "count".into(), sources: vec!["profiles".into()], handler }
}

async fn unit(
    store: &Store,
    meta: Metadata,
    id: &str,
    version: u64,
    command: Command,
) -> Result<Unit, Error> {
    let state = match command {
        Command::Open { .. } => crate::rig::State::default(),
        _ => crate::rig::State { open: true, ..Default::default() },
    };
    let events = Place::decide(&state, command, meta.at).unwrap();
    let mut unit = store.unit(meta);
    let pushed = unit.push::<Place>(id, version, &state, events).await;
    pushed.map_err(|it| Error::corrupt(it.to_string()))?;
    unit.finish().map_err(|it| Error::corrupt(it.to_string()))
}

/// Moves one place for every event, to the event's position.
#[derive(Default)]
struct Counting {
    /// Cannot handle `party/bad` while set.
    broken: AtomicBool,
    /// Events of the largest run.
    most: AtomicU64,
}

impl Counting {
    async fn answer(
        &self,
        store: &Store,
        event: &Recorded,
        meta: Metadata,
        version: u64,
    ) -> Result<Option<Unit>, Error> {
        if self.broken.load(Ordering::SeqCst) && event.id() == "bad" {
            return Err(Error::corrupt("cannot handle it"));
        }
        let command = match version {
            0 => Command::Open { language: String::new() },
            _ => Command::Move(event.position.to_string()),
        };
        unit(store, meta, "one", version, command).await.map(Some)
    }
}

impl Reactor for Counting {
    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        Box::pin(async move {
            let version = store.load::<Place>("default", "one", AsOf::Now).await?.version;
            self.answer(store, event, meta, version).await
        })
    }

    fn sees_run(&self) -> bool {
        true
    }

    fn react_all<'a>(
        &'a self,
        store: &'a Store,
        run: Vec<(&'a Recorded, Metadata)>,
    ) -> BoxFuture<'a, Vec<Result<Option<Unit>, Error>>> {
        Box::pin(async move {
            self.most.fetch_max(run.len() as u64, Ordering::SeqCst);
            let loaded = store.load::<Place>("default", "one", AsOf::Now).await;
            let Ok(loaded) = loaded else { return Vec::new() };
            let mut answers = Vec::new();
            for ((event, meta), version) in run.into_iter().zip(loaded.version..) {
                answers.push(self.answer(store, event, meta, version).await);
            }
            answers
        })
    }
}

/// Positions to which the place was moved, in their order.
async fn moved(store: &Store) -> Vec<u64> {
    let events = store.read_stream("default", "party/one", AsOf::Now).await.unwrap();
    let names = events.iter().map(|it| it.envelope.request_id.rsplit('/').next().unwrap());
    names.map(|it| it.parse().unwrap()).collect()
}

async fn what_an_event_leads_to_counts_for_the_next_of_its_run(rig: Rig) {
    let store = rig.neighbour("count").await;
    fill(&rig.store, "a", 0).await;
    rig.store.execute::<Place>("a", &meta("often"), Command::MoveOften(100)).await.unwrap();
    for party in ["b", "c"] {
        fill(&rig.store, party, 5).await;
    }
    let counting = Arc::new(Counting::default());
    let running = Running::start(&rig, &store, &consumer(counting.clone()), 2);
    caught_up(&store, "count", 113).await;
    drop(running);
    assert!(counting.most.load(Ordering::SeqCst) > 64, "a run is longer than a run of lanes");
    assert_eq!(moved(&store).await, (1..=113).collect::<Vec<_>>());
    // The checkpoint is lost, the effects are not.
    let sql = "UPDATE checkpoint SET position = 0, chain = $1";
    store.database().exec(sql, values![eventstore::ORIGIN]).await.unwrap();
    let _running = Running::start(&rig, &store, &consumer(counting), 1);
    caught_up(&store, "count", 113).await;
    assert_eq!(moved(&store).await.len(), 113);
    assert!(store.verify().await.unwrap().is_ok());
}

async fn an_event_of_a_run_that_cannot_be_handled_parks_its_stream_only(rig: Rig) {
    let store = rig.neighbour("count").await;
    for party in ["good", "bad", "fine"] {
        fill(&rig.store, party, 1).await;
    }
    let counting = Arc::new(Counting { broken: AtomicBool::new(true), ..Counting::default() });
    let consumer = consumer(counting.clone());
    let _running = Running::start(&rig, &store, &consumer, 1);
    caught_up(&store, "count", 6).await;
    assert_eq!(moved(&store).await, [1, 2, 5, 6], "everything else goes on");
    let parked = list_parked(&store, 10).await.unwrap();
    assert_eq!(parked.iter().map(|it| it.position).collect::<Vec<_>>(), [3, 4]);
    counting.broken.store(false, Ordering::SeqCst);
    let done = retry_parked(&store, &consumer, "profiles", "default", "party/bad").await;
    assert_eq!(done.unwrap(), 2);
    assert_eq!(moved(&store).await, [1, 2, 5, 6, 3, 4]);
}

/// Opens a place for every event, or only for the last of a unit.
struct Opening {
    name: &'static str,
    inside: bool,
    /// Reactions that may go on.
    gate: Semaphore,
    waiting: AtomicU64,
}

impl Opening {
    fn new(name: &'static str, inside: bool, gate: usize) -> Arc<Self> {
        let waiting = AtomicU64::new(0);
        Arc::new(Self { name, inside, gate: Semaphore::new(gate), waiting })
    }
}

impl Reactor for Opening {
    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        Box::pin(async move {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.gate.acquire().await.unwrap().forget();
            let envelope = &event.envelope;
            if !self.inside && envelope.unit_index + 1 < envelope.unit_size {
                return Ok(None);
            }
            let id = format!("{}-{}", self.name, event.position);
            unit(store, meta, &id, 0, Command::Open { language: String::new() }).await.map(Some)
        })
    }
}

/// The first replica has nothing to do inside the unit; what the second one would do it must not do any more.
async fn a_replica_that_is_behind_does_not_react_inside_a_unit(rig: Rig) {
    const OPEN: usize = Semaphore::MAX_PERMITS;
    let store = rig.neighbour("count").await;
    fill(&rig.store, "a", 0).await;
    rig.store.execute::<Place>("a", &meta("often"), Command::MoveOften(10)).await.unwrap();
    let behind = Opening::new("behind", true, 1);
    let _slow = Running::start(&rig, &store, &consumer(behind.clone()), 1);
    // It stands at the second event, the first of the unit of ten.
    eventually("it waits", async || behind.waiting.load(Ordering::SeqCst) == 2).await;
    let ahead = Running::start(&rig, &store, &consumer(Opening::new("ahead", false, OPEN)), 1);
    caught_up(&store, "count", 11).await;
    drop(ahead);
    behind.gate.add_permits(OPEN / 2);
    fill(&rig.store, "b", 0).await;
    caught_up(&store, "count", 12).await;
    let opened = store.recorded(store.read(0, 100).await.unwrap()).await.unwrap();
    let opened: Vec<_> = opened.iter().map(Recorded::id).collect();
    assert_eq!(opened, ["behind-1", "ahead-11", "behind-12"]);
}

/// Opens a place for every party, each in a lane of its own. What it does about `party/late` is built on a version that
/// has passed, the first time.
#[derive(Default)]
struct Lanes {
    late: AtomicBool,
}

impl Reactor for Lanes {
    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        Box::pin(async move {
            let id = format!("seen-{}", event.id());
            let stale = event.id() == "late" && !self.late.swap(true, Ordering::SeqCst);
            let version = if stale { 7 } else { 0 };
            unit(store, meta, &id, version, Command::Open { language: String::new() })
                .await
                .map(Some)
        })
    }

    fn lane<'e>(&self, event: &'e Recorded) -> Option<&'e str> {
        Some(event.id())
    }
}

async fn a_reaction_inside_a_unit_that_fails_is_not_passed_over_by_the_end_of_the_unit(rig: Rig) {
    let store = rig.neighbour("count").await;
    // One unit of the source about four parties.
    let parties = ["a", "late", "b", "c"];
    let mut whole = rig.store.unit(meta("whole"));
    for party in parties {
        let state = crate::rig::State::default();
        let open = Command::Open { language: String::new() };
        let events = Place::decide(&state, open, crate::rig::START).unwrap();
        whole.push::<Place>(party, 0, &state, events).await.unwrap();
    }
    let outcome = rig.store.append(whole.finish().unwrap()).await;
    assert!(matches!(outcome, eventstore::Outcome::Committed { .. }), "{outcome:?}");
    let consumer = consumer(Arc::new(Lanes::default()));
    let _running = Running::start(&rig, &store, &consumer, 1);
    caught_up(&store, "count", 4).await;
    for party in parties {
        let id = format!("seen-{party}");
        let seen = store.load::<Place>("default", &id, AsOf::Now).await.unwrap();
        assert_eq!(seen.version, 1, "{party}");
    }
    assert_eq!(list_parked(&store, 10).await.unwrap().len(), 0);
}
