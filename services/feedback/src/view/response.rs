//! Responses in the order in which they came.

use eventstore::{Database, Error, Recorded, Tx, values};
use rapport_proto::feedback::v1::response_event::Event;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut rows = Vec::new();
    for event in events {
        if let Some(Event::Submitted(it)) = event.decode::<Event>()? {
            let tenant = &event.envelope.tenant;
            rows.push(values![tenant, event.id(), it.survey, it.party_id, event.position]);
        }
    }
    tx.insert_many(
        "INSERT INTO response (tenant, response_id, survey_id, party_id, submitted_position)",
        rows,
        "ON CONFLICT (tenant, response_id) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Ids and positions before a position, newest first; an empty survey or party is any.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    (survey_id, party_id): (&str, &str),
    before: i64,
    limit: u32,
) -> Result<Vec<(String, i64)>, Error> {
    let rows = database
        .query(
            "SELECT response_id, submitted_position FROM response
             WHERE tenant = $1 AND ($2 = '' OR survey_id = $2) AND ($3 = '' OR party_id = $3)
                 AND submitted_position < $4
             ORDER BY submitted_position DESC LIMIT $5",
            values![tenant, survey_id, party_id, before, limit],
        )
        .await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.int(1)?))).collect()
}
