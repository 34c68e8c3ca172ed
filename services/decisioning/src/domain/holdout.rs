//! A share of the parties that gets nothing, so that what the rest gets can be measured. Stream `holdout/<id>`.

use eventstore::{Decider, Timestamp};
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::Arm;
use rapport_proto::decisioning::v1::holdout_event::Event;
use rapport_proto::types::ContentClass;

/// The aggregate.
pub(crate) enum Holdout {}

/// What can be wished of a holdout.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Start(Box<proto::HoldoutStarted>),
    End { reason: String },
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the holdout is not known")]
    Unknown,
    #[error("a holdout with this id was started with another content")]
    Exists,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) started: Option<proto::HoldoutStarted>,
    pub(crate) ended: bool,
}

impl Decider for Holdout {
    const AGGREGATE: &'static str = "holdout";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
        match (command, &state.started) {
            (Command::Start(it), None) => Ok(vec![Event::Started(*it)]),
            (Command::Start(it), Some(started)) if *it == *started => Ok(Vec::new()),
            (Command::Start(_), Some(_)) => Err(Refusal::Exists),
            (Command::End { .. }, None) => Err(Refusal::Unknown),
            (Command::End { .. }, Some(_)) if state.ended => Ok(Vec::new()),
            (Command::End { reason }, Some(_)) => {
                Ok(vec![Event::Ended(proto::HoldoutEnded { reason })])
            }
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Started(it) => state.started = Some(it.clone()),
            Event::Ended(_) => state.ended = true,
        }
        state
    }
}

/// Content that is never held out.
pub(crate) fn is_exempt(class: ContentClass) -> bool {
    matches!(class, ContentClass::Service | ContentClass::SafetyCommunication)
}

/// The side a party is on, the same for every journey and touch in scope: held out iff
/// `hash(salt, party, period) / 2^64` is below the share.
pub(crate) fn arm(holdout: &proto::HoldoutStarted, party_id: &str) -> Arm {
    let drawn = eventstore::draw(&holdout.salt, &format!("{party_id}/{}", holdout.period));
    if drawn < holdout.share { Arm::HeldOut } else { Arm::Treated }
}

/// The holdout that counts for a class and a party: one that holds it out before one that does not, else the first
/// by id.
pub(crate) fn counting<'a>(
    holdouts: &'a [proto::HoldoutStarted],
    class: ContentClass,
    party_id: &str,
) -> (Option<&'a proto::HoldoutStarted>, Arm) {
    if is_exempt(class) {
        return (None, Arm::Unspecified);
    }
    let in_scope = || holdouts.iter().filter(|it| it.content_classes().any(|it| it == class));
    let Some(first) = in_scope().next() else { return (None, Arm::Unspecified) };
    if party_id.is_empty() {
        return (Some(first), Arm::Unspecified);
    }
    match in_scope().find(|it| arm(it, party_id) == Arm::HeldOut) {
        Some(found) => (Some(found), Arm::HeldOut),
        None => (Some(first), Arm::Treated),
    }
}

#[cfg(test)]
mod tests;
