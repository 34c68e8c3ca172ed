//! The group committer: one transaction for many waiting units.
//!
//! The head row is the first thing a transaction locks. Repeats, conflicts, lost timers and stale
//! checkpoints are then found by reading and answered one by one, also within the batch. If a statement
//! fails, the units run once more, each alone. If the outcome of a commit is unknown, the batch runs
//! again: its request ids, read under the head lock on a new connection, tell what landed.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::Error;
use crate::event::{Head, Stored, next_chain};
use crate::failpoint;
use crate::ids::hex;
use crate::keys;
use crate::reconcile;
use crate::sql::{Row, Tx, Value};
use crate::store::Inner;
use crate::time::Timestamp;
use crate::timers::{self, TimerKey};
use crate::unit::Unit;
use crate::values;
use crate::view::TimerOp;

/// What became of a unit.
#[derive(Debug)]
pub enum Outcome {
    /// Durable.
    Committed {
        /// Position of its last event, or of the head when it has none.
        position: u64,
    },
    /// Its request id was committed before with the same body.
    Repeated {
        /// Stream the first reply was folded from.
        stream: String,
        /// Version of that stream then.
        version: u64,
        /// Position then.
        position: u64,
    },
    /// Its request id was used for another body.
    RequestReused,
    /// A stream is not at the expected version.
    Conflict,
    /// The timer it fires or the checkpoint it moves is no longer where it was.
    Superseded,
    /// A view refused it.
    Refused(String),
    /// Nothing is known to be wrong with it; the store failed.
    Failed(Error),
}

/// A unit and who waits for it.
pub(crate) struct Pending {
    pub unit: Unit,
    pub reply: oneshot::Sender<Outcome>,
}

/// How often a store that cannot be written is tried while nobody asks.
const PROBE: Duration = Duration::from_millis(500);

/// Version by tenant and stream.
type Versions = HashMap<(String, String), u64>;

/// Streams whose versions are remembered, at most.
const REMEMBERED: usize = 100_000;

/// What a committer knows from its last transaction.
#[derive(Default)]
struct Memory {
    /// The append connection whose database was looked at.
    checked: Option<u64>,
    /// Where it left the head. While the head stands there, nobody else has appended, and the versions
    /// it left stand too: they need not be read again.
    head: Head,
    versions: Versions,
}

impl Memory {
    fn forget_unless(&mut self, head: Head) {
        if self.head != head || self.versions.len() > REMEMBERED {
            self.versions.clear();
            self.head = head;
        }
    }

    fn keep(&mut self, head: Head, versions: Versions) {
        self.head = head;
        self.versions.extend(versions);
    }
}

/// Gathers and commits until the store is closed.
pub(crate) async fn run(
    store: Weak<Inner>,
    mut queue: mpsc::Receiver<Pending>,
    mut health: watch::Receiver<bool>,
) {
    let mut memory = Memory::default();
    loop {
        let first = tokio::select! {
            first = queue.recv() => first,
            Ok(()) = unhealthy(&mut health) => {
                let Some(store) = store.upgrade() else { return };
                let result = attempt(&store, &[], &mut memory).await;
                store.note_health(&result);
                continue;
            }
        };
        let (Some(first), Some(store)) = (first, store.upgrade()) else { return };
        let batch = gather(&store, first, &mut queue).await;
        commit(&store, batch, &mut memory).await;
    }
}

/// Returns when the store has been unhealthy for a moment: an unready replica gets no commands that
/// would tell it that its database is back.
async fn unhealthy(health: &mut watch::Receiver<bool>) -> Result<(), watch::error::RecvError> {
    health.wait_for(|healthy| !healthy).await?;
    tokio::time::sleep(PROBE).await;
    Ok(())
}

