//! Connections, each lent to one user at a time. It comes back when its work ended well; one that failed,
//! or whose user gave up half-way, is closed, which rolls back whatever it was in.
//!
//! sqlx's own pool asks the server whether a returned connection still lives: a round trip for every
//! statement, which doubled the cost of a read.

use std::fmt::Debug;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Error;
use crate::metrics::Asked;

/// What is lent.
pub(super) trait Connection: Sized + Send + 'static {
    /// How one is opened.
    type Options: Debug + Send + Sync;

    fn open(options: &Self::Options) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Closes it; it is gone either way.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// So many connections, opened when they are first needed. Cheap to clone.
#[derive(Debug)]
pub(super) struct Pool<C: Connection>(Arc<Inner<C>>);

impl<C: Connection> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[derive(Debug)]
struct Inner<C: Connection> {
    connect: C::Options,
    asked: Asked,
    size: usize,
    slots: Arc<Semaphore>,
    free: Mutex<Vec<C>>,
    patience: Duration,
    opened: AtomicU64,
    pending: AtomicUsize,
}

/// Connections of a pool, or of several.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sizes {
    pub(crate) used: usize,
    pub(crate) idle: usize,
    /// How many may be open.
    pub(crate) max: usize,
    /// Who waits for one.
    pub(crate) pending: usize,
}

impl std::ops::Add for Sizes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            used: self.used + other.used,
            idle: self.idle + other.idle,
            max: self.max + other.max,
            pending: self.pending + other.pending,
        }
    }
}

/// Somebody waits for as long as this lives.
struct Pending<'p>(&'p AtomicUsize);

impl<'p> Pending<'p> {
    fn new(pending: &'p AtomicUsize) -> Self {
        pending.fetch_add(1, Ordering::Relaxed);
        Self(pending)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is lent.
#[derive(Debug)]
pub(super) struct Lent<C: Connection> {
    connection: C,
    pool: Pool<C>,
    _slot: OwnedSemaphorePermit,
}

impl<C: Connection> Pool<C> {
    pub(super) fn new(connect: C::Options, asked: Asked, size: u32, patience: Duration) -> Self {
        Self(Arc::new(Inner {
            connect,
            asked,
            size: size as usize,
            slots: Arc::new(Semaphore::new(size as usize)),
            free: Mutex::default(),
            patience,
            opened: AtomicU64::new(0),
            pending: AtomicUsize::new(0),
        }))
    }

    /// Lends a connection: the one that came back last, or a new one. Waits a bounded time for either.
    pub(super) async fn lend(&self) -> Result<Lent<C>, Error> {
        self.lend_within(self.0.patience).await
    }

    /// The same with a patience of its own: whoever opens a store has nobody waiting.
    pub(super) async fn lend_within(&self, patience: Duration) -> Result<Lent<C>, Error> {
        let (began, pending) = (Instant::now(), Pending::new(&self.0.pending));
        let lend = async {
            let slot = self.0.slots.clone().acquire_owned().await;
            let slot = slot.map_err(|_| Error::unavailable("the database is closed"))?;
            let free = self.free().pop();
            let connection = match free {
                Some(it) => it,
                None => self.open().await?,
            };
            Ok::<_, Error>(Lent { connection, pool: self.clone(), _slot: slot })
        };
        let lent = tokio::time::timeout(patience, lend).await;
        drop(pending);
        match lent {
            Ok(lent) => {
                let lent = lent?;
                self.0.asked.lent(Some(began.elapsed()));
                Ok(lent)
            }
            Err(_) => {
                self.0.asked.lent(None);
                Err(Error::unavailable("no connection to the database became free"))
            }
        }
    }

    async fn open(&self) -> Result<C, Error> {
        let connection = C::open(&self.0.connect).await?;
        self.0.opened.fetch_add(1, Ordering::SeqCst);
        Ok(connection)
    }

    /// How long whoever asks for a connection waits.
    pub(super) fn patience(&self) -> Duration {
        self.0.patience
    }

    /// Number of connections opened so far.
    pub(super) fn opened(&self) -> u64 {
        self.0.opened.load(Ordering::SeqCst)
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes {
            used: self.0.size.saturating_sub(self.0.slots.available_permits()),
            idle: self.free().len(),
            max: self.0.size,
            pending: self.0.pending.load(Ordering::Relaxed),
        }
    }

    /// Closes those that are free: where one turned out dead, the others are too.
    pub(super) fn forget(&self) {
        self.free().clear();
    }

    /// Lends no more, and closes what is free.
    pub(super) async fn close(&self) {
        self.0.slots.close();
        let free = std::mem::take(&mut *self.free());
        for connection in free {
            connection.close().await;
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<C>> {
        self.0.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Connection> Lent<C> {
    /// Notes a statement that ended on it.
    pub(super) fn ended<T>(
        &self,
        operation: &'static str,
        began: Instant,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        self.pool.0.asked.ended(operation, began, result)
    }

    /// Gives the connection back: it is outside a transaction, and its last statement is over.
    pub(super) fn give_back(self) {
        if !self.pool.0.slots.is_closed() {
            self.pool.free().push(self.connection);
        }
    }
}

impl<C: Connection> Deref for Lent<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.connection
    }
}

impl<C: Connection> DerefMut for Lent<C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.connection
    }
}
