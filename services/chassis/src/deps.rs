//! What a service is given: named, never positional, and nothing global.

use std::collections::BTreeMap;
use std::time::Duration;

use eventstore::{Clock, Ids, Log, Store};

use crate::peers::Peers;
use crate::status::{BEHIND, Problem};

/// How long a read waits for the positions it was asked to include.
const PATIENCE: Duration = Duration::from_secs(2);

/// A service's means. Cheap to clone.
#[derive(Clone)]
pub struct Deps {
    /// The service's own name: the source of its events.
    pub target: &'static str,
    pub store: Store,
    pub log: Log,
    pub clock: Clock,
    pub ids: Ids,
    pub peers: Peers,
    /// For [`limited!`](crate::limited).
    pub max_message_bytes: usize,
}

impl Deps {
    /// Waits until this replica has seen the service's own position in `min_positions`; positions of other sources
    /// are the consumers' to wait for.
    pub async fn caught_up(&self, min_positions: &BTreeMap<String, u64>) -> Result<(), Problem> {
        let Some(position) = min_positions.get(self.target) else { return Ok(()) };
        if self.store.wait_for(*position, PATIENCE).await? {
            return Ok(());
        }
        let seen = self.store.head().position;
        Err(Problem::of(BEHIND).with("source", self.target).with("position", seen).retry_after(PATIENCE))
    }
}
