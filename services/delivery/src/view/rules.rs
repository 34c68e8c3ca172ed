//! Rule packs and the live policy, as `decisioning` activated them.

use eventstore::{Database, Error, Recorded, Timestamp, Tx, View, values};
use prost::Message as _;
use rapport_proto::decisioning::v1::{Policy, RulePackActivated, policy_event, rule_pack_event};

use super::Applied;
use crate::domain::instant;
use crate::gate::caps;

/// Follows `decisioning`.
pub(crate) struct Rules;

impl View for Rules {
    fn name(&self) -> &'static str {
        "delivery.rules"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["rule_pack", "policy"]
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            for event in events {
                match event.aggregate() {
                    "rule_pack" => apply_pack(tx, event).await?,
                    "policy" => apply_policy(tx, event).await?,
                    _ => {}
                }
            }
            Ok(())
        })
    }
}

async fn apply_pack(tx: &mut Tx, event: &Recorded) -> Result<(), Error> {
    use rule_pack_event::Event;
    let tenant = &event.envelope.tenant;
    match event.decode::<Event>()? {
        Some(Event::Activated(it)) => {
            let effective_at = instant(it.effective_at.as_ref());
            let row =
                values![tenant, &it.market, it.version, effective_at, 0_i64, it.encode_to_vec()];
            tx.insert_many(
                "INSERT INTO rule_pack (tenant, market, version, effective_at, retired, pack)",
                vec![row],
                "ON CONFLICT (tenant, market, version) DO UPDATE SET
                     effective_at = excluded.effective_at, retired = 0, pack = excluded.pack",
            )
            .await
            .map(drop)
        }
        Some(Event::Retired(it)) => tx
            .exec(
                "UPDATE rule_pack SET retired = 1 WHERE tenant = $1 AND market = $2 AND version = $3",
                values![tenant, event.id(), it.version],
            )
            .await
            .map(drop),
        Some(Event::Drafted(_) | Event::Simulated(_) | Event::Approved(_)) | None => Ok(()),
    }
}

async fn apply_policy(tx: &mut Tx, event: &Recorded) -> Result<(), Error> {
    use policy_event::Event;
    let tenant = &event.envelope.tenant;
    match event.decode::<Event>()? {
        Some(Event::Activated(it)) => {
            let policy = it.policy.unwrap_or_default();
            // Only what limits contacts is kept.
            let lines = Policy { contact_policy: policy.contact_policy, ..Policy::default() };
            tx.insert_many(
                "INSERT INTO policy (tenant, version, policy)",
                vec![values![tenant, it.version, lines.encode_to_vec()]],
                "ON CONFLICT (tenant) DO UPDATE SET version = excluded.version, policy = excluded.policy",
            )
            .await
            .map(drop)
        }
        Some(Event::Retired(it)) => tx
            .exec(
                "DELETE FROM policy WHERE tenant = $1 AND version = $2",
                values![tenant, it.version],
            )
            .await
            .map(drop),
        Some(Event::Drafted(_) | Event::Simulated(_) | Event::Approved(_)) | None => Ok(()),
    }
}

/// The pack in force in a market at an instant: the one that took effect last, unless it was retired.
pub(crate) async fn pack(
    database: &Database,
    tenant: &str,
    market: &str,
    at: Timestamp,
) -> Result<Option<RulePackActivated>, Error> {
    let rows = database
        .query(
            "SELECT pack, retired FROM rule_pack
             WHERE tenant = $1 AND market = $2 AND effective_at <= $3
             ORDER BY effective_at DESC, version DESC
             LIMIT 1",
            values![tenant, market, at],
        )
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    if row.flag(1)? {
        return Ok(None);
    }
    let pack = RulePackActivated::decode(row.blob(0)?);
    pack.map(Some).map_err(|error| Error::corrupt(format!("rule pack of {market}: {error}")))
}

/// What of the live policy limits contacts.
pub(crate) async fn policy(
    database: &Database,
    tenant: &str,
) -> Result<Option<caps::Policy>, Error> {
    let rows = database
        .query("SELECT version, policy FROM policy WHERE tenant = $1", values![tenant])
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let version = u32::try_from(row.int(0)?).unwrap_or(u32::MAX);
    let policy = Policy::decode(row.blob(1)?)
        .map_err(|error| Error::corrupt(format!("policy of {tenant}: {error}")))?;
    Ok(Some(caps::Policy::of(version, &policy)))
}
