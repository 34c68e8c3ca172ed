//! Timers whose handlers take their time, fail, or share a stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use eventstore::timers::{self, fire_due};
use eventstore::{Error, Metadata, Store, Timer, TimerHandler, values};
use futures::future::{BoxFuture, join_all};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::on_every_pair;
use crate::rig::{Rig, START, eventually};

on_every_pair! {
    a_slow_timer_does_not_hold_up_the_others
    timers_of_one_stream_fire_one_after_another
    a_timer_that_fails_rests_while_the_others_fire
    the_runner_fires_beside_a_slow_timer_and_lets_it_end
    a_timer_whose_store_is_gone_ends_the_pass
}

/// Notes what fires. Timers called `slow…` wait at a gate, `failing…` fail as often as told, `broken…` always.
struct Watched {
    gate: Semaphore,
    failures: AtomicU64,
    fired: Mutex<Vec<String>>,
    running: Mutex<BTreeMap<String, u64>>,
    overlaps: AtomicU64,
    most: AtomicU64,
}

impl Watched {
    fn new() -> Self {
        Self {
            gate: Semaphore::new(0),
            failures: AtomicU64::new(0),
            fired: Mutex::default(),
            running: Mutex::default(),
            overlaps: AtomicU64::new(0),
            most: AtomicU64::new(0),
        }
    }

    fn fired(&self) -> Vec<String> {
        self.fired.lock().unwrap().clone()
    }

    fn begins(&self, stream: &str) {
        let mut running = self.running.lock().unwrap();
        let of_stream = running.entry(stream.to_owned()).or_default();
        *of_stream += 1;
        self.overlaps.fetch_add(u64::from(*of_stream > 1), Ordering::SeqCst);
        self.most.fetch_max(running.values().sum(), Ordering::SeqCst);
    }

    fn ends(&self, stream: &str) {
        *self.running.lock().unwrap().get_mut(stream).unwrap() -= 1;
    }

    async fn handle(&self, timer: &Timer) -> Result<(), Error> {
        let id = timer.key.id.clone();
        if id.starts_with("slow") {
            self.gate.acquire().await.unwrap().forget();
        }
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
        let fails = |it: u64| it.checked_sub(1);
        let failed = id.starts_with("failing")
            && self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails).is_ok();
        if failed {
            return Err(Error::unavailable("not now"));
        }
        if id.starts_with("broken") {
            return Err(Error::corrupt("never"));
        }
        self.fired.lock().unwrap().push(id);
        Ok(())
    }
}

impl TimerHandler for Watched {
    fn fire<'a>(
        &'a self,
        _: &'a Store,
        timer: &'a Timer,
        _: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.begins(&timer.stream);
            let result = self.handle(timer).await;
            self.ends(&timer.stream);
            result
        })
    }
}

