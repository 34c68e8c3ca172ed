//! Zones of the markets, for parties whose own is not known: from the country packs of `decisioning`.

use authored::calendar::Zone;
use eventstore::{Database, Error, Recorded, Timestamp, Tx, View, values};
use prost::Message as _;
use rapport_proto::decisioning::v1::{RulePackActivated, RulePackRetired};

use super::Applied;
use crate::domain::instant;

/// The consumer's name.
pub(crate) const CONSUMER: &str = "journeys.packs";
/// Where no pack is in force, the two ends of the world: the last of them is the strictest.
const ENDS: [&str; 2] = ["Etc/GMT-14", "Etc/GMT+12"];

/// Keeps the zones of every pack.
pub(crate) struct Zones;

impl View for Zones {
    fn name(&self) -> &'static str {
        CONSUMER
    }

    fn tables(&self) -> &'static [&'static str] {
        &["market_zone"]
    }

    fn reads(&self, type_name: &str) -> bool {
        matches!(
            type_name,
            "rapport.decisioning.v1.RulePackActivated" | "rapport.decisioning.v1.RulePackRetired"
        )
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            for event in events {
                match event.envelope.r#type.rsplit('.').next() {
                    Some("RulePackActivated") => activated(tx, event).await?,
                    Some("RulePackRetired") => retired(tx, event).await?,
                    _ => {}
                }
            }
            Ok(())
        })
    }
}

async fn activated(tx: &mut Tx, event: &Recorded) -> Result<(), Error> {
    let it = RulePackActivated::decode(&*event.envelope.payload).map_err(|it| malformed(&it))?;
    let documents =
        it.document.iter().chain(it.inherited.iter().filter_map(|it| it.document.as_ref()));
    // The nearest calendar counts.
    let calendar = documents.filter_map(|it| it.calendar.as_ref()).next();
    let zones = calendar.map(|it| it.time_zones.join(",")).unwrap_or_default();
    let effective_at = instant(it.effective_at.as_ref()).unwrap_or_default();
    tx.exec(
        "INSERT INTO market_zone (tenant, market, version, effective_at, retired, zones)
         VALUES ($1, $2, $3, $4, 0, $5)
         ON CONFLICT (tenant, market, version)
         DO UPDATE SET effective_at = excluded.effective_at, retired = 0, zones = excluded.zones",
        values![&event.envelope.tenant, it.market, it.version, effective_at, zones],
    )
    .await
    .map(drop)
}

async fn retired(tx: &mut Tx, event: &Recorded) -> Result<(), Error> {
    let it = RulePackRetired::decode(&*event.envelope.payload).map_err(|it| malformed(&it))?;
    tx.exec(
        "UPDATE market_zone SET retired = 1 WHERE tenant = $1 AND market = $2 AND version = $3",
        values![&event.envelope.tenant, event.id(), it.version],
    )
    .await
    .map(drop)
}

fn malformed(error: &prost::DecodeError) -> Error {
    Error::corrupt(format!("a rule pack: {error}"))
}

/// All zones of a market at an instant: those of the pack that took effect last. When that one was retired there are no
/// rules, and an earlier pack does not come back.
pub(crate) async fn of_market(
    database: &Database,
    tenant: &str,
    market: &str,
    at: Timestamp,
) -> Result<Vec<Zone>, Error> {
    let rows = database
        .query(
            "SELECT zones, retired
             FROM market_zone
             WHERE tenant = $1 AND market = $2 AND effective_at <= $3
             ORDER BY effective_at DESC, version DESC
             LIMIT 1",
            values![tenant, market, at],
        )
        .await?;
    let names = match rows.first() {
        Some(row) if !row.flag(1)? => row.text(0)?,
        _ => "",
    };
    let zones: Vec<_> = names.split(',').filter_map(|name| Zone::parse(name).ok()).collect();
    Ok(if zones.is_empty() { ends() } else { zones })
}

/// The zones of a market nobody described.
pub(crate) fn ends() -> Vec<Zone> {
    ENDS.iter().filter_map(|name| Zone::parse(name).ok()).collect()
}
