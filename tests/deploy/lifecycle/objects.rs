//! The objects of the cluster, and everything that ever happened to them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use eventstore::{Ids, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::chart::objects::selects;

/// The only namespace.
pub(super) const NAMESPACE: &str = "rapport";

/// What happened to an object.
#[derive(Clone)]
pub(super) struct Change {
    pub(super) verb: &'static str,
    pub(super) plural: &'static str,
    pub(super) object: Value,
}

/// Objects by plural and name. A change has a number, the revision; who watches asks for those after the last one it saw.
pub(super) struct Objects {
    state: Mutex<State>,
    revision: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    now: BTreeMap<(&'static str, String), Value>,
    history: Vec<Change>,
}

impl Objects {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), revision: watch::Sender::new(0) }
    }

    pub(super) fn get(&self, plural: &'static str, name: &str) -> Option<Value> {
        self.state().now.get(&(plural, name.to_owned())).cloned()
    }

    pub(super) fn list(&self, plural: &'static str) -> Vec<Value> {
        let state = self.state();
        state.now.iter().filter(|it| it.0.0 == plural).map(|it| it.1.clone()).collect()
    }

    /// Those that an object made.
    pub(super) fn owned(&self, plural: &'static str, owner: &Value) -> Vec<Value> {
        let uid = &owner["metadata"]["uid"];
        let mut all = self.list(plural);
        all.retain(|it| it["metadata"]["ownerReferences"][0]["uid"] == *uid);
        all
    }

    /// Those with the labels of a selector.
    pub(super) fn selected(&self, plural: &'static str, selector: &Value) -> Vec<Value> {
        let mut all = self.list(plural);
        all.retain(|it| selects(selector, &it["metadata"]["labels"]));
        all
    }

    pub(super) fn all(&self) -> Vec<Value> {
        self.state().now.values().cloned().collect()
    }

    /// Makes an object, or puts another one in its place: what the cluster knows of it stays.
    pub(super) fn put(&self, plural: &'static str, object: Value) -> Value {
        self.place(&mut self.state(), plural, object)
    }

    /// Changes an object if it is there.
    pub(super) fn edit(&self, plural: &'static str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.state();
        if let Some(mut object) = state.now.get(&(plural, name.to_owned())).cloned() {
            change(&mut object);
            self.place(&mut state, plural, object);
        }
    }

    fn place(&self, state: &mut State, plural: &'static str, mut object: Value) -> Value {
        let name = name(&object).to_owned();
        let old = state.now.get(&(plural, name.clone())).cloned();
        let meta = &mut object["metadata"];
        match &old {
            None => {
                meta["uid"] = uid().into();
                meta["creationTimestamp"] = now().into();
                meta["generation"] = 1.into();
                meta["namespace"] = NAMESPACE.into();
            }
            Some(old) => {
                for key in ["uid", "creationTimestamp", "generation", "deletionTimestamp"] {
                    if !old["metadata"][key].is_null() {
                        meta[key] = old["metadata"][key].clone();
                    }
                }
                meta["namespace"] = NAMESPACE.into();
                if object["status"].is_null() && !old["status"].is_null() {
                    object["status"] = old["status"].clone();
                }
                if object["spec"]["clusterIP"].is_null() && !old["spec"]["clusterIP"].is_null() {
                    object["spec"]["clusterIP"] = old["spec"]["clusterIP"].clone();
                }
                if object["spec"] != old["spec"] {
                    let generation = old["metadata"]["generation"].as_u64().unwrap_or_default() + 1;
                    object["metadata"]["generation"] = generation.into();
                }
            }
        }
        let verb = match &old {
            Some(old) if without_revision(old) == without_revision(&object) => return object,
            Some(_) => "MODIFIED",
            None => "ADDED",
        };
        let object = self.note(state, verb, plural, object);
        state.now.insert((plural, name), object.clone());
        object
    }

    pub(super) fn remove(&self, plural: &'static str, name: &str) -> Option<Value> {
        let mut state = self.state();
        let object = state.now.remove(&(plural, name.to_owned()))?;
        let object = self.note(&mut state, "DELETED", plural, object);
        Some(object)
    }

    /// What happened after a revision.
    pub(super) fn since(&self, revision: usize) -> Vec<Change> {
        let state = self.state();
        state.history.get(revision..).unwrap_or_default().to_vec()
    }

    pub(super) fn revision(&self) -> usize {
        *self.revision.borrow()
    }

    /// Tells of every new revision.
    pub(super) fn changes(&self) -> watch::Receiver<usize> {
        self.revision.subscribe()
    }

    fn note(
        &self,
        state: &mut State,
        verb: &'static str,
        plural: &'static str,
        mut object: Value,
    ) -> Value {
        let revision = state.history.len() + 1;
        object["metadata"]["resourceVersion"] = revision.to_string().into();
        state.history.push(Change { verb, plural, object: object.clone() });
        self.revision.send_replace(revision);
        object
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn without_revision(object: &Value) -> Value {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = Value::Null;
    object
}

pub(super) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// That an object belongs to another one, and goes with it.
pub(super) fn owned_by(owner: &Value) -> Value {
    json!([{
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": true,
    }])
}

/// The condition of a type, if the object has it.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|it| it["type"] == kind)
}

pub(super) fn holds(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|it| it["status"] == "True")
}

/// States a condition; the time it last changed stays when it did not.
pub(super) fn state_condition(object: &mut Value, kind: &str, holds: bool, reason: &str) {
    let status = if holds { "True" } else { "False" };
    let same = condition(object, kind).filter(|it| it["status"] == status);
    let since = same.map_or_else(|| now().into(), |it| it["lastTransitionTime"].clone());
    let stated = json!({
        "type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": since,
    });
    let conditions = &mut object["status"]["conditions"];
    let mut list = conditions.as_array().cloned().unwrap_or_default();
    match list.iter_mut().find(|it| it["type"] == kind) {
        Some(old) => *old = stated,
        None => list.push(stated),
    }
    *conditions = list.into();
}

/// The time as objects tell it.
pub(super) fn now() -> String {
    let at = jiff::Timestamp::from_microsecond(Timestamp::real().0).expect("a time of today");
    format!("{at:.0}")
}

/// Seconds since a time that an object tells.
pub(super) fn seconds_since(time: &Value) -> u64 {
    let then = time.as_str().and_then(|it| it.parse::<jiff::Timestamp>().ok());
    let then = then.map_or(0, jiff::Timestamp::as_microsecond);
    u64::try_from((Timestamp::real().0 - then) / 1_000_000).unwrap_or_default()
}

fn uid() -> String {
    let hex = eventstore::hex(&Ids::system().bytes::<16>());
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
