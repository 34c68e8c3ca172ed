//! Groups projector, park and log: what a consumer has applied is what its checkpoint says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use eventstore::consumer::{self, list_parked, read_checkpoint, reset, retry_parked};
use eventstore::{
    AsOf, Batch, Consumer, Error, Handler, Metadata, Reactor, Recorded, Store, Tx, Unit, View,
    relay, values,
};
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::on_every_pair;
use crate::rig::{Command, Place, Rig, direct, eventually, fill, meta};

on_every_pair! {
    a_consumer_applies_each_event_once_and_in_order
    two_runners_of_one_consumer_apply_once
    an_event_that_cannot_be_handled_parks_its_stream_only
    a_panicking_handler_parks_too
    a_reactor_appends_once_whatever_happens
    a_reactor_with_lanes_appends_once_whatever_happens
    events_of_different_lanes_are_reacted_to_together
    a_reactor_parks_what_it_cannot_handle
    a_reactor_with_lanes_parks_what_it_cannot_handle
    a_consumer_that_is_reset_replays
    a_reader_starts_anywhere
    a_consumer_that_parks_too_much_stops
}

/// Writes one row per event: a second application of an event would violate the key.
struct Effects {
    /// Fails on events of this stream while set.
    poison: Option<&'static str>,
    broken: Arc<AtomicBool>,
    panics: bool,
}

impl Effects {
    fn new() -> Self {
        Self { poison: None, broken: Arc::default(), panics: false }
    }
}

impl View for Effects {
    fn name(&self) -> &'static str {
        "effects"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["effect"]
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for event in events {
                let hit = self.poison.is_some_and(|it| event.envelope.stream == it);
                if hit && self.broken.load(Ordering::SeqCst) {
                    assert!(!self.panics, "this handler panics");
                    return Err(Error::corrupt("cannot handle it"));
                }
            }
            let rows = events.iter().map(|it| values![it.position, &it.envelope.stream]).collect();
            tx.insert_many("INSERT INTO effect (position, stream)", rows, "").await.map(drop)
        })
    }
}

pub(crate) async fn reading_store(rig: &Rig) -> Store {
    let store = rig.neighbour("reader").await;
    let create = "CREATE TABLE effect (position BIGINT PRIMARY KEY, stream TEXT NOT NULL)";
    store.database().exec(create, vec![]).await.unwrap();
    store
}

fn consumer_of(view: Effects) -> Consumer {
    Consumer {
        name: "effects".into(),
        sources: vec!["profiles".into()],
        handler: Handler::View(Arc::new(view)),
    }
}

/// Runs the relay, if one is needed, and consumers, until dropped.
pub(crate) struct Running(CancellationToken);

