//! Rules and dashboards name metrics that there are, and dashboards say what they show.

use std::collections::{BTreeMap, BTreeSet};

use super::promql::names;
use super::{Board, Variable, boards, panels, rules};
use crate::{read, root};

/// Metrics of others, with their labels.
pub(super) const FOREIGN: [(&str, &[&str]); 2] =
    [("up", &[]), ("kube_job_failed", &["condition", "job_name"])];
/// Labels that scraping adds.
const SCRAPED: [&str; 2] = ["job", "instance"];

/// What `deploy/metrics.yaml` says of a metric.
pub(super) struct Metric {
    /// On /metrics.
    pub name: String,
    kind: String,
    pub labels: BTreeSet<String>,
}

pub(super) fn declared() -> Vec<Metric> {
    let contract = read(&root().join("deploy/metrics.yaml"));
    let metrics = contract.split("\n  - name: ").skip(1).map(|metric| {
        let field = |name: &str| {
            let found = metric.lines().find_map(|it| it.trim().strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in {metric}")).to_owned()
        };
        let labels = field("labels: ").replace(['[', ']', ' '], "").replace('.', "_");
        let labels = labels.split(',').filter(|it| !it.is_empty()).map(ToOwned::to_owned).collect();
        Metric { name: field("prometheus: "), kind: field("type: "), labels }
    });
    metrics.collect()
}

/// The labels of every series by its name: those of `deploy/metrics.yaml`, of recording rules, and of others.
pub(crate) fn series() -> BTreeMap<String, BTreeSet<String>> {
    let mut series = BTreeMap::new();
    for Metric { name, kind, mut labels } in declared() {
        labels.extend(SCRAPED.map(ToOwned::to_owned));
        if kind == "histogram" {
            series.insert(format!("{name}_count"), labels.clone());
            series.insert(format!("{name}_sum"), labels.clone());
            labels.insert("le".to_owned());
            series.insert(format!("{name}_bucket"), labels);
        } else {
            series.insert(name, labels);
        }
    }
    for query in rules::queries().into_iter().filter(|it| it.of.contains(':')) {
        series.insert(query.of, BTreeSet::from(["job".to_owned()]));
    }
    for (name, labels) in FOREIGN {
        let labels = labels.iter().chain(&SCRAPED).map(|&it| it.to_owned()).collect();
        series.insert(name.to_owned(), labels);
    }
    series
}

#[test]
fn rules_and_dashboards_name_metrics_and_labels_that_exist() {
    let series = series();
    let mut offences = Vec::new();
    for query in rules::queries().into_iter().chain(panels()) {
        let named = names(&query.expr);
        let unknown = named.metrics.iter().filter(|it| !series.contains_key(*it));
        offences.extend(unknown.map(|it| format!("{}: no metric {it}", query.of)));
        let known: BTreeSet<_> =
            named.metrics.iter().filter_map(|it| series.get(it)).flatten().collect();
        let unknown = named.labels.iter().filter(|it| !known.contains(it));
        offences.extend(unknown.map(|it| format!("{}: no label {it}", query.of)));
    }
    assert!(offences.is_empty(), "not in deploy/metrics.yaml:\n  {}", offences.join("\n  "));
}

#[test]
fn variables_name_metrics_and_labels_that_exist_and_are_used() {
    let series = series();
    for board in boards() {
        for Variable { name, metric, label } in board.variables() {
            let known = series.get(&metric).is_some_and(|it| it.contains(&label));
            assert!(known, "{}: ${name} asks {metric} for {label}", board.name);
            let used = board.json["panels"].to_string().contains(&format!("${name}"));
            assert!(used, "{}: no panel uses ${name}", board.name);
        }
    }
}

#[test]
fn every_metric_is_shown_or_watched() {
    let queries = rules::queries().into_iter().chain(panels());
    let used: BTreeSet<_> = queries.flat_map(|it| names(&it.expr).metrics).collect();
    let whole = |it: &str| {
        let cut = ["_bucket", "_sum", "_count"].iter().find_map(|end| it.strip_suffix(end));
        cut.unwrap_or(it).to_owned()
    };
    let used: BTreeSet<_> = used.iter().map(|it| whole(it)).collect();
    let idle: Vec<_> = series().into_keys().filter(|it| !used.contains(&whole(it))).collect();
    assert!(idle.is_empty(), "in no rule and no dashboard: {idle:?}");
}

#[test]
fn dashboards_are_complete() {
    let mut ids = BTreeSet::new();
    for Board { name: file, json: board } in boards() {
        let id = board["uid"].as_str().unwrap_or_default().to_owned();
        assert!(!id.is_empty() && ids.insert(id), "{file}: no uid, or that of another");
        let source = &board["templating"]["list"][0];
        assert_eq!(
            (&source["name"], &source["type"]),
            (&"datasource".into(), &"datasource".into())
        );
        let mut panels = BTreeSet::new();
        for panel in board["panels"].as_array().expect("panels") {
            let title = &panel["title"];
            assert!(panels.insert(panel["id"].as_u64()), "{file}: {title} has the id of another");
            for part in [title, &panel["description"], &panel["fieldConfig"]["defaults"]["unit"]] {
                assert!(part.as_str().is_some_and(|it| !it.is_empty()), "{file}: {title}: {panel}");
            }
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{file}: {title}");
        }
    }
}
