//! Timers whose handlers fail for good are tried a few times, parked, and retried by a person.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use eventstore::timers::{ParkedTimer, fire_due, list_parked, retry_parked};
use eventstore::{Error, Metadata, Store, Timer, TimerHandler, Timestamp};
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::on_every_pair;
use crate::rig::{Command, Place, Rig, START, eventually, fill, meta};

on_every_pair! {
    a_timer_that_fails_for_good_is_parked_and_fires_when_it_is_retried
    a_parked_timer_that_is_stated_anew_fires
    a_timer_whose_store_is_fenced_is_not_parked
    a_timer_whose_handler_panics_is_parked_and_the_others_fire
    a_timer_stated_anew_while_it_came_to_nothing_fires_again
    what_another_replica_has_claimed_is_not_forgotten
}

/// How `bad` fails.
#[derive(Clone, Copy)]
enum How {
    ForGood,
    Fenced,
    Panics,
}

/// Notes what fires; `bad` fails while broken.
struct Failing {
    broken: AtomicBool,
    how: How,
    failures: AtomicUsize,
    fired: Mutex<Vec<String>>,
}

impl Failing {
    fn new(how: How) -> Self {
        let (broken, failures) = (AtomicBool::new(true), AtomicUsize::new(0));
        Self { broken, how, failures, fired: Mutex::default() }
    }

    fn failures(&self) -> usize {
        self.failures.load(Ordering::SeqCst)
    }

    fn fired(&self) -> Vec<String> {
        self.fired.lock().unwrap().clone()
    }
}

impl TimerHandler for Failing {
    fn fire<'a>(
        &'a self,
        _: &'a Store,
        timer: &'a Timer,
        _: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        let broken = timer.key.id.starts_with("bad") && self.broken.load(Ordering::SeqCst);
        if !broken {
            self.fired.lock().unwrap().push(timer.key.id.clone());
        }
        Box::pin(async move {
            if !broken {
                return Ok(());
            }
            self.failures.fetch_add(1, Ordering::SeqCst);
            match self.how {
                How::ForGood => Err(Error::corrupt("no such timer")),
                How::Fenced => Err(Error::Fenced("for a while".into())),
                How::Panics => panic!("on purpose"),
            }
        })
    }
}

/// States timers by events, the due instants in the order of the parties.
async fn stated(store: &Store, parties: &[&str]) {
    for (index, party) in (0..).zip(parties) {
        fill(store, party, 0).await;
        let remind = Command::Remind(START.0 - 100 + index);
        store.execute::<Place>(party, &meta(&format!("{party}-remind")), remind).await.unwrap();
    }
}

/// What rests has rested.
async fn rested(store: &Store) {
    let sql = "UPDATE timer SET claimed_until = 1 WHERE claimed_until > 0";
    store.database().exec(sql, vec![]).await.unwrap();
}

/// Fires until it failed so often in all. Where a look takes long, what rests may have rested in one go.
async fn fire_until_failed(store: &Store, handler: &Failing, times: usize) {
    while handler.failures() < times {
        // One that rests because its store is out of order is told as a failure.
        let _ = fire_due(store, handler).await;
        rested(store).await;
    }
}

async fn parked(store: &Store) -> Vec<ParkedTimer> {
    list_parked(store, 10).await.unwrap()
}

async fn a_timer_that_fails_for_good_is_parked_and_fires_when_it_is_retried(rig: Rig) {
    stated(&rig.store, &["bad", "good"]).await;
    let behind = "INSERT INTO timer (tenant, id, kind, stream, due_at, claimed_until)
                  VALUES ('default', 'behind', 'test', 'party/bad', 7, 0)";
    let handler = Failing::new(How::ForGood);
    fire_until_failed(&rig.store, &handler, 5).await;
    let tried = handler.failures();
    assert_eq!(parked(&rig.store).await.is_empty(), tried < 7, "it is tried a few times");
    let due = rig.store.next_due().await.unwrap();
    assert_eq!(due, (tried < 7).then_some(Timestamp(START.0 - 100)));
    // Another replica counts on.
    fire_until_failed(&rig.replica().await, &handler, 7).await;
    assert_eq!(handler.failures(), 7);
    let found = parked(&rig.store).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].timer.key.id.as_str(), &*found[0].timer.stream), ("bad", "party/bad"));
    assert!(found[0].reason.contains("no such timer"), "{}", found[0].reason);
    // It is not due any more, and nothing waits for it.
    assert_eq!(rig.store.next_due().await.unwrap(), None);
    rig.store.database().exec(behind, vec![]).await.unwrap();
    assert_eq!(fire_due(&rig.store, &handler).await.unwrap(), 1);
    assert_eq!(fire_due(&rig.store, &handler).await.unwrap(), 0);
    assert_eq!(handler.fired(), ["good", "behind"]);
    handler.broken.store(false, Ordering::SeqCst);
    assert_eq!(retry_parked(&rig.store, "default", "party/good").await.unwrap(), 0);
    assert_eq!(retry_parked(&rig.store, "default", "party/bad").await.unwrap(), 1);
    assert_eq!(fire_due(&rig.store, &handler).await.unwrap(), 1);
    assert_eq!(handler.fired(), ["good", "behind", "bad"]);
    assert!(parked(&rig.store).await.is_empty());
}

