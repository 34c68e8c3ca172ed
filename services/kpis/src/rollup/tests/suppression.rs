//! Which cells are hidden, and that no sum of a line tells one that is too small.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::rollup::suppression::{Guarded, Table, guarded};

fn cell(week: i64, values: &[&str]) -> Cell {
    let values = values.iter().map(|it| (*it).to_owned()).collect();
    Cell { bucket: days(week * 7), values, currency: String::new() }
}

fn five() -> Guarded {
    guarded(&Default::default())
}

#[test]
fn patients_are_guarded_whatever_a_definition_says() {
    let of = |stated: &[(&str, u32)]| -> Vec<(String, u32)> {
        let stated = stated.iter().map(|(kind, below)| ((*kind).to_owned(), *below)).collect();
        guarded(&stated).into_iter().collect()
    };
    assert_eq!(of(&[]), [("PATIENT".to_owned(), 5)]);
    assert_eq!(of(&[("PATIENT", 2)]), [("PATIENT".to_owned(), 5)]);
    let stated = [("HCP", 3), ("PATIENT", 20)];
    assert_eq!(of(&stated), [("HCP".to_owned(), 5), ("PATIENT".to_owned(), 20)]);
}

/// A table of cells with so many patients each.
fn table(cells: &[(Cell, usize)]) -> Table {
    let mut table = Table::default();
    for (cell, patients) in cells {
        table.add(cell.clone(), None);
        for number in 0..*patients {
            let party = format!("{cell:?}/{number}");
            table.add(cell.clone(), Some(("PATIENT".to_owned(), party)));
        }
    }
    table
}

fn hidden(cells: &[(Cell, usize)], asked: &Query) -> Vec<Cell> {
    table(cells).hidden(&five(), asked).into_iter().collect()
}

#[test]
fn a_small_cell_is_hidden_with_what_makes_it_enough() {
    let of = |value: &str| cell(0, &[value]);
    let asked = Query::default();
    let cells = [(of("a"), 4), (of("b"), 50), (of("c"), 20), (of("d"), 0)];
    assert_eq!(hidden(&cells, &asked), [of("a"), of("c")]);
    // One that is hidden with it brings too few: another goes too.
    let cells = [(of("a"), 1), (of("b"), 2), (of("c"), 20), (of("d"), 30)];
    assert_eq!(hidden(&cells, &asked), [of("a"), of("b"), of("c")]);
    // The sum is too small itself: nobody has it.
    assert_eq!(hidden(&[(of("a"), 4), (of("d"), 0)], &asked), [of("a")]);
    assert_eq!(hidden(&[(of("a"), 5), (of("d"), 0)], &asked), []);
    assert_eq!(table(&[(of("a"), 4)]).hidden(&Guarded::new(), &asked), BTreeSet::new());
}

#[test]
fn a_total_that_cuts_through_hidden_buckets_is_hidden() {
    let cells = [(cell(0, &[]), 3), (cell(1, &[]), 8), (cell(2, &[]), 9), (cell(3, &[]), 3)];
    assert_eq!(hidden(&cells, &Query::default()), [cell(0, &[]), cell(3, &[])]);
    let total = |from: Option<i64>, until: Option<i64>| {
        let week = |it: i64| days(it * 7);
        let query =
            Query { from: from.map(week), until: until.map(week), total: true, ..Query::default() };
        hidden(&cells, &query).is_empty()
    };
    assert!(total(None, None), "both together are enough");
    assert!(total(Some(1), Some(3)), "nothing in it is hidden");
    assert!(!total(None, Some(3)), "less what is shown, it is the first week");
    assert!(!total(Some(1), None), "less what is shown, it is the last week");
}

proptest! {
    #[test]
    fn along_every_line_what_is_hidden_is_enough(
        sizes in prop::collection::vec(0_usize..9, 12),
        survey in any::<bool>(),
    ) {
        let name = |index: usize| {
            let week = i64::try_from(index / 6).expect("small");
            let (market, of) = ((index / 2 % 3).to_string(), (index % 2).to_string());
            if survey { cell(week, &[&market, &of]) } else { cell(week, &[&format!("{market}{of}")]) }
        };
        let cells: Vec<_> = sizes.iter().enumerate().map(|(at, it)| (name(at), *it)).collect();
        let gone = table(&cells).hidden(&five(), &Query::default());
        let size = |of: &Cell| cells.iter().find(|it| it.0 == *of).map_or(0, |it| it.1);
        let few = |patients: usize| (1..5).contains(&patients);
        for (cell, patients) in &cells {
            prop_assert!(!few(*patients) || gone.contains(cell));
            for axis in 0..=cell.values.len() {
                let fixed = |it: &Cell| {
                    let mut it = it.clone();
                    match it.values.get_mut(axis) {
                        Some(value) => value.clear(),
                        None => it.bucket = Timestamp::default(),
                    }
                    it
                };
                let line: Vec<_> =
                    cells.iter().map(|it| &it.0).filter(|it| fixed(it) == fixed(cell)).collect();
                let sum = |of: &[&Cell]| of.iter().map(|it| size(it)).sum::<usize>();
                let away: Vec<_> = line.iter().copied().filter(|it| gone.contains(*it)).collect();
                let told = away.len() == 1 || few(sum(&away));
                prop_assert!(away.is_empty() || !told || few(sum(&line)) || away.len() == line.len());
            }
        }
    }
}
