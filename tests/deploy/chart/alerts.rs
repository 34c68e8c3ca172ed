//! What the chart makes of the rules.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::helm::{chart, scenario, scenarios, succeeds};
use super::objects::{items, name, of};
use crate::tool;

#[test]
fn an_alert_says_where_its_runbook_is_and_whose_it_is() {
    let objects = &scenario("monitoring-all").objects;
    let groups =
        of(objects, "PrometheusRule").into_iter().flat_map(|it| items(&it["spec"]["groups"]));
    let rules: Vec<&Value> = groups.flat_map(|it| items(&it["rules"])).collect();
    let alerts: Vec<_> = rules.iter().filter(|it| it["alert"].is_string()).collect();
    assert!(alerts.len() > 10 && alerts.len() < rules.len(), "{} alerts", alerts.len());
    for alert in &alerts {
        let (name, about) = (&alert["alert"], &alert["annotations"]);
        let runbook = about["runbook"].as_str().expect("a runbook");
        let url = format!("https://docs.example.com/rapport/{runbook}");
        assert_eq!(about["runbook_url"], url, "{name}");
        assert_eq!(alert["labels"]["team"], "rapport", "{name}");
        assert!(alert["labels"]["severity"].is_string(), "{name}");
    }
    let there = alerts.iter().any(|it| it["alert"] == "RapportVersionSkew");
    assert!(!there, "what is excluded is there");
}

/// Prometheus itself says which names the rule's expression matches.
#[test]
fn a_migration_that_failed_is_told_whatever_the_release_is_called() {
    let jobs = scenarios().iter().flat_map(|it| of(&it.objects, "Job"));
    let names: BTreeSet<_> = jobs.map(name).collect();
    let ours = names.iter().filter(|it| it.contains("rapport")).count();
    assert!(ours > 0 && ours < names.len(), "{names:?}");
    let series = |it: &&str| format!("{{job_name={it:?}}}");
    let failed = |it: &&str| {
        let labels = format!("job_name={it:?},namespace=\"cx\",condition=\"true\"");
        json!({"series": format!("kube_job_failed{{{labels}}}"), "values": "1x10"})
    };
    let told = |it: &&str| json!({"labels": series(it), "value": 1});
    let cases = json!({
        "rule_files": [chart().join("files/rules/platform.yaml")],
        "tests": [{
            "interval": "1m",
            "input_series": names.iter().map(failed).collect::<Vec<_>>(),
            "promql_expr_test": [{
                "expr": "count by (job_name) (ALERTS{alertname=\"RapportMigrationFailed\",alertstate=\"firing\"})",
                "eval_time": "10m",
                "exp_samples": names.iter().map(told).collect::<Vec<_>>(),
            }],
        }],
    });
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cases.yaml");
    fs::write(&file, cases.to_string()).expect("written");
    succeeds(tool("promtool").args(["test", "rules"]).arg(file));
}
