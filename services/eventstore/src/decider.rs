//! The pure core of a service.

use std::error::Error as StdError;

use rapport_proto::EventSet;

use crate::event::About;
use crate::time::Timestamp;

/// An aggregate as two pure functions. No I/O, clock, id generator or randomness inside: they come in
/// with the command.
pub trait Decider: 'static {
    /// Name of the aggregate; its streams are `<AGGREGATE>/<id>`.
    const AGGREGATE: &'static str;
    /// A wish, validated.
    type Command: Clone + Send;
    /// What the facts add up to, for deciding only.
    type State: Default + Clone + Send + Sync;
    /// A fact.
    type Event: EventSet;
    /// Why a wish was not granted.
    type Refusal: StdError + Send + Sync + 'static;

    /// Decides. An empty list means "already so".
    fn decide(
        state: &Self::State,
        command: Self::Command,
        at: Timestamp,
    ) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// Folds a fact into the state.
    fn evolve(state: Self::State, event: &Self::Event) -> Self::State;

    /// What a fact is about; `state` already includes it.
    fn about(_id: &str, _state: &Self::State, _event: &Self::Event) -> About {
        About::default()
    }
}

/// Folds facts, oldest first.
pub fn fold<'a, D: Decider>(events: impl IntoIterator<Item = &'a D::Event>) -> D::State {
    events.into_iter().fold(D::State::default(), D::evolve)
}
