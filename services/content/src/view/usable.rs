//! For what the versions of modules are approved: where to look for what may be used.

use eventstore::{Database, Error, Recorded, Tx, Value, values};
use rapport_proto::content::v1::ModuleApproved;
use rapport_proto::content::v1::module_event::Event;

use crate::domain::instant;
use crate::render::Ask;

pub(super) async fn apply(tx: &mut Tx, events: &[Recorded]) -> Result<(), Error> {
    // Runs of approvals are written at once; what ends them goes in between.
    let mut rows = Vec::new();
    for event in events.iter().filter(|it| it.aggregate() == "module") {
        let ended = match event.decode()? {
            Some(Event::Approved(it)) => {
                rows.extend(rows_of(event, &it));
                continue;
            }
            Some(Event::Superseded(it)) => it.version,
            Some(Event::Expired(it)) => it.version,
            Some(Event::Withdrawn(it)) => it.version,
            Some(
                Event::DraftSaved(_)
                | Event::Submitted(_)
                | Event::VerdictRecorded(_)
                | Event::ChangesRequested(_),
            )
            | None => continue,
        };
        insert(tx, std::mem::take(&mut rows)).await?;
        tx.exec(
            "DELETE FROM usable WHERE tenant = $1 AND module_id = $2 AND ($3 = 0 OR version = $3)",
            values![&event.envelope.tenant, event.id(), ended],
        )
        .await?;
    }
    insert(tx, rows).await
}

fn rows_of(event: &Recorded, it: &ModuleApproved) -> Vec<Vec<Value>> {
    let from = instant(it.usable_from.as_ref()).map_or(i64::MIN, |it| it.0);
    let until = instant(it.expires_at.as_ref()).map_or(i64::MAX, |it| it.0);
    let (tenant, id) = (&event.envelope.tenant, event.id());
    let mut rows = Vec::new();
    for market in &it.markets {
        for audience in &it.audiences {
            for channel in &it.channels {
                rows.push(values![
                    tenant, market, *audience, *channel, id, it.version, from, until
                ]);
            }
        }
    }
    rows
}

async fn insert(tx: &mut Tx, rows: Vec<Vec<Value>>) -> Result<(), Error> {
    tx.insert_many(
        "INSERT INTO usable (tenant, market, audience, channel, module_id, version, usable_from, expires_at)",
        rows,
        "ON CONFLICT (tenant, market, audience, channel, module_id, version) DO NOTHING",
    )
    .await
    .map(drop)
}

/// What lists modules with a version that is approved for a market, audience and channel at an instant.
pub(crate) const LIST: &str = "SELECT DISTINCT module_id
     FROM usable
     WHERE tenant = $1 AND market = $2 AND audience = $3 AND channel = $4 AND module_id > $5
       AND usable_from <= $6 AND expires_at > $6
     ORDER BY module_id
     LIMIT $7";

/// Ids of such modules after one, in their order.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    ask: &Ask,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let (audience, channel) = (i32::from(ask.audience), i32::from(ask.channel));
    let wanted = values![tenant, &ask.market, audience, channel, after, ask.at, limit];
    let rows = database.query(LIST, wanted).await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
