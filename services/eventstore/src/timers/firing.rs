//! Timers that fire: claimed, started as far as there are places, settled when they ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use rapport_proto::types::{Actor, actor};
use tokio_util::sync::CancellationToken;

use super::rows::{self, Claimed, Failed};
use super::{TIMER_METHOD, Timer, TimerHandler, TimerKey, parked};
use crate::consumer::guarded;
use crate::error::Error;
use crate::event::Metadata;
use crate::metrics;
use crate::store::Store;
use crate::time::Timestamp;

/// A claim this old is made anew, so that a slow handler is not started a second time.
const RENEW: Duration = Duration::from_secs(3);
/// Timers claimed at once.
const BATCH: i64 = 500;
/// Timers that fire at the same time.
const AT_ONCE: usize = 64;
/// Timers held at most, most of them because another one of their stream fires.
const HELD: usize = 1_000;
/// How often a handler may fail for good before its timer is parked: within half a minute, in which another version of
/// the service may have taken over.
const TRIES: u64 = 7;
/// How long a timer rests after its handler failed; doubled each time up to the longest.
const SHORTEST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// At most this long between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// At least this long between two looks that commits ask for: what is due alone is found at once.
const GATHER: Duration = Duration::from_millis(2);
/// How often it is told how many are parked, while there are some.
const TELL: Duration = Duration::from_secs(5);

/// Timers that one replica holds: those that fire, and those that wait for a place or for their stream.
pub(super) struct Firing<'h> {
    store: &'h Store,
    handler: &'h dyn TimerHandler,
    running: FuturesUnordered<BoxFuture<'h, Fired>>,
    /// In due order within a stream.
    waiting: Vec<Timer>,
    /// Ended, and not yet settled.
    ended: Vec<Fired>,
    /// Streams of which a timer fires.
    busy: BTreeSet<(String, String)>,
    /// Everything that fires or waits.
    held: BTreeMap<TimerKey, Held>,
    /// Timers whose store was out of order: how often, and until when they rest.
    resting: BTreeMap<TimerKey, (u64, Timestamp)>,
    /// When those that are parked were last counted, while there are some.
    parked: Option<Instant>,
    fired: u64,
    failed: Option<Error>,
}

/// A claim.
struct Held {
    /// When it runs out; tells it from another one.
    until: Timestamp,
    /// How often the handler failed for good before.
    failures: u64,
}

/// A firing that ended.
struct Fired {
    timer: Timer,
    late: Duration,
    result: Result<(), Error>,
}

impl<'h> Firing<'h> {
    pub(super) fn new(store: &'h Store, handler: &'h dyn TimerHandler) -> Self {
        Self {
            store,
            handler,
            running: FuturesUnordered::new(),
            waiting: Vec::new(),
            ended: Vec::new(),
            busy: BTreeSet::new(),
            held: BTreeMap::new(),
            resting: BTreeMap::new(),
            parked: None,
            fired: 0,
            failed: None,
        }
    }

    /// Fires everything that is due now; tells how many were handled.
    pub(super) async fn everything(mut self) -> Result<u64, Error> {
        let result = self.until_nothing_fires().await;
        self.finish().await;
        result?;
        self.failed.map_or(Ok(self.fired), Err)
    }

    async fn until_nothing_fires(&mut self) -> Result<(), Error> {
        loop {
            self.look().await?;
            if self.running.is_empty() && self.ended.is_empty() {
                return Ok(());
            }
            self.wait(tokio::time::sleep(LOOK_AGAIN)).await;
            self.settle().await?;
        }
    }

