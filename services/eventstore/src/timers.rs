//! Durable timers: rows stated by events, fired exactly once each, because the commit that handles a
//! firing deletes its row or does not happen.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use rapport_proto::types::{Actor, actor};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::event::Metadata;
use crate::metrics;
use crate::sql::{Database, Tx};
use crate::store::Store;
use crate::time::Timestamp;
use crate::values;
use crate::view::TimerOp;

/// How long a claim keeps other replicas from a timer. Safety does not depend on it.
const CLAIM: Duration = Duration::from_secs(30);
/// Timers claimed at once.
const BATCH: i64 = 200;
/// At most this long between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// At least this long between two looks that commits ask for.
const GATHER: Duration = Duration::from_millis(10);

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

/// Claims timers due at or before `now`, earliest first.
pub(crate) async fn claim(
    database: &Database,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Timer>, Error> {
    let real = Timestamp::real();
    let mut tx = database.begin().await?;
    // Replicas claim one after another: two that locked the same rows in another order would deadlock.
    tx.exec(
        "INSERT INTO lease (name, holder, epoch, expires_at) VALUES ('timers', '', 1, 0)
         ON CONFLICT (name) DO UPDATE SET epoch = lease.epoch",
        vec![],
    )
    .await?;
    let rows = tx
        .query(
            "UPDATE timer SET claimed_until = $2
             WHERE (tenant, id) IN (
                 SELECT tenant, id FROM timer
                 WHERE due_at <= $1 AND claimed_until < $3
                 ORDER BY due_at, tenant, id LIMIT $4
             ) AND claimed_until < $3
             RETURNING tenant, id, kind, stream, due_at",
            values![now, real.plus(CLAIM), real, limit],
        )
        .await?;
    tx.commit().await?;
    let mut timers = rows
        .iter()
        .map(|row| {
            Ok(Timer {
                key: TimerKey {
                    tenant: row.text(0)?.to_owned(),
                    id: row.text(1)?.to_owned(),
                    due_at: row.time(4)?,
                },
                kind: row.text(2)?.to_owned(),
                stream: row.text(3)?.to_owned(),
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    timers.sort_by(|a, b| (a.key.due_at, &a.key).cmp(&(b.key.due_at, &b.key)));
    Ok(timers)
}

/// Gives a claimed timer back, to be fired again.
pub(crate) async fn release(database: &Database, key: &TimerKey) -> Result<(), Error> {
    database
        .exec(
            "UPDATE timer SET claimed_until = 0 WHERE tenant = $1 AND id = $2 AND due_at = $3",
            values![&key.tenant, &key.id, key.due_at],
        )
        .await?;
    Ok(())
}

/// Removes firings that were handled. The commit that handled one has done so already; this is for those
/// that turned out to be repeats of a commit made before.
async fn forget(database: &Database, keys: &[&TimerKey]) -> Result<(), Error> {
    let rows: Vec<_> = keys.iter().map(|it| values![&it.tenant, &it.id, it.due_at]).collect();
    let left = database
        .query_keys(
            "k(tenant, id, due_at)",
            &rows,
            "SELECT t.tenant, t.id, t.due_at FROM k
             JOIN timer t ON t.tenant = k.tenant AND t.id = k.id AND t.due_at = k.due_at",
        )
        .await?;
    for row in left {
        database
            .exec(
                "DELETE FROM timer WHERE tenant = $1 AND id = $2 AND due_at = $3",
                values![row.text(0)?, row.text(1)?, row.time(2)?],
            )
            .await?;
    }
    Ok(())
}

/// The earliest instant at which a timer is due.
pub(crate) async fn next_due(database: &Database) -> Result<Option<Timestamp>, Error> {
    let rows = database.query("SELECT due_at FROM timer ORDER BY due_at LIMIT 1", vec![]).await?;
    rows.first().map(|row| row.time(0)).transpose()
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
    let mut last: std::collections::BTreeMap<(&str, &str), Option<Vec<crate::Value>>> =
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
         due_at = excluded.due_at, claimed_until = 0",
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

/// Fires everything that is due now, earliest first; returns how many timers were handled. A timer whose
/// handler fails for good stays claimed for a while, so that it does not keep the others from firing.
pub async fn fire_due(store: &Store, handler: &dyn TimerHandler) -> Result<u64, Error> {
    let mut fired = 0;
    loop {
        let due = claim(store.database(), store.clock().now(), BATCH).await?;
        if due.is_empty() {
            return Ok(fired);
        }
        let mut handled = Vec::with_capacity(due.len());
        for (index, timer) in due.iter().enumerate() {
            let now = store.clock().now();
            match handler.fire(store, timer, firing(store, timer, now)).await {
                Ok(()) => {
                    metrics::timer_fired(store.source(), now.since(timer.key.due_at));
                    handled.push(&timer.key);
                    fired += 1;
                }
                Err(error) if error.is_transient() => {
                    for rest in &due[index..] {
                        release(store.database(), &rest.key).await?;
                    }
                    return Err(error);
                }
                Err(error) => tracing::error!(
                    source = store.source(),
                    timer.kind,
                    error = error.chain(),
                    "a timer cannot fire"
                ),
            }
        }
        forget(store.database(), &handled).await?;
    }
}

/// Metadata of the command a timer fires.
fn firing(store: &Store, timer: &Timer, now: Timestamp) -> Metadata {
    Metadata {
        tenant: timer.key.tenant.clone(),
        actor: Actor {
            subject: format!("service:{}", store.source()),
            kind: actor::Kind::System.into(),
            ..Actor::default()
        },
        method: TIMER_METHOD.to_owned(),
        request_id: timer.key.request_id(),
        causation_id: timer.key.id.clone(),
        at: now,
        fires: Some(timer.key.clone()),
        ..Metadata::default()
    }
}

/// Fires timers as they fall due, until told to stop.
pub async fn run(store: Store, handler: Arc<dyn TimerHandler>, stop: CancellationToken) {
    let mut head = store.watch();
    while !stop.is_cancelled() {
        head.mark_unchanged();
        let next = match look(&store, &*handler).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(source = store.source(), error = error.chain(), "timers try again");
                None
            }
        };
        let due = store.clock().reach(next.unwrap_or(Timestamp::MAX));
        // Nothing is held while waiting, so each of these may be dropped.
        tokio::select! {
            () = stop.cancelled() => return,
            () = due => {}
            // A commit may have set an earlier timer; under load the store grows all the time.
            _ = head.changed() => tokio::time::sleep(GATHER).await,
            // Another replica may have set one, or a claim may have run out.
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// Fires what is due and returns when the next timer is. Reading first keeps idle services from writing:
/// a claim is a transaction.
async fn look(store: &Store, handler: &dyn TimerHandler) -> Result<Option<Timestamp>, Error> {
    let next = store.next_due().await?;
    if next.is_none_or(|it| it > store.clock().now()) {
        return Ok(next);
    }
    fire_due(store, handler).await?;
    // What is still due is claimed by another replica.
    Ok(store.next_due().await?.filter(|it| *it > store.clock().now()))
}
