//! A service's own store: open, read, load, execute.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use crate::codec;
use crate::commit::{self, Outcome, Pending};
use crate::consumer::Reached;
use crate::decider::Decider;
use crate::error::Error;
use crate::event::{Hash, Head, Metadata, Recorded, Stored};
use crate::ids::Ids;
use crate::keys::{KeyState, Keyring};
use crate::loads::{self, Wanted};
use crate::log::{Log, Recent};
use crate::metrics;
use crate::reconcile;
use crate::secret::{self, KeyManagement, Secret};
use crate::sql::{Database, DatabaseOptions, Row};
use crate::time::{Clock, Timestamp};
use crate::timers::{self, Timer};
use crate::together::Together;
use crate::trace;
use crate::unit::{Unit, UnitBuilder, UnitError};
use crate::values;
use crate::view::{Schema, View};

/// How units are gathered into one transaction.
#[derive(Clone, Copy, Debug)]
pub struct CommitOptions {
    /// Units in a transaction, at most.
    pub max_units: usize,
    /// Bytes of envelopes in a transaction, at most.
    pub max_bytes: usize,
    /// How long a unit may wait for others that are on their way.
    pub wait: Duration,
    /// How long a transaction is tried again after transient failures before its units are refused.
    pub patience: Duration,
}

impl Default for CommitOptions {
    fn default() -> Self {
        Self {
            max_units: 256,
            max_bytes: 8 * 1024 * 1024,
            wait: Duration::from_millis(1),
            patience: Duration::from_secs(3),
        }
    }
}

/// What a store is opened with.
pub struct StoreOptions {
    /// The service that owns it; the source of its events.
    pub source: String,
    /// Its database.
    pub database: DatabaseOptions,
    /// Whether pending migrations are applied; otherwise they are a reason not to start.
    pub migrate: bool,
    /// How units are gathered.
    pub commit: CommitOptions,
    /// What opens the store's secret; without, everything sealed stays so, and nobody can be given a key.
    pub kms: Option<Arc<dyn KeyManagement>>,
    /// The domain clock.
    pub clock: Clock,
    /// Where event ids come from.
    pub ids: Ids,
    /// The shared log.
    pub log: Log,
}

/// A service's own store. Cheap to clone.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) source: String,
    pub(crate) database: Database,
    pub(crate) keys: Keyring,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) schema: Schema,
    pub(crate) log: Log,
    pub(crate) commit: CommitOptions,
    pub(crate) head: watch::Sender<Head>,
    pub(crate) healthy: watch::Sender<bool>,
    /// Commands between their load and their unit: the committer waits a moment for them.
    pub(crate) approaching: AtomicUsize,
    /// Timers whose handlers were called, and those of them that returned.
    pub(crate) firings: [AtomicU64; 2],
    /// How far its consumers came.
    pub(crate) reached: Reached,
    /// What the readers of this process read last.
    pub(crate) recent: Recent,
    queue: mpsc::Sender<Pending>,
    loads: Together<Wanted, Vec<Stored>>,
    pub(crate) tasks: TaskTracker,
}

/// So many streams are read together with what others want; more are read on their own.
const FEW: usize = 8;
/// Bytes of envelopes after which a page ends.
const PAGE_BYTES: i64 = 4 * 1024 * 1024;
/// How often a command is decided again after a version conflict.
const ATTEMPTS: usize = 10;
/// Units that may wait for the committer.
const QUEUE: usize = 4_096;
/// How long an idempotent command is remembered.
const REMEMBERED: Duration = Duration::from_secs(72 * 3_600);

/// What became of a command.
#[derive(Clone, Debug)]
pub struct Executed<S> {
    /// State of the stream after the command.
    pub state: S,
    /// Version of the stream after the command.
    pub version: u64,
    /// Log position at which it holds.
    pub position: u64,
    /// When the first event of the stream was recorded.
    pub created_at: Timestamp,
    /// When the last event of the stream was recorded.
    pub updated_at: Timestamp,
    /// Whether it is the remembered outcome of an earlier request.
    pub repeated: bool,
}