/// Takes what waits, and what is on its way for a moment.
async fn gather(
    store: &Inner,
    first: Pending,
    queue: &mut mpsc::Receiver<Pending>,
) -> Vec<Pending> {
    let mut size = first.unit.size();
    let mut batch = vec![first];
    let deadline = Instant::now() + store.commit.wait;
    while batch.len() < store.commit.max_units && size < store.commit.max_bytes {
        let next = match queue.try_recv() {
            Ok(next) => next,
            Err(_) if store.approaching.load(std::sync::atomic::Ordering::Relaxed) > 0 => {
                match tokio::time::timeout_at(deadline.into(), queue.recv()).await {
                    Ok(Some(next)) => next,
                    _ => break,
                }
            }
            Err(_) => break,
        };
        size += next.unit.size();
        batch.push(next);
    }
    batch
}

/// Commits a batch and answers every unit in it.
async fn commit(store: &Arc<Inner>, batch: Vec<Pending>, memory: &mut Memory) {
    if let Some(poisoned) = commit_together(store, batch, memory).await {
        for pending in poisoned {
            commit_together(store, vec![pending], memory).await;
        }
    }
}

/// Commits a batch in one transaction; gives several units back if a statement failed.
async fn commit_together(
    store: &Arc<Inner>,
    mut batch: Vec<Pending>,
    memory: &mut Memory,
) -> Option<Vec<Pending>> {
    let give_up = Instant::now() + store.commit.patience;
    let mut pause = Duration::from_millis(20);
    loop {
        let units: Vec<_> = batch.iter().map(|it| &it.unit).collect();
        let result = attempt(store, &units, memory).await;
        store.note_health(&result);
        match result {
            Ok(Done { outcomes, events, head }) => {
                failpoint::reach("after_commit").await;
                store.recent.keep(&events);
                store.advance(head);
                store.log.poke(&store.source);
                for (pending, outcome) in batch.drain(..).zip(outcomes) {
                    // The caller may have hung up: a retry with the same request id will learn it.
                    let _ = pending.reply.send(outcome);
                }
                return None;
            }
            Err(error) if error.is_transient() && Instant::now() + pause < give_up => {
                tracing::warn!(source = store.source, error = error.chain(), "commit again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(500));
            }
            Err(error) if !error.is_transient() && batch.len() > 1 => {
                // One of them is poison.
                return Some(batch);
            }
            Err(error) => {
                fail(batch, error);
                return None;
            }
        }
    }
}

fn fail(batch: Vec<Pending>, error: Error) {
    let text = error.chain();
    let mut first = Some(error);
    for pending in batch {
        let outcome = match first.take() {
            Some(Error::Refused(reason)) => Outcome::Refused(reason),
            Some(error) => Outcome::Failed(error),
            None => Outcome::Failed(Error::unavailable(text.clone())),
        };
        let _ = pending.reply.send(outcome);
    }
}

/// What came of a batch: an outcome for each unit, what was written, and where the head stands.
struct Done {
    outcomes: Vec<Outcome>,
    events: Vec<Stored>,
    head: Head,
}

/// Runs one transaction. A view that panics is a statement that failed: the committer outlives it.
async fn attempt(store: &Arc<Inner>, units: &[&Unit], memory: &mut Memory) -> Result<Done, Error> {
    AssertUnwindSafe(transact(store, units, memory))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(Error::corrupt("a view panicked")))
}

async fn transact(store: &Arc<Inner>, units: &[&Unit], memory: &mut Memory) -> Result<Done, Error> {
    failpoint::reach("before_begin").await;
    let (mut tx, head) = begin(store, &mut memory.checked).await?;
    memory.forget_unless(head);
    match run_in(store, &mut tx, head, units, &memory.versions).await {
        Ok((plan, outcomes)) => {
            if units.is_empty() {
                tx.commit().await?;
            } else if plan.ends.is_empty() {
                tx.rollback().await?;
            } else {
                failpoint::reach("before_head").await;
                commit_at(tx, plan.head).await?;
            }
            memory.keep(plan.head, plan.seen.versions);
            Ok(Done { outcomes, events: plan.events, head: plan.head })
        }
        Err(error) => {
            // After a refusal the connection is as good as before; after a failure it is closed.
            if !error.is_transient() {
                tx.rollback().await?;
            }
            Err(error)
        }
    }
}

