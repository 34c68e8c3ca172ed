//! From cells and contributions to figures.

use std::collections::{BTreeMap, HashMap, HashSet};

use eventstore::Timestamp;

use super::contribution::{Contribution, PART, Role, Sums, ratio};
use super::definition::{CURRENCY, PARTY_KIND, Series, Shape};
use super::statistics::{mean_interval, wilson};
use super::survival::{Lasted, quantile};

/// Below this an interval should not be trusted.
const SMALL: u64 = 30;

/// A dimension: one of the definition, or one that every metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    Defined(usize),
    PartyKind,
    Currency,
}

impl Dimension {
    pub(crate) fn find(series: &Series, name: &str) -> Option<Self> {
        match name {
            PARTY_KIND => Some(Self::PartyKind),
            CURRENCY => Some(Self::Currency),
            name => series.dimensions.iter().position(|it| it == name).map(Self::Defined),
        }
    }
}

/// Which figures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    /// First bucket.
    pub(crate) from: Option<Timestamp>,
    /// First instant that is no bucket's any more.
    pub(crate) until: Option<Timestamp>,
    pub(crate) group: Vec<Dimension>,
    pub(crate) only: Vec<(Dimension, String)>,
    /// One figure instead of one for each bucket.
    pub(crate) total: bool,
}

impl Query {
    /// Whether it needs to know the kinds of parties.
    pub(crate) fn asks_kind(&self) -> bool {
        let only = self.only.iter().map(|it| it.0);
        self.group.iter().copied().chain(only).any(|it| it == Dimension::PartyKind)
    }

    /// The same without filters: what it filters by becomes a dimension, behind those that it asks for.
    pub(crate) fn whole(&self) -> Self {
        let by = self.only.iter().map(|it| it.0).filter(|it| !self.group.contains(it));
        let group = self.group.iter().copied().chain(by).collect();
        Self { group, only: Vec::new(), ..self.clone() }
    }

    /// What a cell of the whole is called here; none when it is filtered out.
    pub(crate) fn of_whole(&self, cell: &Cell) -> Option<Cell> {
        let group = self.whole().group;
        let fits = self.only.iter().all(|(dimension, value)| {
            group.iter().zip(&cell.values).any(|it| it.0 == dimension && it.1 == value)
        });
        let values = cell.values.iter().take(self.group.len()).cloned().collect();
        fits.then(|| Cell { values, ..cell.clone() })
    }

    /// Whether a bucket was asked for.
    pub(crate) fn within(&self, bucket: Timestamp) -> bool {
        self.from.is_none_or(|it| it <= bucket) && self.until.is_none_or(|it| bucket < it)
    }

    /// The cell that something with these values belongs to; none when it was not asked for.
    pub(crate) fn cell(&self, at: &Place<'_>) -> Option<Cell> {
        if !self.within(at.bucket)
            || !self.only.iter().all(|(dimension, value)| at.value(*dimension) == value)
        {
            return None;
        }
        Some(Cell {
            bucket: if self.total { Timestamp::default() } else { at.bucket },
            values: self.group.iter().map(|it| at.value(*it).to_owned()).collect(),
            currency: at.currency.to_owned(),
        })
    }
}

/// Where a contribution stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) bucket: Timestamp,
    pub(crate) dims: &'a str,
    pub(crate) currency: &'a str,
    pub(crate) kind: &'a str,
}

impl<'a> Place<'a> {
    fn value(&self, dimension: Dimension) -> &'a str {
        match dimension {
            Dimension::Defined(index) => self.dims.split(PART).nth(index).unwrap_or_default(),
            Dimension::PartyKind => self.kind,
            Dimension::Currency => self.currency,
        }
    }
}

/// A figure's place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Cell {
    pub(crate) bucket: Timestamp,
    pub(crate) values: Vec<String>,
    pub(crate) currency: String,
}

/// What a figure is computed from. Folding is a sum, a set or a list that is sorted: no order shows.
#[derive(Clone, Debug, Default)]
struct Folded {
    main: Sums,
    other: Sums,
    different: HashSet<String>,
    values: Vec<i64>,
    things: u64,
    found: u64,
    lasted: Vec<Lasted>,
}

