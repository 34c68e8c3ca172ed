//! Sources by id.

use eventstore::{Database, Error, Recorded, Tx, values};
use rapport_proto::profiles::v1::{source, source_event::Event};

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut states = std::collections::BTreeMap::new();
    for event in events {
        let state = match event.decode()? {
            Some(Event::Registered(_)) => source::State::Active,
            Some(Event::Disabled(_)) => source::State::Disabled,
            Some(Event::SchemaExtended(_)) | None => continue,
        };
        states.insert((event.envelope.tenant.clone(), event.id().to_owned()), state);
    }
    let rows = (states.into_iter())
        .map(|((tenant, source_id), state)| values![tenant, source_id, state as i32])
        .collect();
    tx.insert_many(
        "INSERT INTO source (tenant, source_id, state)",
        rows,
        "ON CONFLICT (tenant, source_id) DO UPDATE SET state = excluded.state",
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