/// Moves the head and commits. On PostgreSQL both are one message: a round trip less for every batch.
async fn commit_at(mut tx: Tx, head: Head) -> Result<(), Error> {
    if tx.is_postgres() {
        failpoint::reach("before_commit").await;
        let (position, chain) = (head.position, hex(&head.chain));
        let last = format!(
            "UPDATE head SET position = {position}, chain = decode('{chain}', 'hex') WHERE one = 1"
        );
        return tx.commit_after(&last).await;
    }
    tx.exec(
        "UPDATE head SET position = $1, chain = $2 WHERE one = 1",
        values![head.position, head.chain],
    )
    .await?;
    failpoint::reach("before_commit").await;
    tx.commit().await
}

/// Begins on a connection whose database was looked at, and locks the head.
async fn begin(store: &Arc<Inner>, checked: &mut Option<u64>) -> Result<(Tx, Head), Error> {
    for _ in 0..3 {
        reconcile::before_append(store, checked).await?;
        let mut tx = store.database.begin_append().await?;
        // The connection may have been replaced just now: then its database is looked at first.
        if Some(store.database.generation()) == *checked {
            let head = lock_head(&mut tx).await?;
            if reconcile::continues(store, &head) {
                return Ok((tx, head));
            }
            *checked = None;
        }
        tx.rollback().await?;
    }
    Err(Error::unavailable("the database keeps changing"))
}

/// Judges the units and writes those that are accepted.
async fn run_in(
    store: &Arc<Inner>,
    tx: &mut Tx,
    head: Head,
    units: &[&Unit],
    known: &Versions,
) -> Result<(Plan, Vec<Outcome>), Error> {
    let seen = Seen::read(tx, units, known).await?;
    let mut plan = Plan::new(head, seen);
    let judged: Vec<_> = units.iter().map(|unit| plan.judge(unit)).collect();
    let accepted = units.iter().zip(&judged).filter(|it| it.1.is_none()).map(|it| *it.0);
    if units.is_empty() {
        // A probe writes, or it would not notice a disk that is full or read-only.
        tx.exec("UPDATE head SET position = position WHERE one = 1", vec![]).await?;
    } else if !plan.ends.is_empty() {
        write(store, tx, &plan.events, &accepted.collect::<Vec<_>>(), &plan.ends).await?;
    }
    let mut ends = plan.ends.iter();
    let outcomes = judged
        .into_iter()
        .map(|it| {
            it.unwrap_or_else(|| Outcome::Committed {
                position: ends.next().copied().unwrap_or_default(),
            })
        })
        .collect();
    Ok((plan, outcomes))
}

/// Locks the head row, the first lock of every appending transaction.
pub(crate) async fn lock_head(tx: &mut Tx) -> Result<Head, Error> {
    let rows = if tx.is_postgres() {
        tx.query("SELECT position, chain, fenced FROM head WHERE one = 1 FOR UPDATE", vec![])
            .await?
    } else {
        // BEGIN IMMEDIATE holds the one write lock already.
        tx.query("SELECT position, chain, fenced FROM head WHERE one = 1", vec![]).await?
    };
    let row = rows.first().ok_or_else(|| Error::corrupt("the head row is missing"))?;
    match row.text(2)? {
        "" => Ok(Head { position: row.count(0)?, chain: row.hash(1)? }),
        fenced => Err(Error::Fenced(fenced.to_owned())),
    }
}

type RequestName = (String, String, String, String);

fn request_name(unit: &Unit) -> RequestName {
    let meta = &unit.meta;
    let (tenant, caller) = (meta.tenant.clone(), meta.actor.subject.clone());
    (tenant, caller, meta.method.clone(), meta.request_id.clone())
}

/// What was read under the head lock.
struct Seen {
    requests: HashMap<RequestName, Row>,
    versions: Versions,
    subjects: Vec<(String, String)>,
    timers: Vec<TimerKey>,
    checkpoints: HashMap<(String, String), u64>,
}