/// Why a command had no effect.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R: std::error::Error + 'static> {
    /// The decider refused.
    #[error(transparent)]
    Refused(R),
    /// The stream is not at the version the caller insisted on.
    #[error("the stream is at version {actual}")]
    WrongVersion {
        /// Its version.
        actual: u64,
    },
    /// A view found something taken under the head lock.
    #[error("{0}")]
    Taken(String),
    /// The request id was used for another request.
    #[error("the request id was used for another request")]
    RequestReused,
    /// Others kept winning.
    #[error("the stream kept changing")]
    Conflict,
    /// The timer or checkpoint this command belongs to is gone: somebody else did it.
    #[error("the work was done by another replica")]
    Superseded,
    /// The command is too large.
    #[error(transparent)]
    Unit(UnitError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl<R: std::error::Error + 'static> From<UnitError> for ExecuteError<R> {
    fn from(error: UnitError) -> Self {
        match error {
            UnitError::Store(it) => Self::Store(it),
            other => Self::Unit(other),
        }
    }
}

/// A stream, folded.
#[derive(Clone, Debug)]
pub struct Loaded<S> {
    /// What its facts add up to.
    pub state: S,
    /// Its version; 0 when it is empty.
    pub version: u64,
    /// When its first event was recorded.
    pub created_at: Timestamp,
    /// When its last event was recorded.
    pub updated_at: Timestamp,
}

/// Up to where to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Everything there is.
    Now,
    /// Up to and including a position.
    Position(u64),
    /// Everything recorded at or before an instant.
    Time(Timestamp),
    /// Up to and including a version of the stream.
    Version(u64),
}

impl Store {
    /// Opens the store: connects, migrates, compares its end with the log's, and starts its committer.
    pub async fn open(options: StoreOptions, mut schema: Schema) -> Result<Self, Error> {
        let database = Database::open(&options.database).await?;
        schema.migrations.splice(..0, crate::migrate::OWN);
        crate::migrate::run(&database, &schema.migrations, options.migrate).await?;
        metrics::SCHEMA_VERSION.set_count(schema.migrations.len() as u64, [&options.source]);
        let secret = match &options.kms {
            Some(kms) => {
                // A command that may not make what is missing has no say in which key wraps, either.
                let looks = !options.database.create;
                secret::open(&database, &options.source, &**kms, looks).await?
            }
            None => Secret::new(Ids::system().bytes()),
        };
        let keys = Keyring::new(database.clone(), options.ids.clone(), &secret);
        for view in &schema.views {
            view.opened(&keys);
        }
        let (queue, waiting) = mpsc::channel(QUEUE);
        let loads = loads::of(&database);
        let store = Self(Arc::new(Inner {
            source: options.source,
            database,
            keys,
            clock: options.clock,
            ids: options.ids,
            schema,
            log: options.log,
            commit: options.commit,
            head: watch::channel(Head::default()).0,
            healthy: watch::channel(true).0,
            approaching: AtomicUsize::new(0),
            firings: Default::default(),
            reached: Reached::default(),
            recent: Recent::default(),
            queue,
            loads,
            tasks: TaskTracker::new(),
        }));
        store.0.log.register(&store);
        let head = reconcile::compare(&store).await?;
        store.0.head.send_replace(head);
        let health = store.health();
        store.0.tasks.spawn(commit::run(Arc::downgrade(&store.0), waiting, health));
        Ok(store)
    }

    /// The service that owns the store.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Its database, for views' queries and consumers' transactions.
    pub fn database(&self) -> &Database {
        &self.0.database
    }

    /// Its keys.
    pub fn keys(&self) -> &Keyring {
        &self.0.keys
    }

    /// The domain clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The shared log.
    pub fn log(&self) -> &Log {
        &self.0.log
    }

    /// Its views.
    pub fn views(&self) -> &[Box<dyn View>] {
        &self.0.schema.views
    }

    /// Runs one reading statement.
    pub async fn query(
        &self,
        sql: &'static str,
        args: Vec<crate::Value>,
    ) -> Result<Vec<Row>, Error> {
        let rows = self.0.database.query(sql, args).await;
        // A read that works does not show that a write would.
        if matches!(&rows, Err(it) if it.is_transient()) {
            self.0.note_health(&rows);
        }
        rows
    }

    /// The end of the store, as this process last saw it. It may lag behind other replicas.
    pub fn head(&self) -> Head {
        *self.0.head.borrow()
    }

