//! Holdouts, and from when until when they run.

use eventstore::{Database, Error, Recorded, Timestamp, Tx, values};
use prost::Message as _;
use rapport_proto::decisioning::v1::HoldoutStarted;
use rapport_proto::decisioning::v1::holdout_event::Event;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    for event in events {
        let tenant = &event.envelope.tenant;
        match event.decode()? {
            Some(Event::Started(it)) => {
                let (at, document) = (event.recorded_at(), it.encode_to_vec());
                tx.insert_many(
                    "INSERT INTO holdout (tenant, holdout_id, started_at, ended_at, started)",
                    vec![values![tenant, event.id(), at, Timestamp::MAX, document]],
                    "ON CONFLICT (tenant, holdout_id) DO NOTHING",
                )
                .await?;
            }
            Some(Event::Ended(_)) => {
                tx.exec(
                    "UPDATE holdout SET ended_at = $3 WHERE tenant = $1 AND holdout_id = $2",
                    values![tenant, event.id(), event.recorded_at()],
                )
                .await?;
            }
            None => {}
        }
    }
    Ok(())
}

/// A holdout and when it runs.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) holdout_id: String,
    pub(crate) started: HoldoutStarted,
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Timestamp,
}

/// Holdouts after one, in the order of their ids.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<Row>, Error> {
    let rows = database
        .query(
            "SELECT holdout_id, started, started_at, ended_at FROM holdout
             WHERE tenant = $1 AND holdout_id > $2
             ORDER BY holdout_id
             LIMIT $3",
            values![tenant, after, limit],
        )
        .await?;
    rows.iter().map(read).collect()
}

/// The holdouts that run, by id.
pub(super) async fn running(
    database: &Database,
    tenant: &str,
) -> Result<Vec<HoldoutStarted>, Error> {
    let rows = database
        .query(
            "SELECT holdout_id, started, started_at, ended_at FROM holdout
             WHERE tenant = $1 AND ended_at = $2
             ORDER BY holdout_id",
            values![tenant, Timestamp::MAX],
        )
        .await?;
    rows.iter().map(|row| read(row).map(|it| it.started)).collect()
}

fn read(row: &eventstore::Row) -> Result<Row, Error> {
    let holdout_id = row.text(0)?.to_owned();
    let started = HoldoutStarted::decode(row.blob(1)?)
        .map_err(|it| Error::corrupt(format!("the holdout {holdout_id}: {it}")))?;
    Ok(Row { holdout_id, started, started_at: row.time(2)?, ended_at: row.time(3)? })
}
