//! A real Prometheus reads a real run, and answers what every rule, every panel and every variable asks.

mod prometheus;
mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use prost_reflect::{DescriptorPool, MethodDescriptor};
use rapport::targets::TARGETS;

use super::promql::Matcher;
use super::{Query, Variable, boards, contract, panels, promql, rules, run};
use crate::tool;

use prometheus::{Prometheus, get};
use story::{Run, eventually};

/// Whether what this run does not show may be there all the same.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Never,
    /// By chance, or on a machine that is slow.
    Perhaps,
}

/// Metrics that are there only after a fault which this run does not have: nobody sees them, and panels that ask for them
/// are empty.
const NEEDS_A_FAULT: &[(&str, Seen, &str)] = &[
    ("rapport_dead_lettered_total", Seen::Never, "a consumer cannot apply an event"),
    ("rapport_rpc_panics_total", Seen::Never, "a handler panics"),
    ("rapport_timers_errors_total", Seen::Perhaps, "timers cannot be looked for"),
    ("db_client_connection_timeouts_total", Seen::Perhaps, "every connection is used for long"),
];

/// Labels that a metric has only after such a fault.
const LABEL_NEEDS_A_FAULT: &[(&str, &str, Seen, &str)] =
    &[("db_client_operation_duration_seconds", "error_type", Seen::Perhaps, "a statement fails")];

/// What `promtool check metrics` finds fault with though it stays: the conventions of OpenTelemetry named it.
const ODD: [&str; 1] = [
    "db_client_connection_count non-histogram and non-summary metrics should not have \"_count\" suffix",
];

/// Values of labels that rules and panels name and that this run does not show: label, value, why.
const UNSEEN: &[(&str, &str, Seen, &str)] = &[
    ("outcome", "nothing", Seen::Perhaps, "doing nothing is drawn now and then"),
    ("outcome", "surfaced", Seen::Perhaps, "somebody came too late again and again"),
    ("verdict", "deferred", Seen::Never, "the country of the run knows no quiet hours"),
];

/// What is measured though `deploy/metrics.yaml` does not say so.
fn beyond_the_contract(scraped: &str) -> Vec<String> {
    let contract = contract::series();
    let mut offences = Vec::new();
    let samples = scraped.lines().filter(|it| !it.is_empty() && !it.starts_with('#'));
    // What runs, by the conventions of the exporter.
    for sample in samples.filter(|it| !it.starts_with("target_info{")) {
        let names = promql::names(sample.rsplit_once(' ').expect("a value").0);
        for metric in &names.metrics {
            let labels = contract.get(metric);
            let known =
                labels.is_some_and(|it| names.labels.iter().all(|label| it.contains(label)));
            if !known {
                offences.push(format!("not in the contract: {sample}"));
            }
        }
    }
    offences
}

/// What promtool finds in what a process tells; of all but the odd ones it must say nothing, and that all is well.
fn lint(scraped: &str, folder: &Path) -> Vec<String> {
    let check = |text: &str| {
        let file = folder.join("metrics");
        std::fs::write(&file, text).expect("a file");
        let input = std::fs::File::open(&file).expect("the file");
        run(tool("promtool").args(["check", "metrics"]).stdin(input))
    };
    let odd = |line: &&str| {
        let line = line.trim_start_matches("# TYPE ").trim_start_matches("# HELP ");
        ODD.iter().any(|it| line.split([' ', '{']).next() == it.split(' ').next())
    };
    let (_, said) = check(scraped);
    let mut findings: Vec<_> = said.lines().map(ToOwned::to_owned).collect();
    let others: String =
        scraped.lines().filter(|it| !odd(it)).map(|it| format!("{it}\n")).collect();
    let (code, said) = check(&others);
    if (code, said.as_str()) != (0, "") {
        findings.push(format!("exit code {code}: {said}"));
    }
    findings
}

