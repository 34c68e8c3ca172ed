//! What a consumer does not read costs next to nothing and is not handled, and yet it is known how far the consumer is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use eventstore::consumer::{handled, list_parked, read_checkpoint, reset};
use eventstore::{
    Consumer, Error, Handler, Metadata, Reactor, Recorded, Store, Tx, Unit, View, values,
};
use futures::future::BoxFuture;

use crate::consumers::{Running, caught_up, effects, reading_store};
use crate::on_every_pair;
use crate::rig::{Command, Place, Rig, eventually, fill, meta};

on_every_pair! {
    a_view_is_given_what_it_reads_and_nothing_else
    a_reactor_is_given_what_it_reads_and_nothing_else
    what_is_passed_over_moves_the_checkpoint_too
    what_is_passed_over_of_a_parked_stream_does_not_queue
    a_consumer_that_is_reset_while_it_idles_replays
    a_fenced_store_parks_nothing
}

/// Writes one row per event; reads registrations only.
#[derive(Default)]
struct Registrations {
    /// Parties it cannot handle.
    broken: Mutex<Option<&'static str>>,
}

impl View for Registrations {
    fn name(&self) -> &'static str {
        "registrations"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["effect"]
    }

    fn reads(&self, type_name: &str) -> bool {
        type_name.ends_with(".PartyRegistered")
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        let broken = *self.broken.lock().unwrap();
        Box::pin(async move {
            if events.iter().any(|it| broken == Some(it.id())) {
                return Err(Error::corrupt("cannot handle it"));
            }
            let rows = events.iter().map(|it| values![it.position, &it.envelope.stream]).collect();
            tx.insert_many("INSERT INTO effect (position, stream)", rows, "").await.map(drop)
        })
    }
}

fn consumer(handler: Handler) -> Consumer {
    Consumer { name: "few".into(), sources: vec!["profiles".into()], handler }
}

/// The checkpoint as it is written.
async fn written(store: &Store) -> u64 {
    let sql = "SELECT position FROM checkpoint WHERE consumer = 'few'";
    store.query(sql, vec![]).await.unwrap().first().map_or(0, |it| it.count(0).unwrap())
}

async fn a_view_is_given_what_it_reads_and_nothing_else(rig: Rig) {
    let store = reading_store(&rig).await;
    fill(&rig.store, "a", 3).await;
    let _running =
        Running::start(&rig, &store, &consumer(Handler::View(Arc::<Registrations>::default())), 2);
    // Parties with units of several events between them.
    for party in ["b", "c"] {
        fill(&rig.store, party, 1).await;
        let often = Command::MoveOften(20);
        rig.store.execute::<Place>(party, &meta(&format!("{party}-often")), often).await.unwrap();
    }
    let head = rig.store.read_head().await.unwrap();
    caught_up(&store, "few", head.position).await;
    assert_eq!(effects(&store).await, [1, 5, 27]);
    assert_eq!(read_checkpoint(&store, "few", "profiles").await.unwrap(), head);
    let all = handled(&store).await.unwrap();
    assert_eq!(all[&("few".to_owned(), "profiles".to_owned())], head.position);
    eventually("it is written down", async || written(&store).await == head.position).await;
}

/// Counts what it is given; reads registrations only, and does nothing about them, or as often as told fails.
#[derive(Default)]
struct Counting {
    seen: AtomicU64,
    fenced: AtomicU64,
}

impl Reactor for Counting {
    fn reads(&self, type_name: &str) -> bool {
        type_name.ends_with(".PartyRegistered")
    }

    fn react<'a>(
        &'a self,
        _: &'a Store,
        event: &'a Recorded,
        _: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        let fails = |it: u64| it.checked_sub(1);
        let fenced = self.fenced.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok();
        assert_eq!(event.envelope.r#type, "rapport.profiles.v1.PartyRegistered");
        self.seen.fetch_add(u64::from(!fenced), Ordering::SeqCst);
        Box::pin(async move {
            match fenced {
                true => Err(Error::Fenced("for a while".into())),
                false => Ok(None),
            }
        })
    }
}