impl Seen {
    async fn read(tx: &mut Tx, units: &[&Unit], known: &Versions) -> Result<Self, Error> {
        let names: Vec<_> = units
            .iter()
            .map(|it| {
                let (tenant, caller, method, id) = request_name(it);
                values![tenant, caller, method, id]
            })
            .collect();
        let mut requests = HashMap::new();
        for row in tx
            .query_keys(
                "k(tenant, caller, method, request_id)",
                &names,
                "SELECT r.tenant, r.caller, r.method, r.request_id,
                     r.digest, r.stream, r.version, r.position
                 FROM k JOIN request r ON r.tenant = k.tenant AND r.caller = k.caller
                     AND r.method = k.method AND r.request_id = k.request_id",
            )
            .await?
        {
            let text = |column| row.text(column).map(str::to_owned);
            requests.insert((text(0)?, text(1)?, text(2)?, text(3)?), row);
        }
        Ok(Self {
            requests,
            versions: versions(tx, units, known).await?,
            subjects: subjects(tx, units).await?,
            timers: {
                let fires: Vec<_> = units.iter().filter_map(|it| it.fires()).collect();
                timers::standing(tx, &fires).await?
            },
            checkpoints: checkpoints(tx, units).await?,
        })
    }
}

async fn versions(tx: &mut Tx, units: &[&Unit], known: &Versions) -> Result<Versions, Error> {
    let expects = units
        .iter()
        .flat_map(|unit| unit.expects.iter().map(|it| (unit.meta.tenant.clone(), it.0.clone())));
    let (mut versions, mut unknown) = (Versions::new(), Vec::new());
    for stream in expects {
        match known.get(&stream) {
            Some(version) => drop(versions.insert(stream, *version)),
            None => unknown.push(values![stream.0, stream.1]),
        }
    }
    let rows = tx
        .query_keys(
            "k(tenant, stream)",
            &unknown,
            "SELECT k.tenant, k.stream, COALESCE((SELECT max(e.version) FROM event e
                 WHERE e.tenant = k.tenant AND e.stream = k.stream), 0)
             FROM k",
        )
        .await?;
    for row in &rows {
        versions.insert((row.text(0)?.to_owned(), row.text(1)?.to_owned()), row.count(2)?);
    }
    Ok(versions)
}

async fn subjects(tx: &mut Tx, units: &[&Unit]) -> Result<Vec<(String, String)>, Error> {
    let wanted: Vec<_> = units
        .iter()
        .flat_map(|unit| unit.new_keys.iter().map(|it| values![&unit.meta.tenant, &it.subject]))
        .collect();
    tx.query_keys(
        "k(tenant, subject)",
        &wanted,
        "SELECT s.tenant, s.subject FROM k
         JOIN subject_key s ON s.tenant = k.tenant AND s.subject = k.subject",
    )
    .await?
    .iter()
    .map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned())))
    .collect()
}

async fn checkpoints(
    tx: &mut Tx,
    units: &[&Unit],
) -> Result<HashMap<(String, String), u64>, Error> {
    let wanted: Vec<_> = units
        .iter()
        .filter_map(|it| it.moves())
        .map(|it| values![&it.consumer, &it.source])
        .collect();
    tx.query_keys(
        "k(consumer, source)",
        &wanted,
        "SELECT c.consumer, c.source, c.position FROM k
         JOIN checkpoint c ON c.consumer = k.consumer AND c.source = k.source",
    )
    .await?
    .iter()
    .map(|row| Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), row.count(2)?)))
    .collect()
}

/// Judges units in queue order; an accepted unit changes what the next one finds.
struct Plan {
    head: Head,
    seen: Seen,
    accepted: HashMap<RequestName, Outcome>,
    digests: HashMap<RequestName, Vec<u8>>,
    /// Position at the end of each accepted unit.
    ends: Vec<u64>,
    /// What the accepted units write.
    events: Vec<Stored>,
}

