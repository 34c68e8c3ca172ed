//! Reports that are kept because no touch is known to be what they are about.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Timestamp, Tx, values};
use rapport_proto::delivery::v1::report_event::Event;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    for event in events {
        let (tenant, report_id) = (&event.envelope.tenant, event.id());
        match event.decode::<Event>()? {
            Some(Event::Kept(it)) => {
                let kept_at = event.recorded_at();
                tx.insert_many(
                    "INSERT INTO report (tenant, report_id, position, kept_at, provider_id)",
                    vec![values![tenant, report_id, event.position, kept_at, it.provider_id]],
                    "ON CONFLICT (tenant, report_id) DO NOTHING",
                )
                .await?;
            }
            Some(Event::Placed(_)) => {
                tx.exec(
                    "DELETE FROM report WHERE tenant = $1 AND report_id = $2",
                    values![tenant, report_id],
                )
                .await?;
            }
            None => {}
        }
    }
    Ok(())
}

/// Since when which of these reports are kept.
pub(crate) async fn kept(
    database: &Database,
    tenant: &str,
    report_ids: impl Iterator<Item = &String>,
) -> Result<BTreeMap<String, Timestamp>, Error> {
    let keys: Vec<_> = report_ids.map(|it| values![tenant, it]).collect();
    let rows = database
        .query_keys(
            "k(tenant, report_id)",
            &keys,
            "SELECT r.report_id, r.kept_at FROM k
             JOIN report r ON r.tenant = k.tenant AND r.report_id = k.report_id",
        )
        .await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.time(1)?))).collect()
}

/// The oldest reports about a message that are kept.
pub(crate) async fn of_message(
    database: &Database,
    tenant: &str,
    provider_id: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT report_id FROM report
             WHERE tenant = $1 AND provider_id = $2
             ORDER BY position
             LIMIT $3",
            values![tenant, provider_id, limit],
        )
        .await?;
    rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
}

/// Ids and positions of reports after a position, oldest first.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<(String, i64)>, Error> {
    let rows = database
        .query(
            "SELECT report_id, position FROM report
             WHERE tenant = $1 AND position > $2
             ORDER BY position
             LIMIT $3",
            values![tenant, after, limit],
        )
        .await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.int(1)?))).collect()
}
