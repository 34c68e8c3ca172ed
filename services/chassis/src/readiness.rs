//! Readiness by what must be ready: named latches, each set by whoever knows.
//!
//! A target is ready when all of its latches and all of the process's are; the process is ready when every latch is.
//! A latch names something *this* target cannot answer without (its store, the issuer's keys), never another target: a
//! target that waited for others would take them all down in a row. The log is none either: while it cannot be reached
//! a target answers and commits, and what it has to tell others waits in its store. The gauge `rapport.log.connected`
//! says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// The latches of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readiness {
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    latches: BTreeMap<Latch, bool>,
    draining: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Latch {
    /// Target, or empty for the whole process.
    target: String,
    what: String,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())) }
    }
}

impl Readiness {
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares something that must be ready before the target is; it starts as not ready. An empty target means
    /// the whole process.
    pub fn need(&self, target: &str, what: &str) {
        self.write(target, what, false);
    }

    /// Says whether it is ready now. Unknown latches are declared by the first word about them.
    pub fn set(&self, target: &str, what: &str, ok: bool) {
        self.write(target, what, ok);
    }

    fn write(&self, target: &str, what: &str, ok: bool) {
        let latch = Latch { target: target.into(), what: what.into() };
        self.state.send_if_modified(|state| state.latches.insert(latch, ok) != Some(ok));
    }

    /// Turns everything not ready for good: the process is about to stop.
    pub fn begin_draining(&self) {
        self.state.send_modify(|state| state.draining = true);
    }

    /// True when the whole process may get traffic.
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }

    /// True when this target may get traffic.
    pub fn is_target_ready(&self, target: &str) -> bool {
        let state = self.state.borrow();
        let concerns = |latch: &Latch| latch.target.is_empty() || latch.target == target;
        !state.draining && state.latches.iter().all(|(latch, ok)| *ok || !concerns(latch))
    }

    /// What is not ready, as `target/what`.
    pub fn missing(&self) -> Vec<String> {
        let state = self.state.borrow();
        let latches =
            state.latches.iter().filter(|(_, ok)| !**ok).map(|(latch, _)| latch.to_string());
        latches.chain(state.draining.then(|| "draining".to_owned())).collect()
    }

    /// Returns when something changed since the last call on this watch.
    pub fn watch(&self) -> Watch {
        let mut receiver = self.state.subscribe();
        receiver.mark_changed();
        Watch { receiver }
    }

    /// Waits until the whole process is ready.
    pub async fn ready(&self) {
        let mut receiver = self.state.subscribe();
        let open = |state: &State| !state.draining && state.latches.values().all(|ok| *ok);
        // The sender lives as long as self, so the wait cannot fail.
        let _ = receiver.wait_for(open).await;
    }
}

/// Follows the changes of a [`Readiness`].
#[derive(Debug)]
pub struct Watch {
    receiver: watch::Receiver<State>,
}

impl Watch {
    /// Returns at once the first time, then after each change; `false` once nobody can change anything any more.
    /// Cancel-safe.
    pub async fn changed(&mut self) -> bool {
        self.receiver.changed().await.is_ok()
    }
}

impl std::fmt::Display for Latch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.target.is_empty() {
            f.write_str(&self.what)
        } else {
            write!(f, "{}/{}", self.target, self.what)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_waits_for_its_own_latches_and_the_processs() {
        let readiness = Readiness::new();
        readiness.need("", "listeners");
        readiness.need("profiles", "store");
        readiness.need("content", "store");
        assert_eq!(readiness.missing(), ["listeners", "content/store", "profiles/store"]);
        readiness.set("", "listeners", true);
        readiness.set("profiles", "store", true);
        assert!(readiness.is_target_ready("profiles") && !readiness.is_target_ready("content"));
        assert!(!readiness.is_ready());
        readiness.set("content", "store", true);
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_fault_flips_readiness_and_its_end_flips_it_back() {
        let readiness = Readiness::new();
        readiness.set("profiles", "store", true);
        assert!(readiness.is_ready());
        readiness.set("profiles", "store", false);
        assert_eq!(readiness.missing(), ["profiles/store"]);
        readiness.set("profiles", "store", true);
        assert!(readiness.is_ready());
    }

    #[test]
    fn draining_is_for_good() {
        let readiness = Readiness::new();
        readiness.begin_draining();
        readiness.set("profiles", "store", true);
        assert!(!readiness.is_ready() && !readiness.is_target_ready("profiles"));
        assert_eq!(readiness.missing(), ["draining"]);
    }

    #[tokio::test]
    async fn a_watch_tells_changes_only() {
        let readiness = Readiness::new();
        let mut watch = readiness.watch();
        assert!(watch.changed().await);
        readiness.set("profiles", "store", true);
        assert!(watch.changed().await);
        readiness.set("profiles", "store", true);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, watch.changed()).await.is_err());
    }
}
