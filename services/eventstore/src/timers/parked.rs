//! Timers whose handlers failed for good. They stand outside of the order of due timers until a person retries them,
//! or an event states or cancels them anew; the other timers of their streams go on.

use super::Timer;
use crate::error::Error;
use crate::sql::Database;
use crate::store::Store;
use crate::values;

/// What parked timers go by where parked events go by their consumer.
pub const CONSUMER: &str = "timers";

/// A timer that is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedTimer {
    /// The timer.
    pub timer: Timer,
    /// Why it failed last.
    pub reason: String,
}

/// Lists parked timers, those that were due first first.
pub async fn list_parked(store: &Store, limit: u64) -> Result<Vec<ParkedTimer>, Error> {
    store
        .query(
            "SELECT tenant, id, kind, stream, due_at, reason FROM timer
             WHERE parked_at > 0 ORDER BY due_at, tenant, id LIMIT $1",
            values![limit],
        )
        .await?
        .iter()
        .map(|row| Ok(ParkedTimer { timer: super::timer(row)?, reason: row.text(5)?.to_owned() }))
        .collect()
}

/// Lets the parked timers of a stream fire again, as soon as their service runs; returns how many.
pub async fn retry_parked(store: &Store, tenant: &str, stream: &str) -> Result<u64, Error> {
    store
        .database()
        .exec(
            "UPDATE timer SET parked_at = 0, failures = 0, claimed_until = 0, reason = ''
             WHERE tenant = $1 AND stream = $2 AND parked_at > 0",
            values![tenant, stream],
        )
        .await
}

/// How many are parked.
pub(super) async fn count(database: &Database) -> Result<u64, Error> {
    let rows = database.query("SELECT COUNT(*) FROM timer WHERE parked_at > 0", vec![]).await?;
    rows.first().map_or(Ok(0), |row| row.count(0))
}
