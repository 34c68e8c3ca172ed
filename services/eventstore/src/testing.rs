//! Given these events, when this command, then those events or that refusal.

mod front;
pub mod golden;
mod plan;
mod servers;

use std::fmt::Debug;

use rapport_proto::EventSet;

use crate::decider::{Decider, fold};
use crate::event::Stored;
use crate::store::Store;
use crate::time::Timestamp;

pub use front::Front;
pub use plan::plan;
pub use servers::{NatsServer, Postgres, free_port, is_permitted, mounting_is_permitted, psql};

/// Starts from past events.
pub fn given<D: Decider>(events: impl IntoIterator<Item = D::Event>) -> Given<D> {
    Given { state: fold::<D>(&events.into_iter().collect::<Vec<_>>()), at: Timestamp(0) }
}

/// A state to decide in.
pub struct Given<D: Decider> {
    state: D::State,
    at: Timestamp,
}

impl<D: Decider> Given<D> {
    /// The clock shows this; the epoch otherwise.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = at;
        self
    }

    /// Decides.
    pub fn when(self, command: D::Command) -> Decided<D> {
        let outcome = D::decide(&self.state, command, self.at);
        Decided { state: self.state, outcome }
    }
}

/// What was decided.
pub struct Decided<D: Decider> {
    state: D::State,
    outcome: Result<Vec<D::Event>, D::Refusal>,
}

impl<D: Decider> Decided<D>
where
    D::Event: PartialEq + Debug,
{
    /// Exactly these events.
    #[track_caller]
    pub fn then(self, expected: impl IntoIterator<Item = D::Event>) -> Self {
        match &self.outcome {
            Ok(events) => assert_eq!(*events, expected.into_iter().collect::<Vec<_>>()),
            Err(refusal) => panic!("refused: {refusal}"),
        }
        self
    }

    /// A refusal that the check accepts.
    #[track_caller]
    pub fn refused(self, check: impl FnOnce(&D::Refusal) -> bool) {
        match &self.outcome {
            Ok(events) => panic!("granted: {:?}", names::<D>(events)),
            Err(refusal) => assert!(check(refusal), "another refusal: {refusal}"),
        }
    }

    /// The events, for further checks.
    #[track_caller]
    pub fn events(self) -> Vec<D::Event> {
        self.outcome.unwrap_or_else(|refusal| panic!("refused: {refusal}"))
    }

    /// The state the events lead to.
    #[track_caller]
    pub fn state(self) -> D::State {
        let state = self.state.clone();
        self.events().iter().fold(state, D::evolve)
    }
}

/// The differential harness: runs one workload against each store and returns the one history they all
/// hold, byte for byte. Open the stores with the same seed ([`Ids::seeded`](crate::Ids::seeded)) and
/// clock, and send commands one after another.
pub async fn same_history<F: Future<Output = ()>>(
    stores: &[Store],
    workload: impl Fn(Store) -> F,
) -> Vec<Stored> {
    let mut histories = Vec::new();
    for store in stores {
        workload(store.clone()).await;
        let mut history = Vec::new();
        loop {
            let page = store.read(history.len() as u64, 1_000).await.expect("readable");
            if page.is_empty() {
                break;
            }
            history.extend(page);
        }
        histories.push((store.database().system(), history));
    }
    let (first, history) = histories.remove(0);
    for (other, theirs) in histories {
        assert_eq!(history.len(), theirs.len(), "{first} and {other} hold different numbers");
        for (ours, theirs) in history.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{first} and {other} differ at {}", ours.position);
        }
    }
    history
}

fn names<D: Decider>(events: &[D::Event]) -> Vec<&'static str> {
    events.iter().map(EventSet::type_name).collect()
}
