//! Packs, and since when and until when each version of one is in force.

use std::collections::HashMap;
use std::sync::Arc;

use eventstore::{Database, Error, Recorded, Timestamp, Tx, Value, values};
use prost::Message as _;
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::rule_pack_event::Event;
use rapport_proto::is_market;

use crate::domain::instant;
use crate::domain::pack::Pack;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut known = std::collections::BTreeSet::new();
    for event in events {
        let tenant = &event.envelope.tenant;
        known.insert((tenant.clone(), event.id().to_owned()));
        match event.decode()? {
            Some(Event::Activated(it)) => activate(tx, event, &it).await?,
            Some(Event::Retired(it)) => {
                tx.exec(
                    "UPDATE pack_in_force SET retired_at = $4
                     WHERE tenant = $1 AND market = $2 AND version = $3",
                    values![tenant, event.id(), it.version, event.recorded_at()],
                )
                .await?;
            }
            Some(Event::Drafted(_) | Event::Simulated(_) | Event::Approved(_)) | None => {}
        }
    }
    let rows = known.into_iter().map(|(tenant, pack)| values![tenant, pack]).collect();
    tx.insert_many(
        "INSERT INTO pack (tenant, rule_pack)",
        rows,
        "ON CONFLICT (tenant, rule_pack) DO NOTHING",
    )
    .await
    .map(drop)
}

async fn activate(
    tx: &mut Tx,
    event: &Recorded,
    it: &proto::RulePackActivated,
) -> Result<(), Error> {
    let effective_at = instant(it.effective_at.as_ref()).unwrap_or_else(|| event.recorded_at());
    let row = values![
        &event.envelope.tenant,
        event.id(),
        it.version,
        effective_at,
        Timestamp::MAX,
        event.position,
        it.encode_to_vec()
    ];
    tx.insert_many(
        "INSERT INTO pack_in_force
             (tenant, market, version, effective_at, retired_at, position, activated)",
        vec![row],
        "ON CONFLICT (tenant, market, version) DO UPDATE SET effective_at = excluded.effective_at,
         retired_at = excluded.retired_at, position = excluded.position,
         activated = excluded.activated",
    )
    .await
    .map(drop)
}

/// A version of a market's pack, and when it counts.
#[derive(Clone, Debug)]
pub(crate) struct InForce {
    pub(crate) market: String,
    pub(crate) version: u32,
    pub(crate) effective_at: Timestamp,
    pub(crate) retired_at: Timestamp,
    /// Of its activation.
    position: u64,
    pub(crate) pack: Arc<Pack>,
}

/// Every version of every market's pack that was activated, the one that counts first last. What is compiled already
/// stays so.
pub(super) async fn all(
    database: &Database,
    tenant: &str,
    compiled: &[InForce],
) -> Result<Vec<InForce>, Error> {
    let rows = database
        .query(
            "SELECT market, version, effective_at, retired_at, position FROM pack_in_force
             WHERE tenant = $1 ORDER BY market, effective_at, position",
            values![tenant],
        )
        .await?;
    let mut known: HashMap<u64, Arc<Pack>> =
        compiled.iter().map(|it| (it.position, it.pack.clone())).collect();
    let (mut markets, mut keys) = (Vec::new(), Vec::new());
    for row in &rows {
        let (market, position) = (row.text(0)?, row.count(4)?);
        // An archetype is in force nowhere: those who inherit from it carry it.
        if !is_market(market) {
            continue;
        }
        if !known.contains_key(&position) {
            keys.push(values![tenant, market, row.int(1)?]);
        }
        markets.push((market.to_owned(), position, row));
    }
    known.extend(compile(database, &keys).await?);
    let mut all = Vec::new();
    for (market, position, row) in markets {
        // A version is activated once: its position never changes.
        let Some(pack) = known.get(&position).cloned() else {
            return Err(Error::corrupt(format!("the rule pack of {market} at {position} is gone")));
        };
        let version = u32::try_from(row.int(1)?).unwrap_or_default();
        let (effective_at, retired_at) = (row.time(2)?, row.time(3)?);
        all.push(InForce { market, version, effective_at, retired_at, position, pack });
    }
    Ok(all)
}

/// Packs, by the position of their activation.
async fn compile(
    database: &Database,
    keys: &[Vec<Value>],
) -> Result<HashMap<u64, Arc<Pack>>, Error> {
    let rows = database
        .query_keys(
            "k(tenant, market, version)",
            keys,
            "SELECT p.position, p.activated FROM k
             JOIN pack_in_force p ON p.tenant = k.tenant AND p.market = k.market
                 AND p.version = k.version",
        )
        .await?;
    (rows.iter())
        .map(|row| {
            let activated = proto::RulePackActivated::decode(row.blob(1)?)
                .map_err(|it| Error::corrupt(format!("a pack in force: {it}")))?;
            let document = activated.document.unwrap_or_default();
            let inherited = activated.inherited.iter();
            let inherited = inherited.filter_map(|it| Some((it.version, it.document.as_ref()?)));
            let own = std::iter::once((activated.version, &document));
            Ok((row.count(0)?, Arc::new(Pack::compile(own.chain(inherited)))))
        })
        .collect()
}

/// Ids of packs after one, in their order.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT rule_pack FROM pack
             WHERE tenant = $1 AND rule_pack > $2
             ORDER BY rule_pack
             LIMIT $3",
            values![tenant, after, limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
