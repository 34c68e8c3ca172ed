//! One look at a party and a segment: whether it crossed, and when to look again.

use eventstore::{Decider as _, Timestamp};
use rapport_proto::profiles::v1::membership_event::Event;

use super::definitions::LiveSegment;
use super::facts::Facts;
use crate::domain::membership::{Command, Membership, Settlement, State};

/// What makes a party be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// Something happened, at an instant and, if it is a fact of this service, at a position.
    Event { at: Timestamp, position: u64 },
    /// An instant came that was expected.
    Time { due_at: Timestamp },
}

impl Occasion {
    fn at(self) -> Timestamp {
        match self {
            Self::Event { at, .. } => at,
            Self::Time { due_at } => due_at,
        }
    }

    fn cause(self) -> u64 {
        match self {
            Self::Event { position, .. } => position,
            Self::Time { .. } => 0,
        }
    }
}

/// Looks at a party, and moves its membership on: what is new about it. What time alone turns afterwards is the next
/// timer's, even when that is due already: it must see what was recorded in between, and nothing else.
///
/// Only a timer that is due after `horizon` is counted on: a nearer one may have fired by the time this is written.
pub(super) fn look(
    facts: &Facts<'_>,
    segment: &LiveSegment,
    held: &mut State,
    occasion: Occasion,
    horizon: Timestamp,
) -> Vec<Event> {
    // Nothing crosses before it crossed last, nor by a definition before it stands.
    let at = occasion.at().max(held.since).max(segment.stands.at);
    let rule = &segment.definition.rule;
    // Of what is needed later than the timer that stands nothing is stated, so it is not computed.
    let until = held.due_at.filter(|due_at| *due_at > horizon).unwrap_or(Timestamp::MAX);
    let found = Settlement {
        party_id: facts.party_id.clone(),
        segment_id: segment.definition.id.clone(),
        version: segment.version,
        at,
        inside: facts.hold(rule, at),
        cause_position: occasion.cause(),
        next: facts.next(rule, at, until),
    };
    let events = match Membership::decide(held, Command::Settle(found), horizon) {
        Ok(events) => events,
        Err(never) => match never {},
    };
    *held = events.iter().fold(held.clone(), Membership::evolve);
    events
}