    /// Fires timers as they fall due, until told to stop.
    pub(super) async fn run(mut self, stop: &CancellationToken) {
        let (store, mut head) = (self.store, self.store.watch());
        self.parked = Some(Instant::now());
        while !stop.is_cancelled() {
            head.mark_unchanged();
            let looked_at = Instant::now();
            let next = match self.look().await {
                Ok(next) => next,
                Err(error) => {
                    self.warn(&error);
                    None
                }
            };
            let due = store.clock().reach(next.unwrap_or(Timestamp::MAX));
            // Nothing is held while waiting, so each of these may be dropped.
            let wake = async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = due => {}
                    // A commit may have set an earlier timer; under load the store grows all the time.
                    () = async {
                        drop(head.changed().await);
                        tokio::time::sleep(GATHER.saturating_sub(looked_at.elapsed())).await;
                    } => {}
                    // Another replica may have set one, or a claim may have run out.
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
            };
            self.wait(wake).await;
            // Settling starts what waited.
            if stop.is_cancelled() {
                break;
            }
            if let Err(error) = self.settle().await {
                self.warn(&error);
            }
        }
        self.finish().await;
    }

    /// Claims what is due and starts it, as far as there are places; returns when the next timer is due. Reading
    /// first keeps idle services from writing: a claim is a transaction.
    async fn look(&mut self) -> Result<Option<Timestamp>, Error> {
        self.renew().await;
        self.tell_parked().await?;
        metrics::TIMERS_DUE.set_count(self.held.len() as u64, [self.store.source()]);
        // What waits although there are places waits for its stream.
        let full = self.running.len() >= AT_ONCE && self.waiting.len() >= AT_ONCE;
        if full || self.held.len() >= HELD {
            return Ok(None);
        }
        let (database, now) = (self.store.database(), self.store.clock().fires_until());
        let next = self.beside(rows::next_free(database)).await?;
        if next.is_none_or(|it| it > now) {
            return Ok(next);
        }
        for Claimed { timer, until, failures } in
            self.beside(rows::claim(database, now, BATCH)).await?
        {
            // A claim that could not be made anew in time is claimed once more, but fires once.
            if self.held.insert(timer.key.clone(), Held { until, failures }).is_none() {
                self.waiting.push(timer);
            }
        }
        self.start();
        self.beside(rows::next_after(database, now)).await
    }

    /// Starts what waits, as far as there are places and its stream is free.
    fn start(&mut self) {
        for timer in std::mem::take(&mut self.waiting) {
            let stream = || (timer.key.tenant.clone(), timer.stream.clone());
            if self.running.len() < AT_ONCE && self.busy.insert(stream()) {
                self.running.push(Box::pin(fire(self.store, self.handler, timer)));
            } else {
                self.waiting.push(timer);
            }
        }
    }

    /// Waits until a firing ends or something else calls.
    async fn wait(&mut self, wake: impl Future<Output = ()>) {
        if self.ended.is_empty() {
            tokio::select! {
                Some(fired) = self.running.next() => self.ended.push(fired),
                () = wake => {}
            }
        }
        // Whatever ended with it.
        while let Some(Some(fired)) = self.running.next().now_or_never() {
            self.ended.push(fired);
        }
    }

    /// Does something while the firings go on: one of them may hold the connection it needs.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return result,
                Some(fired) = self.running.next() => self.ended.push(fired),
            }
        }
    }

    /// Says goodbye to what ended, and starts what waited for it.
    async fn settle(&mut self) -> Result<(), Error> {
        let (mut handled, mut returned, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for Fired { timer, late, result } in std::mem::take(&mut self.ended) {
            self.busy.remove(&(timer.key.tenant.clone(), timer.stream.clone()));
            let none = Held { until: Timestamp(0), failures: 0 };
            let Held { until: claim, failures } = self.held.remove(&timer.key).unwrap_or(none);
            match result {
                Ok(()) => {
                    metrics::TIMERS_FIRED.add(1, [self.store.source()]);
                    metrics::TIMERS_LATENESS.record(late, [self.store.source()]);
                    self.resting.remove(&timer.key);
                    self.fired += 1;
                    handled.push((timer.key, claim));
                }
                Err(error) if error.is_outage() => {
                    returned.extend(self.give_back(&timer));
                    returned.push((timer.key.clone(), self.rest(timer, error)));
                }
                Err(error) => {
                    let failed_one = self.fail(&timer, claim, failures + 1, &error);
                    if failed_one.parked_at == Timestamp(0) {
                        returned.extend(self.give_back(&timer));
                    }
                    failed.push(failed_one);
                }
            }
        }
        self.start();
        let database = self.store.database();
        self.beside(rows::claim_until(database, &returned)).await?;
        self.beside(rows::note_failures(database, &failed)).await?;
        self.beside(rows::forget(database, &handled)).await?;
        if failed.iter().any(|it| it.parked_at > Timestamp(0)) {
            self.count_parked().await?;
        }
        Ok(())
    }

    /// The others of a stream that wait: they are given back, and fire after the one that failed.
    fn give_back(&mut self, failed: &Timer) -> Vec<(TimerKey, Timestamp)> {
        let same =
            |it: &mut Timer| it.key.tenant == failed.key.tenant && it.stream == failed.stream;
        let given: Vec<_> =
            self.waiting.extract_if(.., same).map(|it| (it.key, Timestamp(0))).collect();
        for (key, _) in &given {
            self.held.remove(key);
        }
        given
    }

    /// A timer whose store was out of order rests, longer each time; tells until when.
    fn rest(&mut self, timer: Timer, error: Error) -> Timestamp {
        let times = self.resting.get(&timer.key).map_or(0, |(times, _)| *times);
        let until = Timestamp::real().plus(rest(times));
        tracing::warn!(
            source = self.store.source(),
            timer.kind,
            error = error.chain(),
            "a timer tries again"
        );
        self.failed.get_or_insert(error);
        self.resting.insert(timer.key, (times + 1, until));
        until
    }

    /// A timer whose handler failed for good so often rests too, and is parked in the end.
    fn fail(&self, timer: &Timer, claim: Timestamp, failures: u64, error: &Error) -> Failed {
        let (now, reason) = (Timestamp::real(), error.chain());
        let parked = failures >= TRIES;
        let what = match parked {
            true => "parked a timer: `rapport parked list` shows it",
            false => "a timer fails and tries again",
        };
        let source = self.store.source();
        tracing::error!(source, timer.kind, error = reason, "{what}");
        let (until, parked_at) = match parked {
            true => (Timestamp(0), now),
            false => (now.plus(rest(failures - 1)), Timestamp(0)),
        };
        Failed { key: timer.key.clone(), claim, until, parked_at, reason }
    }

    /// Tells how many are parked from time to time, while there are some: a person may have retried them.
    async fn tell_parked(&mut self) -> Result<(), Error> {
        match self.parked {
            Some(counted) if counted.elapsed() >= TELL => self.count_parked().await,
            _ => Ok(()),
        }
    }

    async fn count_parked(&mut self) -> Result<(), Error> {
        let count = self.beside(parked::count(self.store.database())).await?;
        metrics::TIMERS_PARKED.set_count(count, [self.store.source()]);
        self.parked = (count > 0).then(Instant::now);
        Ok(())
    }

    /// Makes old claims anew. When that fails it is tried again soon; safety does not depend on it.
    async fn renew(&mut self) {
        let now = Timestamp::real();
        let old: Vec<_> = self
            .held
            .iter()
            .filter(|(_, held)| now.plus(rows::CLAIM).since(held.until) >= RENEW)
            .map(|(key, _)| (key.clone(), now.plus(rows::CLAIM)))
            .collect();
        match self.beside(rows::claim_until(self.store.database(), &old)).await {
            Ok(()) => {
                for (key, until) in old {
                    self.held.entry(key).and_modify(|it| it.until = until);
                }
            }
            Err(error) => self.warn(&error),
        }
        // A timer that did not come back was moved, cancelled, or fired elsewhere.
        let held = &self.held;
        self.resting
            .retain(|key, (_, until)| held.contains_key(key) || until.plus(LONGEST_REST) > now);
    }

    /// Gives back what waits and lets end what fires.
    async fn finish(&mut self) {
        let waiting: Vec<_> = self.waiting.drain(..).map(|it| (it.key, Timestamp(0))).collect();
        for (key, _) in &waiting {
            self.held.remove(key);
        }
        if let Err(error) = self.beside(rows::claim_until(self.store.database(), &waiting)).await {
            self.warn(&error);
        }
        while !self.running.is_empty() || !self.ended.is_empty() {
            self.wait(tokio::time::sleep(LOOK_AGAIN)).await;
            if let Err(error) = self.settle().await {
                self.warn(&error);
            }
            self.renew().await;
        }
    }

    fn warn(&self, error: &Error) {
        metrics::TIMERS_ERRORS.add(1, [self.store.source()]);
        tracing::warn!(source = self.store.source(), error = error.chain(), "timers try again");
    }
}

/// How long a timer rests that failed so often before.
fn rest(times: u64) -> Duration {
    SHORTEST_REST.saturating_mul(1 << times.min(8)).min(LONGEST_REST)
}

/// Fires one timer.
async fn fire(store: &Store, handler: &dyn TimerHandler, timer: Timer) -> Fired {
    let now = store.clock().now();
    let late = now.since(timer.key.due_at);
    let [called, returned] = &store.0.firings;
    called.fetch_add(1, Ordering::SeqCst);
    let result = guarded(handler.fire(store, &timer, firing(store, &timer, now))).await;
    returned.fetch_add(1, Ordering::SeqCst);
    Fired { timer, late, result }
}

/// Metadata of the command a timer fires.
fn firing(store: &Store, timer: &Timer, now: Timestamp) -> Metadata {
    Metadata {
        tenant: timer.key.tenant.clone(),
        actor: Actor {
            subject: format!("service:{}", store.source()),
            kind: actor::Kind::System.into(),
            ..Actor::default()
        },
        method: TIMER_METHOD.to_owned(),
        request_id: timer.key.request_id(),
        causation_id: timer.key.id.clone(),
        at: now,
        fires: Some(timer.key.clone()),
        ..Metadata::default()
    }
}
