//! What follows from objects: ReplicaSets from Deployments, pods from them and from Jobs, and what each tells of itself.
//!
//! [`reconcile`] looks at everything and does the next steps. It is called after every change and several times a second,
//! because some steps wait for time to pass.

use eventstore::Ids;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::objects::{
    Objects, condition, holds, name, now, owned_by, seconds_since, state_condition,
};
use crate::chart::objects::items;

/// The label that tells the pods of one ReplicaSet from those of another.
const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Before a Job tries again; twice as long after each further failure.
const RETRY_SECONDS: u64 = 10;

pub(super) fn reconcile(objects: &Objects) {
    collect(objects);
    for deployment in objects.list("deployments") {
        roll(objects, &deployment);
    }
    for set in objects.list("replicasets") {
        replicate(objects, &set);
    }
    for job in objects.list("jobs") {
        work(objects, &job);
    }
}

/// Removes what belongs to an object that is gone.
fn collect(objects: &Objects) {
    let all = objects.all();
    let is_there = |uid: &Value| all.iter().any(|it| it["metadata"]["uid"] == *uid);
    for plural in ["replicasets", "pods"] {
        for orphan in objects.list(plural) {
            let owner = &orphan["metadata"]["ownerReferences"][0]["uid"];
            if owner.is_null() || is_there(owner) {
                continue;
            }
            match plural {
                "pods" => end(objects, &orphan),
                _ => drop(objects.remove(plural, name(&orphan))),
            }
        }
    }
}

/// Asks a pod to end.
fn end(objects: &Objects, pod: &Value) {
    objects.edit("pods", name(pod), |it| {
        if it["metadata"]["deletionTimestamp"].is_null() {
            it["metadata"]["deletionTimestamp"] = now().into();
        }
    });
}

pub(super) fn is_ending(pod: &Value) -> bool {
    !pod["metadata"]["deletionTimestamp"].is_null()
}