/// A number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Number {
    pub(crate) value: Option<f64>,
    pub(crate) n: u64,
    pub(crate) interval: Option<(f64, f64)>,
    pub(crate) small: bool,
    pub(crate) censored: u64,
}

/// The first event of a thing.
struct Thing {
    at: Timestamp,
    position: u64,
    element: u32,
    /// Where it counts; none when it was not asked for.
    cell: Option<Cell>,
}

/// Clocks of two services that tell of the same thing differ by less.
const APART: i64 = 5 * 60 * 1_000_000;

/// Whether what ends at an instant has begun at another: what ended before has ended another one.
pub(crate) fn is_its(begun: Timestamp, ended: Timestamp) -> bool {
    ended.0.saturating_add(APART) >= begun.0
}

/// Orders what happens to a thing.
type Order = (Timestamp, u64, u32);

/// What became of a thing that has begun.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    /// What stopped it last, with what it states, and whether that is an end.
    stopped: Option<(Order, i64, bool)>,
    /// What made it go on last.
    resumed: Option<Order>,
}

impl Clock {
    /// How long a thing has lasted at `as_of`; `stated`: what stops the clock says what it shows.
    fn lasted(&self, begun: Timestamp, as_of: Timestamp, stated: bool) -> Lasted {
        let between = |from: Timestamp, until: Timestamp| until.0.saturating_sub(from.0);
        let stopped = self.stopped.filter(|it| is_its(begun, it.0.0));
        let (for_, open) = match (stopped, self.resumed) {
            (None, _) => (between(begun, as_of), true),
            (Some((stopped, shows, _)), Some(resumed)) if resumed > stopped => {
                (shows.saturating_add(between(resumed.0, as_of).max(0)), true)
            }
            (Some((stopped, shows, ends)), _) => {
                (if stated { shows } else { between(begun, stopped.0) }, !ends)
            }
        };
        Lasted { for_: for_.max(0), open }
    }
}

/// Folds cells or contributions into figures.
pub(crate) struct Fold<'q> {
    shape: Shape,
    query: &'q Query,
    cells: HashMap<Cell, Folded>,
    /// What a joined shape joins: things by key, and what was found of them.
    things: HashMap<String, Thing>,
    clocks: HashMap<String, Clock>,
    keys: HashSet<String>,
    seconds_stated: bool,
}

impl<'q> Fold<'q> {
    pub(crate) fn new(shape: Shape, seconds_stated: bool, query: &'q Query) -> Self {
        Self {
            shape,
            query,
            cells: HashMap::new(),
            things: HashMap::new(),
            clocks: HashMap::new(),
            keys: HashSet::new(),
            seconds_stated,
        }
    }

    /// Adds sums that were kept.
    pub(crate) fn sums(&mut self, role: Role, place: &Place<'_>, sums: &Sums) {
        let Some(cell) = self.query.cell(place) else { return };
        let folded = self.cells.entry(cell).or_default();
        match role {
            Role::Main => folded.main.merge(sums),
            Role::Other | Role::Instance | Role::Paused | Role::Resumed => folded.other.merge(sums),
        }
    }

    /// Adds a contribution.
    pub(crate) fn add(&mut self, it: &Contribution, kind: &str) {
        let place = Place { bucket: it.bucket, dims: &it.dims, currency: &it.currency, kind };
        match (self.shape, it.role) {
            (Shape::Ratio { keyed: true }, Role::Main) => {
                self.keys.insert(it.key.clone());
            }
            (Shape::Ratio { keyed: true }, Role::Other) | (Shape::Span(_), Role::Main) => {
                let thing = Thing {
                    at: it.at,
                    position: it.position,
                    element: it.element,
                    cell: self.query.cell(&place),
                };
                match self.things.get_mut(&it.key) {
                    Some(first) => {
                        if (thing.at, thing.position, thing.element)
                            < (first.at, first.position, first.element)
                        {
                            *first = thing;
                        }
                    }
                    None => {
                        self.things.insert(it.key.clone(), thing);
                    }
                }
            }
            (Shape::Span(_), role @ (Role::Other | Role::Paused)) => {
                let stop = ((it.at, it.position, it.element), it.value, role == Role::Other);
                let clock = self.clocks.entry(it.key.clone()).or_default();
                clock.stopped = clock.stopped.max(Some(stop));
            }
            (Shape::Span(_), Role::Resumed) => {
                let clock = self.clocks.entry(it.key.clone()).or_default();
                clock.resumed = clock.resumed.max(Some((it.at, it.position, it.element)));
            }
            (Shape::Distinct, _) => {
                let Some(cell) = self.query.cell(&place) else { return };
                let folded = self.cells.entry(cell).or_default();
                folded.main.add(0);
                if !folded.different.contains(&it.key) {
                    folded.different.insert(it.key.clone());
                }
            }
            (Shape::Quantile(_), _) => {
                let Some(cell) = self.query.cell(&place) else { return };
                self.cells.entry(cell).or_default().values.push(it.value);
            }
            (Shape::Count | Shape::Sum | Shape::Mean | Shape::Ratio { keyed: false }, role) => {
                let mut one = Sums::default();
                one.add(it.value);
                self.sums(role, &place, &one);
            }
            (_, Role::Instance | Role::Paused | Role::Resumed) | (Shape::Experiment, _) => {}
        }
    }

