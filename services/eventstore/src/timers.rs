//! Durable timers: rows stated by events, fired exactly once each, because the commit that handles a
//! firing deletes its row or does not happen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use rapport_proto::types::{Actor, actor};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::event::Metadata;
use crate::metrics;
use crate::sql::{Database, Tx};
use crate::store::Store;
use crate::time::Timestamp;
use crate::values;
use crate::view::TimerOp;

/// How long a claim keeps other replicas from a timer. Safety does not depend on it.
const CLAIM: Duration = Duration::from_secs(30);
/// A claim this old is made anew, so that a slow handler is not started a second time.
const RENEW: Duration = Duration::from_secs(10);
/// Timers claimed at once.
const BATCH: i64 = 500;
/// Timers that fire at the same time.
const AT_ONCE: usize = 64;
/// Timers held at most, most of them because another one of their stream fires.
const HELD: usize = 1_000;
/// How long a timer rests after its handler failed; doubled each time up to the longest.
const SHORTEST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// At most this long between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// At least this long between two looks that commits ask for.
const GATHER: Duration = Duration::from_millis(10);

/// Names one firing of a timer: a timer that was moved is another firing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerKey {
    /// Tenant.
    pub tenant: String,
    /// Id of the timer.
    pub id: String,
    /// When it was due.
    pub due_at: Timestamp,
}

impl TimerKey {
    /// The request id of the command it fires: `<timer id>/<firing>`, the firing being its due instant.
    pub fn request_id(&self) -> String {
        format!("{}/{}", self.id, self.due_at.0)
    }

    /// Reads a request id made by [`TimerKey::request_id`].
    pub fn parse(tenant: &str, request_id: &str) -> Option<Self> {
        let (id, due_at) = request_id.rsplit_once('/')?;
        let due_at = Timestamp(due_at.parse().ok()?);
        Some(Self { tenant: tenant.to_owned(), id: id.to_owned(), due_at })
    }
}

/// The method of commands that timers fire.
pub const TIMER_METHOD: &str = "timer";

/// A timer that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// Which firing.
    pub key: TimerKey,
    /// What fires, for example `consent.expiry`.
    pub kind: String,
    /// Stream it belongs to.
    pub stream: String,
}