impl Running {
    pub(crate) fn start(rig: &Rig, store: &Store, consumer: &Consumer, runners: usize) -> Self {
        let stop = CancellationToken::new();
        tokio::spawn(relay::run(rig.store.clone(), stop.clone()));
        for _ in 0..runners {
            tokio::spawn(consumer::run(
                store.clone(),
                consumer.clone(),
                "profiles".into(),
                direct(&rig.store),
                stop.clone(),
            ));
        }
        Self(stop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

pub(crate) async fn effects(store: &Store) -> Vec<u64> {
    let rows = store.query("SELECT position FROM effect ORDER BY position", vec![]).await.unwrap();
    rows.iter().map(|it| it.count(0).unwrap()).collect()
}

pub(crate) async fn caught_up(store: &Store, consumer: &str, position: u64) {
    eventually(&format!("{consumer} at {position}"), async || {
        read_checkpoint(store, consumer, "profiles").await.unwrap().position >= position
    })
    .await;
}

async fn a_consumer_applies_each_event_once_and_in_order(rig: Rig) {
    let store = reading_store(&rig).await;
    let consumer = consumer_of(Effects::new());
    fill(&rig.store, "before", 30).await;
    let running = Running::start(&rig, &store, &consumer, 1);
    fill(&rig.store, "during", 30).await;
    caught_up(&store, "effects", 62).await;
    drop(running);
    fill(&rig.store, "after", 10).await;
    let _running = Running::start(&rig, &store, &consumer, 1);
    caught_up(&store, "effects", 73).await;
    assert_eq!(effects(&store).await, (1..=73).collect::<Vec<_>>());
    let checkpoint = read_checkpoint(&store, "effects", "profiles").await.unwrap();
    assert_eq!(checkpoint, rig.store.read_head().await.unwrap(), "position and chain");
}

async fn two_runners_of_one_consumer_apply_once(rig: Rig) {
    let store = reading_store(&rig).await;
    let _running = Running::start(&rig, &store, &consumer_of(Effects::new()), 2);
    for batch in 0..10 {
        fill(&rig.store, &format!("b{batch}"), 10).await;
    }
    caught_up(&store, "effects", 110).await;
    assert_eq!(effects(&store).await, (1..=110).collect::<Vec<_>>());
}

async fn an_event_that_cannot_be_handled_parks_its_stream_only(rig: Rig) {
    parks(rig, false).await;
}

async fn a_panicking_handler_parks_too(rig: Rig) {
    parks(rig, true).await;
}

async fn parks(rig: Rig, panics: bool) {
    let store = reading_store(&rig).await;
    let broken = Arc::new(AtomicBool::new(true));
    let view = Effects { poison: Some("party/bad"), broken: broken.clone(), panics };
    let consumer = consumer_of(view);
    let running = Running::start(&rig, &store, &consumer, 1);
    fill(&rig.store, "good", 3).await;
    fill(&rig.store, "bad", 2).await;
    fill(&rig.store, "fine", 3).await;
    caught_up(&store, "effects", 11).await;
    assert_eq!(effects(&store).await, [1, 2, 3, 4, 8, 9, 10, 11]);
    let parked = list_parked(&store, 100).await.unwrap();
    assert_eq!(parked.iter().map(|it| it.position).collect::<Vec<_>>(), [5, 6, 7]);
    assert!(parked.iter().all(|it| it.stream == "party/bad"));
    // A restart remembers what is parked, and later events of the stream queue behind.
    drop(running);
    let running = Running::start(&rig, &store, &consumer, 1);
    let more = Command::Move("more".into());
    rig.store.execute::<Place>("bad", &meta("bad-more"), more).await.unwrap();
    caught_up(&store, "effects", 12).await;
    assert_eq!(list_parked(&store, 100).await.unwrap().len(), 4);
    // Mended, they are applied in order, all or none.
    let still = retry_parked(&store, &consumer, "profiles", "default", "party/bad").await;
    assert!(still.is_err(), "still broken");
    let parked = list_parked(&store, 100).await.unwrap();
    assert_eq!(parked.len(), 4);
    assert!(parked[0].reason.contains(if panics { "panicked" } else { "cannot handle it" }));
    assert!(parked[1].reason.contains("queued behind"));
    broken.store(false, Ordering::SeqCst);
    let done = retry_parked(&store, &consumer, "profiles", "default", "party/bad").await.unwrap();
    assert_eq!(done, 4);
    assert_eq!(effects(&store).await, (1..=12).collect::<Vec<_>>());
    // The consumer, which never stopped, goes on with the stream.
    let again = Command::Move("again".into());
    rig.store.execute::<Place>("bad", &meta("bad-again"), again).await.unwrap();
    caught_up(&store, "effects", 13).await;
    assert_eq!(effects(&store).await, (1..=13).collect::<Vec<_>>());
    assert!(list_parked(&store, 100).await.unwrap().is_empty());
    drop(running);
}

/// Opens a mirror party for each party registered elsewhere.
#[derive(Default)]
struct Mirror {
    /// Passing failures still to come.
    fails: AtomicU64,
    /// Cannot handle `party/bad` while set.
    broken: AtomicBool,
    /// Each stream is a lane of its own.
    lanes: bool,
    /// Reactions that have begun and not ended, and how many of them there were at most.
    running: AtomicU64,
    most: AtomicU64,
}

impl Mirror {
    fn consumer(self: &Arc<Self>) -> Consumer {
        Consumer {
            name: "mirror".into(),
            sources: vec!["profiles".into()],
            handler: Handler::Reactor(self.clone()),
        }
    }
}

impl Reactor for Mirror {
    fn lane<'e>(&self, event: &'e Recorded) -> Option<&'e str> {
        self.lanes.then_some(event.envelope.stream.as_str())
    }

    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        Box::pin(async move {
            if !event.envelope.r#type.ends_with("PartyRegistered") {
                return Ok(None);
            }
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(running, Ordering::SeqCst);
            tokio::task::yield_now().await;
            self.running.fetch_sub(1, Ordering::SeqCst);
            if self
                .fails
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1))
                .is_ok()
            {
                return Err(Error::unavailable("not yet"));
            }
            if self.broken.load(Ordering::SeqCst) && event.id() == "bad" {
                return Err(Error::corrupt("cannot handle it"));
            }
            let loaded = store.load::<Place>("default", event.id(), AsOf::Now).await?;
            let open = Command::Open { language: String::new() };
            let events = <Place as eventstore::Decider>::decide(&loaded.state, open, meta.at)
                .unwrap_or_default();
            let mut unit = store.unit(meta);
            let pushed =
                unit.push::<Place>(event.id(), loaded.version, &loaded.state, events).await;
            pushed.map_err(|it| Error::corrupt(it.to_string()))?;
            unit.finish().map(Some).map_err(|it| Error::corrupt(it.to_string()))
        })
    }
}

