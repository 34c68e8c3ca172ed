//! An experiment: its analysis is defined before its data are looked at. Stream `experiment/<id>`.
//!
//! ```text
//! RUNNING ─▶ CLOSED (at positions that are kept: its result stays as it is)
//! ```

use std::collections::BTreeMap;

use eventstore::{Decider, Timestamp};
use rapport_proto::kpis::v1 as proto;
use rapport_proto::kpis::v1::experiment_event::Event;

/// The aggregate.
pub(crate) enum Experiment {}

/// What can be wished of an experiment.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Start it.
    Start(Box<proto::Experiment>),
    /// Close it as it stands.
    Close { reason: String, positions: BTreeMap<String, u64>, as_of: Timestamp },
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no such experiment")]
    Unknown,
    #[error("an experiment with this id was started with another content")]
    Exists,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) document: Option<proto::Experiment>,
    pub(crate) closed: Option<proto::ExperimentClosed>,
}

impl Decider for Experiment {
    const AGGREGATE: &'static str = "experiment";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
        match (command, &state.document) {
            (Command::Start(it), None) => {
                Ok(vec![Event::Started(proto::ExperimentStarted { experiment: Some(*it) })])
            }
            (Command::Start(it), Some(known)) if *it == *known => Ok(Vec::new()),
            (Command::Start(_), Some(_)) => Err(Refusal::Exists),
            (Command::Close { .. }, None) => Err(Refusal::Unknown),
            (Command::Close { .. }, Some(_)) if state.closed.is_some() => Ok(Vec::new()),
            (Command::Close { reason, positions, as_of }, Some(_)) => {
                let as_of = Some(as_of.to_proto());
                Ok(vec![Event::Closed(proto::ExperimentClosed { reason, positions, as_of })])
            }
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Started(it) => state.document = Some(it.experiment.clone().unwrap_or_default()),
            Event::Closed(it) => state.closed = Some(it.clone()),
        }
        state
    }
}

#[cfg(test)]
mod tests;