impl Plan {
    fn new(head: Head, seen: Seen) -> Self {
        let (accepted, digests) = (HashMap::new(), HashMap::new());
        Self { head, seen, accepted, digests, ends: Vec::new(), events: Vec::new() }
    }

    /// `None` accepts.
    fn judge(&mut self, unit: &Unit) -> Option<Outcome> {
        let name = request_name(unit);
        if let Some(row) = self.seen.requests.get(&name) {
            let repeat = repeat_of(row, 4, &unit.meta.request_digest);
            return Some(repeat.unwrap_or_else(Outcome::Failed));
        }
        if let Some(Outcome::Repeated { stream, version, position }) = self.accepted.get(&name) {
            let same = self.digests.get(&name).is_some_and(|it| *it == unit.meta.request_digest);
            return Some(if same {
                Outcome::Repeated { stream: stream.clone(), version: *version, position: *position }
            } else {
                Outcome::RequestReused
            });
        }
        let tenant = &unit.meta.tenant;
        if unit.fires().is_some_and(|it| !self.seen.timers.contains(it)) {
            return Some(Outcome::Superseded);
        }
        if unit.moves().is_some_and(|it| {
            let place = (it.consumer.clone(), it.source.clone());
            self.seen.checkpoints.get(&place).copied().unwrap_or(0) != it.from
        }) {
            return Some(Outcome::Superseded);
        }
        let stale = unit.expects.iter().any(|(stream, expected)| {
            let stands = self.seen.versions.get(&(tenant.clone(), stream.clone()));
            stands.copied().unwrap_or(0) != *expected
        });
        let taken = unit
            .new_keys
            .iter()
            .any(|key| self.seen.subjects.iter().any(|it| it.0 == *tenant && it.1 == key.subject));
        if stale || taken {
            return Some(Outcome::Conflict);
        }
        self.accept(unit, name);
        None
    }

    fn accept(&mut self, unit: &Unit, name: RequestName) {
        let tenant = &unit.meta.tenant;
        for event in &unit.events {
            let position = self.head.position + 1;
            let chain = next_chain(&self.head.chain, position, &event.digest);
            self.head = Head { position, chain };
            let (envelope, hop) = (event.bytes.clone(), String::new());
            self.events.push(Stored { position, chain, envelope, hop });
            let stream = (tenant.clone(), event.envelope.stream.clone());
            self.seen.versions.insert(stream, event.envelope.version);
        }
        self.seen
            .subjects
            .extend(unit.new_keys.iter().map(|it| (tenant.clone(), it.subject.clone())));
        if let Some(fired) = unit.fires() {
            self.seen.timers.retain(|it| it != fired);
        }
        if let Some(moved) = unit.moves() {
            let place = (moved.consumer.clone(), moved.source.clone());
            self.seen.checkpoints.insert(place, moved.to.position);
        }
        let (stream, version) = unit.replies.clone();
        let position = self.head.position;
        self.ends.push(position);
        self.digests.insert(name.clone(), unit.meta.request_digest.clone());
        self.accepted.insert(name, Outcome::Repeated { stream, version, position });
    }
}

/// Reads a remembered outcome: digest, stream, version and position from a column on.
pub(crate) fn repeat_of(row: &Row, column: usize, digest: &[u8]) -> Result<Outcome, Error> {
    let kept = row.blob(column)?;
    // A request imported without its digest repeats whatever its body.
    if !kept.is_empty() && kept != digest {
        return Ok(Outcome::RequestReused);
    }
    Ok(Outcome::Repeated {
        stream: row.text(column + 1)?.to_owned(),
        version: row.count(column + 2)?,
        position: row.count(column + 3)?,
    })
}

