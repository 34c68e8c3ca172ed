//! The table and `target/bench.json`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::measure::Compared;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bench.json");

/// One row.
pub(crate) struct Row {
    id: String,
    what: String,
    value: f64,
    unit: &'static str,
    reference: Option<f64>,
    ratio: Option<f64>,
    goal: Option<f64>,
    met: Option<bool>,
}

impl Row {
    /// A rate that shall be at least `goal` times its reference.
    pub(crate) fn compared(id: &str, what: impl Into<String>, it: &Compared, goal: f64) -> Self {
        let ratio = it.value / it.reference;
        Self {
            reference: Some(it.reference),
            ratio: Some(ratio),
            goal: Some(goal),
            met: Some(ratio >= goal),
            ..Self::reported(id, what, it.value, "events/s")
        }
    }

    /// A figure that is only told.
    pub(crate) fn reported(
        id: &str,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Self {
        let (id, what) = (id.to_owned(), what.into());
        Self { id, what, value, unit, reference: None, ratio: None, goal: None, met: None }
    }

    /// The same, with a bound it shall stay below.
    pub(crate) fn below(self, goal: f64) -> Self {
        Self { goal: Some(goal), met: Some(self.value < goal), ..self }
    }

    /// The same, with a bound it shall reach.
    pub(crate) fn at_least(self, goal: f64) -> Self {
        Self { goal: Some(goal), met: Some(self.value >= goal), ..self }
    }

    /// The same, beside a reference it need not reach.
    pub(crate) fn beside(self, reference: f64) -> Self {
        Self { reference: Some(reference), ratio: Some(self.value / reference), ..self }
    }

    /// A time that shall be at most `goal` times its reference.
    pub(crate) fn timed(id: &str, what: impl Into<String>, it: &Compared, goal: f64) -> Self {
        let row = Self::reported(id, what, it.value, "ns").beside(it.reference);
        Self { goal: Some(goal), met: row.ratio.map(|it| it <= goal), ..row }
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "what": self.what,
            "value": rounded(self.value),
            "unit": self.unit,
            "reference": self.reference.map(rounded),
            "ratio": self.ratio.map(rounded),
            "goal": self.goal,
            "met": self.met,
        })
    }

    fn line(&self) -> String {
        let told = |it: Option<f64>| it.map_or_else(|| "–".to_owned(), shown);
        let met = match self.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        format!(
            "{:<22} {:>11} {:<13} {:>11} {:>7} {:>7} {:<7} {}",
            self.id,
            shown(self.value),
            self.unit,
            told(self.reference),
            told(self.ratio),
            told(self.goal),
            met,
            self.what
        )
    }
}

/// Four significant digits are more than the noise allows.
fn rounded(value: f64) -> f64 {
    let scale = 10_f64.powf(3.0 - value.abs().max(1e-9).log10().floor());
    (value * scale).round() / scale
}

fn shown(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The rows so far.
#[derive(Default)]
pub(crate) struct Report(Vec<Row>);

impl Report {
    /// Adds a row and shows it.
    pub(crate) fn add(&mut self, row: Row) {
        if self.0.is_empty() {
            println!("{}", header());
        }
        println!("{}", row.line());
        self.0.push(row);
    }

    /// Writes the file.
    pub(crate) fn finish(self) -> Result<()> {
        let rows: Vec<_> = self.0.iter().map(Row::json).collect();
        let file = Path::new(FILE);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let text = serde_json::to_string_pretty(&rows)? + "\n";
        fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
        let missed = self.0.iter().filter(|it| it.met == Some(false)).count();
        println!("{} rows, {missed} below their goal; written to target/bench.json", rows.len());
        Ok(())
    }
}

fn header() -> String {
    format!(
        "{:<22} {:>11} {:<13} {:>11} {:>7} {:>7} {:<7} {}",
        "id", "value", "unit", "reference", "ratio", "goal", "", "what"
    )
}
