//! Events that could not be handled, and those of their streams that queue behind them, in order.

use std::collections::HashSet;

use super::react::{react_once, reaction};
use super::runner::StreamName;
use super::{Consumer, Handler, guarded, tables};
use crate::commit::Outcome;
use crate::error::Error;
use crate::event::{Recorded, Stored};
use crate::sql::{Row, Tx};
use crate::store::{Store, stored};
use crate::time::Timestamp;
use crate::values;

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

/// Lists parked events, by consumer, source and position.
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

/// Handles the parked events of a stream again, in order; returns how many. For a view all are applied
/// or none; a reactor's units are answered, not repeated, if this is tried again.
///
/// It takes turns with the consumer's runner: both lock the checkpoint first.
pub async fn retry_parked(
    store: &Store,
    consumer: &Consumer,
    source: &str,
    tenant: &str,
    stream: &str,
) -> Result<usize, Error> {
    let place = Place { consumer: &consumer.name, source, tenant, stream };
    match &consumer.handler {
        Handler::View(view) => {
            let mut tx = store.database().begin().await?;
            tx.exec(
                "UPDATE checkpoint SET position = position WHERE consumer = $1 AND source = $2",
                values![place.consumer, source],
            )
            .await?;
            let events = place.read(store, tx.query(READ, place.values()).await?).await?;
            for event in &events {
                guarded(tables::apply(&**view, &mut tx, std::slice::from_ref(event))).await?;
            }
            place.delete(&mut tx, &events).await?;
            tx.commit().await?;
            Ok(events.len())
        }
        Handler::Reactor(reactor) => {
            let events = place.read(store, store.query(READ, place.values()).await?).await?;
            for event in &events {
                let meta = reaction(place.consumer, source, event, None, store);
                match react_once(&**reactor, store, event, meta).await? {
                    Some(Outcome::Refused(reason)) => return Err(Error::refused(reason)),
                    Some(Outcome::Failed(error)) => return Err(error),
                    Some(Outcome::Conflict | Outcome::Superseded) => {
                        return Err(Error::unavailable("the stream changed: try again"));
                    }
                    None
                    | Some(
                        Outcome::Committed { .. }
                        | Outcome::Repeated { .. }
                        | Outcome::RequestReused,
                    ) => {}
                }
            }
            let mut tx = store.database().begin().await?;
            place.delete(&mut tx, &events).await?;
            tx.commit().await?;
            Ok(events.len())
        }
    }
}

const READ: &str = "SELECT position, chain, envelope FROM parked
     WHERE consumer = $1 AND source = $2 AND tenant = $3 AND stream = $4
     ORDER BY position";

/// A parked stream of a consumer.
struct Place<'a> {
    consumer: &'a str,
    source: &'a str,
    tenant: &'a str,
    stream: &'a str,
}

impl Place<'_> {
    fn values(&self) -> Vec<crate::Value> {
        values![self.consumer, self.source, self.tenant, self.stream]
    }

    async fn read(&self, store: &Store, rows: Vec<Row>) -> Result<Vec<Recorded>, Error> {
        store.recorded(rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?).await
    }

    /// Deletes what was handled, and nothing that was parked since.
    async fn delete(&self, tx: &mut Tx, events: &[Recorded]) -> Result<(), Error> {
        let mut args = self.values();
        args.push(events.last().map_or(0, |it| it.position).into());
        tx.exec(
            "DELETE FROM parked
             WHERE consumer = $1 AND source = $2 AND tenant = $3 AND stream = $4 AND position <= $5",
            args,
        )
        .await
        .map(drop)
    }
}

/// The streams of a consumer that are parked.
pub(super) async fn streams(
    tx: &mut Tx,
    consumer: &str,
    source: &str,
) -> Result<HashSet<StreamName>, Error> {
    tx.query(
        "SELECT DISTINCT tenant, stream FROM parked WHERE consumer = $1 AND source = $2",
        values![consumer, source],
    )
    .await?
    .iter()
    .map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned())))
    .collect()
}

/// How many streams and events of a consumer are parked.
pub(super) async fn count(
    store: &Store,
    consumer: &str,
    source: &str,
) -> Result<(u64, u64), Error> {
    let rows = store
        .query(
            "SELECT COUNT(*), CAST(COALESCE(SUM(events), 0) AS BIGINT) FROM (
                 SELECT COUNT(*) AS events FROM parked WHERE consumer = $1 AND source = $2
                 GROUP BY tenant, stream) streams",
            values![consumer, source],
        )
        .await?;
    rows.first().map_or(Ok((0, 0)), |row| Ok((row.count(0)?, row.count(1)?)))
}

/// Parks an event; harmless when it is parked already.
pub(super) async fn insert(
    tx: &mut Tx,
    consumer: &str,
    source: &str,
    event: &Recorded,
    stored: &Stored,
    reason: &str,
) -> Result<(), Error> {
    tx.exec(
        "INSERT INTO parked (consumer, source, position, tenant, stream, reason, parked_at,
             chain, envelope)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT DO NOTHING",
        values![
            consumer,
            source,
            event.position,
            &event.envelope.tenant,
            &event.envelope.stream,
            reason,
            Timestamp::real(),
            stored.chain,
            &stored.envelope[..]
        ],
    )
    .await
    .map(drop)
}
