//! What other services said: what each event adds to each series, the kinds of parties, the latest instant recorded.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use eventstore::{Error, Recorded, Row, Timestamp, Tx, View, values};
use rapport_proto::profiles::v1::party_event;
use rapport_proto::types::PartyKind;

use super::Applied;
use super::series::{Cache, Fed};
use crate::rollup::contribution::{Contribution, Role, Sums};
use crate::rollup::definition::{SOURCES, Series};
use crate::rollup::record::Event;

/// The consumer that writes these tables.
pub(crate) const CONSUMER: &str = "kpis";

/// The view of the consumer.
pub(crate) struct Outside {
    cache: Cache,
}

impl Outside {
    pub(crate) fn new(cache: Cache) -> Self {
        Self { cache }
    }
}

impl View for Outside {
    fn name(&self) -> &'static str {
        "kpis.outside"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["followed", "backlog", "horizon", "party", "stranger", "contribution", "cell"]
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            let mut tenants: BTreeMap<(&str, &str), Vec<&Recorded>> = BTreeMap::new();
            for event in events {
                let name = (event.envelope.tenant.as_str(), event.envelope.source.as_str());
                tenants.entry(name).or_default().push(event);
            }
            for ((tenant, source), events) in tenants {
                let fed = self.following(tx, tenant, source).await?;
                note_horizon(tx, tenant, source, &events).await?;
                note_parties(tx, tenant, &events).await?;
                add(tx, tenant, source, &fed.iter().collect::<Vec<_>>(), &events).await?;
            }
            Ok(())
        })
    }
}

impl Outside {
    /// The series that a tenant's events of a source feed. Everything that is in force when the first of these events
    /// comes is fed from the start; what comes later is fed once it has read the past.
    async fn following(&self, tx: &mut Tx, tenant: &str, source: &str) -> Result<Vec<Fed>, Error> {
        let all = self.cache.in_tx(tx, tenant).await?;
        let mut all: Vec<Fed> =
            all.into_iter().filter(|it| it.series().sources().contains(source)).collect();
        if !is_known(tx, tenant, source).await? {
            let rows = all.iter().map(|it| follow_row(tenant, source, it)).collect();
            tx.insert_many(FOLLOW, rows, FOLLOWED_ALREADY).await?;
            return Ok(all);
        }
        let followed = followed(tx, tenant, source).await?;
        all.retain(|it| followed.get(&it.series().name) == Some(&it.hash));
        Ok(all)
    }
}

const FOLLOW: &str = "INSERT INTO followed (tenant, source, series, hash)";
const FOLLOWED_ALREADY: &str =
    "ON CONFLICT (tenant, source, series) DO UPDATE SET hash = excluded.hash";

fn follow_row(tenant: &str, source: &str, fed: &Fed) -> Vec<eventstore::Value> {
    values![tenant, source, &fed.series().name, fed.hash]
}

/// From now on the consumer feeds it.
pub(crate) async fn follow(
    tx: &mut Tx,
    tenant: &str,
    source: &str,
    fed: &Fed,
) -> Result<(), Error> {
    let row = follow_row(tenant, source, fed);
    tx.insert_many(FOLLOW, vec![row], FOLLOWED_ALREADY).await.map(drop)
}

/// Series that a source feeds, by the hash of their document.
pub(crate) async fn followed(
    tx: &mut Tx,
    tenant: &str,
    source: &str,
) -> Result<HashMap<String, [u8; 32]>, Error> {
    let rows = tx
        .query(
            "SELECT series, hash FROM followed WHERE tenant = $1 AND source = $2",
            values![tenant, source],
        )
        .await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.hash(1)?))).collect()
}

/// Whether an event of this tenant and source was ever handled.
pub(crate) async fn is_known(tx: &mut Tx, tenant: &str, source: &str) -> Result<bool, Error> {
    let rows = tx
        .query(
            "SELECT recorded_at FROM horizon WHERE tenant = $1 AND source = $2",
            values![tenant, source],
        )
        .await?;
    Ok(!rows.is_empty())
}

async fn note_horizon(
    tx: &mut Tx,
    tenant: &str,
    source: &str,
    events: &[&Recorded],
) -> Result<(), Error> {
    let latest = events.iter().map(|it| it.recorded_at()).max().unwrap_or_default();
    tx.insert_many(
        "INSERT INTO horizon (tenant, source, recorded_at)",
        vec![values![tenant, source, latest]],
        "ON CONFLICT (tenant, source) DO UPDATE SET recorded_at = excluded.recorded_at
         WHERE excluded.recorded_at > horizon.recorded_at",
    )
    .await
    .map(drop)
}

