//! Consumers: read a source whole, after their own checkpoint, once in effect.
//!
//! A **view consumer** writes its tables and its checkpoint in one transaction and may be rebuilt. A
//! **reactor** appends: its checkpoint moves inside the unit it gives to the committer, its request ids
//! are derived, it is never rebuilt. Position ≤ checkpoint is skipped; a gap or a broken chain is healed
//! from the producer and counted; an event that cannot be handled parks its *stream*, in order, and
//! everything else goes on.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::commit::Outcome;
use crate::error::Error;
use crate::event::{CheckpointMove, Head, Metadata, Recorded, Stored};
use crate::failpoint;
use crate::log::{Batch, Reader};
use crate::metrics;
use crate::sql::{Tx, Value};
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

/// A parked event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Consumer that could not handle it, or an earlier one of its stream.
    pub consumer: String,
    /// Source of the event.
    pub source: String,
    /// Position of the event.
    pub position: u64,
    /// Tenant.
    pub tenant: String,
    /// Stream that is parked.
    pub stream: String,
    /// Why.
    pub reason: String,
}

/// Runs a consumer on one source until told to stop.
pub async fn run(
    store: Store,
    consumer: Consumer,
    source: String,
    producer: Arc<dyn SourceReader>,
    stop: CancellationToken,
) {
    let mut pause = Duration::from_millis(50);
    while !stop.is_cancelled() {
        let runner = Runner::start(&store, &consumer, &source, &*producer).await;
        let result = match runner {
            Ok(mut runner) => {
                pause = Duration::from_millis(50);
                runner.run(&stop).await
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
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

struct Runner<'a> {
    store: &'a Store,
    consumer: &'a Consumer,
    source: &'a str,
    producer: &'a dyn SourceReader,
    reader: Reader,
    checkpoint: Head,
    parked: HashSet<(String, String)>,
    parked_events: u64,
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
        let rows = store
            .query(
                "SELECT tenant, stream, COUNT(*) FROM parked WHERE consumer = $1 AND source = $2
                 GROUP BY tenant, stream",
                values![&consumer.name, source],
            )
            .await?;
        let (mut parked, mut parked_events) = (HashSet::new(), 0);
        for row in rows {
            parked.insert((row.text(0)?.to_owned(), row.text(1)?.to_owned()));
            parked_events += row.count(2)?;
        }
        metrics::dead_letters(&consumer.name, source, parked_events);
        let reader = store.log().reader(source, checkpoint.position).await?;
        let pending = Vec::new();
        Ok(Self {
            store,
            consumer,
            source,
            producer,
            reader,
            checkpoint,
            parked,
            parked_events,
            pending,
        })
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        loop {
            if self.parked.len() as u64 > MAX_STREAMS || self.parked_events > MAX_EVENTS {
                let what = format!("{} parked too much and stopped", self.consumer.name);
                return Err(Error::unavailable(what));
            }
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
        }
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
        let whole = read
            .iter()
            .rposition(|it| it.envelope.unit_index + 1 == it.envelope.unit_size)
            .map_or(0, |it| it + 1);
        let Some(last) = read.get(whole.wrapping_sub(1)) else { return Ok(()) };
        let to = Head { position: last.position, chain: last.chain };
        let spans: Vec<_> =
            read[..whole].iter().map(|it| trace::process_span(&self.consumer.name, it)).collect();
        let age = self.store.clock().now().since(last.recorded_at());
        match self.consumer.handler.clone() {
            Handler::View(view) => self.apply(&*view, &read[..whole], to).await?,
            Handler::Reactor(reactor) => self.react(&*reactor, &read[..whole], to).await?,
        }
        spans.into_iter().for_each(|it| it.end(true));
        self.pending.drain(..whole);
        self.checkpoint = to;
        metrics::consumed(&self.consumer.name, self.source, to.position, age);
        if let Some(producer) = self.store.log().store(self.source) {
            let lag = producer.head().position.saturating_sub(to.position);
            metrics::consumer_lag(&self.consumer.name, self.source, lag);
        }
        Ok(())
    }

    /// Applies a batch to a view; what cannot be applied is parked and the rest tried again.
    async fn apply(&mut self, view: &dyn View, events: &[Recorded], to: Head) -> Result<(), Error> {
        loop {
            let (queued, good): (Vec<_>, Vec<_>) = events.iter().cloned().partition(|it| {
                self.parked.contains(&(it.envelope.tenant.clone(), it.envelope.stream.clone()))
            });
            let result = self.apply_once(view, &good, &queued, to).await;
            match result {
                Ok(()) => {
                    failpoint::reach("consumer_after_commit").await;
                    self.count_parked(queued.len() as u64);
                    return Ok(());
                }
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => {
                    let poison = self.find_poison(view, &good).await?;
                    let Some(poison) = poison else { return Err(error) };
                    self.park(poison, &error.chain());
                }
            }
        }
    }

    async fn apply_once(
        &mut self,
        view: &dyn View,
        good: &[Recorded],
        queued: &[Recorded],
        to: Head,
    ) -> Result<(), Error> {
        let mut tx = self.store.database().begin().await?;
        if !good.is_empty() {
            guarded(view.apply(&mut tx, good)).await?;
        }
        self.insert_parked(&mut tx, queued).await?;
        self.move_to(&mut tx, to).await?;
        failpoint::reach("consumer_before_commit").await;
        tx.commit().await
    }

    /// Finds the first event that fails when events are applied one by one.
    async fn find_poison<'b>(
        &mut self,
        view: &dyn View,
        events: &'b [Recorded],
    ) -> Result<Option<&'b Recorded>, Error> {
        for _ in 1..TRIES {
            let mut tx = self.store.database().begin().await?;
            let mut failed = None;
            for event in events {
                if let Err(error) = guarded(view.apply(&mut tx, std::slice::from_ref(event))).await
                {
                    if error.is_transient() {
                        return Err(error);
                    }
                    failed = Some(event);
                    break;
                }
            }
            tx.rollback().await?;
            if failed.is_none() {
                continue;
            }
            return Ok(failed);
        }
        Ok(None)
    }

    fn park(&mut self, event: &Recorded, reason: &str) {
        tracing::error!(
            consumer = self.consumer.name,
            source = self.source,
            position = event.position,
            event = event.envelope.r#type,
            error = reason,
            "parked a stream: `rapport parked` lists it"
        );
        self.parked.insert((event.envelope.tenant.clone(), event.envelope.stream.clone()));
    }

    fn count_parked(&mut self, more: u64) {
        self.parked_events += more;
        metrics::dead_letters(&self.consumer.name, self.source, self.parked_events);
    }

    async fn insert_parked(&mut self, tx: &mut Tx, events: &[Recorded]) -> Result<(), Error> {
        let mut rows = Vec::with_capacity(events.len());
        for event in events {
            let stored = self.pending.iter().find(|it| it.position == event.position);
            let Some(stored) = stored else { continue };
            let it = &event.envelope;
            rows.push(values![
                &self.consumer.name,
                self.source,
                event.position,
                &it.tenant,
                &it.stream,
                "could not be handled",
                Timestamp::real(),
                stored.chain,
                &stored.envelope[..],
            ]);
        }
        tx.insert_many(
            "INSERT INTO parked (consumer, source, position, tenant, stream, reason, parked_at,
                 chain, envelope)",
            rows,
            "ON CONFLICT DO NOTHING",
        )
        .await
        .map(drop)
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
        if moved == 1 {
            return Ok(());
        }
        Err(Error::unavailable(format!("another replica of {} is ahead", self.consumer.name)))
    }

    /// Gives the units of a batch to the committer. The checkpoint moves with the last one.
    async fn react(
        &mut self,
        reactor: &dyn Reactor,
        events: &[Recorded],
        to: Head,
    ) -> Result<(), Error> {
        let mut from = self.checkpoint;
        for event in events {
            let ends_unit = event.envelope.unit_index + 1 == event.envelope.unit_size;
            let target = Head { position: event.position, chain: event.chain };
            let moves = ends_unit.then(|| CheckpointMove {
                consumer: self.consumer.name.clone(),
                source: self.source.to_owned(),
                from: from.position,
                to: target,
            });
            if self.react_to(reactor, event, moves).await? {
                from = target;
                self.checkpoint = target;
            }
        }
        if from != to {
            let mut tx = self.store.database().begin().await?;
            self.move_to(&mut tx, to).await?;
            failpoint::reach("consumer_before_commit").await;
            tx.commit().await?;
        }
        failpoint::reach("consumer_after_commit").await;
        Ok(())
    }

    /// Handles one event; returns whether its unit moved the checkpoint.
    async fn react_to(
        &mut self,
        reactor: &dyn Reactor,
        event: &Recorded,
        moves: Option<CheckpointMove>,
    ) -> Result<bool, Error> {
        for _ in 0..TRIES {
            let moving = moves.is_some();
            let meta = reaction(&self.consumer.name, self.source, event, &moves, self.store);
            let unit = guarded(reactor.react(self.store, event, meta)).await?;
            let Some(unit) = unit else { return Ok(false) };
            match self.store.append(unit).await {
                Outcome::Committed { .. } => return Ok(moving),
                // Done before; only the checkpoint was lost.
                Outcome::Repeated { .. } | Outcome::RequestReused => return Ok(false),
                Outcome::Conflict => {}
                Outcome::Superseded => {
                    let what = format!("another replica of {} is ahead", self.consumer.name);
                    return Err(Error::unavailable(what));
                }
                Outcome::Refused(reason) => return Err(Error::refused(reason)),
                Outcome::Failed(error) => return Err(error),
            }
        }
        Err(Error::unavailable(format!("{} kept conflicting", self.consumer.name)))
    }
}

