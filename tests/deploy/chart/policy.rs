//! Rules for how the objects of a release go together.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::helm::{NAMESPACE, Scenario, obeyed, scenario, scenarios};
use super::objects::{called, items, kind, name, of, selects, workloads};

#[test]
fn no_object_is_made_twice() {
    each("Kind and name are an object's own.", |scenario| {
        let mut seen = BTreeSet::new();
        let names = scenario.objects.iter().map(called);
        names.filter(|it| !seen.insert(it.clone())).collect()
    });
}

#[test]
fn every_object_is_labelled_and_in_the_namespace() {
    const LABELS: [&str; 6] = ["name", "instance", "component", "version", "part-of", "managed-by"];
    each("The six standard labels, and the namespace of the release.", |scenario| {
        // What people add themselves is theirs.
        let own = scenario.objects.iter().filter(|it| !it["metadata"]["labels"].is_null());
        let mut offences: Vec<_> = LABELS
            .iter()
            .flat_map(|label| {
                let key = format!("app.kubernetes.io/{label}");
                own.clone().filter(move |it| it["metadata"]["labels"][&key].is_null())
            })
            .map(called)
            .collect();
        let elsewhere =
            scenario.objects.iter().filter(|it| it["metadata"]["namespace"] != NAMESPACE);
        offences.extend(elsewhere.map(called));
        offences
    });
}

#[test]
fn selectors_never_change() {
    each("A selector is name, instance and component, and finds its own pods.", |scenario| {
        let found = workloads(&scenario.objects);
        let served = found.iter().filter(|it| it.serves());
        let bad = served.filter(|it| {
            let selector = &it.object["spec"]["selector"]["matchLabels"];
            let keys: Vec<_> = selector.as_object().into_iter().flatten().map(|it| it.0).collect();
            let wanted =
                ["component", "instance", "name"].map(|it| format!("app.kubernetes.io/{it}"));
            keys != wanted.iter().collect::<Vec<_>>() || !selects(selector, it.labels)
        });
        bad.map(|it| called(it.object)).collect()
    });
}

#[test]
fn common_labels_are_on_every_object() {
    let scenarios = ["every-knob", "monitoring-all", "pod-monitor"].map(scenario);
    for object in scenarios.iter().flat_map(|it| &it.objects) {
        let labels = &object["metadata"]["labels"];
        if !labels.is_null() {
            assert_eq!(labels["cost-center"], "42", "{}", called(object));
        }
    }
}

#[test]
fn every_service_leads_to_one_workload() {
    each("A Service finds one Deployment, and ports of its container.", |scenario| {
        let found = workloads(&scenario.objects);
        let mut offences = Vec::new();
        for service in of(&scenario.objects, "Service") {
            let selector = &service["spec"]["selector"];
            let there: Vec<_> = found.iter().filter(|it| selects(selector, it.labels)).collect();
            let [one] = there[..] else {
                offences.push(format!("{} finds {}", called(service), there.len()));
                continue;
            };
            let ports = items(&one.own()["ports"]);
            for port in items(&service["spec"]["ports"]) {
                if !ports.iter().any(|it| it["name"] == port["targetPort"]) {
                    offences.push(format!("{} leads to {}", called(service), port["targetPort"]));
                }
            }
        }
        offences
    });
}

#[test]
fn every_budget_is_of_one_workload_with_several_pods() {
    each("A budget finds one Deployment, and leaves it a pod that may go.", |scenario| {
        let found = workloads(&scenario.objects);
        let mut offences = Vec::new();
        for budget in of(&scenario.objects, "PodDisruptionBudget") {
            let selector = &budget["spec"]["selector"]["matchLabels"];
            let there: Vec<_> = found.iter().filter(|it| selects(selector, it.labels)).collect();
            let alone = there.iter().any(|it| it.object["spec"]["replicas"] == 1);
            if there.len() != 1 || alone {
                offences.push(called(budget));
            }
        }
        let counted = of(&scenario.objects, "Deployment");
        let several = counted.iter().filter(|it| it["spec"]["replicas"].as_u64() > Some(1)).count();
        // One target has said that it wants none.
        let wanted = if scenario.name == "some-targets" { several - 1 } else { several };
        if of(&scenario.objects, "PodDisruptionBudget").len() < wanted {
            offences.push("a Deployment has no budget".to_owned());
        }
        offences
    });
}

#[test]
fn what_scales_by_itself_has_no_count() {
    each("A scaled Deployment exists, is scaled once, and states no replicas.", |scenario| {
        let mut offences = Vec::new();
        let mut seen = BTreeSet::new();
        let scalers = ["HorizontalPodAutoscaler", "ScaledObject"];
        for scaler in scalers.iter().flat_map(|it| of(&scenario.objects, it)) {
            let wanted = scaler["spec"]["scaleTargetRef"]["name"].as_str().unwrap_or_default();
            let deployments = of(&scenario.objects, "Deployment");
            let target = deployments.iter().find(|it| name(it) == wanted);
            let counted = target.is_none_or(|it| !it["spec"]["replicas"].is_null());
            if counted || !seen.insert(wanted.to_owned()) {
                offences.push(called(scaler));
            }
        }
        for it in of(&scenario.objects, "Deployment") {
            if it["spec"]["replicas"].is_null() && !seen.contains(name(it)) {
                offences.push(format!("{} has no count, and nothing scales it", called(it)));
            }
        }
        offences
    });
}

