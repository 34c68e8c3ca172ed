//! Durable timers: rows stated by events, fired exactly once each, because the commit that handles a
//! firing deletes its row or does not happen.
//!
//! ```text
//! stated by an event ─→ due ─→ claimed ─→ fires ─→ its row is deleted in the commit
//!        ↑                        ↑         ├─ the store is out of order ─→ rests, and fires again
//!        │                        └─────────┤
//!        │                                  └─ fails for good ─→ rests; after seven times it is parked
//!        └─ by command: `rapport parked retry timers …` ←──────────────────────────────────┘
//! ```

mod firing;
mod parked;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::event::Metadata;
use crate::sql::{Row, Tx};
use crate::store::Store;
use crate::time::Timestamp;
use crate::values;
use crate::view::TimerOp;

use firing::Firing;
pub use parked::{CONSUMER, ParkedTimer, list_parked, retry_parked};
pub(crate) use rows::{claim, next_due};

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

/// Reads tenant, id, kind, stream and due instant.
fn timer(row: &Row) -> Result<Timer, Error> {
    let key = TimerKey {
        tenant: row.text(0)?.to_owned(),
        id: row.text(1)?.to_owned(),
        due_at: row.time(4)?,
    };
    Ok(Timer { key, kind: row.text(2)?.to_owned(), stream: row.text(3)?.to_owned() })
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
         due_at = excluded.due_at, claimed_until = 0, failures = 0, parked_at = 0, reason = ''",
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
/// how many timers were handled, or the first failure of one that rests because the store was out of order. Many fire
/// at the same time, earliest first; those of one stream one after another. A timer whose handler fails for good rests
/// too and is parked in the end, so that it does not keep the others from firing.
pub async fn fire_due(store: &Store, handler: &dyn TimerHandler) -> Result<u64, Error> {
    Firing::new(store, handler).everything().await
}

/// Fires timers as they fall due, until told to stop.
pub async fn run(store: Store, handler: Arc<dyn TimerHandler>, stop: CancellationToken) {
    Firing::new(&store, &*handler).run(&stop).await;
}