/// Timers that are due, as events would have set them: ids with their streams, in due order.
async fn due(store: &Store, timers: impl IntoIterator<Item = (String, String)>) {
    let rows = timers.into_iter().zip(0_i64..).map(|((id, stream), index)| {
        values!["default", id, "test", stream, START.0 - 1_000_000 + index, 0_i64]
    });
    let mut tx = store.database().begin().await.unwrap();
    tx.insert_many(
        "INSERT INTO timer (tenant, id, kind, stream, due_at, claimed_until)",
        rows.collect(),
        "",
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

/// A timer in a stream of its own.
fn alone(id: impl Into<String>) -> (String, String) {
    let id = id.into();
    (id.clone(), format!("party/{id}"))
}

async fn left(store: &Store) -> i64 {
    store.query("SELECT COUNT(*) FROM timer", vec![]).await.unwrap()[0].int(0).unwrap()
}

async fn a_slow_timer_does_not_hold_up_the_others(rig: Rig) {
    let quick = (0..300).map(|it| alone(format!("quick-{it}")));
    due(&rig.store, [alone("slow-1"), alone("slow-2")].into_iter().chain(quick)).await;
    let handler = Arc::new(Watched::new());
    let pass = {
        let (store, handler) = (rig.store.clone(), handler.clone());
        tokio::spawn(async move { fire_due(&store, &*handler).await.unwrap() })
    };
    eventually("the quick ones", async || handler.fired().len() == 300).await;
    due(&rig.store, [alone("later")]).await;
    eventually("what came later", async || handler.fired().len() == 301).await;
    assert!(!pass.is_finished(), "it waits for what fires");
    handler.gate.add_permits(2);
    assert_eq!(pass.await.unwrap(), 303);
    assert_eq!(left(&rig.store).await, 0);
    assert!(handler.most.load(Ordering::SeqCst) <= 64, "not more than that at once");
}

async fn timers_of_one_stream_fire_one_after_another(rig: Rig) {
    let (streams, each) = (5, 12);
    let timers = (0..each).flat_map(|it| {
        (0..streams).map(move |stream| (format!("{stream}-{it:02}"), format!("party/{stream}")))
    });
    due(&rig.store, timers).await;
    let handler = Arc::new(Watched::new());
    let replicas = [rig.store.clone(), rig.replica().await, rig.store.clone()];
    let passes = replicas.map(|store| {
        let handler = handler.clone();
        tokio::spawn(async move {
            // What another replica holds is its to fire, but its stream may have more.
            while left(&store).await > 0 {
                fire_due(&store, &*handler).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    });
    for pass in join_all(passes).await {
        pass.unwrap();
    }
    assert_eq!(handler.overlaps.load(Ordering::SeqCst), 0);
    let fired = handler.fired();
    assert_eq!(fired.len(), streams * each, "each once");
    for stream in 0..streams {
        let mine: Vec<_> =
            fired.iter().filter(|it| it.starts_with(&format!("{stream}-"))).collect();
        assert!(mine.is_sorted(), "{mine:?}");
    }
}

async fn a_timer_that_fails_rests_while_the_others_fire(rig: Rig) {
    let stream = "party/failing".to_owned();
    let behind = ("behind".to_owned(), stream.clone());
    let others = (0..10).map(|it| alone(format!("other-{it}")));
    let first = [("failing".to_owned(), stream), alone("broken"), behind];
    due(&rig.store, first.into_iter().chain(others)).await;
    let handler = Watched::new();
    handler.failures.store(u64::MAX, Ordering::SeqCst);
    let error = fire_due(&rig.store, &handler).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let others: BTreeSet<_> = (0..10).map(|it| format!("other-{it}")).collect();
    assert_eq!(handler.fired().into_iter().collect::<BTreeSet<_>>(), others);
    handler.failures.store(0, Ordering::SeqCst);
    eventually("it fires, and what is behind it", async || {
        let _ = fire_due(&rig.store, &handler).await;
        handler.fired().len() == 12
    })
    .await;
    assert_eq!(handler.fired()[10..], ["failing", "behind"]);
    assert_eq!(left(&rig.store).await, 1, "what is broken stays");
}

async fn the_runner_fires_beside_a_slow_timer_and_lets_it_end(rig: Rig) {
    let waits = ("waits".to_owned(), "party/slow".to_owned());
    due(&rig.store, [("slow".to_owned(), "party/slow".to_owned()), waits, alone("quick")]).await;
    let (handler, stop) = (Arc::new(Watched::new()), CancellationToken::new());
    let running = tokio::spawn(timers::run(rig.store.clone(), handler.clone(), stop.clone()));
    eventually("the quick one", async || handler.fired() == ["quick"]).await;
    due(&rig.store, [alone("later")]).await;
    eventually("what came later", async || handler.fired().len() == 2).await;
    stop.cancel();
    handler.gate.add_permits(1);
    running.await.unwrap();
    assert_eq!(handler.fired(), ["quick", "later", "slow"], "nothing begins any more");
    assert_eq!(fire_due(&rig.store, &*handler).await.unwrap(), 1, "what waited was given back");
}

async fn a_timer_whose_store_is_gone_ends_the_pass(rig: Rig) {
    due(&rig.store, [alone("slow"), alone("quick")]).await;
    let handler = Arc::new(Watched::new());
    let pass = {
        let (store, handler) = (rig.store.clone(), handler.clone());
        tokio::spawn(async move { fire_due(&store, &*handler).await })
    };
    eventually("the quick one", async || handler.fired() == ["quick"]).await;
    rig.store.database().close().await;
    handler.gate.add_permits(1);
    assert!(pass.await.unwrap().is_err());
    assert_eq!(handler.fired(), ["quick", "slow"], "what fired was let end");
}
