//! The kinds of objects that there are, and how a client discovers them.

use serde_json::{Value, json};

pub(super) struct Kind {
    /// Group and version, `v1` for the oldest ones.
    pub(super) api: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
}

/// What the chart makes in the scenarios that are run, and what these make.
pub(super) const KINDS: [Kind; 11] = [
    Kind { api: "v1", kind: "Pod", plural: "pods" },
    Kind { api: "v1", kind: "Service", plural: "services" },
    Kind { api: "v1", kind: "ConfigMap", plural: "configmaps" },
    Kind { api: "v1", kind: "Secret", plural: "secrets" },
    Kind { api: "v1", kind: "ServiceAccount", plural: "serviceaccounts" },
    Kind { api: "apps/v1", kind: "Deployment", plural: "deployments" },
    Kind { api: "apps/v1", kind: "ReplicaSet", plural: "replicasets" },
    Kind { api: "batch/v1", kind: "Job", plural: "jobs" },
    Kind { api: "networking.k8s.io/v1", kind: "NetworkPolicy", plural: "networkpolicies" },
    Kind { api: "networking.k8s.io/v1", kind: "Ingress", plural: "ingresses" },
    Kind { api: "policy/v1", kind: "PodDisruptionBudget", plural: "poddisruptionbudgets" },
];

pub(super) fn find(api: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|it| it.api == api && it.plural == plural)
}

/// What a client is told before it asks for objects; `None` when the path is not of that.
pub(super) fn discovered(path: &[&str]) -> Option<Value> {
    Some(match path {
        ["version"] => json!({"major": "1", "minor": "37", "gitVersion": "v1.37.0"}),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"]}),
        ["apis"] => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups()}),
        ["api", "v1"] => resources("v1"),
        ["apis", group, version] => resources(&format!("{group}/{version}")),
        ["openapi", "v3"] => {
            let of = |api: &str| {
                let url =
                    json!({"serverRelativeURL": format!("/openapi/v3/{}?hash=1", place(api))});
                (place(api), url)
            };
            json!({"paths": apis().into_iter().map(of).collect::<serde_json::Map<_, _>>()})
        }
        ["openapi", "v3", "api", "v1"] => described("v1"),
        ["openapi", "v3", "apis", group, version] => described(&format!("{group}/{version}")),
        _ => return None,
    })
}

fn apis() -> Vec<&'static str> {
    let mut all: Vec<_> = KINDS.iter().map(|it| it.api).collect();
    all.dedup();
    all
}

fn place(api: &str) -> String {
    let root = if api.contains('/') { "apis" } else { "api" };
    format!("{root}/{api}")
}

fn groups() -> Vec<Value> {
    let of = |api: &'static str| {
        let (group, version) = api.split_once('/')?;
        let version = json!({"groupVersion": api, "version": version});
        Some(json!({"name": group, "versions": [version], "preferredVersion": version}))
    };
    apis().into_iter().filter_map(of).collect()
}

fn resources(api: &str) -> Value {
    let of = |it: &Kind| {
        let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
        json!({
            "name": it.plural, "singularName": it.kind.to_lowercase(), "namespaced": true,
            "kind": it.kind, "verbs": verbs,
        })
    };
    let all: Vec<_> = KINDS.iter().filter(|it| it.api == api).map(of).collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api, "resources": all})
}

/// That fields are validated when an object is applied.
fn described(api: &str) -> Value {
    let (group, version) = api.split_once('/').unwrap_or(("", api));
    let of = |it: &Kind| {
        let path = format!("/{}/namespaces/{{namespace}}/{}/{{name}}", place(api), it.plural);
        let of = json!({"group": group, "version": version, "kind": it.kind});
        let parameter = json!({"name": "fieldValidation", "in": "query"});
        let patch = json!({
            "parameters": [parameter],
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": of,
        });
        (path, json!({"patch": patch}))
    };
    let paths: serde_json::Map<_, _> = KINDS.iter().filter(|it| it.api == api).map(of).collect();
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.37.0"}, "paths": paths})
}
