//! Reading figures: cells where sums are enough, else every contribution, page by page.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use eventstore::{Error, Row, Store, Timestamp, Tx, values};

use super::outside::{CONSUMER, wide};
use super::series::Fed;
use crate::rollup::contribution::{Contribution, Role, Sums};
use crate::rollup::definition::{Definition, Series, Shape};
use crate::rollup::figure::{Cell, Fold, Number, Place, Query, is_its};
use crate::rollup::suppression::{Guarded, PATIENT, Table};

/// Contributions read at once.
const PAGE: u64 = 20_000;
/// How long somebody waits for positions that are not read yet.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// The first and the last instant of a range that has none.
const ALWAYS: (Timestamp, Timestamp) = (Timestamp(i64::MIN), Timestamp::MAX);

/// Figures, and what they were computed from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Read {
    pub(crate) figures: BTreeMap<Cell, Number>,
    pub(crate) hidden: BTreeSet<Cell>,
    pub(crate) positions: BTreeMap<String, u64>,
}

/// The figures of a metric, what is hidden of them and the positions that they are as of: all of one moment.
pub(crate) async fn read(
    store: &Store,
    tenant: &str,
    definition: &Definition,
    query: &Query,
) -> Result<Read, Error> {
    let series = &definition.series;
    let mut tx = store.database().snapshot().await?;
    let positions = positions(&mut tx, tenant, series, definition.hash).await?;
    let mut fold = Fold::new(series.shape, definition.seconds_stated(), query);
    if series.shape.is_summed() && !query.asks_kind() {
        fold_cells(&mut tx, tenant, series, query, &mut fold).await?;
    } else {
        fold_contributions(&mut tx, tenant, series, query, &mut fold).await?;
    }
    let figures = fold.finish(horizon(&mut tx, tenant, series).await?);
    let mut hidden = hidden(&mut tx, tenant, definition, query).await?;
    hidden.retain(|it| figures.contains_key(it));
    tx.commit().await?;
    Ok(Read { figures, hidden, positions })
}

/// What is hidden of everything there ever was, named as a query names it.
async fn hidden(
    tx: &mut Tx,
    tenant: &str,
    definition: &Definition,
    query: &Query,
) -> Result<BTreeSet<Cell>, Error> {
    let whole = query.whole();
    let table = table(tx, tenant, definition, &whole).await?;
    let hidden = table.hidden(&definition.guarded, &whole);
    Ok(hidden.iter().filter_map(|it| query.of_whole(it)).collect())
}

/// First and last bucket to read. What is joined may stand in another bucket than what it is joined with.
fn range(series: &Series, query: &Query) -> (Timestamp, Timestamp) {
    if series.shape.is_joined() {
        return ALWAYS;
    }
    (query.from.unwrap_or(ALWAYS.0), query.until.unwrap_or(ALWAYS.1))
}

async fn fold_cells(
    tx: &mut Tx,
    tenant: &str,
    series: &Series,
    query: &Query,
    fold: &mut Fold<'_>,
) -> Result<(), Error> {
    let (from, until) = range(series, query);
    let rows = tx
        .query(
            "SELECT role, bucket, dims, currency, n, total, squares FROM cell
             WHERE tenant = $1 AND series = $2 AND bucket >= $3 AND bucket < $4",
            values![tenant, &series.name, from, until],
        )
        .await?;
    for row in &rows {
        let place =
            Place { bucket: row.time(1)?, dims: row.text(2)?, currency: row.text(3)?, kind: "" };
        let sums =
            Sums { n: row.count(4)?, sum: wide(row.text(5)?)?, squares: wide(row.text(6)?)? };
        fold.sums(Role::of(row.int(0)?), &place, &sums);
    }
    Ok(())
}