    /// Follows the end of the store.
    pub fn watch(&self) -> watch::Receiver<Head> {
        self.0.head.subscribe()
    }

    /// Follows whether the database can be used.
    pub fn health(&self) -> watch::Receiver<bool> {
        self.0.healthy.subscribe()
    }

    /// Reads the end of the store from the database.
    pub async fn read_head(&self) -> Result<Head, Error> {
        let rows = self.query("SELECT position, chain FROM head WHERE one = 1", vec![]).await?;
        let row = rows.first().ok_or_else(|| Error::corrupt("the head row is missing"))?;
        let head = Head { position: row.count(0)?, chain: row.hash(1)? };
        self.0.advance(head);
        Ok(head)
    }

    /// Looks whether the database is there, and shows what an operator asks about the store.
    pub async fn measure(&self) -> Result<(), Error> {
        let rows = self.query("SELECT position, chain, fenced FROM head WHERE one = 1", vec![]);
        let rows = rows.await?;
        let row = rows.first().ok_or_else(|| Error::corrupt("the head row is missing"))?;
        let head = Head { position: row.count(0)?, chain: row.hash(1)? };
        self.0.advance(head);
        metrics::measured(self, head, !row.text(2)?.is_empty());
        Ok(())
    }

    /// Reads events after a position, oldest first: at most `limit` of them, and none after the one that
    /// fills 4 MiB.
    pub async fn read(&self, after: u64, limit: usize) -> Result<Vec<Stored>, Error> {
        let rows = self
            .query(
                "SELECT position, chain, envelope FROM (
                     SELECT position, chain, envelope,
                         SUM(length(envelope)) OVER (ORDER BY position) - length(envelope) AS ahead
                     FROM (SELECT position, chain, envelope FROM event
                         WHERE position > $1 ORDER BY position LIMIT $2) page
                 ) sized
                 WHERE ahead < $3 ORDER BY position",
                values![after, limit as u64, PAGE_BYTES],
            )
            .await?;
        rows.iter().map(stored).collect()
    }

    /// Reads the events of one party after a position, oldest first.
    pub async fn read_party(
        &self,
        tenant: &str,
        party_id: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Recorded>, Error> {
        let rows = self
            .query(
                "SELECT position, chain, envelope FROM event
                 WHERE tenant = $1 AND party_id = $2 AND party_id <> '' AND position > $3
                 ORDER BY position LIMIT $4",
                values![tenant, party_id, after, limit as u64],
            )
            .await?;
        self.recorded(rows.iter().map(stored).collect::<Result<_, _>>()?).await
    }

    /// Reads the events of one stream up to an instant.
    pub async fn read_stream(
        &self,
        tenant: &str,
        stream: &str,
        as_of: AsOf,
    ) -> Result<Vec<Recorded>, Error> {
        let (mut version, mut position, mut time) = (u64::MAX, u64::MAX, Timestamp::MAX);
        match as_of {
            AsOf::Now => {}
            AsOf::Position(it) => position = it,
            AsOf::Time(it) => time = it,
            AsOf::Version(it) => version = it,
        }
        let rows = self
            .query(
                "SELECT position, chain, envelope FROM event
                 WHERE tenant = $1 AND stream = $2 AND version <= $3 AND position <= $4
                     AND recorded_at <= $5
                 ORDER BY version",
                values![tenant, stream, version, position, time],
            )
            .await?;
        self.recorded(rows.iter().map(stored).collect::<Result<_, _>>()?).await
    }

    /// Decodes stored events, lifts old shapes and finds their keys. Those of other sources have none here: each
    /// service seals with keys of its own.
    pub async fn recorded(&self, events: Vec<Stored>) -> Result<Vec<Recorded>, Error> {
        let mut recorded = events
            .iter()
            .map(|it| codec::recorded(it, KeyState::Absent))
            .collect::<Result<Vec<_>, _>>()?;
        let is_sealed = |it: &&Recorded| {
            !it.envelope.subject_key_id.is_empty() && it.envelope.source == self.0.source
        };
        let sealed: Vec<_> = recorded
            .iter()
            .filter(is_sealed)
            .map(|it| (it.envelope.tenant.as_str(), it.envelope.subject_key_id.as_str()))
            .collect();
        if sealed.is_empty() {
            return Ok(recorded);
        }
        let keys = self.0.keys.open(sealed).await?;
        for event in recorded.iter_mut().filter(|it| is_sealed(&&**it)) {
            let name = (event.envelope.tenant.clone(), event.envelope.subject_key_id.clone());
            event.key = keys.get(&name).cloned().unwrap_or_default();
        }
        Ok(recorded)
    }

    /// Loads and folds a stream.
    pub async fn load<D: Decider>(
        &self,
        tenant: &str,
        id: &str,
        as_of: AsOf,
    ) -> Result<Loaded<D::State>, Error> {
        let stream = format!("{}/{id}", D::AGGREGATE);
        let events = match as_of {
            AsOf::Now => self.read_now(tenant, stream).await?,
            _ => self.read_stream(tenant, &stream, as_of).await?,
        };
        fold_recorded::<D>(&events)
    }

    /// Reads a stream together with those that others want at the same time.
    async fn read_now(&self, tenant: &str, stream: String) -> Result<Vec<Recorded>, Error> {
        let events = self.0.loads.read((tenant.to_owned(), stream)).await?;
        self.recorded(events).await
    }

    /// Loads and folds several streams of one aggregate at once, in the order of `ids`.
    pub async fn load_many<D: Decider>(
        &self,
        tenant: &str,
        ids: &[String],
    ) -> Result<Vec<Loaded<D::State>>, Error> {
        self.load_many_until::<D>(tenant, ids, u64::MAX).await
    }

    /// Like [`Store::load_many`], up to and including a position.
    pub async fn load_many_until<D: Decider>(
        &self,
        tenant: &str,
        ids: &[String],
        position: u64,
    ) -> Result<Vec<Loaded<D::State>>, Error> {
        let streams: Vec<_> = ids.iter().map(|id| format!("{}/{id}", D::AGGREGATE)).collect();
        if position == u64::MAX && ids.len() <= FEW {
            let reads = streams.into_iter().map(|stream| self.read_now(tenant, stream));
            let found = futures::future::try_join_all(reads).await?;
            return found.iter().map(|events| fold_recorded::<D>(events)).collect();
        }
        let keys: Vec<_> = streams.iter().map(|it| values![tenant, it, position]).collect();
        let rows = self
            .0
            .database
            .query_keys(
                "k(tenant, stream, until)",
                &keys,
                "SELECT e.position, e.chain, e.envelope FROM k
                 JOIN event e ON e.tenant = k.tenant AND e.stream = k.stream
                     AND e.position <= k.until",
            )
            .await?;
        let mut found = self.recorded(rows.iter().map(stored).collect::<Result<_, _>>()?).await?;
        found.sort_by_key(|it| it.position);
        let mut by_stream: HashMap<String, Vec<Recorded>> = HashMap::new();
        for event in found {
            by_stream.entry(event.envelope.stream.clone()).or_default().push(event);
        }
        streams
            .iter()
            .map(|stream| fold_recorded::<D>(by_stream.get(stream).map_or(&[][..], Vec::as_slice)))
            .collect()
    }

    /// Starts a unit of several streams.
    pub fn unit(&self, meta: Metadata) -> UnitBuilder {
        UnitBuilder::new(&self.0.source, meta, self.0.ids.clone(), self.0.keys.clone())
    }

    /// Commits a unit. A unit with a request id that was committed before is answered, not repeated.
    pub async fn append(&self, unit: Unit) -> Outcome {
        let start = Instant::now();
        let span = trace::database_span(self, &unit);
        let (reply, answer) = oneshot::channel();
        let kinds = metrics::kinds(&unit);
        let outcome = if self.0.queue.send(Pending { unit, reply }).await.is_err() {
            Outcome::Failed(Error::unavailable("the store is closed"))
        } else {
            answer
                .await
                .unwrap_or_else(|_| Outcome::Failed(Error::unavailable("the store is closed")))
        };
        metrics::appended(&self.0.source, kinds, start.elapsed(), &outcome);
        span.finish(&outcome);
        outcome
    }

    /// Loads, decides and commits, again after a version conflict.
    pub async fn execute<D: Decider>(
        &self,
        id: &str,
        meta: &Metadata,
        command: D::Command,
    ) -> Result<Executed<D::State>, ExecuteError<D::Refusal>> {
        self.execute_at::<D>(id, meta, None, command).await
    }

    /// Like [`Store::execute`], for a caller who insists on the version it read.
    pub async fn execute_at<D: Decider>(
        &self,
        id: &str,
        meta: &Metadata,
        expected: Option<u64>,
        command: D::Command,
    ) -> Result<Executed<D::State>, ExecuteError<D::Refusal>> {
        for _ in 0..ATTEMPTS {
            let approach = Approach::new(&self.0);
            let loaded = self.load::<D>(&meta.tenant, id, AsOf::Now).await?;
            let decided = D::decide(&loaded.state, command.clone(), meta.at);
            let stale = expected.filter(|it| *it != loaded.version);
            let events = match decided {
                Ok(events) if stale.is_none() => events,
                refused => {
                    // The first run of the same request may have made the second impossible.
                    if let Some(executed) = self.remembered::<D>(id, meta).await? {
                        return executed;
                    }
                    return Err(match refused {
                        Err(refusal) if stale.is_none() => ExecuteError::Refused(refusal),
                        _ => ExecuteError::WrongVersion { actual: loaded.version },
                    });
                }
            };
            let version = loaded.version + events.len() as u64;
            let mut unit = self.unit(meta.clone());
            unit.push::<D>(id, loaded.version, &loaded.state, events.clone()).await?;
            let unit = unit.finish()?;
            drop(approach);
            match self.append(unit).await {
                Outcome::Committed { position } => {
                    let created_at = if loaded.version == 0 { meta.at } else { loaded.created_at };
                    let updated_at = if events.is_empty() { loaded.updated_at } else { meta.at };
                    let state = events.iter().fold(loaded.state, D::evolve);
                    let repeated = false;
                    return Ok(Executed {
                        state,
                        version,
                        position,
                        created_at,
                        updated_at,
                        repeated,
                    });
                }
                Outcome::Repeated { version, position, .. } => {
                    return self.replay::<D>(id, meta, version, position).await;
                }
                Outcome::Conflict => {
                    metrics::CONFLICTS.add(1, [&self.0.source, D::AGGREGATE, "retried"]);
                }
                Outcome::RequestReused => return Err(ExecuteError::RequestReused),
                Outcome::Superseded => return Err(ExecuteError::Superseded),
                Outcome::Refused(reason) => return Err(ExecuteError::Taken(reason)),
                Outcome::Failed(error) => return Err(ExecuteError::Store(error)),
            }
        }
        metrics::CONFLICTS.add(1, [&self.0.source, D::AGGREGATE, "surfaced"]);
        Err(ExecuteError::Conflict)
    }

    /// The remembered outcome of a request, if it was made before.
    pub async fn find_request(&self, meta: &Metadata) -> Result<Option<Outcome>, Error> {
        let rows = self
            .query(
                "SELECT digest, stream, version, position FROM request
                 WHERE tenant = $1 AND caller = $2 AND method = $3 AND request_id = $4",
                values![&meta.tenant, &meta.actor.subject, &meta.method, &meta.request_id],
            )
            .await?;
        rows.first().map(|row| commit::repeat_of(row, 0, &meta.request_digest)).transpose()
    }

    async fn remembered<D: Decider>(
        &self,
        id: &str,
        meta: &Metadata,
    ) -> Result<Option<Result<Executed<D::State>, ExecuteError<D::Refusal>>>, Error> {
        Ok(match self.find_request(meta).await? {
            Some(Outcome::Repeated { version, position, .. }) => {
                Some(self.replay::<D>(id, meta, version, position).await)
            }
            Some(_) => Some(Err(ExecuteError::RequestReused)),
            None => None,
        })
    }

    async fn replay<D: Decider>(
        &self,
        id: &str,
        meta: &Metadata,
        version: u64,
        position: u64,
    ) -> Result<Executed<D::State>, ExecuteError<D::Refusal>> {
        metrics::IDEMPOTENCY_HITS.add(1, [&meta.method]);
        let loaded = self.load::<D>(&meta.tenant, id, AsOf::Version(version)).await?;
        let Loaded { state, created_at, updated_at, .. } = loaded;
        Ok(Executed { state, version, position, created_at, updated_at, repeated: true })
    }

    /// Waits until this replica has seen a position of its own source; `false` when time ran out.
    pub async fn wait_for(&self, position: u64, patience: Duration) -> Result<bool, Error> {
        if self.head().position >= position || self.read_head().await?.position >= position {
            return Ok(true);
        }
        let mut head = self.watch();
        let reached = head.wait_for(|it| it.position >= position);
        Ok(tokio::time::timeout(patience, reached).await.is_ok_and(|it| it.is_ok()))
    }

    /// Claims timers that are due, earliest first.
    pub async fn claim_due(&self, limit: u32) -> Result<Vec<Timer>, Error> {
        let claimed = timers::claim(&self.0.database, self.0.clock.now(), limit.into()).await?;
        Ok(claimed.into_iter().map(|it| it.timer).collect())
    }

    /// The earliest instant at which a timer is due. Parked ones are due when a person says so.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, Error> {
        timers::next_due(&self.0.database).await
    }

    /// How many handlers of timers this replica has called, and how many of them have returned. A handler may go on
    /// after the commit that spends its timer.
    pub fn firings(&self) -> (u64, u64) {
        let [called, returned] = &self.0.firings;
        let returned = returned.load(Ordering::SeqCst);
        (called.load(Ordering::SeqCst), returned)
    }

    /// Forgets requests older than 72 hours; returns how many.
    pub async fn forget_requests(&self) -> Result<u64, Error> {
        let before = Timestamp::real().minus(REMEMBERED);
        self.0.database.exec("DELETE FROM request WHERE recorded_at < $1", values![before]).await
    }

    /// Compares the end of the store with the log's, and imports what the store lost.
    pub async fn compare_with_log(&self) -> Result<Head, Error> {
        reconcile::compare(self).await
    }

    /// Closes the database. What still waits for the committer is refused as unavailable, so let calls and
    /// background work end first.
    pub async fn close(&self) {
        self.0.log.forget(&self.0.source);
        self.0.database.close().await;
    }
}

