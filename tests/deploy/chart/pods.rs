//! Rules for every pod, those of hooks and tests too: Kubernetes' restricted profile and what runs behind it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::helm::{obeyed, scenario, scenarios};
use super::objects::{Workload, called, items, kind, workloads};

/// Volumes that the restricted profile takes.
const VOLUMES: [&str; 5] =
    ["configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"];

#[test]
fn every_pod_is_of_the_restricted_profile() {
    each("No rights, no root, nothing written but volumes, no token.", restricted);
}

#[test]
fn every_container_states_requests_and_limits() {
    each("CPU and memory are requested, and memory has a limit.", |it| {
        let lacks = |of: &Value, path: &str| of.pointer(path).is_none();
        let paths = ["requests/cpu", "requests/memory", "limits/memory"];
        let of = |container| {
            let lacking =
                paths.iter().filter(move |it| lacks(container, &format!("/resources/{it}")));
            lacking.map(|it| format!("has no {it}"))
        };
        it.containers().flat_map(of).collect()
    });
}

#[test]
fn every_target_is_probed_on_its_admin_port() {
    each(
        "Startup and readiness ask for readiness, liveness for itself, on a port that is open.",
        |it| {
            let mut offences = Vec::new();
            if !it.serves() {
                return offences;
            }
            let container = it.own();
            let ports = items(&container["ports"]);
            let admin =
                ports.iter().find(|it| it["name"] == "admin").map(|it| &it["containerPort"]);
            for (probe, service) in
                [("startup", "readiness"), ("readiness", "readiness"), ("liveness", "liveness")]
            {
                let grpc = &container[format!("{probe}Probe")]["grpc"];
                if grpc["service"] != service || Some(&grpc["port"]) != admin {
                    offences.push(format!("{probe} asks {grpc}"));
                }
            }
            offences
        },
    );
}

#[test]
fn nothing_has_a_name_twice() {
    each(
        "Containers, variables, ports, volumes and mounts are given once: applying refuses them else.",
        |it| {
            let mut offences = twice(&it.spec["volumes"], "name");
            let all: Vec<_> = it.containers().cloned().collect();
            offences.extend(twice(&all.into(), "name"));
            for container in it.containers() {
                offences.extend(twice(&container["env"], "name"));
                offences.extend(twice(&container["ports"], "name"));
                offences.extend(twice(&container["ports"], "containerPort"));
                offences.extend(twice(&container["volumeMounts"], "mountPath"));
            }
            offences
        },
    );
}

fn twice(list: &Value, key: &str) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let values = items(list).iter().map(|it| it[key].to_string());
    values.filter(|it| !seen.insert(it.clone())).map(|it| format!("{key} {it} twice")).collect()
}

#[test]
fn every_mount_is_of_a_volume_that_is_there() {
    each("A mount names a volume of its pod.", |it| {
        let volumes: Vec<_> = items(&it.spec["volumes"]).iter().map(|it| &it["name"]).collect();
        let mounts = it.containers().flat_map(|it| items(&it["volumeMounts"]));
        let lost = mounts.filter(|it| !volumes.contains(&&it["name"]));
        lost.map(|it| format!("mounts {}", it["name"])).collect()
    });
}

#[test]
fn variables_with_our_prefix_are_settings() {
    each("The program refuses a variable that is no setting.", |it| {
        let known = |name: &str| {
            let setting = name.strip_suffix("_FILE").unwrap_or(name);
            name == "RAPPORT_TOKEN"
                || chassis::settings::TABLE
                    .iter()
                    .any(|it| it.variable() == name || it.variable() == setting)
        };
        let names = it.containers().flat_map(|it| items(&it["env"])).map(|it| &it["name"]);
        let ours = names.filter_map(Value::as_str).filter(|it| it.starts_with("RAPPORT_"));
        ours.filter(|it| !known(it)).map(|it| format!("{it} is no setting")).collect()
    });
}

#[test]
fn a_digest_wins_over_the_tag() {
    for workload in workloads(&scenario("digest").objects) {
        let image = workload.own()["image"].as_str().unwrap_or_default();
        assert!(image.starts_with("registry.example.com/mirror/rapport@sha256:"), "{image}");
        assert_eq!(workload.spec["imagePullSecrets"][0]["name"], "mirror");
    }
}

/// Looks at every workload of every scenario.
#[track_caller]
fn each(rule: &str, look: impl Fn(&Workload<'_>) -> Vec<String>) {
    let mut offences = Vec::new();
    for scenario in scenarios() {
        let found = workloads(&scenario.objects);
        assert!(found.len() >= 2, "{} runs {}", scenario.name, found.len());
        for workload in &found {
            let place = format!("{} {}", scenario.name, called(workload.object));
            offences.extend(look(workload).iter().map(|it| format!("{place}: {it}")));
        }
    }
    obeyed(rule, &offences);
}

pub(crate) fn restricted(it: &Workload<'_>) -> Vec<String> {
    let (spec, mut offences) = (it.spec, Vec::new());
    let mut need = |holds: bool, what: &str| {
        if !holds {
            offences.push(what.to_owned());
        }
    };
    let pod = &spec["securityContext"];
    need(pod["runAsNonRoot"] == true && pod["runAsUser"] == 65532, "may be root");
    need(pod["seccompProfile"]["type"] == "RuntimeDefault", "has no seccomp profile");
    need(spec["automountServiceAccountToken"] == false, "has a token of the API");
    // Variables of services would look like settings: RAPPORT_PROFILES_PORT.
    need(spec["enableServiceLinks"] == false, "has variables of services");
    for key in ["hostNetwork", "hostPID", "hostIPC"] {
        need(spec[key].is_null(), key);
    }
    for volume in items(&spec["volumes"]) {
        need(VOLUMES.iter().any(|it| !volume[it].is_null()), "has another kind of volume");
    }
    for container in it.containers() {
        let context = &container["securityContext"];
        need(context["allowPrivilegeEscalation"] == false, "may gain rights");
        need(context["readOnlyRootFilesystem"] == true, "writes to its image");
        need(context["capabilities"]["drop"] == serde_json::json!(["ALL"]), "has capabilities");
        need(context["capabilities"]["add"].is_null(), "adds capabilities");
        need(context["privileged"].is_null(), "is privileged");
    }
    offences
}

#[test]
fn a_pod_with_rights_is_found() {
    let mut objects = scenario("minimal").objects.clone();
    let job = objects.iter_mut().find(|it| kind(it) == "Job").expect("the migration");
    job["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"] = false.into();
    let found: Vec<_> = workloads(&objects).iter().flat_map(restricted).collect();
    assert_eq!(found, ["may be root"]);
}
