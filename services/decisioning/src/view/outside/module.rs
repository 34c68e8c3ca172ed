//! Versions of modules that were approved, and how each ended.

use eventstore::{Database, Error, Recorded, Tx, values};
use prost::Message as _;
use rapport_proto::content::v1::ModuleApproved;
use rapport_proto::content::v1::module_event::Event;

use crate::domain::decide::content::{Module, Modules};
use crate::domain::instant;

/// The position at which a version that may be used has ended.
const NEVER: u64 = i64::MAX as u64;

/// Whether an event of a type changes what may be used.
pub(super) fn reads(type_name: &str) -> bool {
    let name = type_name.strip_prefix("rapport.content.v1.Module").unwrap_or_default();
    ["Approved", "Superseded", "Expired", "Withdrawn"].contains(&name)
}

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    for event in events {
        match event.decode()? {
            Some(Event::Approved(it)) => approve(tx, event, &it).await?,
            Some(Event::Superseded(it)) => end(tx, event, it.version, "superseded").await?,
            Some(Event::Expired(it)) => end(tx, event, it.version, "expired").await?,
            Some(Event::Withdrawn(it)) => end(tx, event, it.version, "withdrawn").await?,
            Some(
                Event::DraftSaved(_)
                | Event::Submitted(_)
                | Event::VerdictRecorded(_)
                | Event::ChangesRequested(_),
            )
            | None => {}
        }
    }
    Ok(())
}

async fn approve(tx: &mut Tx, event: &Recorded, it: &ModuleApproved) -> Result<(), Error> {
    let row = values![
        &event.envelope.tenant,
        event.id(),
        it.version,
        event.position,
        NEVER,
        "",
        it.encode_to_vec()
    ];
    tx.insert_many(
        "INSERT INTO module_version
             (tenant, module_id, version, approved_position, ended_position, ended, approved)",
        vec![row],
        "ON CONFLICT (tenant, module_id, version) DO UPDATE SET
         approved_position = excluded.approved_position, ended_position = excluded.ended_position,
         ended = excluded.ended, approved = excluded.approved",
    )
    .await
    .map(drop)
}

/// Ends a version, or with 0 all of them. What has ended keeps its end.
async fn end(tx: &mut Tx, event: &Recorded, version: u32, how: &str) -> Result<(), Error> {
    tx.exec(
        "UPDATE module_version SET ended_position = $4, ended = $5
         WHERE tenant = $1 AND module_id = $2 AND (version = $3 OR $3 = 0) AND ended = ''",
        values![&event.envelope.tenant, event.id(), version, event.position, how],
    )
    .await
    .map(drop)
}

/// Every version of every module that was approved.
pub(crate) async fn all(database: &Database, tenant: &str) -> Result<Modules, Error> {
    let rows = database
        .query(
            "SELECT module_id, approved_position, ended_position, ended, approved
             FROM module_version WHERE tenant = $1 ORDER BY module_id, version",
            values![tenant],
        )
        .await?;
    let mut modules = Modules::default();
    for row in &rows {
        let id = row.text(0)?;
        let approved = ModuleApproved::decode(row.blob(4)?)
            .map_err(|it| Error::corrupt(format!("the module {id}: {it}")))?;
        let how = row.text(3)?.to_owned();
        let ended = if how.is_empty() { None } else { Some((row.count(2)?, how)) };
        modules.add(id, module(approved, row.count(1)?, ended));
    }
    Ok(modules)
}

fn module(it: ModuleApproved, approved_position: u64, ended: Option<(u64, String)>) -> Module {
    Module {
        version: it.version,
        class: it.content_class(),
        audiences: it.audiences().collect(),
        channels: it.channels().collect(),
        usable_from: instant(it.usable_from.as_ref()),
        expires_at: instant(it.expires_at.as_ref()),
        markets: it.markets,
        product_id: it.product_id,
        topic: it.topic,
        approved_position,
        ended,
    }
}
