//! The way of one party over the border of one segment.

use eventstore::Timestamp;

use super::definitions::LiveSegment;
use super::facts::Facts;
use crate::domain::membership::{Crossing, Settlement, State};

/// Turns followed at once. Who turns more often goes on with the next timer.
pub(super) const MOST_TURNS: usize = 32;

/// What makes a party be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// An event about the party, at the instant it was recorded: what is newer is not seen.
    Event { at: Timestamp, position: u64 },
    /// The instant that was expected: what was recorded by then is seen.
    Time { due_at: Timestamp },
    /// Something that concerns everybody: parties are seen as they are now, and followed up to now.
    Sweep { at: Timestamp, position: u64 },
}

impl Occasion {
    pub(crate) fn at(self) -> Timestamp {
        match self {
            Self::Event { at, .. } | Self::Sweep { at, .. } => at,
            Self::Time { due_at } => due_at,
        }
    }
}

/// Looks at a party. What time alone turns after an event, or after the instant that was expected, is the next timer's,
/// even when that is due already: it must see what was recorded in between, and nothing else.
pub(crate) fn follow(
    facts: &Facts<'_>,
    segment: &LiveSegment,
    held: &State,
    occasion: Occasion,
    now: Timestamp,
) -> Settlement {
    let seen = if matches!(occasion, Occasion::Sweep { .. }) { now } else { occasion.at() };
    // Of what is needed later than the timer that stands nothing is stated, so it is not computed.
    let until = held.due_at.filter(|due_at| *due_at > seen).unwrap_or(Timestamp::MAX);
    let mut path =
        Path { facts, segment, until, crossings: Vec::new(), inside: held.inside, next: None };
    // Nothing crosses before it crossed last.
    let at = occasion.at().max(held.since);
    match occasion {
        // Who crossed since was followed past this instant.
        Occasion::Time { due_at } if held.since >= due_at => {}
        Occasion::Time { .. } => path.look(at, 0),
        Occasion::Event { position, .. } => path.look(at, position),
        Occasion::Sweep { position, .. } => {
            path.look(at, position);
            path.turn(now);
        }
    }
    Settlement {
        party_id: facts.party_id.clone(),
        segment_id: segment.definition.id.clone(),
        version: segment.version,
        crossings: path.crossings,
        next: path.next,
    }
}

struct Path<'a, 'l> {
    facts: &'a Facts<'l>,
    segment: &'a LiveSegment,
    /// Before this the next turn is looked for.
    until: Timestamp,
    crossings: Vec<Crossing>,
    inside: bool,
    /// The next turn after the instant looked at.
    next: Option<Timestamp>,
}

impl Path<'_, '_> {
    fn look(&mut self, at: Timestamp, cause_position: u64) {
        let rule = &self.segment.definition.rule;
        let inside = self.facts.hold(rule, at);
        if inside != self.inside {
            self.inside = inside;
            self.crossings.push(Crossing { at, inside, cause_position });
        }
        self.next = self.facts.next(rule, at, self.until);
    }

    /// Follows what time alone turns, up to an instant.
    fn turn(&mut self, until: Timestamp) {
        for _ in 0..MOST_TURNS {
            let Some(next) = self.next.filter(|next| *next <= until) else { return };
            self.look(next, 0);
        }
    }
}
