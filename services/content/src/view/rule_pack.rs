//! The rule packs as `decisioning` activated them.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Timestamp, Tx, values};
use prost::Message as _;
use rapport_proto::decisioning::v1::RulePackActivated;
use rapport_proto::decisioning::v1::rule_pack_event::Event;

use crate::domain::instant;

pub(crate) async fn apply(tx: &mut Tx, event: &Recorded) -> Result<(), Error> {
    let (tenant, market) = (&event.envelope.tenant, event.id());
    match event.decode()? {
        Some(Event::Activated(it)) => {
            let effective_at = instant(it.effective_at.as_ref()).unwrap_or_else(|| event.recorded_at());
            let row = values![tenant, market, it.version, effective_at, false, it.encode_to_vec()];
            tx.insert_many(
                "INSERT INTO rule_pack (tenant, market, version, effective_at, retired, activated)",
                vec![row],
                "ON CONFLICT (tenant, market, version) DO UPDATE SET
                     effective_at = excluded.effective_at, retired = 0, activated = excluded.activated",
            )
            .await
            .map(drop)
        }
        Some(Event::Retired(it)) => tx
            .exec(
                "UPDATE rule_pack SET retired = 1 WHERE tenant = $1 AND market = $2 AND version = $3",
                values![tenant, market, it.version],
            )
            .await
            .map(drop),
        Some(Event::Drafted(_) | Event::Simulated(_) | Event::Approved(_)) | None => Ok(()),
    }
}

/// The packs in force for markets at an instant: the latest that is effective, unless it was retired.
pub(crate) async fn in_force(
    database: &Database,
    tenant: &str,
    markets: &[String],
    at: Timestamp,
) -> Result<BTreeMap<String, RulePackActivated>, Error> {
    let keys: Vec<_> = markets.iter().map(|it| values![tenant, it, at]).collect();
    let rows = database
        .query_keys(
            "k(tenant, market, now)",
            &keys,
            "SELECT p.market, p.activated
             FROM k
             JOIN rule_pack p ON p.tenant = k.tenant AND p.market = k.market AND p.retired = 0
               AND p.version = (
                   SELECT l.version FROM rule_pack l
                   WHERE l.tenant = k.tenant AND l.market = k.market AND l.effective_at <= k.now
                   ORDER BY l.effective_at DESC, l.version DESC
                   LIMIT 1
               )",
        )
        .await?;
    let mut packs = BTreeMap::new();
    for row in rows {
        let market = row.text(0)?.to_owned();
        let pack = RulePackActivated::decode(row.blob(1)?)
            .map_err(|it| Error::corrupt(format!("rule pack of {market}: {it}")))?;
        packs.insert(market, pack);
    }
    Ok(packs)
}
