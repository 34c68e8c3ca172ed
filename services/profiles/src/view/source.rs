//! Sources by id.

use eventstore::{Database, Error, Recorded, Tx, values};

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    // A source is there for ever from its first fact, its registration.
    let rows = (events.iter())
        .filter(|event| event.envelope.version == 1)
        .map(|event| values![&event.envelope.tenant, event.id()])
        .collect();
    tx.insert_many(
        "INSERT INTO source (tenant, source_id)",
        rows,
        "ON CONFLICT (tenant, source_id) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Ids of sources after one, in their order.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT source_id
             FROM source
             WHERE tenant = $1 AND source_id > $2
             ORDER BY source_id
             LIMIT $3",
            values![tenant, after, limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