/// Writes the accepted units: keys, events, request ids, views, timers, checkpoints.
async fn write(
    store: &Arc<Inner>,
    tx: &mut Tx,
    events: &[Stored],
    units: &[&Unit],
    ends: &[u64],
) -> Result<(), Error> {
    let mut new_keys = Vec::new();
    for unit in units {
        new_keys.extend(unit.new_keys.iter().map(|it| it.row(&unit.meta.tenant)));
    }
    keys::store_new(tx, new_keys).await?;

    let mut places = events.iter();
    let (mut rows, mut requests, mut recorded) = (Vec::new(), Vec::new(), Vec::new());
    let now = Timestamp::real();
    for (unit, end) in units.iter().zip(ends) {
        for (event, Stored { position, chain, .. }) in unit.events.iter().zip(places.by_ref()) {
            let head = Head { position: *position, chain: *chain };
            rows.push(event_row(head, &event.envelope, unit.meta.at, &event.bytes));
            recorded.push(event.recorded(*position, *chain));
        }
        requests.push(request_row(unit, *end, now));
    }
    insert_events(tx, rows).await?;
    insert_requests(tx, requests).await?;
    apply_views(store, tx, &recorded).await?;

    let fired: Vec<_> = units.iter().filter_map(|it| it.fires()).collect();
    let operations = timer_operations(store, &recorded)?;
    timers::apply(tx, &fired, &operations).await?;

    // Each was compared with the one before it; where the last one goes is where it stands.
    let mut moves = BTreeMap::new();
    for it in units.iter().filter_map(|it| it.moves()) {
        moves.insert((&it.consumer, &it.source), it.to);
    }
    for ((consumer, source), to) in moves {
        let row = values![consumer, source, to.position, to.chain];
        crate::consumer::move_checkpoint(tx, row).await?;
    }
    Ok(())
}

pub(crate) fn event_row(
    head: Head,
    envelope: &rapport_proto::types::Envelope,
    recorded_at: Timestamp,
    bytes: &[u8],
) -> Vec<Value> {
    values![
        head.position,
        &envelope.tenant,
        &envelope.stream,
        envelope.version,
        &envelope.party_id,
        recorded_at,
        head.chain,
        bytes
    ]
}

fn request_row(unit: &Unit, position: u64, now: Timestamp) -> Vec<Value> {
    let (tenant, caller, method, id) = request_name(unit);
    let (stream, version) = unit.replies.clone();
    let digest = unit.meta.request_digest.clone();
    values![tenant, caller, method, id, digest, stream, version, position, now]
}

pub(crate) async fn insert_events(tx: &mut Tx, rows: Vec<Vec<Value>>) -> Result<(), Error> {
    tx.insert_many(
        "INSERT INTO event
             (position, tenant, stream, version, party_id, recorded_at, chain, envelope)",
        rows,
        "",
    )
    .await
    .map(drop)
}

pub(crate) async fn insert_requests(tx: &mut Tx, rows: Vec<Vec<Value>>) -> Result<(), Error> {
    tx.insert_many(
        "INSERT INTO request
             (tenant, caller, method, request_id, digest, stream, version, position, recorded_at)",
        rows,
        "ON CONFLICT DO NOTHING",
    )
    .await
    .map(drop)
}

pub(crate) async fn apply_views(
    store: &Inner,
    tx: &mut Tx,
    events: &[crate::Recorded],
) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    for view in &store.schema.views {
        view.apply(tx, events).await?;
    }
    Ok(())
}

pub(crate) fn timer_operations(
    store: &Inner,
    events: &[crate::Recorded],
) -> Result<Vec<(String, TimerOp)>, Error> {
    let mut operations = Vec::new();
    for event in events {
        // Without its unit, an imported firing is known by its request id.
        let envelope = &event.envelope;
        if envelope.unit_index == 0 && envelope.method == timers::TIMER_METHOD {
            let fired = TimerKey::parse(&envelope.tenant, &envelope.request_id);
            operations.extend(fired.map(|it| (it.tenant, TimerOp::Cancel { id: it.id })));
        }
        for view in &store.schema.views {
            let tenant = &event.envelope.tenant;
            operations.extend(view.timers(event)?.into_iter().map(|it| (tenant.clone(), it)));
        }
    }
    Ok(operations)
}
