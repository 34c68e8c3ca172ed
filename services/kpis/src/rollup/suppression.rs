//! What is hidden because it tells of too few.
//!
//! A cell with some but too few parties of a kind is hidden; fewer than five patients always are too few. That is not
//! enough: whoever knows the whole and all other cells knows the hidden one. So cells are looked at as a table over
//! everything there ever was, whatever range or filter was asked for, and along each of its lines (one dimension, or time,
//! with everything else fixed) more cells are hidden until what is hidden together tells of enough. A total over a range is
//! hidden when what it shares with the hidden buckets, or leaves of them, would tell too much.
//!
//! ```text
//!            DE   US   FR   all            DE   US   FR   all
//! week 1      3   40   20    63     ─▶      ·    ·   20    63
//! week 2     30   50    9    89             ·    ·    9    89
//! ```
//!
//! The pattern follows from the events alone, so it is the same for every question about the same dimensions. Questions
//! about different dimensions are not compared with each other, nor what was answered before an event came with what is
//! answered after it.

use std::collections::{BTreeMap, BTreeSet};

use eventstore::Timestamp;

use super::figure::{Cell, Query};

/// Parties of a kind, with the kind.
type Party = (String, String);

/// The parties of each cell whose kinds are guarded; a cell without any is there too.
#[derive(Debug, Default)]
pub(crate) struct Table {
    cells: BTreeMap<Cell, BTreeSet<Party>>,
}

/// Guarded kinds with the least number that may be told.
pub(crate) type Guarded = BTreeMap<String, u32>;

/// The kind that is guarded whatever a definition says.
pub(crate) const PATIENT: &str = "PATIENT";
/// Nobody is told of fewer than this.
const LEAST: u32 = 5;

/// What is guarded: patients always, others where a definition names them, and none by less than [`LEAST`].
pub(crate) fn guarded(stated: &BTreeMap<String, u32>) -> Guarded {
    let mut guarded: Guarded =
        stated.iter().map(|(kind, below)| (kind.clone(), (*below).max(LEAST))).collect();
    guarded.entry(PATIENT.to_owned()).or_insert(LEAST);
    guarded
}

impl Table {
    /// Notes a cell and the party that is in it, once for each guarded kind that it is or may be of.
    pub(crate) fn add(&mut self, cell: Cell, party: impl IntoIterator<Item = Party>) {
        self.cells.entry(cell).or_default().extend(party);
    }

    /// The cells of an answer that are hidden; `asked` is without filters.
    pub(crate) fn hidden(&self, guarded: &Guarded, asked: &Query) -> BTreeSet<Cell> {
        if self.cells.values().all(BTreeSet::is_empty) {
            return BTreeSet::new();
        }
        let buckets = self.covered(guarded, self.few_in(guarded));
        if asked.total { self.totals(guarded, asked, &buckets) } else { buckets }
    }

    fn few_in(&self, guarded: &Guarded) -> BTreeSet<Cell> {
        self.cells.keys().filter(|it| self.few(guarded, &[*it])).cloned().collect()
    }

    /// Totals of a range: what is too small itself, what cuts through hidden buckets, and what protects those.
    fn totals(&self, guarded: &Guarded, asked: &Query, hidden: &BTreeSet<Cell>) -> BTreeSet<Cell> {
        let mut totals = Self::default();
        let mut parts: BTreeMap<Cell, Vec<&Cell>> = BTreeMap::new();
        for (cell, parties) in &self.cells {
            let total = Cell { bucket: Timestamp::default(), ..cell.clone() };
            if asked.within(cell.bucket) {
                totals.cells.entry(total.clone()).or_default().extend(parties.iter().cloned());
            }
            if hidden.contains(cell) {
                parts.entry(total).or_default().push(cell);
            }
        }
        let tells =
            |cells: &[&Cell]| !cells.is_empty() && (cells.len() == 1 || self.few(guarded, cells));
        let mut gone = totals.few_in(guarded);
        for (total, cells) in parts {
            let (inside, outside): (Vec<&Cell>, Vec<&Cell>) =
                cells.into_iter().partition(|it| asked.within(it.bucket));
            // A total of nothing that is hidden is a sum of what is shown.
            if !inside.is_empty() && (tells(&inside) || tells(&outside)) {
                gone.insert(total);
            }
        }
        totals.covered(guarded, gone)
    }

    /// Hides more until no line tells what was hidden.
    fn covered(&self, guarded: &Guarded, mut hidden: BTreeSet<Cell>) -> BTreeSet<Cell> {
        if hidden.is_empty() {
            return hidden;
        }
        let lines = self.lines();
        loop {
            let before = hidden.len();
            for line in &lines {
                self.cover(guarded, line, &mut hidden);
            }
            if hidden.len() == before {
                return hidden;
            }
        }
    }

    /// Hides more of one line: what makes it enough, and of that the smallest. Where the line as a whole is too small, so
    /// is its sum, which is nobody's to subtract from.
    fn cover(&self, guarded: &Guarded, line: &[&Cell], hidden: &mut BTreeSet<Cell>) {
        let (mut gone, mut shown): (Vec<&Cell>, Vec<&Cell>) =
            line.iter().copied().partition(|it| hidden.contains(*it));
        if gone.is_empty() || self.few(guarded, line) {
            return;
        }
        while gone.len() == 1 || self.few(guarded, &gone) {
            let size = |it: &Cell| self.cells.get(it).map_or(0, BTreeSet::len);
            let next = shown.iter().enumerate().min_by_key(|(_, it)| {
                let with: Vec<&Cell> = gone.iter().chain([*it]).copied().collect();
                let few = self.few(guarded, &with);
                (few, if few { usize::MAX - size(it) } else { size(it) })
            });
            let Some((index, _)) = next else { return };
            let next = shown.remove(index);
            hidden.insert(next.clone());
            gone.push(next);
        }
    }

    /// Cells that differ in nothing but time, or in nothing but one dimension.
    fn lines(&self) -> Vec<Vec<&Cell>> {
        let axes = self.cells.keys().map(|it| it.values.len()).max().unwrap_or_default();
        let mut lines: BTreeMap<(Option<usize>, Cell), Vec<&Cell>> = BTreeMap::new();
        for cell in self.cells.keys() {
            let over_time = Cell { bucket: Timestamp::default(), ..cell.clone() };
            lines.entry((None, over_time)).or_default().push(cell);
            for axis in 0..axes {
                let mut name = cell.clone();
                if let Some(value) = name.values.get_mut(axis) {
                    value.clear();
                }
                lines.entry((Some(axis), name)).or_default().push(cell);
            }
        }
        lines.into_values().collect()
    }

    /// Whether cells together have some but too few parties of a kind.
    fn few(&self, guarded: &Guarded, cells: &[&Cell]) -> bool {
        guarded.iter().any(|(kind, least)| {
            let of_kind = |it: &&Party| it.0 == *kind;
            let all = cells.iter().filter_map(|it| self.cells.get(*it)).flatten().filter(of_kind);
            let mut different = BTreeSet::new();
            for party in all {
                different.insert(&party.1);
                if different.len() >= *least as usize {
                    return false;
                }
            }
            !different.is_empty()
        })
    }
}