    /// The figures, by bucket and dimensions. What has not ended is censored at `as_of`, or where its clock stands.
    pub(crate) fn finish(mut self, as_of: Timestamp) -> BTreeMap<Cell, Number> {
        for (key, thing) in std::mem::take(&mut self.things) {
            let Some(cell) = thing.cell else { continue };
            let folded = self.cells.entry(cell).or_default();
            folded.things += 1;
            match self.shape {
                Shape::Span(_) => {
                    let clock = self.clocks.get(&key).copied().unwrap_or_default();
                    folded.lasted.push(clock.lasted(thing.at, as_of, self.seconds_stated));
                }
                _ => folded.found += u64::from(self.keys.contains(&key)),
            }
        }
        let shape = self.shape;
        self.cells.into_iter().map(|(cell, folded)| (cell, folded.number(shape))).collect()
    }
}

impl Folded {
    fn number(mut self, shape: Shape) -> Number {
        let mut number = Number { n: self.main.n, ..Number::default() };
        #[expect(clippy::cast_precision_loss, reason = "counts of events")]
        let count = |n: u64| n as f64;
        match shape {
            Shape::Count => number.value = Some(count(self.main.n)),
            Shape::Distinct => number.value = Some(count(self.different.len() as u64)),
            Shape::Sum => number.value = Some(self.main.total()),
            Shape::Mean => {
                number.value = self.main.mean();
                number.interval = mean_interval(&self.main);
                number.small = self.main.n < SMALL;
            }
            Shape::Ratio { keyed: false } => {
                number.n = self.other.n;
                number.value = share(self.main.n, self.other.n);
                number.small = self.other.n < SMALL;
            }
            Shape::Ratio { keyed: true } => {
                number.n = self.things;
                number.value = share(self.found, self.things);
                number.interval = wilson(self.found, self.things);
                number.small = self.things < SMALL;
            }
            Shape::Quantile(q) => {
                self.values.sort_unstable();
                number.n = self.values.len() as u64;
                number.small = number.n < SMALL;
                number.value = nearest(&self.values, q).map(in_units);
            }
            Shape::Span(q) => {
                number.n = self.lasted.len() as u64;
                number.censored = self.lasted.iter().filter(|it| it.open).count() as u64;
                number.small = number.n < SMALL;
                number.value = quantile(&mut self.lasted, q).map(in_units);
            }
            Shape::Experiment => {}
        }
        number
    }
}

fn in_units(millionths: i64) -> f64 {
    ratio(millionths.into(), 1_000_000)
}

fn share(above: u64, below: u64) -> Option<f64> {
    (below > 0).then(|| ratio(above.into(), below.into()))
}

/// The smallest value at or below which the share `q` lies.
fn nearest(sorted: &[i64], q: f64) -> Option<i64> {
    #[expect(clippy::cast_precision_loss, reason = "a count of events")]
    let n = sorted.len() as f64;
    // 0.1 · 30 is a little more than 3 in floats, and must not be 4.
    let rank = (q * n - 1e-9).ceil().max(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to n")]
    sorted.get(rank as usize - 1).copied()
}
