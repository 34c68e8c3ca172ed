//! Metrics, and which version of each is in force.

use std::collections::BTreeSet;

use eventstore::{Database, Error, Recorded, Tx, values};
use prost::Message as _;
use rapport_proto::kpis::v1::metric_event::Event;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut known = BTreeSet::new();
    for event in events {
        let tenant = &event.envelope.tenant;
        known.insert((tenant.clone(), event.id().to_owned()));
        match event.decode()? {
            Some(Event::Activated(it)) => {
                let document = it.document.unwrap_or_default().encode_to_vec();
                tx.insert_many(
                    "INSERT INTO live_metric (tenant, metric, version, document)",
                    vec![values![tenant, event.id(), it.version, document]],
                    "ON CONFLICT (tenant, metric) DO UPDATE SET version = excluded.version,
                     document = excluded.document",
                )
                .await?;
            }
            Some(Event::Retired(it)) => {
                tx.exec(
                    "DELETE FROM live_metric WHERE tenant = $1 AND metric = $2 AND version = $3",
                    values![tenant, event.id(), it.version],
                )
                .await?;
            }
            Some(
                Event::Drafted(_)
                | Event::Approved(_)
                | Event::TargetSet(_)
                | Event::TargetJudged(_)
                | Event::AlertRaised(_)
                | Event::AlertCleared(_),
            )
            | None => {}
        }
    }
    let rows = known.into_iter().map(|(tenant, metric)| values![tenant, metric]).collect();
    tx.insert_many(
        "INSERT INTO metric (tenant, metric)",
        rows,
        "ON CONFLICT (tenant, metric) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Ids of metrics after one, in their order.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT metric FROM metric WHERE tenant = $1 AND metric > $2 ORDER BY metric LIMIT $3",
            values![tenant, after, limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
