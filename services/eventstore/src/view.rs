//! Views and the schema a service hands to its store.

use futures::future::BoxFuture;

use crate::error::Error;
use crate::event::Recorded;
use crate::keys::Keyring;
use crate::sql::Tx;
use crate::time::Timestamp;

/// Tables that answer queries, written from events in the transaction that appends them.
///
/// The same code runs live, on import and on rebuild, always on a batch: load the rows the batch
/// touches, fold in Rust, write back with one statement per table.
pub trait View: Send + Sync + 'static {
    /// Name, for `rapport rebuild`.
    fn name(&self) -> &'static str;

    /// The tables it owns. A rebuild empties them and replays.
    fn tables(&self) -> &'static [&'static str];

    /// Called once when the store opens, before any event is applied: a view that keeps blind indexes
    /// keeps the keys.
    fn opened(&self, _keys: &Keyring) {}

    /// Whether a consumer reads events of a type for it, given by its full protobuf name. The others are passed over
    /// before they are decoded, and park nothing. In the commit a view sees every event.
    fn reads(&self, _type_name: &str) -> bool {
        true
    }

    /// Applies events, ascending by position. [`Error::Refused`] refuses the unit: for what must be
    /// unique across streams and was not found taken before.
    fn apply<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// The timers an event states or cancels. Pure: a store refilled from the log has them again, and so has a view
    /// consumer that is emptied.
    fn timers(&self, _event: &Recorded) -> Result<Vec<TimerOp>, Error> {
        Ok(Vec::new())
    }
}

/// What an event does to a timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimerOp {
    /// Sets a timer, or moves it when it is already set.
    Set {
        /// Id, unique in the tenant; for example the stream's id.
        id: String,
        /// What fires, for example `consent.expiry`.
        kind: &'static str,
        /// Stream it belongs to.
        stream: String,
        /// When.
        due_at: Timestamp,
    },
    /// Cancels a timer; harmless when it is not set.
    Cancel {
        /// Id.
        id: String,
    },
}

/// A step of a store's schema. Applied once, in order, and never edited: its checksum is kept.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Name, for example `profiles/0001_profiles`.
    pub name: &'static str,
    /// The statements for SQLite.
    pub sqlite: &'static str,
    /// The statements for PostgreSQL.
    pub postgres: &'static str,
}

impl Migration {
    /// A step whose SQL is the same for both databases.
    pub const fn portable(name: &'static str, sql: &'static str) -> Self {
        Self { name, sqlite: sql, postgres: sql }
    }
}

/// What a service hands to its store.
#[derive(Default)]
pub struct Schema {
    /// Steps of the service's own tables.
    pub migrations: Vec<Migration>,
    /// Views updated in the commit.
    pub views: Vec<Box<dyn View>>,
}
