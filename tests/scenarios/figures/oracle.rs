//! Everything that `kpis` serves about its own metrics, beside what DuckDB computes from an export of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use rapport::remote::{Remote, told};
use rapport_proto::audit::v1::ExportEventsRequest;
use rapport_proto::kpis::v1::measure::Measure;
use rapport_proto::kpis::v1::{
    Figure, GetMetricRequest, GetMetricResponse, ListFigureEventsRequest, ListMetricsRequest,
    Metric, QueryFiguresRequest,
};
use serde_json::Value;

/// A figure's place: metric, level, second at which its bucket begins, dimensions, currency.
pub(crate) type Place = (String, String, Option<i64>, String, String);

/// A figure: value, n, interval, and how many of them have not ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Number {
    value: Option<f64>,
    n: u64,
    interval: Option<(f64, f64)>,
    censored: u64,
}

/// Floats that come by another way.
const NEAR: f64 = 1e-9;

/// Cells of a metric whose events are looked at.
const MOST_DRILLED: usize = 20;

/// What a log says: ids by source and position.
type Ids = BTreeMap<(String, u64), String>;

/// All figures as they are served, after they were found equal to DuckDB's, each with its definition, its positions and
/// its events. Nothing may happen meanwhile.
pub(crate) async fn agreed(remote: &Remote, folder: &Path) -> BTreeMap<Place, Number> {
    let export = folder.join("export.jsonl");
    let lines = exported(remote).await;
    std::fs::write(&export, &lines).expect("an export");
    let ids = ids(&lines);
    let computed = computed(&export);
    let mut served = BTreeMap::new();
    for metric in built_in(remote).await {
        served.extend(figures(remote, &metric, &ids).await);
    }
    let places = |of: &BTreeMap<Place, Number>| of.keys().cloned().collect::<BTreeSet<_>>();
    let (ours, theirs) = (places(&served), places(&computed));
    let apart: Vec<_> = ours.symmetric_difference(&theirs).collect();
    assert!(apart.is_empty(), "only one of them has a figure: {apart:#?}");
    for (place, ours) in &served {
        let theirs = &computed[place];
        assert!(same(ours, theirs), "{place:?}: {ours:?} is served, {theirs:?} is computed");
    }
    served
}

/// `rapport audit export`, as the command asks for it.
async fn exported(remote: &Remote) -> String {
    let request = ExportEventsRequest { parent: remote.parent.clone(), ..Default::default() };
    let mut pages = told(remote.audit.clone().export_events(request).await).expect("exported");
    let mut lines = String::new();
    while let Some(page) = pages.message().await.expect("exported") {
        lines += &page.lines;
    }
    lines
}

fn ids(lines: &str) -> Ids {
    let id = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let text = |it: &Value| it.as_str().expect("a text").to_owned();
        let position = line["position"].as_u64().expect("a position");
        ((text(&line["source"]), position), text(&line["envelope"]["id"]))
    };
    lines.lines().map(id).collect()
}

/// What DuckDB says.
fn computed(export: &Path) -> BTreeMap<Place, Number> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/oracle/figures.py");
    let mut command = Command::new(support::python());
    let output = command.arg(script).arg(export).output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("figures");
    let read = |it: &Value| {
        let text = |name: &str| it[name].as_str().expect("a text").to_owned();
        let place =
            (text("metric"), text("level"), it["bucket"].as_i64(), text("dims"), text("currency"));
        let number = Number {
            value: it["value"].as_f64(),
            n: it["n"].as_u64().expect("a count"),
            interval: it["lower"].as_f64().zip(it["upper"].as_f64()),
            censored: it["censored"].as_u64().expect("a count"),
        };
        (place, number)
    };
    rows.iter().map(read).collect()
}

/// The metrics that come with the platform, each with the version in force.
async fn built_in(remote: &Remote) -> Vec<GetMetricResponse> {
    let request =
        ListMetricsRequest { parent: remote.parent.clone(), page_size: 500, ..Default::default() };
    let listed = told(remote.metrics.clone().list_metrics(request).await).expect("listed");
    let mut found = Vec::new();
    for it in listed.metrics.iter().filter(|it| it.built_in) {
        let name = remote.name("metrics", &it.metric);
        let request = GetMetricRequest { name, ..Default::default() };
        found.push(told(remote.metrics.clone().get_metric(request).await).expect("a metric"));
    }
    assert_eq!(found.len(), 28);
    found
}

