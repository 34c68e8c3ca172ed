//! Short ways into objects of Kubernetes.

use serde_json::Value;

pub(super) fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

pub(super) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// `Deployment/r-rapport-profiles`, for what is told.
pub(super) fn called(object: &Value) -> String {
    format!("{}/{}", kind(object), name(object))
}

pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn of<'a>(objects: &'a [Value], wanted: &str) -> Vec<&'a Value> {
    objects.iter().filter(|it| kind(it) == wanted).collect()
}

/// True when every label of a selector is among the labels.
pub(super) fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().filter(|it| !it.is_empty());
    wanted.is_some_and(|it| it.iter().all(|(name, value)| labels[name] == *value))
}

/// What runs pods: its labels and its specification.
pub(super) struct Workload<'a> {
    pub(super) object: &'a Value,
    pub(super) labels: &'a Value,
    pub(super) spec: &'a Value,
}

impl Workload<'_> {
    pub(super) fn containers(&self) -> impl Iterator<Item = &Value> {
        items(&self.spec["initContainers"]).iter().chain(items(&self.spec["containers"]))
    }

    /// The container of Rapport.
    pub(super) fn own(&self) -> &Value {
        let mut all = self.containers();
        all.find(|it| it["name"] == "rapport").expect("a container of Rapport")
    }

    pub(super) fn serves(&self) -> bool {
        kind(self.object) == "Deployment"
    }

    pub(super) fn component(&self) -> &str {
        self.labels["app.kubernetes.io/component"].as_str().unwrap_or_default()
    }
}

/// Everything that runs pods, those of hooks and tests too.
pub(super) fn workloads(objects: &[Value]) -> Vec<Workload<'_>> {
    let of = |object| match kind(object) {
        "Deployment" | "Job" => {
            let template = &object["spec"]["template"];
            let labels = &template["metadata"]["labels"];
            Some(Workload { object, labels, spec: &template["spec"] })
        }
        "Pod" => {
            let labels = &object["metadata"]["labels"];
            Some(Workload { object, labels, spec: &object["spec"] })
        }
        _ => None,
    };
    objects.iter().filter_map(of).collect()
}
