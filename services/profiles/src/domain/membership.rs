//! Whether a party is in a segment, and when to look again.
//!
//! ```text
//! out ⇄ in          every crossing with its exact instant and its cause
//! one timer         stated when none stands, or when one is needed earlier
//! ```

use eventstore::{About, Decider, Timestamp};
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::membership_event::Event;

/// The aggregate; stream `membership/<party id>.<segment id>`.
pub(crate) enum Membership {}

/// The id of a membership.
pub(crate) fn id(party_id: &str, segment_id: &str) -> String {
    format!("{party_id}.{segment_id}")
}

/// What [`id`] joined. Neither part has a dot.
pub(crate) fn parts(id: &str) -> Option<(&str, &str)> {
    id.split_once('.')
}

/// What can be wished of a membership.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Note what an evaluation found.
    Settle(Settlement),
}

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settlement {
    pub(crate) party_id: String,
    pub(crate) segment_id: String,
    /// Version of the definition that was evaluated.
    pub(crate) version: u32,
    /// The instant for which it was.
    pub(crate) at: Timestamp,
    pub(crate) inside: bool,
    /// Position of the event that was the reason; 0 when time alone was.
    pub(crate) cause_position: u64,
    /// The next instant at which time alone changes the outcome.
    pub(crate) next: Option<Timestamp>,
}

/// There is nothing to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {}

/// What the facts add up to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) inside: bool,
    /// Version of the definition at the last crossing.
    pub(crate) version: u32,
    /// The last crossing; before everything when there was none.
    pub(crate) since: Timestamp,
    /// When the timer is due that was stated last; it may have fired since.
    pub(crate) due_at: Option<Timestamp>,
}

impl Default for State {
    fn default() -> Self {
        Self { inside: false, version: 0, since: Timestamp(i64::MIN), due_at: None }
    }
}

impl Decider for Membership {
    const AGGREGATE: &'static str = "membership";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    /// A timer that is due by `at` has fired or is about to: it is not counted on.
    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        let Command::Settle(found) = command;
        let mut events: Vec<Event> = Vec::new();
        if found.inside != state.inside {
            events.push(crossed(&found));
        }
        let standing = state.due_at.filter(|due_at| *due_at > at);
        if let Some(next) = found.next.filter(|next| standing.is_none_or(|due_at| *next < due_at)) {
            events.push(Event::CrossingExpected(proto::SegmentCrossingExpected {
                segment_id: found.segment_id,
                version: found.version,
                party_id: found.party_id,
                due_at: Some(next.to_proto()),
            }));
        }
        Ok(events)
    }

    fn evolve(mut state: State, event: &Event) -> State {
        let instant = |time: Option<&prost_types::Timestamp>| time.and_then(super::instant);
        match event {
            Event::Entered(it) => {
                state.inside = true;
                state.version = it.version;
                state.since = instant(it.crossed_at.as_ref()).unwrap_or(state.since);
            }
            Event::Exited(it) => {
                state.inside = false;
                state.version = it.version;
                state.since = instant(it.crossed_at.as_ref()).unwrap_or(state.since);
            }
            Event::CrossingExpected(it) => state.due_at = instant(it.due_at.as_ref()),
        }
        state
    }

    fn about(id: &str, _state: &State, event: &Event) -> About {
        let crossed_at = match event {
            Event::Entered(it) => it.crossed_at.as_ref(),
            Event::Exited(it) => it.crossed_at.as_ref(),
            Event::CrossingExpected(_) => None,
        };
        About {
            party_id: parts(id).map_or("", |it| it.0).to_owned(),
            occurred_at: crossed_at.and_then(super::instant),
            ..About::default()
        }
    }
}

fn crossed(found: &Settlement) -> Event {
    let (segment_id, party_id) = (found.segment_id.clone(), found.party_id.clone());
    let Settlement { version, cause_position, .. } = *found;
    let crossed_at = Some(found.at.to_proto());
    if found.inside {
        Event::Entered(proto::SegmentEntered {
            segment_id,
            version,
            party_id,
            cause_position,
            crossed_at,
        })
    } else {
        Event::Exited(proto::SegmentExited {
            segment_id,
            version,
            party_id,
            cause_position,
            crossed_at,
        })
    }
}

#[cfg(test)]
mod tests;
