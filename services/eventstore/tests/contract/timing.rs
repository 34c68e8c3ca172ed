//! Groups lease and timers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eventstore::timers::{self, fire_due};
use eventstore::{
    AsOf, Error, ExecuteError, Metadata, Store, Timer, TimerHandler, Timestamp, lease, relay,
    values,
};
use futures::future::{BoxFuture, join_all};
use tokio_util::sync::CancellationToken;

use crate::on_every_pair;
use crate::rig::{Command, Place, Rig, START, eventually, fill, meta};

on_every_pair! {
    one_holder_at_a_time_and_the_epoch_grows
    a_timer_fires_once_when_it_is_due
    a_timer_that_was_moved_or_cancelled_does_not_fire
    many_replicas_fire_each_timer_once
    a_handler_that_fails_is_tried_again
    the_runner_follows_a_clock_that_is_moved
    timers_follow_from_events
    an_imported_firing_does_not_fire_again
}

async fn one_holder_at_a_time_and_the_epoch_grows(rig: Rig) {
    let other = rig.replica().await;
    let long = Duration::from_secs(60);
    let first = lease::acquire(rig.store.database(), "job", "a", long).await.unwrap().unwrap();
    assert!(lease::acquire(other.database(), "job", "b", long).await.unwrap().is_none());
    let renewed = lease::acquire(rig.store.database(), "job", "a", long).await.unwrap().unwrap();
    assert_eq!(first.epoch, renewed.epoch);
    lease::release(rig.store.database(), &renewed).await.unwrap();
    let second = lease::acquire(other.database(), "job", "b", Duration::ZERO).await.unwrap();
    assert_eq!(second.map(|it| it.epoch), Some(first.epoch + 1));
    // It ran out at once.
    let third = lease::acquire(rig.store.database(), "job", "a", long).await.unwrap();
    assert_eq!(third.map(|it| it.epoch), Some(first.epoch + 2));
    // A stale holder gives up nothing.
    lease::release(rig.store.database(), &first).await.unwrap();
    assert!(lease::acquire(other.database(), "job", "b", long).await.unwrap().is_none());
    let race =
        (0..16).map(|it| {
            let store = if it % 2 == 0 { rig.store.clone() } else { other.clone() };
            async move {
                lease::acquire(store.database(), "race", &format!("h{it}"), long).await.unwrap()
            }
        });
    assert_eq!(join_all(race).await.iter().flatten().count(), 1);
}

/// Closes the party a reminder belongs to, and counts.
#[derive(Default)]
struct Closing {
    fired: AtomicU64,
    fails: AtomicBool,
    seen: Mutex<Vec<Timestamp>>,
}

impl TimerHandler for Closing {
    fn fire<'a>(
        &'a self,
        store: &'a Store,
        timer: &'a Timer,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if self.fails.swap(false, Ordering::SeqCst) {
                return Err(Error::unavailable("not now"));
            }
            let id = timer.stream.trim_start_matches("party/");
            match store.execute::<Place>(id, &meta, Command::Close).await {
                // A claim that ran out meanwhile is no second firing.
                Ok(done) if done.repeated => Ok(()),
                Ok(_) => {
                    self.fired.fetch_add(1, Ordering::SeqCst);
                    self.seen.lock().unwrap().push(timer.key.due_at);
                    Ok(())
                }
                Err(ExecuteError::Superseded) => Ok(()),
                Err(error) => Err(Error::corrupt(error.to_string())),
            }
        })
    }
}

async fn remind(store: &Store, id: &str, request: &str, due: i64) {
    store.execute::<Place>(id, &meta(request), Command::Remind(due)).await.unwrap();
}

async fn closed(store: &Store, id: &str) -> u64 {
    store.load::<Place>("default", id, AsOf::Now).await.unwrap().state.closed
}

