//! Alerts, and when they were cleared.

use eventstore::{Database, Error, Recorded, Row, Timestamp, Tx, values};
use prost::Message as _;
use rapport_proto::kpis::v1::metric_event::Event;
use rapport_proto::kpis::v1::{Alert, AlertRaised};

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    for event in events {
        let tenant = &event.envelope.tenant;
        match event.decode()? {
            Some(Event::AlertRaised(it)) => {
                let (alert_id, raised) = (it.alert_id.clone(), it.encode_to_vec());
                let row = values![
                    tenant,
                    alert_id,
                    event.id(),
                    event.position,
                    event.recorded_at(),
                    Timestamp::MAX,
                    "",
                    raised
                ];
                tx.insert_many(
                    "INSERT INTO alert (tenant, alert_id, metric, position, raised_at, cleared_at,
                         clear_cause, raised)",
                    vec![row],
                    "ON CONFLICT (tenant, alert_id) DO NOTHING",
                )
                .await?;
            }
            Some(Event::AlertCleared(it)) => {
                tx.exec(
                    "UPDATE alert SET cleared_at = $3, clear_cause = $4
                     WHERE tenant = $1 AND alert_id = $2",
                    values![tenant, it.alert_id, event.recorded_at(), it.cause],
                )
                .await?;
            }
            Some(
                Event::Drafted(_)
                | Event::Approved(_)
                | Event::Activated(_)
                | Event::Retired(_)
                | Event::TargetSet(_)
                | Event::TargetJudged(_),
            )
            | None => {}
        }
    }
    Ok(())
}

/// An alert and its position in the list.
pub(crate) struct Listed {
    pub(crate) alert: Alert,
    pub(crate) position: i64,
}

/// Alerts, newest first, before a position; those that stand, or all.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    before: i64,
    cleared: bool,
    limit: u32,
) -> Result<Vec<Listed>, Error> {
    let rows = database
        .query(
            "SELECT alert_id, metric, raised_at, cleared_at, clear_cause, raised, position FROM alert
             WHERE tenant = $1 AND position < $2 AND (cleared_at = $3 OR $4 = 1)
             ORDER BY position DESC LIMIT $5",
            values![tenant, before, Timestamp::MAX, cleared, limit],
        )
        .await?;
    rows.iter().map(|row| Ok(Listed { alert: read(tenant, row)?, position: row.int(6)? })).collect()
}

/// One alert.
pub(crate) async fn find(
    database: &Database,
    tenant: &str,
    alert_id: &str,
) -> Result<Option<Alert>, Error> {
    let rows = database
        .query(
            "SELECT alert_id, metric, raised_at, cleared_at, clear_cause, raised FROM alert
             WHERE tenant = $1 AND alert_id = $2",
            values![tenant, alert_id],
        )
        .await?;
    rows.first().map(|row| read(tenant, row)).transpose()
}

fn read(tenant: &str, row: &Row) -> Result<Alert, Error> {
    let alert_id = row.text(0)?;
    let raised = AlertRaised::decode(row.blob(5)?)
        .map_err(|it| Error::corrupt(format!("the alert {alert_id}: {it}")))?;
    let cleared_at = row.time(3)?;
    Ok(Alert {
        name: chassis::name::print(tenant, &[("alerts", alert_id)]),
        metric: row.text(1)?.to_owned(),
        raised: Some(raised),
        raise_time: Some(row.time(2)?.to_proto()),
        clear_time: (cleared_at < Timestamp::MAX).then(|| cleared_at.to_proto()),
        clear_cause: row.text(4)?.to_owned(),
    })
}