async fn a_reactor_appends_once_whatever_happens(rig: Rig) {
    appends_once(rig, false).await;
}

async fn a_reactor_with_lanes_appends_once_whatever_happens(rig: Rig) {
    appends_once(rig, true).await;
}

async fn appends_once(rig: Rig, lanes: bool) {
    let store = rig.neighbour("mirror").await;
    let mirror = Mirror { fails: AtomicU64::new(3), lanes, ..Mirror::default() };
    let consumer = Arc::new(mirror).consumer();
    let running = Running::start(&rig, &store, &consumer, 2);
    for party in 0..12 {
        fill(&rig.store, &format!("p{party}"), 2).await;
    }
    caught_up(&store, "mirror", 36).await;
    drop(running);
    assert_eq!(store.read_head().await.unwrap().position, 12, "one event per party");
    // The checkpoint is lost, the effects are not: the derived request ids answer.
    store
        .database()
        .exec("UPDATE checkpoint SET position = 0, chain = $1", values![eventstore::ORIGIN])
        .await
        .unwrap();
    let _running = Running::start(&rig, &store, &consumer, 1);
    caught_up(&store, "mirror", 36).await;
    assert_eq!(store.read_head().await.unwrap().position, 12);
    assert!(store.verify().await.unwrap().is_ok());
    assert!(reset(&store, &consumer).await.is_err(), "a reactor is never rebuilt");
}

/// What happens side by side is committed in the order of the events that led to it.
async fn events_of_different_lanes_are_reacted_to_together(rig: Rig) {
    let store = rig.neighbour("mirror").await;
    let mirror = Arc::new(Mirror { lanes: true, ..Mirror::default() });
    let parties: Vec<_> = (0..40).map(|it| format!("p{it}")).collect();
    for party in &parties {
        fill(&rig.store, party, 0).await;
    }
    let _running = Running::start(&rig, &store, &mirror.consumer(), 1);
    caught_up(&store, "mirror", 40).await;
    assert!(mirror.most.load(Ordering::SeqCst) > 1, "side by side");
    let opened = store.recorded(store.read(0, 100).await.unwrap()).await.unwrap();
    assert_eq!(opened.iter().map(Recorded::id).collect::<Vec<_>>(), parties);
}

async fn a_reactor_parks_what_it_cannot_handle(rig: Rig) {
    parks_what_it_cannot_handle(rig, false).await;
}

async fn a_reactor_with_lanes_parks_what_it_cannot_handle(rig: Rig) {
    parks_what_it_cannot_handle(rig, true).await;
}

