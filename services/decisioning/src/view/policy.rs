//! The policy in force of each tenant.

use eventstore::{Database, Error, Recorded, Tx, values};
use prost::Message as _;
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::policy_event::Event;

use crate::domain::policy::compiled::Compiled;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    for event in events {
        let tenant = &event.envelope.tenant;
        match event.decode()? {
            Some(Event::Activated(it)) => {
                let document = it.policy.unwrap_or_default().encode_to_vec();
                let row = values![tenant, it.version, it.hash, document];
                tx.insert_many(
                    "INSERT INTO live_policy (tenant, version, hash, document)",
                    vec![row],
                    "ON CONFLICT (tenant) DO UPDATE SET version = excluded.version,
                     hash = excluded.hash, document = excluded.document",
                )
                .await?;
            }
            Some(Event::Retired(it)) => {
                tx.exec(
                    "DELETE FROM live_policy WHERE tenant = $1 AND version = $2",
                    values![tenant, it.version],
                )
                .await?;
            }
            Some(Event::Drafted(_) | Event::Simulated(_) | Event::Approved(_)) | None => {}
        }
    }
    Ok(())
}

/// The policy in force, compiled.
pub(super) async fn live(database: &Database, tenant: &str) -> Result<Option<Compiled>, Error> {
    let rows = database
        .query("SELECT version, hash, document FROM live_policy WHERE tenant = $1", values![tenant])
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let document = proto::Policy::decode(row.blob(2)?)
        .map_err(|it| Error::corrupt(format!("the live policy: {it}")))?;
    let version = u32::try_from(row.int(0)?).unwrap_or_default();
    Ok(Some(Compiled::new(version, row.blob(1)?, &document)))
}
