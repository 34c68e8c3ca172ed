//! What is true of journeys and of parties on their way through them, without a clock, a database or a network.
//!
//! | file | stream | decides |
//! |---|---|---|
//! | [`journey`] | `journey/<id>` | which version lets parties in, what stands still |
//! | [`entry`] | `entry/<journey>.<party>` | whether a party enters, across versions |
//! | [`instance`] | `instance/ins_…` | one party's way; [`instance::walk`] is the interpreter |

pub(crate) mod entry;
pub(crate) mod instance;
pub(crate) mod journey;

use std::collections::{BTreeMap, BTreeSet};

use eventstore::Timestamp;
use rapport_proto::journeys::v1::Cause;

/// Events of a source that a stream remembers to have heard of.
const REMEMBERED: usize = 100;

/// An instant as an event has it.
pub(crate) fn instant(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.and_then(Timestamp::from_proto)
}

/// The instant by which a cause stands in line with timers.
pub(crate) fn recorded_at(cause: Option<&Cause>) -> Timestamp {
    cause.and_then(|it| instant(it.recorded_at.as_ref())).unwrap_or_default()
}

/// Events of other services that a stream has heard of: each has its effect once.
///
/// A consumer handles a source in order, and after a crash first of all the event at which it stopped. Earlier ones come
/// again from a replica that was frozen while the others went on, and what was parked comes late. So the last ones are
/// enough: what is older than all of them counts as heard of. That keeps "once" without exception, and loses a parked
/// event only when a hundred later ones of its source were heard of here before it was released.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard(BTreeMap<String, BTreeSet<u64>>);

impl Heard {
    /// Whether an event may have been heard of. A timer and a call are no events.
    pub(crate) fn knows(&self, cause: Option<&Cause>) -> bool {
        let Some(cause) = cause.filter(|it| !it.source.is_empty()) else { return false };
        self.0.get(&cause.source).is_some_and(|known| {
            let forgotten = known.len() >= REMEMBERED && known.first() > Some(&cause.position);
            forgotten || known.contains(&cause.position)
        })
    }

    pub(crate) fn note(&mut self, cause: Option<&Cause>) {
        let Some(cause) = cause.filter(|it| !it.source.is_empty()) else { return };
        let known = self.0.entry(cause.source.clone()).or_default();
        known.insert(cause.position);
        if known.len() > REMEMBERED {
            known.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(source: &str, position: u64) -> Option<Cause> {
        Some(Cause { source: source.into(), position, ..Cause::default() })
    }

    #[test]
    fn what_was_heard_of_stays_so_in_bounded_space() {
        let mut heard = Heard::default();
        // Every other one of a long history; a hundred are remembered, from 801 on.
        for position in 0..500 {
            heard.note(cause("profiles", 2 * position + 1).as_ref());
            assert!(heard.0["profiles"].len() <= REMEMBERED);
        }
        let knows = |position| heard.knows(cause("profiles", position).as_ref());
        assert!((0..500).all(|it| knows(2 * it + 1)), "once, for ever");
        assert!(!knows(1_001) && !knows(900), "what comes next, and what was parked a while");
        assert!(knows(2), "what was parked for so long that nobody can tell any more");
        assert!(!heard.knows(cause("delivery", 2).as_ref()), "another source counts for itself");
        assert!(!heard.knows(cause("", 1).as_ref()) && !heard.knows(None), "no event");
    }
}
