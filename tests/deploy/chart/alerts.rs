//! What the chart makes of the rules.

use serde_json::Value;

use super::helm::scenario;
use super::objects::{items, of};

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
