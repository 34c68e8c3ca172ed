//! Consumers: read a source whole, after their own checkpoint, once in effect.
//!
//! A **view consumer** writes its tables and its checkpoint in one transaction and may be rebuilt. A
//! **reactor** appends: its checkpoint moves inside the unit it gives to the committer, its request ids
//! are derived, it is never rebuilt. Position ≤ checkpoint is skipped; a gap or a broken chain is healed
//! from the producer and counted; an event that cannot be handled parks its *stream*, in order, and
//! everything else goes on.
//!
//! ```text
//! page ─→ does it follow on? ─→ is its type read? ── no ──→ passed over: no decoding, no transaction
//!                                       └── yes ─→ decoded, handled with the checkpoint behind it and
//!                                                  behind everything that is passed over next
//! ```
//!
//! What is passed over costs no write: the checkpoint goes ahead in memory ([`read_checkpoint`] tells
//! that one) and is written when the next event is handled, or some time later.

mod checkpoint;
mod pages;
mod parking;
mod react;
mod runner;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::event::{Head, Metadata, Recorded, Stored};
use crate::metrics;
use crate::store::Store;
use crate::unit::Unit;
use crate::values;
use crate::view::View;

pub(crate) use checkpoint::{Reached, move_checkpoint};
pub use checkpoint::{handled, reached, read_checkpoint, wait_until_reached};
pub use parking::{Parked, list_parked, retry_parked};

/// Pauses between two starts; they double while the checkpoint does not move.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Turns another service's events into own ones.
pub trait Reactor: Send + Sync + 'static {
    /// Whether it reads events of a type, given by its full protobuf name. The others are passed over
    /// before they are decoded, and park nothing.
    fn reads(&self, _type_name: &str) -> bool {
        true
    }

    /// The unit an event leads to, or none. `meta` carries the derived request id and must be used.
    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>>;

    /// The lane of an event, for example its party. Consecutive events of different lanes are reacted to
    /// at the same time, each without seeing what the others lead to, and committed together in their
    /// order. Without a lane an event is reacted to once everything before it is committed.
    fn lane<'e>(&self, _event: &'e Recorded) -> Option<&'e str> {
        None
    }

    /// What the events of a run lead to, one answer each, in their order. By default each is reacted to
    /// by itself; a reactor may read for all of them at once.
    fn react_all<'a>(
        &'a self,
        store: &'a Store,
        run: Vec<(&'a Recorded, Metadata)>,
    ) -> BoxFuture<'a, Vec<Result<Option<Unit>, Error>>> {
        let react = |(event, meta)| guarded(self.react(store, event, meta));
        Box::pin(join_all(run.into_iter().map(react)))
    }

    /// Whether `react_all` lets each event of a run see what those before it lead to. Then consecutive
    /// events make a run whatever their lanes.
    fn sees_run(&self) -> bool {
        false
    }
}

/// What a consumer does with events.
#[derive(Clone)]
pub enum Handler {
    /// Writes tables; may be rebuilt.
    View(Arc<dyn View>),
    /// Appends; never rebuilt.
    Reactor(Arc<dyn Reactor>),
}

impl Handler {
    fn reads(&self, type_name: &str) -> bool {
        match self {
            Self::View(view) => view.reads(type_name),
            Self::Reactor(reactor) => reactor.reads(type_name),
        }
    }
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
        let ended = runner::run(&store, &consumer, &source, &*producer, &stop).await;
        if ended.overtaken {
            tracing::debug!(consumer = consumer.name, source, "another replica is ahead");
        } else if let Err(error) = ended.result {
            metrics::CONSUMER_ERRORS.add(1, [store.source(), &consumer.name, &source]);
            tracing::warn!(
                consumer = consumer.name,
                source,
                error = error.chain(),
                "consumer starts over"
            );
        }
        pause = if ended.moved { SHORTEST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// A panic in a handler is a deterministic failure of the event, not of the consumer.
pub(crate) async fn guarded<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    use futures::FutureExt as _;
    std::panic::AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(Error::corrupt("the handler panicked")))
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