async fn a_timer_fires_once_when_it_is_due(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    remind(&rig.store, "a", "r", START.0 + 10).await;
    let handler = Closing::default();
    assert_eq!(rig.store.next_due().await.unwrap(), Some(Timestamp(START.0 + 10)));
    assert_eq!(fire_due(&rig.store, &handler).await.unwrap(), 0, "not before it is due");
    rig.clock.set(Timestamp(START.0 + 10));
    assert_eq!(fire_due(&rig.store, &handler).await.unwrap(), 1);
    assert_eq!(fire_due(&rig.store, &handler).await.unwrap(), 0);
    assert_eq!(closed(&rig.store, "a").await, 1);
    assert_eq!(rig.store.next_due().await.unwrap(), None);
}

async fn a_timer_that_was_moved_or_cancelled_does_not_fire(rig: Rig) {
    for id in ["moved", "cancelled"] {
        fill(&rig.store, id, 0).await;
        remind(&rig.store, id, &format!("{id}-1"), START.0 + 10).await;
    }
    rig.clock.set(Timestamp(START.0 + 20));
    // Both are claimed, and then somebody is faster.
    let claimed = rig.store.claim_due(10).await.unwrap();
    assert_eq!(claimed.len(), 2);
    remind(&rig.store, "moved", "m2", START.0 + 100).await;
    remind(&rig.store, "cancelled", "c2", 0).await;
    let handler = Closing::default();
    for timer in &claimed {
        let meta = Metadata { fires: Some(timer.key.clone()), ..meta(&timer.key.request_id()) };
        handler.fire(&rig.store, timer, meta).await.unwrap();
    }
    assert_eq!(handler.fired.load(Ordering::SeqCst), 0, "the firing was superseded");
    assert_eq!(closed(&rig.store, "moved").await + closed(&rig.store, "cancelled").await, 0);
    rig.clock.set(Timestamp(START.0 + 100));
    assert_eq!(fire_due(&rig.store, &handler).await.unwrap(), 1);
    assert_eq!((closed(&rig.store, "moved").await, closed(&rig.store, "cancelled").await), (1, 0));
}

async fn many_replicas_fire_each_timer_once(rig: Rig) {
    let count: usize = 300;
    let (first, second) = (rig.store.clone(), rig.replica().await);
    join_all((0..count).map(|it| {
        let store = rig.store.clone();
        async move {
            let id = format!("p{it}");
            fill(&store, &id, 0).await;
            remind(&store, &id, &format!("{id}-r"), START.0 + 1 + it as i64).await;
        }
    }))
    .await;
    rig.clock.set(Timestamp(START.0 + 1_000));
    let handler = Arc::new(Closing::default());
    let workers = [first.clone(), second.clone(), first.clone(), second].map(|store| {
        let handler = handler.clone();
        tokio::spawn(async move { fire_due(&store, &*handler).await.unwrap() })
    });
    for worker in join_all(workers).await {
        worker.unwrap();
    }
    fire_due(&first, &*handler).await.unwrap();
    assert_eq!(handler.fired.load(Ordering::SeqCst), count as u64);
    let rows = first.query("SELECT COUNT(*) FROM timer", vec![]).await.unwrap();
    assert_eq!(rows[0].int(0).unwrap(), 0);
    assert_eq!(first.verify().await.unwrap().unwrap().position, 3 * count as u64);
}

async fn a_handler_that_fails_is_tried_again(rig: Rig) {
    fill(&rig.store, "a", 0).await;
    remind(&rig.store, "a", "r", START.0).await;
    let handler = Closing { fails: AtomicBool::new(true), ..Closing::default() };
    assert!(fire_due(&rig.store, &handler).await.is_err());
    // It rests for a moment.
    eventually("it fires", async || fire_due(&rig.store, &handler).await.unwrap() == 1).await;
    assert_eq!(closed(&rig.store, "a").await, 1);
}

