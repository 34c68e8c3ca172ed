//! How often a party is contacted. All reservations of a party stand in one stream: two touches that want the last
//! place at the same moment meet at its version, and the second looks again.
//!
//! The stream grows with every touch, what it adds up to does not: a contact that no line can count any more is
//! forgotten. `view::pressure` keeps that sum beside the version, so that the gate reads one row and never the stream.

use std::time::Duration;

use eventstore::{About, Decider, Timestamp};
use rapport_proto::delivery::v1::pressure_event::Event;
use rapport_proto::delivery::v1::{ContactReleased, ContactReserved};
use rapport_proto::types::Channel;

use super::instant;

/// The longest window a hard line may have. A line with a longer one cannot be kept, and lets nothing pass.
pub(crate) const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The aggregate; stream `pressure/<party_id>`.
pub(crate) enum Pressure {}

/// What can be wished.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Count a touch from now on.
    Reserve(ContactReserved),
    /// Count it no longer.
    Release { touch_id: String, reason: String },
}

/// Whether there is a place is the gate's to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {}

/// A touch that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) touch_id: String,
    pub(crate) channel: Channel,
    pub(crate) product_id: String,
    pub(crate) at: Timestamp,
}

/// The touches that count, oldest reservation first. What was reserved the longest window before the newest is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) contacts: Vec<Contact>,
}

impl Decider for Pressure {
    const AGGREGATE: &'static str = "pressure";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
        Ok(match command {
            Command::Reserve(it) => vec![Event::Reserved(it)],
            Command::Release { touch_id, reason } => {
                let held = state.contacts.iter().any(|it| it.touch_id == touch_id);
                let released = Event::Released(ContactReleased { touch_id, reason });
                if held { vec![released] } else { Vec::new() }
            }
        })
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Reserved(it) => {
                let new = Contact::of(it);
                let since = new.at.minus(LONGEST);
                state.contacts.retain(|it| it.touch_id != new.touch_id && it.at > since);
                state.contacts.push(new);
            }
            Event::Released(it) => state.contacts.retain(|held| held.touch_id != it.touch_id),
        }
        state
    }

    fn about(party_id: &str, _state: &State, _event: &Event) -> About {
        About { party_id: party_id.to_owned(), ..About::default() }
    }
}

impl Contact {
    pub(crate) fn of(reserved: &ContactReserved) -> Self {
        Self {
            touch_id: reserved.touch_id.clone(),
            channel: reserved.channel(),
            product_id: reserved.product_id.clone(),
            at: instant(reserved.reserved_at.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests;