async fn a_parked_timer_that_is_stated_anew_fires(rig: Rig) {
    stated(&rig.store, &["bad"]).await;
    let handler = Failing::new(How::ForGood);
    fire_until_failed(&rig.store, &handler, 7).await;
    assert_eq!(parked(&rig.store).await.len(), 1);
    handler.broken.store(false, Ordering::SeqCst);
    let remind = Command::Remind(START.0 - 1);
    rig.store.execute::<Place>("bad", &meta("again"), remind).await.unwrap();
    assert!(parked(&rig.store).await.is_empty());
    assert_eq!(fire_due(&rig.store, &handler).await.unwrap(), 1);
    // Cancelled, it is gone too.
    handler.broken.store(true, Ordering::SeqCst);
    let remind = Command::Remind(START.0 - 2);
    rig.store.execute::<Place>("bad", &meta("once-more"), remind).await.unwrap();
    fire_until_failed(&rig.store, &handler, 14).await;
    assert_eq!(parked(&rig.store).await.len(), 1);
    rig.store.execute::<Place>("bad", &meta("cancel"), Command::Remind(0)).await.unwrap();
    assert!(parked(&rig.store).await.is_empty());
}

async fn a_timer_whose_store_is_fenced_is_not_parked(rig: Rig) {
    stated(&rig.store, &["bad"]).await;
    let handler = Failing::new(How::Fenced);
    fire_until_failed(&rig.store, &handler, 10).await;
    assert!(parked(&rig.store).await.is_empty());
    handler.broken.store(false, Ordering::SeqCst);
    eventually("it fires", async || fire_due(&rig.store, &handler).await.is_ok_and(|it| it == 1))
        .await;
}

async fn a_timer_whose_handler_panics_is_parked_and_the_others_fire(rig: Rig) {
    stated(&rig.store, &["bad", "good"]).await;
    let handler = Failing::new(How::Panics);
    fire_until_failed(&rig.store, &handler, 7).await;
    assert_eq!(handler.fired(), ["good"]);
    let found = parked(&rig.store).await;
    assert_eq!(found.len(), 1);
    assert!(found[0].reason.contains("panicked"), "{}", found[0].reason);
}

/// Lets what fires wait, and does nothing.
struct Waiting(Semaphore, Semaphore);

impl TimerHandler for Waiting {
    fn fire<'a>(
        &'a self,
        _: &'a Store,
        _: &'a Timer,
        _: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async {
            self.0.add_permits(1);
            self.1.acquire().await.unwrap().forget();
            Ok(())
        })
    }
}

/// The handler saw nothing to do, and then an event asked for another look at the very same instant.
async fn a_timer_stated_anew_while_it_came_to_nothing_fires_again(rig: Rig) {
    stated(&rig.store, &["a"]).await;
    let handler = Waiting(Semaphore::new(0), Semaphore::new(0));
    let state_anew = async {
        handler.0.acquire().await.unwrap().forget();
        let remind = Command::Remind(START.0 - 100);
        rig.store.execute::<Place>("a", &meta("anew"), remind).await.unwrap();
        handler.1.add_permits(2);
    };
    let (fired, ()) = tokio::join!(fire_due(&rig.store, &handler), state_anew);
    assert_eq!(fired.unwrap(), 2, "once for each statement");
    assert_eq!(rig.store.next_due().await.unwrap(), None);
}

/// The same, and another replica is at the new one already when the first finds that nothing was to be done.
async fn what_another_replica_has_claimed_is_not_forgotten(rig: Rig) {
    stated(&rig.store, &["a"]).await;
    let waiting = || Waiting(Semaphore::new(0), Semaphore::new(0));
    let (replica, first, second) = (rig.replica().await, waiting(), waiting());
    let due = Some(Timestamp(START.0 - 100));
    let state_anew = async {
        first.0.acquire().await.unwrap().forget();
        let remind = Command::Remind(START.0 - 100);
        rig.store.execute::<Place>("a", &meta("anew"), remind).await.unwrap();
    };
    let other = async {
        let begun = async {
            second.0.acquire().await.unwrap().forget();
            first.1.add_permits(1);
        };
        state_anew.await;
        tokio::join!(fire_due(&replica, &second), begun).0
    };
    let one = async {
        let fired = fire_due(&rig.store, &first).await;
        assert_eq!(rig.store.next_due().await.unwrap(), due, "the other one is at it");
        second.1.add_permits(1);
        fired
    };
    let (one, other) = tokio::join!(one, other);
    assert_eq!((one.unwrap(), other.unwrap()), (1, 1));
    assert_eq!(rig.store.next_due().await.unwrap(), None);
}