/// Metadata of what a reactor does about an event: the request id is `<consumer>/<source>/<position>`.
fn reaction(
    consumer: &str,
    source: &str,
    event: &Recorded,
    moves: &Option<CheckpointMove>,
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
        moves: moves.clone(),
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

/// Moves a reactor's checkpoint inside a unit's transaction; the committer has compared it.
pub(crate) async fn move_checkpoint(tx: &mut Tx, row: Vec<Value>) -> Result<(), Error> {
    tx.exec(
        "UPDATE checkpoint SET position = $3, chain = $4 WHERE consumer = $1 AND source = $2",
        row,
    )
    .await
    .map(drop)
}

/// Lists parked events, by position.
pub async fn list_parked(store: &Store, limit: u64) -> Result<Vec<Parked>, Error> {
    store
        .query(
            "SELECT consumer, source, position, tenant, stream, reason FROM parked
             ORDER BY consumer, source, position LIMIT $1",
            values![limit],
        )
        .await?
        .iter()
        .map(|row| {
            Ok(Parked {
                consumer: row.text(0)?.to_owned(),
                source: row.text(1)?.to_owned(),
                position: row.count(2)?,
                tenant: row.text(3)?.to_owned(),
                stream: row.text(4)?.to_owned(),
                reason: row.text(5)?.to_owned(),
            })
        })
        .collect()
}

/// Applies the parked events of a stream again, in order, all or none; returns how many.
/// The consumer's runner must start over afterwards to see that the stream is free.
pub async fn retry_parked(
    store: &Store,
    consumer: &Consumer,
    source: &str,
    tenant: &str,
    stream: &str,
) -> Result<usize, Error> {
    let Handler::View(view) = &consumer.handler else {
        return Err(Error::refused("a reactor parks nothing"));
    };
    let place = values![&consumer.name, source, tenant, stream];
    let rows = store
        .query(
            "SELECT position, chain, envelope FROM parked
             WHERE consumer = $1 AND source = $2 AND tenant = $3 AND stream = $4
             ORDER BY position",
            place.clone(),
        )
        .await?;
    let events = rows.iter().map(crate::store::stored).collect::<Result<Vec<_>, _>>()?;
    let events = store.recorded(events).await?;
    let mut tx = store.database().begin().await?;
    for event in &events {
        guarded(view.apply(&mut tx, std::slice::from_ref(event))).await?;
    }
    tx.exec(
        "DELETE FROM parked WHERE consumer = $1 AND source = $2 AND tenant = $3 AND stream = $4",
        place,
    )
    .await?;
    tx.commit().await?;
    Ok(events.len())
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