/// The kind of a party never changes.
async fn note_parties(tx: &mut Tx, tenant: &str, events: &[&Recorded]) -> Result<(), Error> {
    let mut rows = BTreeMap::new();
    for event in events.iter().filter(|it| it.envelope.r#type.ends_with(".PartyRegistered")) {
        let Some(party_event::Event::Registered(it)) = event.decode()? else { continue };
        let kind = it.kind().as_str_name().trim_start_matches("PARTY_KIND_").to_owned();
        if it.kind() != PartyKind::Unspecified {
            rows.insert(event.id().to_owned(), kind);
        }
    }
    let rows = rows.into_iter().map(|(party_id, kind)| values![tenant, party_id, kind]).collect();
    tx.insert_many(
        "INSERT INTO party (tenant, party_id, kind)",
        rows,
        "ON CONFLICT (tenant, party_id) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Notes parties that something is said of before they are known: `profiles` is read at a pace of its own.
async fn note_strangers(
    tx: &mut Tx,
    tenant: &str,
    found: &[(&Series, Contribution)],
) -> Result<(), Error> {
    let parties: BTreeSet<&str> = found.iter().map(|it| it.1.party_id.as_str()).collect();
    let parties = parties.into_iter().filter(|it| !it.is_empty());
    let keys: Vec<_> = parties.map(|it| values![tenant, it]).collect();
    tx.exec_keys(
        "k(tenant, party_id)",
        &keys,
        "INSERT INTO stranger (tenant, party_id)
         SELECT k.tenant, k.party_id FROM k WHERE NOT EXISTS (
             SELECT 1 FROM party p WHERE p.tenant = k.tenant AND p.party_id = k.party_id)
         ON CONFLICT (tenant, party_id) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Adds to series what events of one source mean to them: whatever the number of series, one statement for the
/// contributions, one that reads their cells and one that writes them.
pub(crate) async fn add(
    tx: &mut Tx,
    tenant: &str,
    source: &str,
    fed: &[&Fed],
    events: &[&Recorded],
) -> Result<(), Error> {
    let mut found: Vec<(&Series, Contribution)> = Vec::new();
    for event in events.iter().map(|it| Event::from(*it)) {
        for fed in fed.iter().filter(|it| it.takes(source, event.position)) {
            let series = fed.series();
            found.extend(series.contributions(&event).into_iter().map(|it| (series, it)));
        }
    }
    note_strangers(tx, tenant, &found).await?;
    let rows: Vec<_> = found.iter().map(|(of, it)| row(tenant, source, &of.name, it)).collect();
    let written = tx
        .insert_many(
            "INSERT INTO contribution (tenant, series, source, position, role, element, event_id,
                 at, bucket, dims, thing, value, currency, party_id)",
            rows,
            "ON CONFLICT (tenant, series, bucket, source, position, role, element) DO NOTHING",
        )
        .await?;
    let all = found.len() as u64;
    found.retain(|(series, _)| series.shape.is_summed());
    if written == all {
        return add_sums(tx, (tenant, source), sums(&found)).await;
    }
    // A stream that was parked came again, and its past had been read meanwhile.
    let cells: BTreeSet<_> = found.iter().map(|(series, it)| cell_of(series, it)).collect();
    add_again(tx, (tenant, source), cells).await
}

fn row(tenant: &str, source: &str, series: &str, it: &Contribution) -> Vec<eventstore::Value> {
    values![
        tenant,
        series,
        source,
        it.position,
        it.role.number(),
        it.element,
        &it.event_id,
        it.at,
        it.bucket,
        &it.dims,
        &it.key,
        it.value,
        &it.currency,
        &it.party_id
    ]
}

/// Series, role, bucket, dimensions and currency.
type CellName = (String, Role, Timestamp, String, String);

fn cell_of(series: &Series, it: &Contribution) -> CellName {
    (series.name.clone(), it.role, it.bucket, it.dims.clone(), it.currency.clone())
}

fn sums(found: &[(&Series, Contribution)]) -> BTreeMap<CellName, Sums> {
    let mut cells: BTreeMap<CellName, Sums> = BTreeMap::new();
    for (series, it) in found {
        cells.entry(cell_of(series, it)).or_default().add(it.value);
    }
    cells
}

/// Tenant and source.
type Owner<'a> = (&'a str, &'a str);

const CELL_KEYS: &str = "k(tenant, series, source, role, bucket, dims, currency)";

fn cell_key((tenant, source): Owner<'_>, cell: &CellName) -> Vec<eventstore::Value> {
    let (series, role, bucket, dims, currency) = cell;
    values![tenant, series, source, role.number(), *bucket, dims, currency]
}

/// The name of the cell that a row of these columns begins with.
fn cell_name(row: &Row) -> Result<CellName, Error> {
    let text = |column| row.text(column).map(str::to_owned);
    Ok((text(0)?, Role::of(row.int(1)?), row.time(2)?, text(3)?, text(4)?))
}

/// Adds to the cells that are there. Nobody else writes them: a source has one writer at a time.
async fn add_sums(
    tx: &mut Tx,
    owner: Owner<'_>,
    mut cells: BTreeMap<CellName, Sums>,
) -> Result<(), Error> {
    let keys: Vec<_> = cells.keys().map(|it| cell_key(owner, it)).collect();
    let rows = tx
        .query_keys(
            CELL_KEYS,
            &keys,
            "SELECT c.series, c.role, c.bucket, c.dims, c.currency, c.n, c.total, c.squares FROM k
             JOIN cell c ON c.tenant = k.tenant AND c.series = k.series AND c.source = k.source
                 AND c.role = k.role AND c.bucket = k.bucket AND c.dims = k.dims
                 AND c.currency = k.currency",
        )
        .await?;
    for row in &rows {
        let kept =
            Sums { n: row.count(5)?, sum: wide(row.text(6)?)?, squares: wide(row.text(7)?)? };
        cells.entry(cell_name(row)?).or_default().merge(&kept);
    }
    write_cells(tx, owner, &cells).await
}

/// Sums cells from what contributes to them.
async fn add_again(tx: &mut Tx, owner: Owner<'_>, cells: BTreeSet<CellName>) -> Result<(), Error> {
    let keys: Vec<_> = cells.iter().map(|it| cell_key(owner, it)).collect();
    let rows = tx
        .query_keys(
            CELL_KEYS,
            &keys,
            "SELECT c.series, c.role, c.bucket, c.dims, c.currency, c.value FROM k
             JOIN contribution c ON c.tenant = k.tenant AND c.series = k.series
                 AND c.bucket = k.bucket AND c.source = k.source AND c.role = k.role
                 AND c.dims = k.dims AND c.currency = k.currency",
        )
        .await?;
    let mut whole: BTreeMap<CellName, Sums> = BTreeMap::new();
    for row in &rows {
        whole.entry(cell_name(row)?).or_default().add(row.int(5)?);
    }
    write_cells(tx, owner, &whole).await
}

async fn write_cells(
    tx: &mut Tx,
    owner: Owner<'_>,
    cells: &BTreeMap<CellName, Sums>,
) -> Result<(), Error> {
    let rows = cells
        .iter()
        .map(|(cell, sums)| {
            let mut row = cell_key(owner, cell);
            row.extend(values![sums.n, sums.sum.to_string(), sums.squares.to_string()]);
            row
        })
        .collect();
    tx.insert_many(
        "INSERT INTO cell (tenant, series, source, role, bucket, dims, currency, n, total, squares)",
        rows,
        "ON CONFLICT (tenant, series, source, role, bucket, dims, currency) DO UPDATE SET
         n = excluded.n, total = excluded.total, squares = excluded.squares",
    )
    .await
    .map(drop)
}

/// An integer of 128 bits as it is kept.
pub(super) fn wide(text: &str) -> Result<i128, Error> {
    text.parse().map_err(|_| Error::corrupt("a cell holds what is no integer"))
}

/// Forgets what a source added to a series.
pub(crate) async fn forget(
    tx: &mut Tx,
    (tenant, source): Owner<'_>,
    series: &str,
) -> Result<(), Error> {
    for table in [
        "DELETE FROM contribution WHERE tenant = $1 AND series = $2 AND source = $3",
        "DELETE FROM cell WHERE tenant = $1 AND series = $2 AND source = $3",
        "DELETE FROM followed WHERE tenant = $1 AND series = $2 AND source = $3",
        "DELETE FROM backlog WHERE tenant = $1 AND series = $2 AND source = $3",
    ] {
        tx.exec(table, values![tenant, series, source]).await?;
    }
    Ok(())
}

/// Sources that the consumer reads.
pub(crate) fn sources() -> Vec<String> {
    SOURCES.map(str::to_owned).to_vec()
}