/// Metrics and labels of the contract that the run did not show, and those that it should not have shown.
fn unlike_the_contract(scraped: &str) -> Vec<String> {
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in scraped.lines().filter(|it| !it.starts_with('#')) {
        let names = promql::names(line.rsplit_once(' ').unwrap_or_default().0);
        for metric in names.metrics {
            let parts = ["_bucket", "_sum", "_count"].iter();
            let whole = parts.filter_map(|it| metric.strip_suffix(it)).map(ToOwned::to_owned);
            for name in whole.chain([metric.clone()]) {
                shown.entry(name).or_default().extend(names.labels.iter().cloned());
            }
        }
    }
    let metrics = contract::declared();
    let mut offences = Vec::new();
    for metric in &metrics {
        let name = &metric.name;
        let fault = NEEDS_A_FAULT.iter().find(|it| it.0 == name);
        match (shown.get(name), fault) {
            (None, None) => offences.push(format!("{name} is in the contract, and not seen")),
            (Some(_), Some((_, Seen::Never, why))) => {
                offences.push(format!("{name} is seen, so it needs no fault: {why}"));
            }
            (None | Some(_), Some(_)) => {}
            (Some(labels), None) => {
                for label in &metric.labels {
                    let mut faults = LABEL_NEEDS_A_FAULT.iter();
                    let fault = faults.find(|it| (it.0, it.1) == (name, label));
                    match (labels.contains(label), fault) {
                        (false, None) => offences.push(format!("{name} is not seen with {label}")),
                        (true, Some((.., Seen::Never, why))) => {
                            offences.push(format!("{name} is seen with {label}: {why}"));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    let known = |name: &str| metrics.iter().any(|it| it.name == name);
    let unknown = NEEDS_A_FAULT.iter().filter(|it| !known(it.0));
    offences.extend(unknown.map(|it| format!("{} is no metric", it.0)));
    for (name, label, ..) in LABEL_NEEDS_A_FAULT {
        let known = metrics.iter().any(|it| it.name == *name && it.labels.contains(*label));
        offences.extend((!known).then(|| format!("{name} has no label {label}")));
    }
    offences
}

/// Whether the answer to a panel's question is as it should be.
fn panel(prometheus: &Prometheus, query: &Query) -> Result<(), String> {
    let names = promql::names(&query.expr).metrics;
    let fault = NEEDS_A_FAULT.iter().find(|it| names.contains(it.0));
    match (prometheus.ask(&query.expr)?.len(), fault) {
        (0, None) => Err(format!("it is empty: {}", query.expr)),
        (1.., Some((_, Seen::Never, why))) => {
            Err(format!("it is not empty, though it needs a fault: {why}"))
        }
        _ => Ok(()),
    }
}

/// What a variable is filled with when all of its values are chosen one by one.
fn chosen(prometheus: &Prometheus, variable: &Variable) -> Result<String, String> {
    let Variable { name, metric, label } = variable;
    let values = prometheus.label_values(metric, label)?;
    // A job is a target, and so is a service; all but the gateway have a store.
    let strange = values.iter().find(|it| !TARGETS.iter().any(|target| target.name == **it));
    match strange {
        Some(it) => Err(format!("${name} may be {it}, which is no target")),
        None if values.len() + 1 < TARGETS.len() => Err(format!("${name} may be {values:?} only")),
        None => Ok(values.join("|")),
    }
}

/// The names of all status codes, as metrics have them.
fn codes() -> Vec<String> {
    let name = |code: i32| {
        let mut name = String::new();
        for letter in format!("{:?}", tonic::Code::from(code)).chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        name
    };
    (0..17).map(name).collect()
}

/// Values of labels that rules and panels name and that no series has: a typing error, or what the program never says.
fn unknown_values(prometheus: &Prometheus) -> Vec<String> {
    let pool = DescriptorPool::decode(rapport_proto::FILE_DESCRIPTOR_SET).expect("the contract");
    let types: Vec<_> = pool.all_messages().map(|it| it.full_name().to_owned()).collect();
    let methods = pool.services().flat_map(|it| it.methods().collect::<Vec<_>>());
    let method =
        |it: MethodDescriptor| format!("{}/{}", it.parent_service().full_name(), it.name());
    let (methods, codes): (Vec<_>, _) = (methods.map(method).collect(), codes());
    let fits = |pattern: &str, value: &str| match pattern.split_once(".*") {
        Some((before, after)) => value.starts_with(before) && value.ends_with(after),
        None => value == pattern,
    };
    let mut offences = Vec::new();
    let mut needed = BTreeSet::new();
    for query in rules::queries().into_iter().chain(panels()) {
        let ours = |it: &Matcher| contract::FOREIGN.iter().all(|other| other.0 != it.metric);
        for matcher in promql::matchers(&query.expr).into_iter().filter(ours) {
            let Matcher { metric, label, .. } = &matcher;
            for value in matcher.values().iter().filter(|it| *it != ".*") {
                let seen = prometheus.label_values(metric, label).unwrap_or_default();
                let known: &[String] = match label.as_str() {
                    "event_type" => &types,
                    "rpc_method" => &methods,
                    "rpc_response_status_code" => &codes,
                    _ => &[],
                };
                if seen.iter().chain(known).any(|it| fits(value, it)) {
                    continue;
                }
                needed.insert((label.clone(), value.clone()));
                if !UNSEEN.iter().any(|it| (it.0, it.1) == (label, value)) {
                    offences.push(format!("{}: no {metric} has {label}={value:?}", query.of));
                }
            }
        }
    }
    let idle = UNSEEN
        .iter()
        .filter(|it| it.2 == Seen::Never && !needed.contains(&(it.0.to_owned(), it.1.to_owned())));
    offences.extend(idle.map(|it| format!("{}={:?} needs no reason: {}", it.0, it.1, it.3)));
    offences
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_answers_every_rule_every_panel_and_every_variable() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut story = Run::start().await;
    let scraped = story.scraped();
    let prometheus = Prometheus::start(folder.path(), &scraped);
    eventually("Prometheus reads every process", async || {
        prometheus.ask("rapport_ready == 1").is_ok_and(|it| it.len() == scraped.len())
    })
    .await;
    story.a_touch_waits().await;
    story.the_log_loses_events().await;
    story.the_log_is_gone().await;
    for _ in 0..2 {
        story.act().await;
        // Rates need two readings, and one that grew.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    let mut offences = Vec::new();
    let (mut all, mut findings) = (String::new(), BTreeSet::new());
    for it in &scraped {
        let text = get(&it.admin, "/metrics").expect("metrics");
        findings.extend(lint(&text, folder.path()));
        offences.extend(beyond_the_contract(&text));
        all += &text;
    }
    let odd = BTreeSet::from(ODD.map(ToOwned::to_owned));
    let unlike = findings.symmetric_difference(&odd);
    offences
        .extend(unlike.map(|it| format!("promtool check metrics, or the list of oddities: {it}")));
    offences.extend(unlike_the_contract(&all));
    for query in rules::queries() {
        if let Err(why) = prometheus.ask(&query.expr) {
            offences.push(format!("{}: {why}", query.of));
        }
    }
    for board in boards() {
        let mut values = BTreeMap::new();
        for variable in board.variables() {
            match chosen(&prometheus, &variable) {
                Ok(all) => drop(values.insert(variable.name, all)),
                Err(why) => offences.push(format!("{}: {why}", board.name)),
            }
        }
        let one_by_one = |it: &Variable| values.get(&it.name).cloned().unwrap_or_default();
        let asked = board.panels(|_| ".*".to_owned()).into_iter().chain(board.panels(one_by_one));
        for query in asked {
            let answered = panel(&prometheus, &query);
            offences.extend(answered.err().map(|why| format!("{}: {why}", query.of)));
        }
    }
    offences.extend(unknown_values(&prometheus));
    assert!(offences.is_empty(), "{}", offences.join("\n"));

    let answer = prometheus.get("/api/v1/rules").expect("rules");
    let groups = answer["groups"].as_array().expect("groups");
    let loaded: Vec<_> = groups.iter().filter_map(|it| it["rules"].as_array()).flatten().collect();
    assert_eq!(loaded.len(), rules::queries().len());
    for rule in loaded {
        assert_eq!(rule["health"], "ok", "{rule}");
        // What the run did to the log is noticed; nothing else is wrong for as long as an alert waits.
        match rule["name"].as_str() {
            Some("RapportEventsHealed") => assert_ne!(rule["state"], "inactive", "{rule}"),
            _ => assert_ne!(rule["state"], "firing", "{rule}"),
        }
    }
}