/// Claims timers due at or before `now`, earliest first. A stream of which somebody holds a timer waits until that
/// one is done: timers of one stream fire one after another, whichever replica fires them.
pub(crate) async fn claim(
    database: &Database,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Timer>, Error> {
    let real = Timestamp::real();
    let mut tx = database.begin().await?;
    // Replicas claim one after another: two that locked the same rows in another order would deadlock.
    tx.exec(
        "INSERT INTO lease (name, holder, epoch, expires_at) VALUES ('timers', '', 1, 0)
         ON CONFLICT (name) DO UPDATE SET epoch = lease.epoch",
        vec![],
    )
    .await?;
    let rows = tx
        .query(
            "UPDATE timer SET claimed_until = $2
             WHERE (tenant, id) IN (
                 SELECT tenant, id FROM timer
                 WHERE due_at <= $1 AND claimed_until < $3
                   AND (tenant, stream) NOT IN (
                       SELECT tenant, stream FROM timer WHERE due_at <= $1 AND claimed_until >= $3
                   )
                 ORDER BY due_at, tenant, id LIMIT $4
             ) AND claimed_until < $3
             RETURNING tenant, id, kind, stream, due_at",
            values![now, real.plus(CLAIM), real, limit],
        )
        .await?;
    tx.commit().await?;
    let mut timers = rows
        .iter()
        .map(|row| {
            Ok(Timer {
                key: TimerKey {
                    tenant: row.text(0)?.to_owned(),
                    id: row.text(1)?.to_owned(),
                    due_at: row.time(4)?,
                },
                kind: row.text(2)?.to_owned(),
                stream: row.text(3)?.to_owned(),
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    timers.sort_by(|a, b| (a.key.due_at, &a.key).cmp(&(b.key.due_at, &b.key)));
    Ok(timers)
}

/// Says until when these timers are claimed: an instant that has passed gives them back.
async fn claim_until(database: &Database, keys: &[(TimerKey, Timestamp)]) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> =
        keys.iter().map(|(key, until)| values![&key.tenant, &key.id, key.due_at, *until]).collect();
    let mut tx = database.begin().await?;
    tx.exec_keys(
        "k(tenant, id, due_at, until)",
        &rows,
        "UPDATE timer SET claimed_until = k.until FROM k
         WHERE timer.tenant = k.tenant AND timer.id = k.id AND timer.due_at = k.due_at",
    )
    .await?;
    tx.commit().await
}

/// Removes firings that were handled. The commit that handled one has done so already; this is for those
/// that turned out to be repeats of a commit made before.
async fn forget(database: &Database, keys: &[TimerKey]) -> Result<(), Error> {
    let rows: Vec<_> = keys.iter().map(|it| values![&it.tenant, &it.id, it.due_at]).collect();
    let left = database
        .query_keys(
            "k(tenant, id, due_at)",
            &rows,
            "SELECT t.tenant, t.id FROM k
             JOIN timer t ON t.tenant = k.tenant AND t.id = k.id AND t.due_at = k.due_at",
        )
        .await?;
    // Reading first: mostly there is nothing to write.
    if left.is_empty() {
        return Ok(());
    }
    let mut tx = database.begin().await?;
    tx.exec_keys(
        "k(tenant, id, due_at)",
        &rows,
        "DELETE FROM timer WHERE (tenant, id, due_at) IN (SELECT tenant, id, due_at FROM k)",
    )
    .await?;
    tx.commit().await
}

/// The earliest instant at which a timer is due.
pub(crate) async fn next_due(database: &Database) -> Result<Option<Timestamp>, Error> {
    let rows = database.query("SELECT due_at FROM timer ORDER BY due_at LIMIT 1", vec![]).await?;
    rows.first().map(|row| row.time(0)).transpose()
}

/// The earliest instant at which a timer that nobody holds is due.
async fn next_free(database: &Database) -> Result<Option<Timestamp>, Error> {
    let rows = database
        .query(
            "SELECT due_at FROM timer WHERE claimed_until < $1 ORDER BY due_at LIMIT 1",
            values![Timestamp::real()],
        )
        .await?;
    rows.first().map(|row| row.time(0)).transpose()
}

/// The earliest instant after `now` at which a timer is due.
async fn next_after(database: &Database, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let rows = database
        .query("SELECT due_at FROM timer WHERE due_at > $1 ORDER BY due_at LIMIT 1", values![now])
        .await?;
    rows.first().map(|row| row.time(0)).transpose()
}

/// Which of these firings still stand.
pub(crate) async fn standing(tx: &mut Tx, keys: &[&TimerKey]) -> Result<Vec<TimerKey>, Error> {
    let rows: Vec<_> = keys.iter().map(|it| values![&it.tenant, &it.id, it.due_at]).collect();
    tx.query_keys(
        "k(tenant, id, due_at)",
        &rows,
        "SELECT t.tenant, t.id, t.due_at FROM k
         JOIN timer t ON t.tenant = k.tenant AND t.id = k.id AND t.due_at = k.due_at",
    )
    .await?
    .iter()
    .map(|row| {
        let (tenant, id) = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
        Ok(TimerKey { tenant, id, due_at: row.time(2)? })
    })
    .collect()
}

/// Removes fired timers, then does what the events say, in order.
pub(crate) async fn apply(
    tx: &mut Tx,
    fired: &[&TimerKey],
    operations: &[(String, TimerOp)],
) -> Result<(), Error> {
    // Of several operations on one timer the last counts.
    let mut last: BTreeMap<(&str, &str), Option<Vec<crate::Value>>> =
        fired.iter().map(|it| ((it.tenant.as_str(), it.id.as_str()), None)).collect();
    for (tenant, operation) in operations {
        match operation {
            TimerOp::Set { id, kind, stream, due_at } => {
                let row = values![tenant, id, *kind, stream, *due_at, 0_i64];
                last.insert((tenant, id), Some(row));
            }
            TimerOp::Cancel { id } => {
                last.insert((tenant, id), None);
            }
        }
    }
    let gone: Vec<_> = last
        .iter()
        .filter(|(_, row)| row.is_none())
        .map(|((tenant, id), _)| values![*tenant, *id])
        .collect();
    let set: Vec<_> = last.into_values().flatten().collect();
    tx.exec_keys(
        "k(tenant, id)",
        &gone,
        "DELETE FROM timer WHERE (tenant, id) IN (SELECT tenant, id FROM k)",
    )
    .await?;
    tx.insert_many(
        "INSERT INTO timer (tenant, id, kind, stream, due_at, claimed_until)",
        set,
        "ON CONFLICT (tenant, id) DO UPDATE SET kind = excluded.kind, stream = excluded.stream,
         due_at = excluded.due_at, claimed_until = 0",
    )
    .await?;
    Ok(())
}

/// Handles what fires.
pub trait TimerHandler: Send + Sync + 'static {
    /// Executes the command a timer stands for, with `meta`, which makes the firing part of the unit.
    fn fire<'a>(
        &'a self,
        store: &'a Store,
        timer: &'a Timer,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>>;
}

/// Fires everything that is due now, and returns when nothing that is due can be claimed and nothing fires any more:
/// how many timers were handled, or the first failure of one that rests and will be tried again. Many fire at the
/// same time, earliest first; those of one stream one after another. A timer whose handler fails for good stays
/// claimed for a while, so that it does not keep the others from firing.
pub async fn fire_due(store: &Store, handler: &dyn TimerHandler) -> Result<u64, Error> {
    let mut firing = Firing::new(store, handler);
    let result = firing.all().await;
    firing.finish().await;
    result?;
    firing.failed.map_or(Ok(firing.fired), Err)
}

/// Fires timers as they fall due, until told to stop.
pub async fn run(store: Store, handler: Arc<dyn TimerHandler>, stop: CancellationToken) {
    let mut head = store.watch();
    let mut firing = Firing::new(&store, &*handler);
    while !stop.is_cancelled() {
        head.mark_unchanged();
        let next = match firing.look().await {
            Ok(next) => next,
            Err(error) => {
                firing.warn(&error);
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
                _ = head.changed() => tokio::time::sleep(GATHER).await,
                // Another replica may have set one, or a claim may have run out.
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        };
        firing.wait(wake).await;
        // Settling starts what waited.
        if stop.is_cancelled() {
            break;
        }
        if let Err(error) = firing.settle().await {
            firing.warn(&error);
        }
    }
    firing.finish().await;
}

/// Timers that one replica holds: those that fire, and those that wait for a place or for their stream.
struct Firing<'h> {
    store: &'h Store,
    handler: &'h dyn TimerHandler,
    running: FuturesUnordered<BoxFuture<'h, Fired>>,
    /// In due order within a stream.
    waiting: Vec<Timer>,
    /// Ended, and not yet settled.
    ended: Vec<Fired>,
    /// Streams of which a timer fires.
    busy: BTreeSet<(String, String)>,
    /// Everything that fires or waits, and when it was claimed.
    held: BTreeMap<TimerKey, Timestamp>,
    /// Timers that failed: how often, and until when they rest.
    resting: BTreeMap<TimerKey, (u32, Timestamp)>,
    fired: u64,
    failed: Option<Error>,
}

/// A firing that ended.
struct Fired {
    timer: Timer,
    late: Duration,
    result: Result<(), Error>,
}

impl<'h> Firing<'h> {
    fn new(store: &'h Store, handler: &'h dyn TimerHandler) -> Self {
        Self {
            store,
            handler,
            running: FuturesUnordered::new(),
            waiting: Vec::new(),
            ended: Vec::new(),
            busy: BTreeSet::new(),
            held: BTreeMap::new(),
            resting: BTreeMap::new(),
            fired: 0,
            failed: None,
        }
    }

    /// Fires until nothing is due and nothing fires.
    async fn all(&mut self) -> Result<(), Error> {
        loop {
            self.look().await?;
            if self.running.is_empty() && self.ended.is_empty() {
                return Ok(());
            }
            self.wait(tokio::time::sleep(LOOK_AGAIN)).await;
            self.settle().await?;
        }
    }

    /// Claims what is due and starts it, as far as there are places; returns when the next timer is due. Reading
    /// first keeps idle services from writing: a claim is a transaction.
    async fn look(&mut self) -> Result<Option<Timestamp>, Error> {
        self.renew().await;
        // What waits although there are places waits for its stream.
        if self.running.len() >= AT_ONCE || self.held.len() >= HELD {
            return Ok(None);
        }
        let (database, now) = (self.store.database(), self.store.clock().fires_until());
        let next = self.beside(next_free(database)).await?;
        if next.is_none_or(|it| it > now) {
            return Ok(next);
        }
        let since = Timestamp::real();
        for timer in self.beside(claim(database, now, BATCH)).await? {
            // A claim that could not be made anew in time is claimed once more, but fires once.
            if self.held.insert(timer.key.clone(), since).is_none() {
                self.waiting.push(timer);
            }
        }
        self.start();
        self.beside(next_after(database, now)).await
    }

    /// Starts what waits, as far as there are places and its stream is free.
    fn start(&mut self) {
        for timer in std::mem::take(&mut self.waiting) {
            let stream = (timer.key.tenant.clone(), timer.stream.clone());
            if self.running.len() < AT_ONCE && self.busy.insert(stream) {
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
        let (mut handled, mut returned) = (Vec::new(), Vec::new());
        for Fired { timer, late, result } in std::mem::take(&mut self.ended) {
            self.busy.remove(&(timer.key.tenant.clone(), timer.stream.clone()));
            self.held.remove(&timer.key);
            match result {
                Ok(()) => {
                    metrics::timer_fired(self.store.source(), late);
                    self.resting.remove(&timer.key);
                    self.fired += 1;
                    handled.push(timer.key);
                }
                Err(error) if error.is_transient() => returned.extend(self.rest(timer, error)),
                Err(error) => tracing::error!(
                    source = self.store.source(),
                    timer.kind,
                    error = error.chain(),
                    "a timer cannot fire"
                ),
            }
        }
        self.start();
        let database = self.store.database();
        self.beside(claim_until(database, &returned)).await?;
        self.beside(forget(database, &handled)).await
    }

    /// A timer that failed rests, longer each time. The rest of its stream is given back: it fires after it.
    fn rest(&mut self, timer: Timer, error: Error) -> Vec<(TimerKey, Timestamp)> {
        let times = self.resting.get(&timer.key).map_or(0, |(times, _)| *times);
        let rest = SHORTEST_REST.saturating_mul(1 << times.min(8)).min(LONGEST_REST);
        let until = Timestamp::real().plus(rest);
        tracing::warn!(
            source = self.store.source(),
            timer.kind,
            error = error.chain(),
            "a timer tries again"
        );
        self.failed.get_or_insert(error);
        self.resting.insert(timer.key.clone(), (times + 1, until));
        let same = |it: &mut Timer| it.key.tenant == timer.key.tenant && it.stream == timer.stream;
        let mut returned: Vec<_> =
            self.waiting.extract_if(.., same).map(|it| (it.key, Timestamp(0))).collect();
        for (key, _) in &returned {
            self.held.remove(key);
        }
        returned.push((timer.key, until));
        returned
    }

    /// Makes old claims anew. When that fails it is tried again soon; safety does not depend on it.
    async fn renew(&mut self) {
        let now = Timestamp::real();
        let old: Vec<_> = self
            .held
            .iter()
            .filter(|(_, since)| now.since(**since) >= RENEW)
            .map(|(key, _)| (key.clone(), now.plus(CLAIM)))
            .collect();
        match self.beside(claim_until(self.store.database(), &old)).await {
            Ok(()) => self.held.extend(old.into_iter().map(|(key, _)| (key, now))),
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
        if let Err(error) = self.beside(claim_until(self.store.database(), &waiting)).await {
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
        tracing::warn!(source = self.store.source(), error = error.chain(), "timers try again");
    }
}

/// Fires one timer.
async fn fire(store: &Store, handler: &dyn TimerHandler, timer: Timer) -> Fired {
    let now = store.clock().now();
    let late = now.since(timer.key.due_at);
    let [called, returned] = &store.0.firings;
    called.fetch_add(1, Ordering::SeqCst);
    let result = handler.fire(store, &timer, firing(store, &timer, now)).await;
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