#[test]
fn zero_and_false_of_a_target_win() {
    let objects = &scenario("some-targets").objects;
    let of = |wanted| objects.iter().find(|it| called(it) == wanted);
    let content = of("Deployment/r-rapport-content").expect("made");
    assert_eq!(content["spec"]["replicas"], 0);
    assert_eq!(content["spec"]["template"]["spec"]["serviceAccountName"], "default");
    assert!(of("ServiceAccount/r-rapport-content").is_none());
    let journeys = of("Deployment/r-rapport-journeys").expect("made");
    assert_eq!(journeys["spec"]["minReadySeconds"], 0);
    assert!(of("PodDisruptionBudget/r-rapport-journeys").is_none());
    assert!(of("Deployment/r-rapport-kpis").is_none());
}

#[test]
fn accounts_are_there_and_no_secret_is_made() {
    each("ServiceAccounts are of the release; no Secret is made.", |scenario| {
        let there: BTreeSet<_> = scenario.objects.iter().map(called).collect();
        let mut offences: Vec<_> =
            of(&scenario.objects, "Secret").into_iter().map(called).collect();
        for workload in workloads(&scenario.objects) {
            let account = workload.spec["serviceAccountName"].as_str();
            let account = account.filter(|it| *it != "default");
            let lost = account.map(|it| format!("ServiceAccount/{it}"));
            offences.extend(lost.filter(|it| !there.contains(it)));
        }
        offences
    });
}

#[test]
fn extra_objects_are_templates_as_maps_and_as_text() {
    let objects = &scenario("every-knob").objects;
    let of = |wanted| objects.iter().find(|it| called(it) == wanted).expect(wanted);
    for (name, note) in [("ConfigMap/cx-proxy", "from a map"), ("ConfigMap/r-text", "from a text")]
    {
        assert_eq!(of(name)["data"], json!({"note": note}));
        assert_eq!(of(name)["metadata"]["namespace"], NAMESPACE);
    }
}

#[test]
fn hooks_use_what_is_there_before_them() {
    each(
        "What a hook before the install mounts is a hook of less weight, or a Secret.",
        |scenario| {
            let mut offences = Vec::new();
            for workload in workloads(&scenario.objects) {
                let Some(weight) = before_install(workload.object) else { continue };
                let maps =
                    items(&workload.spec["volumes"]).iter().map(|it| &it["configMap"]["name"]);
                for map in maps.filter(|it| !it.is_null()) {
                    let mut objects = scenario.objects.iter();
                    let it = objects
                        .find(|it| kind(it) == "ConfigMap" && it["metadata"]["name"] == *map);
                    if it.and_then(before_install).is_none_or(|it| it >= weight) {
                        offences.push(format!("{} uses {map}", called(workload.object)));
                    }
                }
                // What an operator makes of an object of the release is not there yet either.
                let text = workload.spec.to_string();
                for it in ["Certificate", "ExternalSecret"]
                    .iter()
                    .flat_map(|it| of(&scenario.objects, it))
                {
                    let spec = &it["spec"];
                    let secret = spec["secretName"].as_str().or(spec["target"]["name"].as_str());
                    if text.contains(&format!("\"{}\"", secret.expect("a Secret"))) {
                        offences.push(format!(
                            "{} uses what {} makes",
                            called(workload.object),
                            called(it)
                        ));
                    }
                }
                if workload.spec["serviceAccountName"].is_string() {
                    offences.push(format!("{} has a ServiceAccount", called(workload.object)));
                }
            }
            let hooks = scenario.objects.iter().filter_map(before_install).count();
            if hooks == 0 && !["gitops", "external-secrets"].contains(&scenario.name.as_str()) {
                offences.push("nothing migrates before the install".to_owned());
            }
            offences
        },
    );
}

fn before_install(object: &Value) -> Option<i64> {
    let notes = &object["metadata"]["annotations"];
    let hook = notes["helm.sh/hook"].as_str()?;
    let weight = notes["helm.sh/hook-weight"].as_str().unwrap_or("0");
    hook.contains("pre-install").then(|| weight.parse().expect("a weight"))
}

#[test]
fn a_job_of_a_revision_is_no_hook() {
    let objects = &scenario("gitops").objects;
    let jobs = of(objects, "Job");
    assert_eq!(name(jobs[0]), "r-rapport-migrate-1");
    assert_eq!(jobs[0]["metadata"]["annotations"], json!({"argocd.argoproj.io/hook": "Sync"}));
}

#[test]
fn config_maps_are_small_enough() {
    each("A ConfigMap has less than 1 MiB.", |scenario| {
        let maps = of(&scenario.objects, "ConfigMap").into_iter();
        maps.filter(|it| it.to_string().len() >= 1 << 20).map(called).collect()
    });
}

/// Looks at every scenario.
#[track_caller]
fn each(rule: &str, look: impl Fn(&Scenario) -> Vec<String>) {
    let of = |it: &'static Scenario| {
        look(it).into_iter().map(move |found| format!("{}: {found}", it.name))
    };
    obeyed(rule, &scenarios().iter().flat_map(of).collect::<Vec<_>>());
}
