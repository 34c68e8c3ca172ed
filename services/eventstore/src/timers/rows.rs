//! The rows of timers: claimed for a while, given back, forgotten.

use std::time::Duration;

use super::{Timer, TimerKey};
use crate::error::Error;
use crate::sql::Database;
use crate::time::Timestamp;
use crate::values;

/// How long a claim keeps other replicas from a timer, and how long the timers of a replica that was killed wait.
/// Safety does not depend on it.
pub(super) const CLAIM: Duration = Duration::from_secs(10);

/// A timer that is claimed, and how often its handler failed for good.
pub(crate) struct Claimed {
    pub(crate) timer: Timer,
    /// What tells the claim from another one.
    pub(super) until: Timestamp,
    pub(super) failures: u64,
}

/// Claims timers due at or before `now`, earliest first. A stream of which somebody holds a timer waits until that
/// one is done: timers of one stream fire one after another, whichever replica fires them.
pub(crate) async fn claim(
    database: &Database,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Claimed>, Error> {
    let real = Timestamp::real();
    let until = real.plus(CLAIM);
    let mut tx = database.begin_relaxed().await?;
    // Replicas claim one after another: two that locked the same rows in another order would deadlock.
    tx.exec(
        "INSERT INTO lease (name, holder, epoch, expires_at) VALUES ('timers', '', 1, 0)
         ON CONFLICT (name) DO UPDATE SET epoch = lease.epoch",
        vec![],
    )
    .await?;
    // What is held is counted for each timer, not looked for by NOT EXISTS: that becomes a join, which a planner that
    // saw the table small may make from all its rows.
    let rows = tx
        .query(
            "UPDATE timer SET claimed_until = $2
             WHERE (tenant, id) IN (
                 SELECT due.tenant, due.id FROM timer due
                 WHERE due.due_at <= $1 AND due.parked_at = 0 AND due.claimed_until < $3
                   AND (SELECT COUNT(*) FROM timer held
                        WHERE held.tenant = due.tenant AND held.stream = due.stream
                          AND held.claimed_until >= $3) = 0
                 ORDER BY due.due_at, due.tenant, due.id LIMIT $4
             ) AND claimed_until < $3
             RETURNING tenant, id, kind, stream, due_at, failures",
            values![now, until, real, limit],
        )
        .await?;
    tx.commit().await?;
    let mut claimed = rows
        .iter()
        .map(|row| Ok(Claimed { timer: super::timer(row)?, until, failures: row.count(5)? }))
        .collect::<Result<Vec<_>, Error>>()?;
    claimed.sort_by(|Claimed { timer: a, .. }, Claimed { timer: b, .. }| {
        (a.key.due_at, &a.key).cmp(&(b.key.due_at, &b.key))
    });
    Ok(claimed)
}

/// Says until when these timers are claimed: an instant that has passed gives them back. One that was stated anew is
/// nobody's.
pub(super) async fn claim_until(
    database: &Database,
    keys: &[(TimerKey, Timestamp)],
) -> Result<(), Error> {
    if keys.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> =
        keys.iter().map(|(key, until)| values![&key.tenant, &key.id, key.due_at, *until]).collect();
    let mut tx = database.begin_relaxed().await?;
    tx.exec_keys(
        "k(tenant, id, due_at, until)",
        &rows,
        "UPDATE timer SET claimed_until = k.until FROM k
         WHERE timer.tenant = k.tenant AND timer.id = k.id AND timer.due_at = k.due_at
             AND timer.claimed_until > 0",
    )
    .await?;
    tx.commit().await
}

/// A firing that failed for good: it rests until an instant, or is parked.
pub(super) struct Failed {
    pub(super) key: TimerKey,
    /// The claim under which it fired.
    pub(super) claim: Timestamp,
    pub(super) until: Timestamp,
    /// When it was parked; 0 while it is tried again.
    pub(super) parked_at: Timestamp,
    pub(super) reason: String,
}

/// Writes failures down, so that they are counted whoever tries next.
pub(super) async fn note_failures(database: &Database, failed: &[Failed]) -> Result<(), Error> {
    if failed.is_empty() {
        return Ok(());
    }
    let row = |it: &Failed| {
        let Failed { key, claim, until, parked_at, reason } = it;
        values![&key.tenant, &key.id, key.due_at, *claim, *until, *parked_at, reason]
    };
    let rows: Vec<_> = failed.iter().map(row).collect();
    let mut tx = database.begin().await?;
    tx.exec_keys(
        "k(tenant, id, due_at, claim, until, parked_at, reason)",
        &rows,
        "UPDATE timer SET failures = failures + 1, claimed_until = k.until,
             parked_at = k.parked_at, reason = k.reason
         FROM k
         WHERE timer.tenant = k.tenant AND timer.id = k.id AND timer.due_at = k.due_at
             AND timer.claimed_until = k.claim",
    )
    .await?;
    tx.commit().await
}

/// Removes firings that were handled, each with its claim. The commit that handled one has done so already; this is for
/// those that turned out to be repeats of a commit made before, or led to nothing. One that was stated anew for the same
/// instant meanwhile stays: the claim on it, if there is one, is another.
pub(super) async fn forget(
    database: &Database,
    handled: &[(TimerKey, Timestamp)],
) -> Result<(), Error> {
    let row =
        |(key, claim): &(TimerKey, Timestamp)| values![&key.tenant, &key.id, key.due_at, *claim];
    let rows: Vec<_> = handled.iter().map(row).collect();
    let left = database
        .query_keys(
            "k(tenant, id, due_at, claim)",
            &rows,
            "SELECT t.tenant, t.id FROM k
             JOIN timer t ON t.tenant = k.tenant AND t.id = k.id AND t.due_at = k.due_at
                 AND t.claimed_until = k.claim",
        )
        .await?;
    // Reading first: mostly there is nothing to write.
    if left.is_empty() {
        return Ok(());
    }
    let mut tx = database.begin().await?;
    tx.exec_keys(
        "k(tenant, id, due_at, claim)",
        &rows,
        "DELETE FROM timer
         WHERE (tenant, id, due_at, claimed_until) IN (SELECT tenant, id, due_at, claim FROM k)",
    )
    .await?;
    tx.commit().await
}

/// The earliest instant at which a timer is due.
pub(crate) async fn next_due(database: &Database) -> Result<Option<Timestamp>, Error> {
    const NEXT: &str = "SELECT due_at FROM timer WHERE parked_at = 0 ORDER BY due_at LIMIT 1";
    let rows = database.query(NEXT, vec![]).await?;
    rows.first().map(|row| row.time(0)).transpose()
}

/// The earliest instant at which a timer is due that nobody holds, nor another one of its stream: it can be claimed.
pub(super) async fn next_free(database: &Database) -> Result<Option<Timestamp>, Error> {
    let rows = database
        .query(
            "SELECT due.due_at FROM timer due
             WHERE due.parked_at = 0 AND due.claimed_until < $1
                 AND (SELECT COUNT(*) FROM timer held
                      WHERE held.tenant = due.tenant AND held.stream = due.stream
                        AND held.claimed_until >= $1) = 0
             ORDER BY due.due_at LIMIT 1",
            values![Timestamp::real()],
        )
        .await?;
    rows.first().map(|row| row.time(0)).transpose()
}

/// The earliest instant after `now` at which a timer is due.
pub(super) async fn next_after(
    database: &Database,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let rows = database
        .query(
            "SELECT due_at FROM timer WHERE parked_at = 0 AND due_at > $1 ORDER BY due_at LIMIT 1",
            values![now],
        )
        .await?;
    rows.first().map(|row| row.time(0)).transpose()
}
