//! Sources by id, and by the hash of their write keys.

use eventstore::{Database, Error, Recorded, Tx, values};
use rapport_proto::profiles::v1::source_event::Event;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut rows = Vec::new();
    // A source is there for ever from its first fact, its registration, and so is its key.
    for event in events.iter().filter(|event| event.envelope.version == 1) {
        let key = match event.decode()? {
            Some(Event::Registered(it)) => it.write_key_hash,
            Some(Event::SchemaExtended(_) | Event::Disabled(_)) | None => Vec::new(),
        };
        rows.push(values![&event.envelope.tenant, event.id(), key]);
    }
    tx.insert_many(
        "INSERT INTO source (tenant, source_id, write_key)",
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

/// Sources that state one key, at most: it should be one.
const ALIKE: i64 = 10;

pub(crate) const OPENED: &str = "SELECT source_id FROM source
     WHERE tenant = $1 AND write_key = $2
     ORDER BY source_id
     LIMIT $3";

/// Ids of the sources that a write key opens, by its hash, disabled ones too. Only hashes are compared, so how long it
/// takes tells nothing of a key.
pub(crate) async fn opened(
    database: &Database,
    tenant: &str,
    hash: [u8; 32],
) -> Result<Vec<String>, Error> {
    let rows = database.query(OPENED, values![tenant, hash, ALIKE]).await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