async fn fold_contributions(
    tx: &mut Tx,
    tenant: &str,
    series: &Series,
    query: &Query,
    fold: &mut Fold<'_>,
) -> Result<(), Error> {
    let mut pages = Pages::new(tenant, &series.name, range(series, query));
    while let Some(page) = pages.next(tx).await? {
        page.iter().for_each(|it| fold.add(&it.contribution, &it.kind));
    }
    Ok(())
}

/// A contribution with where it came from and the kind of its party.
struct Found {
    source: String,
    contribution: Contribution,
    kind: String,
}

impl Found {
    fn place(&self) -> Place<'_> {
        let Contribution { bucket, dims, currency, .. } = &self.contribution;
        Place { bucket: *bucket, dims, currency, kind: &self.kind }
    }

    /// The order in which events are listed; within a bucket they are read in it.
    fn cursor(&self) -> Cursor {
        let it = &self.contribution;
        let position = i64::try_from(it.position).unwrap_or(i64::MAX);
        (self.source.clone(), position, it.role.number(), it.element.into())
    }
}

/// Where a list goes on: source, position, role, element.
pub(crate) type Cursor = (String, i64, i64, i64);

/// Every contribution of a series within a range of buckets.
struct Pages<'a> {
    tenant: &'a str,
    series: &'a str,
    range: (Timestamp, Timestamp),
    /// Each kind between bars, an empty one for those that are not known; empty: all.
    kinds: String,
    after: Option<(Timestamp, Cursor)>,
    done: bool,
}

impl<'a> Pages<'a> {
    fn new(tenant: &'a str, series: &'a str, range: (Timestamp, Timestamp)) -> Self {
        let after = Some((range.0, Cursor::default()));
        Self { tenant, series, range, kinds: String::new(), after, done: false }
    }

    /// Of parties only that are, or may be, of one of these kinds.
    fn of_kinds(mut self, guarded: &Guarded) -> Self {
        self.kinds = guarded.keys().fold("||".to_owned(), |kinds, it| kinds + it + "|");
        self
    }

    async fn next(&mut self, tx: &mut Tx) -> Result<Option<Vec<Found>>, Error> {
        let Some((bucket, after)) = self.after.take().filter(|_| !self.done) else {
            return Ok(None);
        };
        let (source, position, role, element) = after;
        let rows = tx
            .query(
                "SELECT c.source, c.position, c.role, c.element, c.event_id, c.at, c.bucket, c.dims,
                     c.thing, c.value, c.currency, c.party_id, COALESCE(p.kind, '')
                 FROM contribution c
                 LEFT JOIN party p ON p.tenant = c.tenant AND p.party_id = c.party_id
                 WHERE c.tenant = $1 AND c.series = $2 AND c.bucket < $3
                     AND (c.bucket, c.source, c.position, c.role, c.element)
                         > ($4, $5, $6, $7, $8)
                     AND ($10 = '' OR (c.party_id <> ''
                         AND $10 LIKE '%|' || COALESCE(p.kind, '') || '|%'))
                 ORDER BY c.bucket, c.source, c.position, c.role, c.element LIMIT $9",
                values![
                    self.tenant,
                    self.series,
                    self.range.1,
                    bucket,
                    source,
                    position,
                    role,
                    element,
                    PAGE,
                    &self.kinds
                ],
            )
            .await?;
        self.done = (rows.len() as u64) < PAGE;
        let page = rows.iter().map(found).collect::<Result<Vec<_>, _>>()?;
        self.after = page.last().map(|it| (it.contribution.bucket, it.cursor()));
        Ok(Some(page))
    }
}

fn found(row: &Row) -> Result<Found, Error> {
    let contribution = Contribution {
        role: Role::of(row.int(2)?),
        position: row.count(1)?,
        element: u32::try_from(row.int(3)?).unwrap_or_default(),
        event_id: row.text(4)?.to_owned(),
        at: row.time(5)?,
        bucket: row.time(6)?,
        dims: row.text(7)?.to_owned(),
        key: row.text(8)?.to_owned(),
        value: row.int(9)?,
        currency: row.text(10)?.to_owned(),
        party_id: row.text(11)?.to_owned(),
    };
    Ok(Found { source: row.text(0)?.to_owned(), contribution, kind: row.text(12)?.to_owned() })
}

