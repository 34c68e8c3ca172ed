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

/// A dashboard.
struct Board {
    /// The file's name without its end.
    name: String,
    json: serde_json::Value,
}

fn boards() -> Vec<Board> {
    let boards = files("charts/rapport/files/dashboards").into_iter().map(|path| Board {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        json: serde_json::from_str(&read(&path)).expect("JSON"),
    });
    let boards: Vec<_> = boards.collect();
    assert!(!boards.is_empty(), "no dashboards");
    boards
}

/// A variable of a dashboard: its values are those of a label of a metric.
struct Variable {
    name: String,
    metric: String,
    label: String,
}

impl Board {
    /// The variables that are asked for.
    fn variables(&self) -> Vec<Variable> {
        let list = self.json["templating"]["list"].as_array().expect("variables");
        let asked = list.iter().filter(|it| it["type"] == "query");
        asked.map(|it| self.variable(it)).collect()
    }

    fn variable(&self, json: &serde_json::Value) -> Variable {
        let name = json["name"].as_str().expect("a name").to_owned();
        let query = json["query"].as_str().unwrap_or_default();
        let inside = query.strip_prefix("label_values(").and_then(|it| it.strip_suffix(')'));
        let Some((metric, label)) = inside.and_then(|it| it.split_once(", ")) else {
            panic!("{}: ${name} asks {query:?}", self.name)
        };
        assert_eq!(json["allValue"], ".*", "{}: ${name}", self.name);
        assert_eq!(json["datasource"]["uid"], "${datasource}", "{}: ${name}", self.name);
        Variable { name, metric: metric.to_owned(), label: label.to_owned() }
    }

    /// What its panels ask, with variables as Grafana fills them in.
    fn panels(&self, filled: impl Fn(&Variable) -> String) -> Vec<Query> {
        let variables = self.variables();
        let filled: Vec<_> =
            variables.iter().map(|it| (format!("${}", it.name), filled(it))).collect();
        let mut queries = Vec::new();
        for panel in self.json["panels"].as_array().expect("panels") {
            for target in panel["targets"].as_array().expect("targets") {
                let expr = target["expr"].as_str().expect("an expression");
                let expr = expr.replace("$__rate_interval", "5m");
                let expr = filled.iter().fold(expr, |it, (name, value)| it.replace(name, value));
                let of = format!("{}: {}", self.name, panel["title"].as_str().expect("a title"));
                // What `label_replace` matched is no variable.
                assert!(!expr.replace("$1", "").contains('$'), "{of}: no such variable: {expr}");
                queries.push(Query { of, expr });
            }
        }
        queries
    }
}

/// What every panel asks, of everything.
fn panels() -> Vec<Query> {
    boards().iter().flat_map(|it| it.panels(|_| ".*".to_owned())).collect()
}
