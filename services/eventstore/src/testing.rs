//! Given these events, when this command, then those events or that refusal.

mod servers;

use std::fmt::Debug;

use rapport_proto::EventSet;

use crate::decider::{Decider, fold};
use crate::time::Timestamp;

pub use servers::{NatsServer, Postgres, free_port};

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

fn names<D: Decider>(events: &[D::Event]) -> Vec<&'static str> {
    events.iter().map(EventSet::type_name).collect()
}
