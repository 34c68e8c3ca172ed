//! Rules, runbooks and dashboards: that they fit each other, the metrics there are, and what a real run answers.

pub(crate) mod contract;
mod live;
pub(crate) mod promql;
mod rules;

use std::path::PathBuf;
use std::process::Command;

use crate::{read, root};

/// Files of a folder, by name.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("the folder is there");
    let mut files: Vec<_> = entries.map(|it| it.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Runs a program; returns its exit code and what it wrote.
fn run(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("the program runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

/// A query of a rule or a panel.
struct Query {
    /// File and name.
    of: String,
    expr: String,
}

/// What every panel asks, with variables as Grafana would fill them in.
fn panels() -> Vec<Query> {
    let mut queries = Vec::new();
    for path in files("charts/rapport/files/dashboards") {
        let board: serde_json::Value = serde_json::from_str(&read(&path)).expect("JSON");
        let file = path.file_stem().unwrap_or_default().to_string_lossy();
        for panel in board["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().expect("targets") {
                let expr = target["expr"].as_str().expect("an expression");
                let expr = expr.replace("$__rate_interval", "5m");
                let expr = expr.replace("$job", ".*").replace("$service", ".*");
                let of = format!("{file}: {}", panel["title"].as_str().expect("a title"));
                queries.push(Query { of, expr });
            }
        }
    }
    assert!(!queries.is_empty(), "no dashboards");
    queries
}