async fn the_runner_follows_a_clock_that_is_moved(rig: Rig) {
    let handler = Arc::new(Closing::default());
    let stop = CancellationToken::new();
    let running = tokio::spawn(timers::run(rig.store.clone(), handler.clone(), stop.clone()));
    for (index, hours) in [3, 1, 2].into_iter().enumerate() {
        let id = format!("p{index}");
        fill(&rig.store, &id, 0).await;
        remind(&rig.store, &id, &format!("{id}-r"), START.0 + hours * 3_600_000_000).await;
    }
    rig.clock.set(Timestamp(START.0 + 24 * 3_600_000_000));
    eventually("three timers", async || handler.fired.load(Ordering::SeqCst) == 3).await;
    // Timers of different streams fire side by side.
    let mut seen = handler.seen.lock().unwrap().clone();
    seen.sort();
    assert_eq!(seen, [1, 2, 3].map(|hours| Timestamp(START.0 + hours * 3_600_000_000)));
    stop.cancel();
    running.await.unwrap();
}

/// A store whose timers were lost has them again when its tail is imported from the log.
async fn timers_follow_from_events(rig: Rig) {
    if !rig.is_remote() {
        return;
    }
    fill(&rig.store, "a", 0).await;
    remind(&rig.store, "a", "r", START.0 + 10).await;
    let restored = restored_from_the_log(&rig, 1).await;
    assert_eq!(restored.next_due().await.unwrap(), Some(Timestamp(START.0 + 10)));
    let again = restored.execute::<Place>("a", &meta("r"), Command::Remind(START.0 + 10)).await;
    assert!(again.unwrap().repeated, "the request id came back with its unit");
}

/// A tail that states a timer and fires it leaves none behind when it is imported.
async fn an_imported_firing_does_not_fire_again(rig: Rig) {
    if !rig.is_remote() {
        return;
    }
    fill(&rig.store, "a", 0).await;
    remind(&rig.store, "a", "r", START.0 + 10).await;
    rig.clock.set(Timestamp(START.0 + 20));
    assert_eq!(fire_due(&rig.store, &Closing::default()).await.unwrap(), 1);
    let restored = restored_from_the_log(&rig, 1).await;
    assert_eq!(restored.next_due().await.unwrap(), None);
    let handler = Closing::default();
    assert_eq!(fire_due(&restored, &handler).await.unwrap(), 0);
    assert_eq!(closed(&restored, "a").await, 1);
}

/// Relays everything, lets the database forget what came after a position, and opens it again.
async fn restored_from_the_log(rig: &Rig, position: u64) -> Store {
    let head = rig.store.read_head().await.unwrap();
    let stop = CancellationToken::new();
    let relaying = tokio::spawn(relay::run(rig.store.clone(), stop.clone()));
    eventually("the log has it", async || {
        let tail = rig.store.log().tail("profiles").await.unwrap();
        tail.is_some_and(|it| it.last == head.position)
    })
    .await;
    stop.cancel();
    relaying.await.unwrap();
    forget_after(rig, position).await;
    let restored = rig.replica().await;
    assert_eq!(restored.head(), head);
    restored
}

/// The database forgets what it committed after a position, as an asynchronous standby would.
async fn forget_after(rig: &Rig, position: u64) {
    let mut tx = rig.store.database().begin().await.unwrap();
    if rig.store.database().is_postgres() {
        tx.exec("ALTER TABLE event DISABLE TRIGGER event_is_a_fact", vec![]).await.unwrap();
    } else {
        tx.exec("DROP TRIGGER event_is_not_deleted", vec![]).await.unwrap();
    }
    let kept = rig.store.read(position - 1, 1).await.unwrap();
    for sql in ["DELETE FROM event WHERE position > $1", "DELETE FROM request WHERE position > $1"]
    {
        tx.exec(sql, values![position]).await.unwrap();
    }
    for sql in ["DELETE FROM timer", "DELETE FROM place"] {
        tx.exec(sql, vec![]).await.unwrap();
    }
    tx.exec("UPDATE head SET position = $1, chain = $2", values![position, kept[0].chain])
        .await
        .unwrap();
    tx.commit().await.unwrap();
}
