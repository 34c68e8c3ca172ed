//! The shared event log: embedded, a view on the stores; in production, NATS JetStream.
//!
//! Both give the same: the tail of a source, a page after a position, and a reader that goes on live.
//! There are no acknowledgements in the API: a consumer's checkpoint is its own.

mod local;
mod nats;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use crate::error::Error;
use crate::event::{Head, Stored};
use crate::store::{Inner as StoreInner, Store};

pub(crate) use local::Recent;
pub use nats::{NatsLog, NatsOptions, imported_api, subject_of};

/// The shared log. Cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    adapter: Adapter,
    /// The stores of this process, by source.
    stores: RwLock<HashMap<String, Weak<StoreInner>>>,
}

enum Adapter {
    Local,
    Nats(Box<NatsLog>),
}

/// The end of a source on the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Position of the last event the log ever took; it may be deleted.
    pub last: u64,
    /// The last event that is still there.
    pub newest: Option<Stored>,
}

/// What a reader found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Events, ascending; the first may leave a gap to what was read before.
    Events(Vec<Stored>),
    /// Nothing within the patience given.
    Idle,
    /// The log took events up to `last` and does not deliver them: they are to be healed.
    Stalled {
        /// Position of the last event the log took.
        last: u64,
    },
}

impl Log {
    /// The embedded log: a view on the stores of this process.
    pub fn local() -> Self {
        Self::new(Adapter::Local)
    }

    /// The log on NATS JetStream.
    pub async fn nats(options: NatsOptions) -> Result<Self, Error> {
        Ok(Self::new(Adapter::Nats(Box::new(NatsLog::connect(options).await?))))
    }

    fn new(adapter: Adapter) -> Self {
        Self(Arc::new(Inner { adapter, stores: RwLock::default() }))
    }

    /// Whether events must be relayed to it.
    pub fn is_remote(&self) -> bool {
        matches!(self.0.adapter, Adapter::Nats(_))
    }

    /// Its name in traces, OpenTelemetry's `messaging.system`.
    pub fn system(&self) -> &'static str {
        if self.is_remote() { nats::SYSTEM } else { "rapport" }
    }

    /// The JetStream adapter, when it is one.
    pub fn as_nats(&self) -> Option<&NatsLog> {
        match &self.0.adapter {
            Adapter::Local => None,
            Adapter::Nats(log) => Some(log),
        }
    }

    pub(crate) fn register(&self, store: &Store) {
        let mut stores = self.0.stores.write().unwrap_or_else(PoisonError::into_inner);
        stores.insert(store.source().to_owned(), Arc::downgrade(&store.0));
    }

    pub(crate) fn forget(&self, source: &str) {
        let mut stores = self.0.stores.write().unwrap_or_else(PoisonError::into_inner);
        stores.remove(source);
    }

    /// The store of a source, if this process runs it.
    pub fn store(&self, source: &str) -> Option<Store> {
        let stores = self.0.stores.read().unwrap_or_else(PoisonError::into_inner);
        stores.get(source).and_then(Weak::upgrade).map(Store)
    }

    /// The end of a source on the log; `None` when the log is a view on the store or has no such stream.
    pub async fn tail(&self, source: &str) -> Result<Option<Tail>, Error> {
        match &self.0.adapter {
            Adapter::Local => Ok(None),
            Adapter::Nats(log) => log.tail(source).await,
        }
    }

    /// Position of a source's last event, as far as it can be told from here: by its store where this process runs
    /// it, else by the log.
    pub async fn end(&self, source: &str) -> Result<u64, Error> {
        match self.store(source) {
            Some(store) => store.read_head().await.map(|it| it.position),
            None => Ok(self.tail(source).await?.map_or(0, |it| it.last)),
        }
    }

    /// Reads what the log holds after a position, at most `limit` events.
    pub async fn read(&self, source: &str, after: u64, limit: usize) -> Result<Vec<Stored>, Error> {
        match &self.0.adapter {
            Adapter::Local => local::read(self, source, after, limit).await,
            Adapter::Nats(log) => log.read(source, after, limit).await,
        }
    }

    /// Opens a reader after a position.
    pub async fn reader(&self, source: &str, after: u64) -> Result<Reader, Error> {
        Ok(match &self.0.adapter {
            Adapter::Local => Reader::Local(local::Reader::new(self, source, after)),
            Adapter::Nats(log) => Reader::Nats(Box::new(log.reader(source, after).await?)),
        })
    }

    /// Tells other replicas that a source has new events; lossy.
    pub(crate) fn poke(&self, source: &str) {
        if let Adapter::Nats(log) = &self.0.adapter {
            log.poke(source);
        }
    }
}

/// Reads a source in order and goes on live.
pub enum Reader {
    /// On the embedded log.
    Local(local::Reader),
    /// On JetStream.
    Nats(Box<nats::Reader>),
}

impl Reader {
    /// The next events, at most `max`: waits up to `patience` for the first, and for more while the last page is only
    /// just read.
    pub async fn next(&mut self, max: usize, patience: Duration) -> Result<Batch, Error> {
        match self {
            Self::Local(reader) => reader.next(max, patience).await,
            Self::Nats(reader) => reader.next(max, patience).await,
        }
    }

    /// Reads rather larger pages than early ones: for views, whose cost is that of their transactions.
    pub(crate) fn gather_more(&mut self) {
        match self {
            Self::Local(reader) => reader.gather_more(),
            // It gathers by itself.
            Self::Nats(_) => {}
        }
    }

    /// Goes on after a position that was reached otherwise.
    pub fn skip_to(&mut self, position: u64) {
        match self {
            Self::Local(reader) => reader.skip_to(position),
            Self::Nats(reader) => reader.skip_to(position),
        }
    }
}

/// Whether two ends tell one history as far as both know it.
pub(crate) fn agree(store: &Head, log: &Stored) -> bool {
    store.position != log.position || store.chain == log.chain
}