/// The parties of guarded kinds in each cell there ever was; one whose kind is not known yet may be of any. Where nobody
/// is or may be of such a kind, nothing is read; of everybody else only the cells are.
async fn table(
    tx: &mut Tx,
    tenant: &str,
    definition: &Definition,
    query: &Query,
) -> Result<Table, Error> {
    let (series, guarded) = (&definition.series, &definition.guarded);
    let mut table = Table::default();
    if !has_some(tx, tenant, guarded).await? {
        return Ok(table);
    }
    let ever = Query { from: None, until: None, total: false, ..query.clone() };
    for row in &places(tx, tenant, series, &ever).await? {
        let role = Role::of(row.int(0)?);
        let (bucket, dims, currency) = (row.time(1)?, row.text(2)?, row.text(3)?);
        let place = Place { bucket, dims, currency, kind: row.text(4)? };
        if let Some(cell) = ever.cell(&place).filter(|_| counts(series.shape, role)) {
            table.add(cell, None);
        }
    }
    let mut pages = Pages::new(tenant, &series.name, ALWAYS).of_kinds(guarded);
    while let Some(page) = pages.next(tx).await? {
        for it in page.iter().filter(|it| counts(series.shape, it.contribution.role)) {
            let Some(cell) = ever.cell(&it.place()) else { continue };
            let may_be = |kind: &&String| it.kind.is_empty() || **kind == it.kind;
            let party = &it.contribution.party_id;
            let parties = guarded.keys().filter(may_be).map(|kind| (kind.clone(), party.clone()));
            table.add(cell, parties);
        }
    }
    Ok(table)
}

/// Where contributions stand: role, bucket, dimensions, currency, and the kind of party where it is asked for.
async fn places(
    tx: &mut Tx,
    tenant: &str,
    series: &Series,
    query: &Query,
) -> Result<Vec<Row>, Error> {
    let sql = if series.shape.is_summed() && !query.asks_kind() {
        "SELECT DISTINCT role, bucket, dims, currency, '' FROM cell
         WHERE tenant = $1 AND series = $2"
    } else {
        "SELECT DISTINCT c.role, c.bucket, c.dims, c.currency, COALESCE(p.kind, '')
         FROM contribution c
         LEFT JOIN party p ON p.tenant = c.tenant AND p.party_id = c.party_id
         WHERE c.tenant = $1 AND c.series = $2"
    };
    tx.query(sql, values![tenant, &series.name]).await
}

/// Whether anybody is, or may be, of one of these kinds.
async fn has_some(tx: &mut Tx, tenant: &str, guarded: &Guarded) -> Result<bool, Error> {
    for kind in guarded.keys() {
        let query = "SELECT party_id FROM party WHERE tenant = $1 AND kind = $2 LIMIT 1";
        if !tx.query(query, values![tenant, kind]).await?.is_empty() {
            return Ok(true);
        }
    }
    let strangers = "SELECT s.party_id FROM stranger s
         LEFT JOIN party p ON p.tenant = s.tenant AND p.party_id = s.party_id
         WHERE s.tenant = $1 AND p.party_id IS NULL LIMIT 1";
    Ok(!tx.query(strangers, values![tenant]).await?.is_empty())
}

/// Whether contributions of a role stand where the figure counts them.
pub(crate) fn counts(shape: Shape, role: Role) -> bool {
    match shape {
        Shape::Ratio { keyed: true } => role == Role::Other,
        Shape::Span(_) => role == Role::Main,
        Shape::Count
        | Shape::Distinct
        | Shape::Sum
        | Shape::Mean
        | Shape::Ratio { keyed: false }
        | Shape::Quantile(_)
        | Shape::Experiment => true,
    }
}