fn has_ended(pod: &Value) -> bool {
    pod["status"]["phase"] == "Failed" || pod["status"]["phase"] == "Succeeded"
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

/// `25%` of something, or a number.
fn share(value: &Value, of: i64, up: bool) -> i64 {
    let percent = value.as_str().and_then(|it| it.strip_suffix('%')?.parse::<i64>().ok());
    percent.map_or(number(value), |it| (it * of + if up { 99 } else { 0 }) / 100)
}

/// The pods of a ReplicaSet that count.
struct Pods {
    all: Vec<Value>,
    ready: i64,
    available: i64,
}

fn pods(objects: &Objects, set: &Value) -> Pods {
    let mut all = objects.owned("pods", set);
    all.retain(|it| !is_ending(it) && !has_ended(it));
    let settled = number(&set["spec"]["minReadySeconds"]).unsigned_abs();
    let since = |it: &Value| condition(it, "Ready").map(|it| it["lastTransitionTime"].clone());
    let lasts = |it: &&Value| {
        holds(it, "Ready") && since(it).is_some_and(|it| seconds_since(&it) >= settled)
    };
    let ready = all.iter().filter(|it| holds(it, "Ready")).count() as i64;
    let available = all.iter().filter(lasts).count() as i64;
    Pods { all, ready, available }
}

/// Brings a Deployment one step nearer to what it says: RollingUpdate with maxSurge and maxUnavailable.
fn roll(objects: &Objects, deployment: &Value) {
    let spec = &deployment["spec"];
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let rolling = &spec["strategy"]["rollingUpdate"];
    let most = wanted + share(&rolling["maxSurge"], wanted, true);
    let least = wanted - share(&rolling["maxUnavailable"], wanted, false);

    let new = newest(objects, deployment);
    let mut old = objects.owned("replicasets", deployment);
    old.retain(|it| name(it) != name(&new));
    let size = |it: &Value| number(&it["spec"]["replicas"]);
    let total: i64 = size(&new) + old.iter().map(size).sum::<i64>();

    let grown = (size(&new) + (most - total).max(0)).min(wanted);
    resize(objects, &new, grown);
    let of_new = pods(objects, &new);
    let of_old: Vec<_> = old.iter().map(|it| pods(objects, it)).collect();
    let available = of_new.available + of_old.iter().map(|it| it.available).sum::<i64>();
    let mut spare = total - least - (size(&new) - of_new.available);
    for (set, of) in old.iter().zip(&of_old) {
        // First those that serve nobody, then those that can be done without.
        let idle = (size(set) - of.available).min(spare).max(0);
        let needless = (available - least).min(spare - idle).min(of.available).max(0);
        spare -= idle + needless;
        resize(objects, set, size(set) - idle - needless);
    }

    let of_all = of_new.all.len() + of_old.iter().map(|it| it.all.len()).sum::<usize>();
    let ready = of_new.ready + of_old.iter().map(|it| it.ready).sum::<i64>();
    let updated = of_new.all.len() as i64;
    let done = updated == wanted && of_all as i64 == wanted && available == wanted;
    objects.edit("deployments", name(deployment), |it| {
        let conditions = it["status"]["conditions"].clone();
        it["status"] = json!({
            "observedGeneration": deployment["metadata"]["generation"], "replicas": of_all,
            "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": available,
            "unavailableReplicas": (wanted - available).max(0), "conditions": conditions,
        });
        state_condition(it, "Available", available >= least, "MinimumReplicasAvailable");
        let reason = if done { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" };
        state_condition(it, "Progressing", true, reason);
    });
    forget(objects, &old, number(&spec["revisionHistoryLimit"]));
}

/// The ReplicaSet of a Deployment as it is now; after a rollback that is an old one.
fn newest(objects: &Objects, deployment: &Value) -> Value {
    let spec = &deployment["spec"];
    let hash = eventstore::hex(&Sha256::digest(spec["template"].to_string())[..5]);
    let called = format!("{}-{hash}", name(deployment));
    let all = objects.owned("replicasets", deployment);
    let last = all.iter().map(revision).max().unwrap_or_default();
    if let Some(set) = all.into_iter().find(|it| name(it) == called) {
        if revision(&set) < last {
            objects.edit("replicasets", &called, |it| {
                it["metadata"]["annotations"][REVISION] = (last + 1).to_string().into();
            });
        }
        return set;
    }
    let (mut template, mut selector) = (spec["template"].clone(), spec["selector"].clone());
    template["metadata"]["labels"][HASH] = hash.as_str().into();
    selector["matchLabels"][HASH] = hash.as_str().into();
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": called, "labels": template["metadata"]["labels"],
            "annotations": {REVISION: (last + 1).to_string()},
            "ownerReferences": owned_by(deployment),
        },
        "spec": {
            "replicas": 0, "minReadySeconds": spec["minReadySeconds"],
            "selector": selector, "template": template,
        },
    });
    objects.put("replicasets", set)
}

fn revision(set: &Value) -> u64 {
    let text = set["metadata"]["annotations"][REVISION].as_str();
    text.and_then(|it| it.parse().ok()).unwrap_or_default()
}

fn resize(objects: &Objects, set: &Value, replicas: i64) {
    objects.edit("replicasets", name(set), |it| it["spec"]["replicas"] = replicas.into());
}

/// Removes old ReplicaSets without pods, but for the latest ones.
fn forget(objects: &Objects, old: &[Value], kept: i64) {
    let mut empty: Vec<_> = old.iter().filter(|it| it["status"]["replicas"] == 0).collect();
    empty.sort_by_key(|it| std::cmp::Reverse(revision(it)));
    for set in empty.into_iter().skip(usize::try_from(kept).unwrap_or_default()) {
        objects.remove("replicasets", name(set));
    }
}

