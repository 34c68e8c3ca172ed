//! Consumers: read a source whole, after their own checkpoint, once in effect.
//!
//! A **view consumer** writes its tables and its checkpoint in one transaction and may be rebuilt. A
//! **reactor** appends: its checkpoint moves inside the unit it gives to the committer, its request ids
//! are derived, it is never rebuilt. Position ≤ checkpoint is skipped; a gap or a broken chain is healed
//! from the producer and counted; an event that cannot be handled parks its *stream*, in order, and
//! everything else goes on.

mod parking;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::commit::Outcome;
use crate::error::Error;
use crate::event::{CheckpointMove, Head, Metadata, Recorded, Stored};
use crate::failpoint;
use crate::log::{Batch, Reader};
use crate::metrics;
use crate::sql::{Row, Tx, Value};
use crate::store::Store;
use crate::time::Timestamp;
use crate::trace;
use crate::unit::Unit;
use crate::values;
use crate::view::View;

/// Events in one transaction of a consumer.
const BATCH: usize = 512;
/// Parked streams at which a consumer stops.
const MAX_STREAMS: u64 = 1_000;
/// Parked events at which a consumer stops.
const MAX_EVENTS: u64 = 100_000;
/// How often a deterministic failure is tried before its stream is parked.
const TRIES: usize = 3;
/// Why an event is parked that follows a broken one.
const QUEUED: &str = "queued behind an earlier event of its stream";
/// How often the lag is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Pauses between two starts; they double while the checkpoint does not move.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub use parking::{Parked, list_parked, retry_parked};

/// Turns another service's events into own ones.
pub trait Reactor: Send + Sync + 'static {
    /// The unit an event leads to, or none. `meta` carries the derived request id and must be used.
    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>>;
}

/// What a consumer does with events.
#[derive(Clone)]
pub enum Handler {
    /// Writes tables; may be rebuilt.
    View(Arc<dyn View>),
    /// Appends; never rebuilt.
    Reactor(Arc<dyn Reactor>),
}

/// A consumer: a name, the sources it reads, and a handler.
#[derive(Clone)]
pub struct Consumer {
    /// Name, unique in its service, for example `kpis.rollup`.
    pub name: String,
    /// Sources it reads.
    pub sources: Vec<String>,
    /// What it does.
    pub handler: Handler,
}

/// Reads a source from its producer: how gaps are healed.
pub trait SourceReader: Send + Sync + 'static {
    /// Reads events after a position, oldest first.
    fn read<'a>(
        &'a self,
        source: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Stored>, Error>>;
}