/// The latest instant that the sources of a series recorded: what is open is open until then. It follows from the events
/// that were read and not from a clock, so the same positions give the same figure.
async fn horizon(tx: &mut Tx, tenant: &str, series: &Series) -> Result<Timestamp, Error> {
    let rows = tx
        .query("SELECT source, recorded_at FROM horizon WHERE tenant = $1", values![tenant])
        .await?;
    let sources = series.sources();
    let mut latest = Timestamp::default();
    for row in &rows {
        if sources.contains(row.text(0)?) {
            latest = latest.max(row.time(1)?);
        }
    }
    Ok(latest)
}

/// Waits until a series has read its sources up to these positions; if that takes long, one that it has not, and where it
/// stands there.
pub(crate) async fn late(
    store: &Store,
    tenant: &str,
    series: &Series,
    hash: [u8; 32],
    wanted: &BTreeMap<String, u64>,
) -> Result<Option<(String, u64)>, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        let read = positions_now(store, tenant, series, hash).await?;
        let at = |source: &String| read.get(source).copied().unwrap_or_default();
        let late = wanted.iter().find(|(source, position)| at(source) < **position);
        let Some((source, _)) = late else { return Ok(None) };
        if Instant::now() >= until {
            return Ok(Some((source.clone(), at(source))));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Up to which position a series has read each of its sources by now.
async fn positions_now(
    store: &Store,
    tenant: &str,
    series: &Series,
    hash: [u8; 32],
) -> Result<BTreeMap<String, u64>, Error> {
    let mut tx = store.database().snapshot().await?;
    let positions = positions(&mut tx, tenant, series, hash).await?;
    tx.commit().await?;
    Ok(positions)
}

async fn positions(
    tx: &mut Tx,
    tenant: &str,
    series: &Series,
    hash: [u8; 32],
) -> Result<BTreeMap<String, u64>, Error> {
    let rows = tx
        .query(
            "SELECT k.source, k.position,
                 COALESCE((SELECT f.hash FROM followed f WHERE f.tenant = $2 AND f.source = k.source
                     AND f.series = $3), $4),
                 COALESCE((SELECT b.position FROM backlog b WHERE b.tenant = $2
                     AND b.source = k.source AND b.series = $3), 0),
                 (SELECT COUNT(*) FROM horizon h WHERE h.tenant = $2 AND h.source = k.source)
             FROM checkpoint k WHERE k.consumer = $1",
            values![CONSUMER, tenant, &series.name, &[][..] as &[u8]],
        )
        .await?;
    let mut found: BTreeMap<String, u64> =
        series.sources().into_iter().map(|it| (it.to_owned(), 0)).collect();
    for row in &rows {
        let Some(position) = found.get_mut(row.text(0)?) else { continue };
        // A tenant of whom nothing was ever said has no past to read.
        let follows = row.blob(2)? == hash || row.int(4)? == 0;
        *position = if follows { row.count(1)? } else { row.count(3)? };
    }
    Ok(found)
}

/// What is known of an experiment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) contributions: Vec<Contribution>,
    /// Parties that are patients, or whose kind is not known.
    pub(crate) patients: BTreeSet<String>,
    pub(crate) as_of: Timestamp,
    pub(crate) positions: BTreeMap<String, u64>,
}

/// Every contribution of an experiment, and up to where it was read.
pub(crate) async fn of_experiment(store: &Store, tenant: &str, fed: &Fed) -> Result<Told, Error> {
    let series = fed.series();
    let mut tx = store.database().snapshot().await?;
    let positions = positions(&mut tx, tenant, series, fed.hash).await?;
    let mut told = Told { positions, ..Told::default() };
    let mut pages = Pages::new(tenant, &series.name, ALWAYS);
    while let Some(page) = pages.next(&mut tx).await? {
        // Between the positions of a closing and its commit something may have been added.
        for it in page {
            if !fed.takes(&it.source, it.contribution.position) {
                continue;
            }
            if it.kind.is_empty() || it.kind == PATIENT {
                told.patients.insert(it.contribution.party_id.clone());
            }
            told.contributions.push(it.contribution);
        }
    }
    told.as_of = horizon(&mut tx, tenant, series).await?;
    tx.commit().await?;
    Ok(told)
}

