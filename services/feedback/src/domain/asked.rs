//! How often a party was asked. One stream a party, so that two invitations that are decided at the same moment cannot
//! both be issued within a cooldown.

use std::collections::BTreeMap;

use eventstore::{About, Decider, Timestamp};
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::asked_event::Event;

use super::invitation::PURPOSE;
use super::survey::Gaps;
use super::{instant, later};

/// The aggregate; stream `asked/<party_id>`.
pub(crate) enum Asked {}

/// What can be wished.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Let an invitation count from now on.
    Ask { party_id: String, invitation_id: String, family: String, gaps: Gaps },
    /// It was not sent: it no longer counts.
    Release { invitation_id: String },
}

/// A cooldown holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} until {next_allowed_at}")]
pub(crate) struct Held {
    pub(crate) reason: &'static str,
    /// From here on every cooldown would allow it.
    pub(crate) next_allowed_at: Timestamp,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    party_id: String,
    /// Invitations that count: family, and since when.
    counted: BTreeMap<String, (String, Timestamp)>,
}

impl State {
    /// Whether the party may be asked now.
    fn allows(&self, family: &str, gaps: Gaps, at: Timestamp) -> Result<(), Held> {
        let last = |of: Option<&str>| {
            let counted = self.counted.values().filter(|it| of.is_none_or(|family| it.0 == family));
            counted.map(|it| it.1).max()
        };
        let held = [
            ("cooldown_family", last(Some(family)).map(|it| later(it, gaps.family))),
            ("cooldown_global", last(None).map(|it| later(it, gaps.global))),
        ];
        let holds = |(reason, until): (&'static str, Option<Timestamp>)| {
            until.filter(|it| *it > at).map(|until| (reason, until))
        };
        let held: Vec<_> = held.into_iter().filter_map(holds).collect();
        match (held.first(), held.iter().map(|it| it.1).max()) {
            (Some((reason, _)), Some(next_allowed_at)) => Err(Held { reason, next_allowed_at }),
            _ => Ok(()),
        }
    }
}

impl Decider for Asked {
    const AGGREGATE: &'static str = "asked";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Held;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Held> {
        match command {
            Command::Ask { invitation_id, .. } if state.counted.contains_key(&invitation_id) => {
                Ok(Vec::new())
            }
            Command::Ask { party_id, invitation_id, family, gaps } => {
                state.allows(&family, gaps, at)?;
                let asked_at = Some(at.to_proto());
                let asked = proto::PartyAsked { party_id, invitation_id, family, asked_at };
                Ok(vec![Event::Asked(asked)])
            }
            Command::Release { invitation_id } => {
                if !state.counted.contains_key(&invitation_id) {
                    return Ok(Vec::new());
                }
                let party_id = state.party_id.clone();
                Ok(vec![Event::NotAsked(proto::PartyNotAsked { party_id, invitation_id })])
            }
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Asked(it) => {
                state.party_id.clone_from(&it.party_id);
                let at = instant(it.asked_at.as_ref()).unwrap_or_default();
                state.counted.insert(it.invitation_id.clone(), (it.family.clone(), at));
            }
            Event::NotAsked(it) => {
                state.counted.remove(&it.invitation_id);
            }
        }
        state
    }

    fn about(id: &str, _: &State, _: &Event) -> About {
        About { party_id: id.to_owned(), purpose: PURPOSE.to_owned(), ..About::default() }
    }
}

#[cfg(test)]
mod tests;
