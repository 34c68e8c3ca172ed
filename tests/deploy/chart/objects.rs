//! Short ways into objects of Kubernetes.

use serde_json::Value;

pub(crate) fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// `Deployment/r-rapport-profiles`, for what is told.
pub(crate) fn called(object: &Value) -> String {
    format!("{}/{}", kind(object), name(object))
}

pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn of<'a>(objects: &'a [Value], wanted: &str) -> Vec<&'a Value> {
    objects.iter().filter(|it| kind(it) == wanted).collect()
}

/// True when every label of a selector is among the labels.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().filter(|it| !it.is_empty());
    wanted.is_some_and(|it| it.iter().all(|(name, value)| labels[name] == *value))
}

/// What runs pods: its labels and its specification.
pub(crate) struct Workload<'a> {
    pub(crate) object: &'a Value,
    pub(crate) labels: &'a Value,
    pub(crate) spec: &'a Value,
}

impl Workload<'_> {
    pub(crate) fn containers(&self) -> impl Iterator<Item = &Value> {
        items(&self.spec["initContainers"]).iter().chain(items(&self.spec["containers"]))
    }

    /// The container of Rapport.
    pub(crate) fn own(&self) -> &Value {
        let mut all = self.containers();
        all.find(|it| it["name"] == "rapport").expect("a container of Rapport")
    }

    pub(crate) fn serves(&self) -> bool {
        kind(self.object) == "Deployment"
    }

    pub(crate) fn component(&self) -> &str {
        self.labels["app.kubernetes.io/component"].as_str().unwrap_or_default()
    }
}

/// Everything that runs pods, those of hooks and tests too.
pub(crate) fn workloads(objects: &[Value]) -> Vec<Workload<'_>> {
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
