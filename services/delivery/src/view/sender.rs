//! Which senders there are.

use eventstore::{Database, Error, Recorded, Tx, values};

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let first = events.iter().filter(|event| event.envelope.version == 1);
    let rows = first.map(|event| values![&event.envelope.tenant, event.id()]).collect();
    tx.insert_many(
        "INSERT INTO sender (tenant, sender_id)",
        rows,
        "ON CONFLICT (tenant, sender_id) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Ids of senders after one, in their order.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT sender_id FROM sender
             WHERE tenant = $1 AND sender_id > $2
             ORDER BY sender_id
             LIMIT $3",
            values![tenant, after, limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