/// Makes or ends pods until there are as many as a ReplicaSet says.
fn replicate(objects: &Objects, set: &Value) {
    let Pods { mut all, ready, available } = pods(objects, set);
    let wanted = usize::try_from(number(&set["spec"]["replicas"])).unwrap_or_default();
    for _ in all.len()..wanted {
        start(objects, set);
    }
    // Those that are not ready first, then the youngest.
    let made = |it: &Value| it["metadata"]["creationTimestamp"].to_string();
    all.sort_by_key(|it| (!holds(it, "Ready"), made(it)));
    let needless = all.len().saturating_sub(wanted);
    for pod in all.iter().rev().take(needless) {
        end(objects, pod);
    }
    objects.edit("replicasets", name(set), |it| {
        it["status"] = json!({
            "observedGeneration": set["metadata"]["generation"], "replicas": all.len(),
            "fullyLabeledReplicas": all.len(), "readyReplicas": ready, "availableReplicas": available,
        });
    });
}

/// Makes a pod of an object's template.
fn start(objects: &Objects, owner: &Value) {
    let template = &owner["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    let chance = eventstore::hex(&Ids::system().bytes::<3>());
    metadata["name"] = format!("{}-{}", name(owner), &chance[..5]).into();
    metadata["ownerReferences"] = owned_by(owner);
    let spec = &template["spec"];
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    objects.put("pods", pod);
}

/// Runs a Job's pod until one succeeds, or as often as it says.
fn work(objects: &Objects, job: &Value) {
    if holds(job, "Complete") || holds(job, "Failed") {
        return;
    }
    let pods = objects.owned("pods", job);
    let of = |phase: &str| pods.iter().filter(|it| it["status"]["phase"] == phase).count();
    let (succeeded, failed) = (of("Succeeded"), of("Failed"));
    let active = pods.len() - succeeded - failed;
    let started = match &job["status"]["startTime"] {
        Value::Null => now().into(),
        known => known.clone(),
    };
    let late = number(&job["spec"]["activeDeadlineSeconds"]).unsigned_abs();
    let spent = failed as i64 > number(&job["spec"]["backoffLimit"]);
    let over = late > 0 && seconds_since(&started) >= late;
    let last = pods.iter().filter_map(|it| condition(it, "Ready"));
    let last = last.map(|it| seconds_since(&it["lastTransitionTime"])).min();
    let pause = RETRY_SECONDS << failed.saturating_sub(1).min(5);
    if succeeded == 0 && active == 0 && !spent && !over && last.is_none_or(|it| it >= pause) {
        start(objects, job);
    }
    objects.edit("jobs", name(job), |it| {
        let status = &mut it["status"];
        status["startTime"] = started;
        status["active"] = active.into();
        status["succeeded"] = succeeded.into();
        status["failed"] = failed.into();
        if succeeded > 0 {
            status["completionTime"] = now().into();
            state_condition(it, "Complete", true, "CompletionsReached");
        } else if spent || over {
            let reason = if spent { "BackoffLimitExceeded" } else { "DeadlineExceeded" };
            state_condition(it, "Failed", true, reason);
        }
    });
    if over {
        pods.iter().filter(|it| !has_ended(it)).for_each(|it| end(objects, it));
    }
}

/// The ready pods of a Service that go on, by their addresses.
pub(super) fn endpoints(objects: &Objects, service: &Value) -> Vec<Value> {
    let mut pods = objects.selected("pods", &service["spec"]["selector"]);
    pods.retain(|it| holds(it, "Ready") && !is_ending(it));
    pods
}

/// The port of a container that a Service's port leads to.
pub(super) fn target_port(pod: &Value, port: &Value) -> Option<u64> {
    let target = &port["targetPort"];
    let ports = pod["spec"]["containers"].as_array()?.iter().flat_map(|it| items(&it["ports"]));
    let named = ports.filter(|it| it["name"] == *target).map(|it| &it["containerPort"]);
    named.chain([target, &port["port"]]).find_map(Value::as_u64)
}
