//! Entries that were refused, newest first.

use eventstore::{Database, Error, Recorded, Timestamp, Tx, values};
use prost::Message as _;
use rapport_proto::journeys::v1::InstanceEntryRefused;
use rapport_proto::journeys::v1::entry_event::Event;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut rows = Vec::new();
    for event in events.iter().filter(|it| it.envelope.r#type.ends_with(".InstanceEntryRefused")) {
        if let Some(Event::Refused(it)) = event.decode()? {
            rows.push(values![
                &event.envelope.tenant,
                event.position,
                &it.journey_id,
                &it.party_id,
                event.recorded_at(),
                it.encode_to_vec()
            ]);
        }
    }
    tx.insert_many(
        "INSERT INTO entry_refusal (tenant, position, journey_id, party_id, recorded_at, refusal)",
        rows,
        "ON CONFLICT (tenant, position) DO NOTHING",
    )
    .await
    .map(drop)
}

/// A refusal with its position and instant.
pub(crate) type Refusal = (u64, Timestamp, InstanceEntryRefused);

/// Refusals before a position, newest first; an empty journey or party is any.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    journey_id: &str,
    party_id: &str,
    before: i64,
    limit: u32,
) -> Result<Vec<Refusal>, Error> {
    let rows = database
        .query(
            "SELECT position, recorded_at, refusal
             FROM entry_refusal
             WHERE tenant = $1 AND position < $2
                 AND ($3 = '' OR journey_id = $3)
                 AND ($4 = '' OR party_id = $4)
             ORDER BY position DESC
             LIMIT $5",
            values![tenant, before, journey_id, party_id, limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let refusal = InstanceEntryRefused::decode(row.blob(2)?)
                .map_err(|it| Error::corrupt(format!("a refusal: {it}")))?;
            Ok((row.count(0)?, row.time(1)?, refusal))
        })
        .collect()
}