/// The figures of a metric on each level.
async fn figures(remote: &Remote, of: &GetMetricResponse, ids: &Ids) -> BTreeMap<Place, Number> {
    let metric = of.metric.clone().expect("a definition");
    let dimensions: Vec<_> = metric.dimensions.keys().cloned().collect();
    let mut found = BTreeMap::new();
    for (level, group_by, total) in
        [("cells", dimensions, false), ("buckets", Vec::new(), false), ("total", Vec::new(), true)]
    {
        let request = QueryFiguresRequest {
            name: remote.name("metrics", &metric.metric),
            group_by,
            total,
            ..Default::default()
        };
        let reply = told(remote.metrics.clone().query_figures(request).await).expect("figures");
        let some = reply.figures.len() / MOST_DRILLED + 1;
        for (number, figure) in reply.figures.into_iter().enumerate() {
            assert!(!figure.suppressed, "{figure:?}");
            stands(&figure, of, ids);
            if level == "cells" && number % some == 0 {
                drill(remote, &metric, &figure, ids).await;
            }
            let number = Number {
                value: figure.value,
                n: figure.n,
                interval: figure.lower.zip(figure.upper),
                censored: figure.censored,
            };
            found.insert(place(level, &figure), number);
        }
    }
    found
}

fn place(level: &str, figure: &Figure) -> Place {
    let dims: Vec<_> = figure.dimensions.iter().map(|(name, it)| format!("{name}={it}")).collect();
    let bucket = figure.bucket_start.as_ref().map(|it| it.seconds);
    let (metric, currency) = (figure.metric.clone(), figure.currency_code.clone());
    (metric, level.to_owned(), bucket, dims.join(";"), currency)
}

/// It says by which definition it was computed, and from everything there is.
fn stands(figure: &Figure, of: &GetMetricResponse, ids: &Ids) {
    let version = of.version.clone().expect("a version");
    assert_eq!((&figure.definition_hash, figure.version), (&version.hash, version.version));
    assert!(!figure.positions.is_empty(), "{figure:?}");
    for (source, position) in &figure.positions {
        let end = (source.clone(), u64::MAX);
        let last = ids.range(..=end).next_back().filter(|it| it.0.0 == *source);
        assert_eq!(*position, last.map_or(0, |it| it.0.1), "{source}: {figure:?}");
    }
}

/// It lists the events that it was computed from: they are on the log, and a count counts them.
async fn drill(remote: &Remote, metric: &Metric, figure: &Figure, ids: &Ids) {
    let mut dimensions = figure.dimensions.clone();
    dimensions.insert("currency".into(), figure.currency_code.clone());
    let (mut items, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListFigureEventsRequest {
            name: remote.name("metrics", &figure.metric),
            bucket_start: figure.bucket_start,
            dimensions: dimensions.clone(),
            page_size: 500,
            page_token,
        };
        let page = told(remote.metrics.clone().list_figure_events(request).await).expect("events");
        items.extend(page.items);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    for it in &items {
        let id = ids.get(&(it.source.clone(), it.position));
        assert_eq!(id, Some(&it.event_id), "{it:?} of {figure:?}");
    }
    let counted = metric.measure.as_ref().and_then(|it| it.measure.as_ref());
    if matches!(counted, Some(Measure::Count(_) | Measure::Sum(_) | Measure::Mean(_))) {
        assert_eq!(items.len() as u64, figure.n, "{figure:?}");
    } else {
        assert!(items.len() as u64 >= figure.n, "{figure:?}");
    }
}

fn same(ours: &Number, theirs: &Number) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= NEAR * b.abs().max(1.0);
    let value = match (ours.value, theirs.value) {
        (Some(a), Some(b)) => near(a, b),
        (a, b) => a == b,
    };
    let interval = match (ours.interval, theirs.interval) {
        (Some(a), Some(b)) => near(a.0, b.0) && near(a.1, b.1),
        (a, b) => a == b,
    };
    value && interval && (ours.n, ours.censored) == (theirs.n, theirs.censored)
}
