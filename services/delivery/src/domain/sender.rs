//! In whose name something is said.

use eventstore::{Decider, Timestamp};
use rapport_proto::delivery::v1::sender_event::Event;
use rapport_proto::delivery::v1::{self as proto, SenderRegistered};

/// The aggregate; stream `sender/<id>`.
pub(crate) enum Sender {}

/// What can be wished of a sender.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Register it, or describe it anew.
    Register(proto::Sender),
}

/// A sender is described by who may do so; there is nothing to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {}

/// The sender as last described.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) sender: Option<proto::Sender>,
}

impl Decider for Sender {
    const AGGREGATE: &'static str = "sender";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
        let Command::Register(sender) = command;
        if state.sender.as_ref() == Some(&sender) {
            return Ok(Vec::new());
        }
        Ok(vec![Event::Registered(SenderRegistered { sender: Some(sender) })])
    }

    fn evolve(_state: State, event: &Event) -> State {
        let Event::Registered(it) = event;
        State { sender: it.sender.clone() }
    }
}