/// An event that a figure was computed from.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) cursor: Cursor,
    pub(crate) event_id: String,
}

/// The events in the bucket and dimensions of a query, by source and position, after one; none when they are hidden.
pub(crate) async fn events(
    store: &Store,
    tenant: &str,
    definition: &Definition,
    query: &Query,
    after: Cursor,
    limit: usize,
) -> Result<Option<Vec<Listed>>, Error> {
    let series = &definition.series;
    let mut tx = store.database().snapshot().await?;
    if hidden(&mut tx, tenant, definition, query).await?.iter().any(|it| query.within(it.bucket)) {
        tx.commit().await?;
        return Ok(None);
    }
    let mut pages = Pages::new(tenant, &series.name, range(series, query));
    let mut found = Vec::new();
    if series.shape.is_joined() {
        while let Some(page) = pages.next(&mut tx).await? {
            found.extend(page);
        }
        found = joined(series.shape, query, found);
        found.sort_by_cached_key(Found::cursor);
        found.retain(|it| it.cursor() > after);
    } else {
        pages.after = Some((pages.range.0, after));
        while found.len() < limit {
            let Some(page) = pages.next(&mut tx).await? else { break };
            found.extend(page.into_iter().filter(|it| query.cell(&it.place()).is_some()));
        }
    }
    tx.commit().await?;
    let listed = |it: Found| Listed { cursor: it.cursor(), event_id: it.contribution.event_id };
    Ok(Some(found.into_iter().take(limit).map(listed).collect()))
}

/// What things in a query are made of: their first event, and what is joined with it.
fn joined(shape: Shape, query: &Query, all: Vec<Found>) -> Vec<Found> {
    let order =
        |it: &Found| (it.contribution.at, it.contribution.position, it.contribution.element);
    let mut first: HashMap<String, usize> = HashMap::new();
    // What ended it or stopped its clock last, and what made the clock go on.
    let (mut last, mut resumed) = (HashMap::new(), HashMap::new());
    for (index, it) in all.iter().enumerate() {
        let key = &it.contribution.key;
        let base = counts(shape, it.contribution.role);
        let slot = match it.contribution.role {
            _ if base => &mut first,
            Role::Resumed => &mut resumed,
            _ => &mut last,
        };
        let best = slot.entry(key.clone()).or_insert(index);
        let better = order(it).cmp(&order(&all[*best]));
        if better == if base { Ordering::Less } else { Ordering::Greater } {
            *best = index;
        }
    }
    first.retain(|_, index| query.cell(&all[*index].place()).is_some());
    let at = |index: usize| all[index].contribution.at;
    last.retain(|key, stop| first.get(key).is_some_and(|begun| is_its(at(*begun), at(*stop))));
    let counted = |index: usize, it: &Found| {
        let key = &it.contribution.key;
        if counts(shape, it.contribution.role) {
            return first.get(key) == Some(&index);
        }
        let ends = matches!(shape, Shape::Span(_));
        let stop = last.get(key);
        let counts = match it.contribution.role {
            _ if !ends => true,
            Role::Resumed => {
                resumed.get(key) == Some(&index)
                    && stop.is_some_and(|stop: &usize| order(it) > order(&all[*stop]))
            }
            _ => stop == Some(&index),
        };
        first.contains_key(key) && counts
    };
    let keep: Vec<bool> = all.iter().enumerate().map(|(index, it)| counted(index, it)).collect();
    all.into_iter().zip(keep).filter_map(|(it, keep)| keep.then_some(it)).collect()
}
