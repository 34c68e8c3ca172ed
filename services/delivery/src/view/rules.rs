//! Versions of rule packs and of the policy, as `decisioning` activated them. A version is activated once and never
//! changes; which one is in force at an instant is not looked up here, `CheckOutbound` tells it.

use eventstore::{Database, Error, Recorded, Tx, View, values};
use prost::Message as _;
use rapport_proto::decisioning::v1::{Policy, RulePackActivated, policy_event, rule_pack_event};

use super::Applied;
use crate::gate::{caps, rules};

const PACK_ACTIVATED: &str = "rapport.decisioning.v1.RulePackActivated";
const POLICY_ACTIVATED: &str = "rapport.decisioning.v1.PolicyVersionActivated";

/// Follows `decisioning`.
pub(crate) struct Rules;

impl View for Rules {
    fn name(&self) -> &'static str {
        "delivery.rules"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["rule_pack", "policy"]
    }

    fn reads(&self, type_name: &str) -> bool {
        [PACK_ACTIVATED, POLICY_ACTIVATED].contains(&type_name)
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            let mut packs = Vec::new();
            let mut policies = Vec::new();
            for event in events {
                let tenant = &event.envelope.tenant;
                if let Some(rule_pack_event::Event::Activated(it)) = event.decode()? {
                    packs.push(values![tenant, &it.market, it.version, it.encode_to_vec()]);
                }
                if let Some(policy_event::Event::Activated(it)) = event.decode()? {
                    let policy = it.policy.unwrap_or_default();
                    // Only what limits contacts is kept.
                    let lines =
                        Policy { contact_policy: policy.contact_policy, ..Policy::default() };
                    policies.push(values![tenant, it.version, lines.encode_to_vec()]);
                }
            }
            tx.insert_many(
                "INSERT INTO rule_pack (tenant, market, version, pack)",
                packs,
                "ON CONFLICT (tenant, market, version) DO NOTHING",
            )
            .await?;
            tx.insert_many(
                "INSERT INTO policy (tenant, version, policy)",
                policies,
                "ON CONFLICT (tenant, version) DO NOTHING",
            )
            .await
            .map(drop)
        })
    }
}

/// What this service evaluates of a version of a market's pack; `None` when it has not arrived.
pub(crate) async fn pack(
    database: &Database,
    tenant: &str,
    market: &str,
    version: u32,
) -> Result<Option<rules::Pack>, Error> {
    let rows = database
        .query(
            "SELECT pack FROM rule_pack
             WHERE tenant = $1 AND market = $2 AND version = $3",
            values![tenant, market, version],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let pack = RulePackActivated::decode(row.blob(0)?)
        .map_err(|error| Error::corrupt(format!("rule pack of {market}: {error}")))?;
    Ok(Some(rules::Pack::compile(&pack)))
}

/// What of a version of the policy limits contacts; `None` when it has not arrived.
pub(crate) async fn policy(
    database: &Database,
    tenant: &str,
    version: u32,
) -> Result<Option<caps::Policy>, Error> {
    let rows = database
        .query(
            "SELECT policy FROM policy WHERE tenant = $1 AND version = $2",
            values![tenant, version],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let policy = Policy::decode(row.blob(0)?)
        .map_err(|error| Error::corrupt(format!("policy of {tenant}: {error}")))?;
    Ok(Some(caps::Policy::compile(version, &policy)))
}
