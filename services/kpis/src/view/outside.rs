//! What other services said: what each event adds to each series, the kinds of parties, the latest instant recorded.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use eventstore::{Error, Recorded, Timestamp, Tx, View, values};
use rapport_proto::profiles::v1::party_event;
use rapport_proto::types::PartyKind;

use super::Applied;
use super::series::{Cache, Fed};
use crate::rollup::contribution::{Contribution, Role, Sums};
use crate::rollup::definition::SOURCES;
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
        &["followed", "backlog", "horizon", "party", "contribution", "cell"]
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

/// Adds to series what events of one source mean to them.
pub(crate) async fn add(
    tx: &mut Tx,
    tenant: &str,
    source: &str,
    fed: &[&Fed],
    events: &[&Recorded],
) -> Result<(), Error> {
    let events: Vec<Event<'_>> = events.iter().map(|it| Event::from(*it)).collect();
    for fed in fed {
        let series = fed.series();
        let found: Vec<Contribution> = events
            .iter()
            .filter(|it| series.reads(source, it.type_name) && fed.takes(source, it.position))
            .flat_map(|it| series.contributions(it))
            .collect();
        if found.is_empty() {
            continue;
        }
        let rows = found.iter().map(|it| row(tenant, source, &series.name, it)).collect::<Vec<_>>();
        let written = tx
            .insert_many(
                "INSERT INTO contribution (tenant, series, source, position, role, element, event_id,
                     at, bucket, dims, thing, value, currency, party_id)",
                rows,
                "ON CONFLICT (tenant, series, source, position, role, element) DO NOTHING",
            )
            .await?;
        if !series.shape.is_summed() {
            continue;
        }
        let name = (tenant, source, series.name.as_str());
        if written == found.len() as u64 {
            add_sums(tx, name, &sums(&found)).await?;
        } else {
            // A stream that was parked came again, and its past had been read meanwhile.
            let cells: BTreeSet<_> = found.iter().map(cell_of).collect();
            add_again(tx, name, cells).await?;
        }
    }
    Ok(())
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

/// Role, bucket, dimensions and currency.
type CellName = (Role, Timestamp, String, String);

fn cell_of(it: &Contribution) -> CellName {
    (it.role, it.bucket, it.dims.clone(), it.currency.clone())
}

fn sums(found: &[Contribution]) -> BTreeMap<CellName, Sums> {
    let mut cells: BTreeMap<CellName, Sums> = BTreeMap::new();
    for it in found {
        cells.entry(cell_of(it)).or_default().add(it.value);
    }
    cells
}

type SeriesName<'a> = (&'a str, &'a str, &'a str);

const CELL_KEYS: &str = "k(tenant, series, source, role, bucket, dims, currency)";

fn cell_key((tenant, source, series): SeriesName<'_>, cell: &CellName) -> Vec<eventstore::Value> {
    let (role, bucket, dims, currency) = cell;
    values![tenant, series, source, role.number(), *bucket, dims, currency]
}

/// Adds to the cells that are there. Nobody else writes them: a source has one writer at a time.
async fn add_sums(
    tx: &mut Tx,
    name: SeriesName<'_>,
    added: &BTreeMap<CellName, Sums>,
) -> Result<(), Error> {
    let keys: Vec<_> = added.keys().map(|it| cell_key(name, it)).collect();
    let rows = tx
        .query_keys(
            CELL_KEYS,
            &keys,
            "SELECT c.role, c.bucket, c.dims, c.currency, c.n, c.total, c.squares FROM k
             JOIN cell c ON c.tenant = k.tenant AND c.series = k.series AND c.source = k.source
                 AND c.role = k.role AND c.bucket = k.bucket AND c.dims = k.dims
                 AND c.currency = k.currency",
        )
        .await?;
    let mut cells = added.clone();
    for row in &rows {
        let cell =
            (Role::of(row.int(0)?), row.time(1)?, row.text(2)?.to_owned(), row.text(3)?.to_owned());
        let kept =
            Sums { n: row.count(4)?, sum: wide(row.text(5)?)?, squares: wide(row.text(6)?)? };
        cells.entry(cell).or_default().merge(&kept);
    }
    write_cells(tx, name, &cells).await
}

/// Sums cells from what contributes to them.
async fn add_again(
    tx: &mut Tx,
    name: SeriesName<'_>,
    cells: BTreeSet<CellName>,
) -> Result<(), Error> {
    let keys: Vec<_> = cells.iter().map(|it| cell_key(name, it)).collect();
    let rows = tx
        .query_keys(
            CELL_KEYS,
            &keys,
            "SELECT c.role, c.bucket, c.dims, c.currency, c.value FROM k
             JOIN contribution c ON c.tenant = k.tenant AND c.series = k.series
                 AND c.source = k.source AND c.role = k.role AND c.bucket = k.bucket
                 AND c.dims = k.dims AND c.currency = k.currency",
        )
        .await?;
    let mut whole: BTreeMap<CellName, Sums> = BTreeMap::new();
    for row in &rows {
        let cell =
            (Role::of(row.int(0)?), row.time(1)?, row.text(2)?.to_owned(), row.text(3)?.to_owned());
        whole.entry(cell).or_default().add(row.int(4)?);
    }
    write_cells(tx, name, &whole).await
}

async fn write_cells(
    tx: &mut Tx,
    name: SeriesName<'_>,
    cells: &BTreeMap<CellName, Sums>,
) -> Result<(), Error> {
    let rows = cells
        .iter()
        .map(|(cell, sums)| {
            let mut row = cell_key(name, cell);
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
    (tenant, source, series): SeriesName<'_>,
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