async fn a_reactor_is_given_what_it_reads_and_nothing_else(rig: Rig) {
    let store = rig.neighbour("reader").await;
    let counting = Arc::new(Counting::default());
    for party in ["a", "b"] {
        fill(&rig.store, party, 5).await;
    }
    let running = Running::start(&rig, &store, &consumer(Handler::Reactor(counting.clone())), 1);
    caught_up(&store, "few", 12).await;
    assert_eq!(counting.seen.load(Ordering::SeqCst), 2);
    assert_eq!(store.read_head().await.unwrap().position, 0);
    // Who stops writes down how far it came.
    fill(&rig.store, "c", 1).await;
    caught_up(&store, "few", 14).await;
    drop(running);
    eventually("it is written down", async || written(&store).await == 14).await;
}

/// Of a source of which nothing is read at all.
async fn what_is_passed_over_moves_the_checkpoint_too(rig: Rig) {
    struct Nothing;
    impl Reactor for Nothing {
        fn reads(&self, _: &str) -> bool {
            false
        }

        fn react<'a>(
            &'a self,
            _: &'a Store,
            event: &'a Recorded,
            _: Metadata,
        ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
            panic!("it was given {}", event.position)
        }
    }
    let store = rig.neighbour("reader").await;
    let consumer = consumer(Handler::Reactor(Arc::new(Nothing)));
    let running = Running::start(&rig, &store, &consumer, 1);
    for party in 0..4 {
        fill(&rig.store, &format!("p{party}"), 10).await;
        let head = rig.store.read_head().await.unwrap();
        caught_up(&store, "few", head.position).await;
        assert_eq!(read_checkpoint(&store, "few", "profiles").await.unwrap(), head);
    }
    eventually("it is written down", async || written(&store).await == 44).await;
    drop(running);
    // Whoever goes on follows the chain from there.
    fill(&rig.store, "later", 0).await;
    let _running = Running::start(&rig, &store, &consumer, 1);
    caught_up(&store, "few", 45).await;
    assert!(list_parked(&store, 10).await.unwrap().is_empty());
}

async fn what_is_passed_over_of_a_parked_stream_does_not_queue(rig: Rig) {
    let store = reading_store(&rig).await;
    let view = Arc::new(Registrations { broken: Mutex::new(Some("bad")) });
    let _running = Running::start(&rig, &store, &consumer(Handler::View(view)), 1);
    for party in ["good", "bad", "fine"] {
        fill(&rig.store, party, 4).await;
    }
    caught_up(&store, "few", 15).await;
    assert_eq!(effects(&store).await, [1, 11]);
    let parked = list_parked(&store, 10).await.unwrap();
    assert_eq!(parked.iter().map(|it| it.position).collect::<Vec<_>>(), [6]);
}

/// Nothing new comes, and yet its runner notices.
async fn a_consumer_that_is_reset_while_it_idles_replays(rig: Rig) {
    let store = reading_store(&rig).await;
    let consumer = consumer(Handler::View(Arc::<Registrations>::default()));
    let _running = Running::start(&rig, &store, &consumer, 1);
    for party in ["a", "b"] {
        fill(&rig.store, party, 2).await;
    }
    caught_up(&store, "few", 6).await;
    eventually("it is written down", async || written(&store).await == 6).await;
    reset(&store, &consumer).await.unwrap();
    caught_up(&store, "few", 6).await;
    assert_eq!(effects(&store).await, [1, 4], "what is handled is in the tables");
}

async fn a_fenced_store_parks_nothing(rig: Rig) {
    let store = rig.neighbour("reader").await;
    let counting = Arc::new(Counting { fenced: AtomicU64::new(5), ..Counting::default() });
    let _running = Running::start(&rig, &store, &consumer(Handler::Reactor(counting.clone())), 1);
    fill(&rig.store, "a", 2).await;
    caught_up(&store, "few", 3).await;
    assert_eq!(counting.seen.load(Ordering::SeqCst), 1);
    assert!(list_parked(&store, 10).await.unwrap().is_empty());
}