impl Inner {
    /// Shows a later end of the store to those who follow it.
    pub(crate) fn advance(&self, head: Head) {
        self.head.send_if_modified(|it| {
            let later = head.position > it.position;
            if later {
                *it = head;
            }
            later
        });
    }

    pub(crate) fn note_health<T>(&self, result: &Result<T, Error>) {
        let healthy =
            !matches!(result, Err(it) if it.is_transient() || matches!(it, Error::Fenced(_)));
        self.healthy.send_if_modified(|it| std::mem::replace(it, healthy) != healthy);
    }
}

/// Counts a command as on its way to the committer while it lives.
pub(crate) struct Approach<'a>(&'a Inner);

impl<'a> Approach<'a> {
    pub(crate) fn new(store: &'a Inner) -> Self {
        store.approaching.fetch_add(1, Ordering::Relaxed);
        Self(store)
    }
}

impl Drop for Approach<'_> {
    fn drop(&mut self) {
        self.0.approaching.fetch_sub(1, Ordering::Relaxed);
    }
}

fn fold_recorded<D: Decider>(events: &[Recorded]) -> Result<Loaded<D::State>, Error> {
    let mut state = D::State::default();
    for event in events {
        let decoded = event.decode::<D::Event>()?.ok_or_else(|| {
            let (what, stream) = (&event.envelope.r#type, &event.envelope.stream);
            Error::corrupt(format!("{what} is no fact of {stream}"))
        })?;
        state = D::evolve(state, &decoded);
    }
    Ok(Loaded {
        state,
        version: events.last().map_or(0, |it| it.envelope.version),
        created_at: events.first().map(Recorded::recorded_at).unwrap_or_default(),
        updated_at: events.last().map(Recorded::recorded_at).unwrap_or_default(),
    })
}

pub(crate) fn stored(row: &Row) -> Result<Stored, Error> {
    let chain: Hash = row.hash(1)?;
    Ok(Stored {
        position: row.count(0)?,
        chain,
        envelope: row.blob(2)?.to_vec().into(),
        hop: String::new(),
    })
}
