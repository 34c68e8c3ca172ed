//! The rule files, their unit tests and their runbooks.

use std::collections::{BTreeMap, BTreeSet};

use super::{Query, files, run};
use crate::{read, tool};

const RULES: &str = "charts/rapport/files/rules";
const CASES: &str = "tests/deploy/monitoring";
const RUNBOOKS: &str = "deploy/runbooks";
const PARTS: [&str; 4] = ["## Meaning", "## Impact", "## Quick checks", "## Mitigation"];

/// What every rule asks, in the layout that all of these files have.
pub(super) fn queries() -> Vec<Query> {
    let mut queries: Vec<Query> = Vec::new();
    for path in files(RULES) {
        let mut inside = false;
        for line in read(&path).lines() {
            if let Some(name) = after(line, &["- alert: ", "- record: "]) {
                queries.push(Query { of: name.to_owned(), expr: String::new() });
            } else if let Some(first) = after(line, &["expr:"]) {
                let query = queries.last_mut().expect("a name before its expression");
                inside = first.trim() == "|-";
                if !inside {
                    let quoted =
                        first.trim().strip_prefix('\'').and_then(|it| it.strip_suffix('\''));
                    query.expr = quoted.unwrap_or(first.trim()).replace("''", "'");
                }
            } else if inside && line.starts_with("          ") {
                let query = queries.last_mut().expect("a name before its expression");
                query.expr = format!("{}\n{}", query.expr, line.trim());
            } else {
                inside = false;
            }
        }
    }
    assert!(queries.iter().all(|it| !it.expr.is_empty()), "a rule without an expression");
    queries
}

fn after<'a>(line: &'a str, words: &[&str]) -> Option<&'a str> {
    words.iter().find_map(|it| line.trim_start().strip_prefix(it))
}

fn alerts() -> BTreeSet<String> {
    let lines: Vec<_> = files(RULES).iter().map(|it| read(it)).collect();
    let names = lines.iter().flat_map(|it| it.lines().filter_map(|it| after(it, &["- alert: "])));
    names.map(ToOwned::to_owned).collect()
}

#[test]
fn rules_are_rules() {
    let (code, said) = run(tool("promtool").args(["check", "rules"]).args(files(RULES)));
    assert_eq!(code, 0, "{said}");
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let cases = files(CASES).into_iter().filter(|it| it.extension().is_some_and(|it| it == "yaml"));
    let (code, said) = run(tool("promtool").args(["test", "rules"]).args(cases));
    assert_eq!(code, 0, "{said}");
}

#[test]
fn every_alert_has_a_firing_a_silent_and_an_absent_case() {
    let mut cases: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in files(CASES).iter().filter(|it| it.extension().is_some_and(|it| it == "yaml")) {
        for case in read(path).split("\n  - name: ").skip(1) {
            let (name, rest) = case.split_once('\n').expect("more than a name");
            let (alert, kind) = name.split_once(' ').expect("an alert and a kind");
            let asks = format!("count(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}})");
            assert!(rest.contains(&asks), "{name} asks for something else");
            let fires = rest.contains("exp_samples: [{labels: '{}', value: 1}]");
            assert_eq!(fires, kind == "fires", "{name}");
            assert_eq!(rest.contains("exp_samples: []"), kind != "fires", "{name}");
            cases.entry(alert.to_owned()).or_default().insert(kind.to_owned());
        }
    }
    let kinds = BTreeSet::from(["absent", "fires", "silent"].map(ToOwned::to_owned));
    let wanted: BTreeMap<_, _> = alerts().into_iter().map(|it| (it, kinds.clone())).collect();
    assert_eq!(cases, wanted);
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let mut named = BTreeSet::new();
    for path in files(RULES) {
        for rule in read(&path).split("\n      - alert: ").skip(1) {
            let name = rule.lines().next().unwrap_or_default();
            for part in ["severity: ", "summary: ", "description: "] {
                assert!(rule.contains(part), "{name} has no {part}");
            }
            let runbook = rule.lines().find_map(|it| after(it, &["runbook: "]));
            assert_eq!(runbook, Some(format!("{RUNBOOKS}/{name}.md").as_str()));
            named.insert(format!("{name}.md"));
        }
    }
    let mut written = BTreeSet::new();
    for path in files(RUNBOOKS) {
        let text = read(&path);
        let headings: Vec<_> = text.lines().filter(|it| it.starts_with("## ")).collect();
        assert_eq!(headings, PARTS, "{}", path.display());
        written.insert(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    assert_eq!(written, named);
}
