//! What KEDA asks Prometheus: metrics and labels that there are, and an answer to what is meant.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use rapport::targets::TARGETS;
use serde_json::Value;

use super::helm::{NAMESPACE, scenario, succeeds, template};
use super::objects::{items, name, of};
use super::yaml;
use crate::monitoring::{contract, promql};
use crate::tool;

/// Labels that the monitors of the operator give to every series, beside those of scraping.
const OPERATORS: [&str; 1] = ["namespace"];
const LAG: &str = "rapport_consumer_lag_time_seconds";

/// What is asked for each ScaledObject, and from how much on there is another pod.
fn queries() -> BTreeMap<String, (String, String)> {
    let mut one = template(&scenario("minimal").files);
    one.args(["--set=mode=single,single.autoscaling.kind=keda"]);
    one.arg("--set=single.autoscaling.keda.serverAddress=http://prometheus:9090");
    let one = yaml::documents(&succeeds(&mut one)).expect("YAML");
    let objects = of(&scenario("keda").objects, "ScaledObject").into_iter();
    let text = |it: &Value| it.as_str().expect("text").to_owned();
    let all = objects.chain(of(&one, "ScaledObject")).map(|it| {
        let trigger = &items(&it["spec"]["triggers"])[0];
        assert_eq!(trigger["type"], "prometheus");
        let about = &trigger["metadata"];
        (
            name(it).trim_start_matches("r-rapport-").to_owned(),
            (text(&about["query"]), text(&about["threshold"])),
        )
    });
    all.collect()
}

#[test]
fn queries_name_metrics_and_labels_that_there_are() {
    let series = contract::series();
    let queries = queries();
    assert_eq!(queries.len(), TARGETS.len() - 2 + 1, "all but two, and one for all: {queries:?}");
    for (of, (query, _)) in queries {
        let named = promql::names(&query);
        assert_eq!(named.metrics, BTreeSet::from([LAG.to_owned()]), "{of}");
        let known = &series[LAG];
        let lost = named.labels.iter().filter(|it| !known.contains(*it));
        let lost: Vec<_> = lost.filter(|it| !OPERATORS.contains(&it.as_str())).collect();
        assert!(lost.is_empty(), "{of} asks for {lost:?}, not in deploy/metrics.yaml");
    }
}

#[test]
fn the_answer_is_the_longest_lag_of_the_target_here() {
    let labels = &contract::series()[LAG];
    let series = |namespace: &str, service: &str, consumer: &str, lag: u32| {
        let of = |label: &str| match label {
            "service" => service.to_owned(),
            "consumer" => consumer.to_owned(),
            other => format!("a-{other}"),
        };
        let mut text = format!("namespace={namespace:?}");
        for label in labels {
            let _ = write!(text, ",{label}={:?}", of(label));
        }
        format!("      - {{series: '{LAG}{{{text}}}', values: '{lag}'}}\n")
    };
    let mut rules = String::from("groups:\n  - name: scaling\n    rules:\n");
    let mut input = String::new();
    for (index, it) in TARGETS.iter().enumerate() {
        let lag = 10 * u32::try_from(index + 1).expect("few");
        input += &series(NAMESPACE, it.name, "slow", lag);
        input += &series(NAMESPACE, it.name, "quick", 1);
        input += &series("elsewhere", it.name, "slow", 1000);
    }
    let mut asked = String::new();
    for (of, (query, threshold)) in queries() {
        assert!(threshold.parse::<u32>().is_ok_and(|it| it > 0), "{of}: {threshold}");
        let _ = writeln!(rules, "      - {{record: 'scaling:{of}', expr: '{query}'}}");
        let index = TARGETS.iter().position(|it| it.name == of).unwrap_or(TARGETS.len() - 1);
        let lag = 10 * (index + 1);
        let _ = writeln!(
            asked,
            "      - {{expr: 'scaling:{of}', eval_time: 0m, exp_samples: [{{labels: 'scaling:{of}', value: {lag}}}]}}"
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    let test = format!(
        "rule_files: [rules.yaml]\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n{input}    promql_expr_test:\n{asked}"
    );
    fs::write(folder.path().join("rules.yaml"), rules).expect("written");
    fs::write(folder.path().join("test.yaml"), test).expect("written");
    succeeds(tool("promtool").args(["test", "rules", "test.yaml"]).current_dir(folder.path()));
}