async fn parks_what_it_cannot_handle(rig: Rig, lanes: bool) {
    let store = rig.neighbour("mirror").await;
    let mirror = Mirror { broken: AtomicBool::new(true), lanes, ..Mirror::default() };
    let mirror = Arc::new(mirror);
    let consumer = mirror.consumer();
    for party in ["good", "bad", "fine"] {
        fill(&rig.store, party, 1).await;
    }
    let _running = Running::start(&rig, &store, &consumer, 1);
    caught_up(&store, "mirror", 6).await;
    assert_eq!(store.read_head().await.unwrap().position, 2, "everything else goes on");
    let parked = list_parked(&store, 10).await.unwrap();
    assert_eq!(parked.iter().map(|it| it.position).collect::<Vec<_>>(), [3, 4]);
    mirror.broken.store(false, Ordering::SeqCst);
    for expected in [2, 0] {
        let done = retry_parked(&store, &consumer, "profiles", "default", "party/bad").await;
        assert_eq!(done.unwrap(), expected);
    }
    assert_eq!(store.read_head().await.unwrap().position, 3);
    assert!(store.verify().await.unwrap().is_ok());
}

async fn a_consumer_that_is_reset_replays(rig: Rig) {
    let store = reading_store(&rig).await;
    let consumer = consumer_of(Effects::new());
    fill(&rig.store, "a", 9).await;
    let running = Running::start(&rig, &store, &consumer, 1);
    caught_up(&store, "effects", 10).await;
    drop(running);
    reset(&store, &consumer).await.unwrap();
    assert!(effects(&store).await.is_empty());
    let _running = Running::start(&rig, &store, &consumer, 1);
    caught_up(&store, "effects", 10).await;
    assert_eq!(effects(&store).await, (1..=10).collect::<Vec<_>>());
}

async fn a_reader_starts_anywhere(rig: Rig) {
    fill(&rig.store, "a", 9).await;
    let _running = Running::start(&rig, &rig.store, &consumer_of(Effects::new()), 0);
    let all = rig.store.read(0, 100).await.unwrap();
    for after in [0, 1, 5, 9] {
        let mut reader = rig.store.log().reader("profiles", after).await.unwrap();
        let (mut found, begun) = (Vec::new(), tokio::time::Instant::now());
        while found.len() < 10 - usize::try_from(after).unwrap() {
            match reader.next(100, Duration::from_secs(5)).await.unwrap() {
                Batch::Events(events) => found.extend(events),
                // The relay has yet to begin.
                other => {
                    assert!(begun.elapsed() < Duration::from_secs(60), "{other:?} after {found:?}")
                }
            }
        }
        assert_eq!(found, all[usize::try_from(after).unwrap()..]);
    }
}

async fn a_consumer_that_parks_too_much_stops(rig: Rig) {
    let store = reading_store(&rig).await;
    // What a thousand broken streams leave behind.
    let rows = (0..1_001_i64)
        .map(|it| {
            let stream = format!("party/{it}");
            let chain = eventstore::ORIGIN;
            values![
                "effects",
                "profiles",
                -it - 1,
                "default",
                stream,
                "test",
                0_i64,
                chain,
                &b""[..]
            ]
        })
        .collect();
    let mut tx = store.database().begin().await.unwrap();
    tx.insert_many(
        "INSERT INTO parked (consumer, source, position, tenant, stream, reason, parked_at, chain,
             envelope)",
        rows,
        "",
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    fill(&rig.store, "a", 1).await;
    let _running = Running::start(&rig, &store, &consumer_of(Effects::new()), 1);
    // A second consumer shows that the log delivers.
    let other = Consumer { name: "other".into(), ..consumer_of(Effects::new()) };
    let _running_too = Running::start(&rig, &store, &other, 1);
    caught_up(&store, "other", 2).await;
    let stopped = read_checkpoint(&store, "effects", "profiles").await.unwrap();
    assert_eq!(stopped.position, 0, "nothing is applied until a person looks");
}
