//! The rule files, their unit tests and their runbooks.

use std::collections::{BTreeMap, BTreeSet};

use super::promql::{Names, names};
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

/// A case of an alert, in the layout that all of these files have.
struct Case {
    alert: String,
    /// `fires`, `silent` or `absent`.
    kind: String,
    /// Series, and their values.
    inputs: Vec<(String, String)>,
    /// What is asked, and what is expected.
    asked: Vec<(String, String)>,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in files(CASES).iter().filter(|it| it.extension().is_some_and(|it| it == "yaml")) {
        for case in read(path).split("\n  - name: ").skip(1) {
            let (name, rest) = case.split_once('\n').expect("more than a name");
            let mut words = name.split(' ').map(ToOwned::to_owned);
            let (alert, kind) = words.next().zip(words.next()).expect("an alert and a kind");
            let all = |key: &str| {
                let lines = rest.lines().filter_map(|it| after(it, &[key]));
                lines.map(|it| it.trim_matches('\'').to_owned()).collect::<Vec<_>>()
            };
            let pairs = |one: &str, other: &str| {
                let (one, other) = (all(one), all(other));
                assert_eq!(one.len(), other.len(), "{name}");
                one.into_iter().zip(other).collect::<Vec<_>>()
            };
            let inputs = pairs("- series: ", "values: ");
            cases.push(Case { alert, kind, inputs, asked: pairs("- expr: ", "exp_samples: ") });
        }
    }
    cases
}

impl Case {
    /// Metrics of its inputs, each with the names of its labels.
    fn shapes(&self) -> Vec<Names> {
        self.inputs.iter().map(|it| names(&it.0)).collect()
    }
}

/// The conditions of an alert, one of which is enough.
fn conditions(expr: &str) -> Vec<String> {
    let lines: Vec<_> = expr.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
    let conditions: Vec<_> = lines.split(|it| *it == "or").collect();
    let inside = |it: &[&str]| match it {
        ["(", inside @ .., ")"] if conditions.len() > 1 => inside.join(" "),
        all => all.join(" "),
    };
    conditions.iter().map(|it| inside(it)).collect()
}

/// The metrics that an expression names, those of recording rules included.
fn measured(expr: &str, queries: &[Query]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for name in names(expr).metrics {
        match queries.iter().find(|it| it.of == name) {
            Some(rule) => found.extend(measured(&rule.expr, queries)),
            None => drop(found.insert(name)),
        }
    }
    found
}

#[test]
fn every_alert_has_a_firing_a_silent_and_an_absent_case() {
    let mut kinds: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Case { alert, kind, asked, .. } in cases() {
        let asks = format!("count(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}})");
        let expected = if kind == "fires" { "[{labels: '{}', value: 1}]" } else { "[]" };
        assert_eq!(asked.first(), Some(&(asks, expected.to_owned())), "{alert} {kind}");
        assert!(kind == "fires" || asked.len() == 1, "{alert} {kind} asks for more");
        kinds.entry(alert).or_default().insert(kind);
    }
    let all = BTreeSet::from(["absent", "fires", "silent"].map(ToOwned::to_owned));
    let wanted: BTreeMap<_, _> = alerts().into_iter().map(|it| (it, all.clone())).collect();
    assert_eq!(kinds, wanted);
}

/// Of conditions each of which is enough, each is met once without the others.
#[test]
fn every_condition_of_an_alert_has_a_firing_case_of_its_own() {
    let (queries, cases) = (queries(), cases());
    for alert in alerts() {
        let rule = queries.iter().find(|it| it.of == alert).expect("a rule");
        let conditions: BTreeSet<_> = conditions(&rule.expr).into_iter().collect();
        let fires = cases.iter().filter(|it| it.alert == alert && it.kind == "fires");
        let mut alone = Vec::new();
        for case in fires {
            let unmet = case.asked.iter().skip(1);
            let unmet: BTreeSet<_> =
                unmet.filter(|it| it.1 == "[]").map(|it| it.0.clone()).collect();
            let met: Vec<_> = conditions.difference(&unmet).cloned().collect();
            assert_eq!((met.len(), unmet.len()), (1, conditions.len() - 1), "{alert}: {met:?}");
            alone.extend(met);
        }
        alone.sort();
        assert_eq!(alone, conditions.into_iter().collect::<Vec<_>>(), "{alert}");
    }
}

/// Where nothing happens, everything that an alert asks for is there, as it is where the alert fires, and stands still.
#[test]
fn absent_cases_have_series_that_stand_still() {
    let (queries, cases) = (queries(), cases());
    for case in cases.iter().filter(|it| it.kind == "absent") {
        let alert = &case.alert;
        let rule = queries.iter().find(|it| it.of == *alert).expect("a rule");
        let measured = measured(&rule.expr, &queries);
        let shapes = case.shapes();
        for metric in &measured {
            let there = shapes.iter().any(|it| it.metrics.contains(metric));
            assert!(there, "{alert} absent has no series of {metric}");
        }
        for (series, values) in &case.inputs {
            let last = values.split(' ').next_back().unwrap_or_default();
            let rests = last.split('x').all(|it| it.parse::<f64>().is_ok());
            assert!(rests, "{alert} absent: {series} does not stand still: {values}");
        }
        let others = cases.iter().filter(|it| it.alert == *alert && it.kind != "absent");
        for other in others {
            assert_ne!(other.inputs, case.inputs, "{alert} {} is its absent case", other.kind);
            let wanted = other.shapes().into_iter().filter(|it| it.metrics.is_subset(&measured));
            for shape in wanted.filter(|_| other.kind == "fires") {
                assert!(shapes.contains(&shape), "{alert} absent has nothing like {shape:?}");
            }
        }
    }
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