/// Runs a consumer on one source until told to stop.
pub async fn run(
    store: Store,
    consumer: Consumer,
    source: String,
    producer: Arc<dyn SourceReader>,
    stop: CancellationToken,
) {
    let mut pause = SHORTEST_PAUSE;
    while !stop.is_cancelled() {
        let mut moved = false;
        let result = match Runner::start(&store, &consumer, &source, &*producer).await {
            Ok(mut runner) => {
                let from = runner.checkpoint.position;
                let result = runner.run(&stop).await;
                moved = runner.checkpoint.position > from;
                result
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            tracing::warn!(
                consumer = consumer.name,
                source,
                error = error.chain(),
                "consumer starts over"
            );
        }
        pause = if moved { SHORTEST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Tenant and stream of an event.
type StreamName = (String, String);

/// Streams found broken while a batch is applied: the event that cannot be, and why.
type Broken = HashMap<StreamName, (u64, String)>;

fn stream_name(event: &Recorded) -> StreamName {
    (event.envelope.tenant.clone(), event.envelope.stream.clone())
}

struct Runner<'a> {
    store: &'a Store,
    consumer: &'a Consumer,
    source: &'a str,
    producer: &'a dyn SourceReader,
    reader: Reader,
    checkpoint: Head,
    /// When the event at the checkpoint was recorded.
    applied_at: Timestamp,
    /// When the lag was last looked at.
    looked_at: Instant,
    /// Events read that do not yet end a unit.
    pending: Vec<Stored>,
}

impl<'a> Runner<'a> {
    async fn start(
        store: &'a Store,
        consumer: &'a Consumer,
        source: &'a str,
        producer: &'a dyn SourceReader,
    ) -> Result<Self, Error> {
        let checkpoint = read_checkpoint(store, &consumer.name, source).await?;
        let reader = store.log().reader(source, checkpoint.position).await?;
        let mut runner = Self {
            store,
            consumer,
            source,
            producer,
            reader,
            checkpoint,
            applied_at: store.clock().now(),
            looked_at: Instant::now(),
            pending: Vec::new(),
        };
        runner.count_parked().await?;
        Ok(runner)
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        loop {
            let read = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                read = self.reader.next(BATCH, Duration::from_millis(500)) => read?,
            };
            match read {
                Batch::Idle => {}
                Batch::Events(events) => self.take(events).await?,
                Batch::Stalled { last } => self.heal(last).await?,
            }
            self.handle().await?;
            if self.looked_at.elapsed() > LOOK {
                self.looked_at = Instant::now();
                self.report_lag().await?;
            }
        }
    }

    /// Tells how far behind the consumer is: also when nothing moves, which is when it matters.
    async fn report_lag(&mut self) -> Result<(), Error> {
        let last = match self.store.log().store(self.source) {
            Some(producer) => producer.head().position,
            None => self.store.log().tail(self.source).await?.map_or(0, |it| it.last),
        };
        let lag = last.saturating_sub(self.checkpoint.position);
        let behind = self.store.clock().now().since(self.applied_at);
        let age = if lag == 0 { Duration::ZERO } else { behind };
        metrics::consumer_lag(&self.consumer.name, self.source, lag, age);
        Ok(())
    }

    /// Counts what is parked, and stops the consumer when it is too much.
    async fn count_parked(&mut self) -> Result<(), Error> {
        let (streams, events) =
            parking::count(self.store, &self.consumer.name, self.source).await?;
        metrics::dead_letters(&self.consumer.name, self.source, events);
        if streams > MAX_STREAMS || events > MAX_EVENTS {
            let what = format!("{} parked too much and stopped", self.consumer.name);
            return Err(Error::unavailable(what));
        }
        Ok(())
    }

    /// Where the next event must follow on.
    fn end(&self) -> Head {
        self.pending
            .last()
            .map_or(self.checkpoint, |it| Head { position: it.position, chain: it.chain })
    }

    /// Takes events in order; what does not follow is asked from the producer.
    async fn take(&mut self, events: Vec<Stored>) -> Result<(), Error> {
        for event in events {
            let end = self.end();
            if event.position <= end.position {
                continue;
            }
            if event.follows(end.position, &end.chain) {
                self.pending.push(event);
            } else {
                self.heal(event.position).await?;
            }
        }
        Ok(())
    }

    /// Reads from the producer up to a position. What it tells must follow the chain too.
    async fn heal(&mut self, to: u64) -> Result<(), Error> {
        while self.end().position < to {
            let end = self.end();
            let events = self.producer.read(self.source, end.position, BATCH).await?;
            if events.is_empty() {
                let what = format!("{} has nothing after {}", self.source, end.position);
                return Err(Error::unavailable(what));
            }
            metrics::healed(&self.consumer.name, self.source, events.len());
            tracing::warn!(
                consumer = self.consumer.name,
                source = self.source,
                from = end.position + 1,
                events = events.len(),
                "healed a gap from the producer"
            );
            for event in events {
                let end = self.end();
                if !event.follows(end.position, &end.chain) {
                    return Err(Error::corrupt(format!(
                        "{} at position {} does not follow the chain this consumer has read",
                        self.source, event.position
                    )));
                }
                self.pending.push(event);
            }
            // Page by page: a consumer may have a whole history to heal.
            self.handle().await?;
        }
        self.reader.skip_to(self.end().position);
        Ok(())
    }

    /// Handles what has been read up to the last end of a unit.
    async fn handle(&mut self) -> Result<(), Error> {
        let read = self.store.recorded(self.pending.clone()).await?;
        let whole = read.iter().rposition(ends_unit).map_or(0, |it| it + 1);
        let Some(last) = read.get(whole.wrapping_sub(1)) else { return Ok(()) };
        let to = Head { position: last.position, chain: last.chain };
        let spans: Vec<_> = read[..whole]
            .iter()
            .map(|it| trace::process_span(self.store.log().system(), &self.consumer.name, it))
            .collect();
        let applied_at = last.recorded_at();
        match self.consumer.handler.clone() {
            Handler::View(view) => self.apply(&*view, &read[..whole], to).await?,
            Handler::Reactor(reactor) => self.react(&*reactor, &read[..whole], to).await?,
        }
        spans.into_iter().for_each(|it| it.end(true));
        self.pending.drain(..whole);
        (self.checkpoint, self.applied_at) = (to, applied_at);
        metrics::consumed(&self.consumer.name, self.source, to.position);
        Ok(())
    }

    /// Applies a batch to a view; what cannot be applied is parked and the rest tried again.
    async fn apply(&mut self, view: &dyn View, events: &[Recorded], to: Head) -> Result<(), Error> {
        let mut broken = Broken::new();
        loop {
            match self.apply_once(view, events, &broken, to).await {
                Ok(parked) => {
                    failpoint::reach("consumer_after_commit").await;
                    return if parked { self.count_parked().await } else { Ok(()) };
                }
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    let poison = self.find_poison(view, events, &broken).await?;
                    let Some((event, reason)) = poison else { return Err(error) };
                    self.tell_parked(event, &reason);
                    broken.insert(stream_name(event), (event.position, reason));
                }
            }
        }
    }

    /// One transaction: the checkpoint moves, good events are applied, those of parked streams queue.
    /// The checkpoint's row is locked first, so that a retry of what is parked takes its turn.
    async fn apply_once(
        &mut self,
        view: &dyn View,
        events: &[Recorded],
        broken: &Broken,
        to: Head,
    ) -> Result<bool, Error> {
        let mut tx = self.store.database().begin().await?;
        self.move_to(&mut tx, to).await?;
        let (good, queued) = self.split(&mut tx, events, broken).await?;
        if !good.is_empty() {
            guarded(apply(view, &mut tx, &good)).await?;
        }
        for event in &queued {
            let why = broken.get(&stream_name(event)).filter(|it| it.0 == event.position);
            self.park(&mut tx, event, why.map_or(QUEUED, |it| &it.1)).await?;
        }
        failpoint::reach("consumer_before_commit").await;
        tx.commit().await?;
        Ok(!queued.is_empty())
    }

    /// Events to apply, and events whose stream is parked.
    async fn split(
        &mut self,
        tx: &mut Tx,
        events: &[Recorded],
        broken: &Broken,
    ) -> Result<(Vec<Recorded>, Vec<Recorded>), Error> {
        let parked = parking::streams(tx, &self.consumer.name, self.source).await?;
        Ok(events.iter().cloned().partition(|it| {
            let name = stream_name(it);
            !parked.contains(&name) && !broken.contains_key(&name)
        }))
    }

    /// Finds the first event that fails when events are applied one by one, and why.
    async fn find_poison<'b>(
        &mut self,
        view: &dyn View,
        events: &'b [Recorded],
        broken: &Broken,
    ) -> Result<Option<(&'b Recorded, String)>, Error> {
        for _ in 1..TRIES {
            let mut tx = self.store.database().begin().await?;
            let (good, _) = self.split(&mut tx, events, broken).await?;
            let mut failed = None;
            for event in &good {
                let one = std::slice::from_ref(event);
                if let Err(error) = guarded(apply(view, &mut tx, one)).await {
                    if error.is_transient() {
                        return Err(error);
                    }
                    failed = Some((event.position, error.chain()));
                    break;
                }
            }
            tx.rollback().await?;
            if let Some((position, reason)) = failed {
                let event = events.iter().find(|it| it.position == position);
                return Ok(event.map(|it| (it, reason)));
            }
        }
        Ok(None)
    }

    fn tell_parked(&self, event: &Recorded, reason: &str) {
        tracing::error!(
            consumer = self.consumer.name,
            source = self.source,
            position = event.position,
            event = event.envelope.r#type,
            error = reason,
            "parked a stream: `rapport parked list` shows it"
        );
    }

    async fn park(&mut self, tx: &mut Tx, event: &Recorded, reason: &str) -> Result<(), Error> {
        let stored = self.pending.iter().find(|it| it.position == event.position);
        let Some(stored) = stored else { return Ok(()) };
        parking::insert(tx, &self.consumer.name, self.source, event, stored, reason).await
    }

    /// Compare-and-set: zero rows mean that another owner is ahead.
    async fn move_to(&mut self, tx: &mut Tx, to: Head) -> Result<(), Error> {
        let moved = tx
            .exec(
                "UPDATE checkpoint SET position = $3, chain = $4
                 WHERE consumer = $1 AND source = $2 AND position = $5",
                values![
                    &self.consumer.name,
                    self.source,
                    to.position,
                    to.chain,
                    self.checkpoint.position
                ],
            )
            .await?;
        if moved == 1 { Ok(()) } else { Err(self.overtaken()) }
    }

    fn overtaken(&self) -> Error {
        Error::unavailable(format!("another replica of {} is ahead", self.consumer.name))
    }

    /// Gives the units of a batch to the committer. The checkpoint moves with each unit of the source.
    async fn react(
        &mut self,
        reactor: &dyn Reactor,
        events: &[Recorded],
        to: Head,
    ) -> Result<(), Error> {
        let mut tx = self.store.database().begin().await?;
        let mut parked = parking::streams(&mut tx, &self.consumer.name, self.source).await?;
        tx.rollback().await?;
        for event in events {
            if parked.contains(&stream_name(event)) {
                self.park_now(event, QUEUED).await?;
                continue;
            }
            match self.react_to(reactor, event).await {
                Ok(true) => self.checkpoint = end_of(event),
                Ok(false) => {}
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    self.tell_parked(event, &error.chain());
                    self.park_now(event, &error.chain()).await?;
                    parked.insert(stream_name(event));
                }
            }
        }
        if self.checkpoint != to {
            let mut tx = self.store.database().begin().await?;
            self.move_to(&mut tx, to).await?;
            failpoint::reach("consumer_before_commit").await;
            tx.commit().await?;
        }
        failpoint::reach("consumer_after_commit").await;
        Ok(())
    }

    /// Parks an event of a reactor at once: a later unit may move the checkpoint past it.
    async fn park_now(&mut self, event: &Recorded, reason: &str) -> Result<(), Error> {
        let mut tx = self.store.database().begin().await?;
        let moves = ends_unit(event);
        if moves {
            self.move_to(&mut tx, end_of(event)).await?;
        }
        self.park(&mut tx, event, reason).await?;
        tx.commit().await?;
        if moves {
            self.checkpoint = end_of(event);
        }
        self.count_parked().await
    }

    /// Handles one event; returns whether its unit moved the checkpoint.
    async fn react_to(&mut self, reactor: &dyn Reactor, event: &Recorded) -> Result<bool, Error> {
        let moves = ends_unit(event).then(|| CheckpointMove {
            consumer: self.consumer.name.clone(),
            source: self.source.to_owned(),
            from: self.checkpoint.position,
            to: end_of(event),
        });
        let moving = moves.is_some();
        let mut failure = Error::unavailable(format!("{} kept conflicting", self.consumer.name));
        for _ in 0..TRIES {
            let meta = reaction(&self.consumer.name, self.source, event, moves.clone(), self.store);
            match react_once(reactor, self.store, event, meta).await {
                Ok(Some(Outcome::Committed { .. })) => return Ok(moving),
                // Nothing to do, or done before and only the checkpoint was lost.
                Ok(None | Some(Outcome::Repeated { .. } | Outcome::RequestReused)) => {
                    return Ok(false);
                }
                Ok(Some(Outcome::Superseded)) => return Err(self.overtaken()),
                Ok(Some(Outcome::Conflict)) => {}
                Ok(Some(Outcome::Refused(reason))) => failure = Error::refused(reason),
                Ok(Some(Outcome::Failed(error))) | Err(error) if error.is_transient() => {
                    return Err(error);
                }
                Ok(Some(Outcome::Failed(error))) | Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// The reaction to an event, committed; `None` when there is nothing to do.
async fn react_once(
    reactor: &dyn Reactor,
    store: &Store,
    event: &Recorded,
    meta: Metadata,
) -> Result<Option<Outcome>, Error> {
    match guarded(reactor.react(store, event, meta)).await? {
        Some(unit) => Ok(Some(store.append(unit).await)),
        None => Ok(None),
    }
}

fn ends_unit(event: &Recorded) -> bool {
    event.envelope.unit_index + 1 == event.envelope.unit_size
}

fn end_of(event: &Recorded) -> Head {
    Head { position: event.position, chain: event.chain }
}

/// Metadata of what a reactor does about an event: the request id is `<consumer>/<source>/<position>`.
fn reaction(
    consumer: &str,
    source: &str,
    event: &Recorded,
    moves: Option<CheckpointMove>,
    store: &Store,
) -> Metadata {
    Metadata {
        tenant: event.envelope.tenant.clone(),
        actor: rapport_proto::types::Actor {
            subject: format!("service:{}", store.source()),
            kind: rapport_proto::types::actor::Kind::System.into(),
            ..Default::default()
        },
        method: format!("consumer/{consumer}"),
        request_id: format!("{consumer}/{source}/{}", event.position),
        correlation_id: event.envelope.correlation_id.clone(),
        causation_id: event.envelope.id.clone(),
        traceparent: event.envelope.traceparent.clone(),
        at: store.clock().now(),
        moves,
        ..Metadata::default()
    }
}

/// A panic in a handler is a deterministic failure of the event, not of the consumer.
async fn guarded<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    use futures::FutureExt as _;
    std::panic::AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(Error::corrupt("the handler panicked")))
}

/// Writes what a view makes of events, and the timers that follow from them.
async fn apply(view: &dyn View, tx: &mut Tx, events: &[Recorded]) -> Result<(), Error> {
    view.apply(tx, events).await?;
    let mut operations = Vec::new();
    for event in events {
        let stated = view.timers(event)?.into_iter();
        operations.extend(stated.map(|it| (event.envelope.tenant.clone(), it)));
    }
    if operations.is_empty() {
        return Ok(());
    }
    crate::timers::apply(tx, &[], &operations).await
}

/// The checkpoint of a consumer, made when there is none.
pub async fn read_checkpoint(store: &Store, consumer: &str, source: &str) -> Result<Head, Error> {
    const READ: &str = "SELECT position, chain FROM checkpoint WHERE consumer = $1 AND source = $2";
    let mut rows = store.query(READ, values![consumer, source]).await?;
    if rows.is_empty() {
        let origin = Head::default();
        store
            .database()
            .exec(
                "INSERT INTO checkpoint (consumer, source, position, chain)
                 VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                values![consumer, source, origin.position, origin.chain],
            )
            .await?;
        rows = store.query(READ, values![consumer, source]).await?;
    }
    let row = rows.first().ok_or_else(|| Error::corrupt("the checkpoint is missing"))?;
    Ok(Head { position: row.count(0)?, chain: row.hash(1)? })
}

/// Up to which position each consumer has handled each of its sources, in one read.
pub async fn handled(store: &Store) -> Result<BTreeMap<(String, String), u64>, Error> {
    let rows = store.query("SELECT consumer, source, position FROM checkpoint", vec![]).await?;
    let read = |row: &Row| Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), row.count(2)?));
    rows.iter().map(read).collect()
}

/// Moves a reactor's checkpoint inside a unit's transaction; the committer has compared it.
pub(crate) async fn move_checkpoint(tx: &mut Tx, row: Vec<Value>) -> Result<(), Error> {
    tx.exec(
        "UPDATE checkpoint SET position = $3, chain = $4 WHERE consumer = $1 AND source = $2",
        row,
    )
    .await
    .map(drop)
}

/// Empties a view consumer: its tables, its checkpoint, what it parked. Its runner then replays.
pub async fn reset(store: &Store, consumer: &Consumer) -> Result<(), Error> {
    let Handler::View(view) = &consumer.handler else {
        return Err(Error::refused("a reactor is never rebuilt"));
    };
    let mut tx = store.database().begin().await?;
    for table in view.tables() {
        tx.script(&format!("DELETE FROM {table}")).await?;
    }
    let origin = Head::default();
    tx.exec(
        "UPDATE checkpoint SET position = $2, chain = $3 WHERE consumer = $1",
        values![&consumer.name, origin.position, origin.chain],
    )
    .await?;
    tx.exec("DELETE FROM parked WHERE consumer = $1", values![&consumer.name]).await?;
    tx.commit().await
}
