//! What a provider reported about a message that no touch was known to be. It is kept, and listed, until its touch is
//! found: when the message is noted as sent, or when the report comes again.

use eventstore::{About, Decider, Timestamp};
use rapport_proto::delivery::v1::report_event::Event;
use rapport_proto::delivery::v1::{ReportKept, ReportPlaced};

/// The aggregate; stream `report/<rpt id>`.
pub(crate) enum Report {}

/// What can be wished of a report.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Keep it.
    Keep(ReportKept),
    /// Its touch is known now.
    Place { touch_id: String },
}

/// Nothing is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {}

/// Where it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum State {
    /// Nobody has heard of it.
    #[default]
    Unheard,
    Kept(Box<ReportKept>),
    Placed,
}

impl State {
    /// What is kept.
    pub(crate) fn kept(&self) -> Option<&ReportKept> {
        match self {
            Self::Kept(it) => Some(it),
            Self::Unheard | Self::Placed => None,
        }
    }
}

impl Decider for Report {
    const AGGREGATE: &'static str = "report";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
        Ok(match (state, command) {
            (State::Unheard, Command::Keep(it)) => vec![Event::Kept(it)],
            (State::Kept(_), Command::Place { touch_id }) => {
                vec![Event::Placed(ReportPlaced { touch_id })]
            }
            (State::Kept(_) | State::Placed, Command::Keep(_))
            | (State::Unheard | State::Placed, Command::Place { .. }) => Vec::new(),
        })
    }

    fn evolve(_: State, event: &Event) -> State {
        match event {
            Event::Kept(it) => State::Kept(Box::new(it.clone())),
            Event::Placed(_) => State::Placed,
        }
    }

    fn about(_report_id: &str, _state: &State, event: &Event) -> About {
        let fact = match event {
            Event::Kept(it) => it.fact.as_ref(),
            Event::Placed(_) => None,
        };
        let occurred_at = fact.and_then(|it| it.occurred_at.as_ref());
        About { occurred_at: occurred_at.and_then(Timestamp::from_proto), ..About::default() }
    }
}
