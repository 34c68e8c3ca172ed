//! A party's ways into a journey, all versions together: numbers its entries and enforces re-entry.
//!
//! What asks is written down first ([`Requested`](Event::Requested)), once for an event, so that the same event never
//! enters twice. What the party does before that is answered, and the instance would want, is written down behind it
//! ([`Heard`](Event::Heard)): the instance is told when it starts, as if it had been there. The answer is in the same
//! unit as the instance's start, and the end of an instance is in the unit that ends it: two replicas that decide at the
//! same time conflict on this stream, and one of them decides again.

use std::collections::BTreeMap;
#[cfg(test)]
use std::collections::BTreeSet;

use eventstore::{About, Decider, Timestamp};
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::Cause;
use rapport_proto::journeys::v1::entry_event::Event;

use super::instance::walk::{EVENT, MOST_KEPT};
use super::{Heard, instant};
use crate::graph::Reentry;

/// Instances of one journey that a party may have at the same time.
pub(crate) const MOST_RUNNING: usize = 25;
/// Rules that refuse an entry: a closed list.
#[cfg(test)]
pub(crate) const RULES: [&str; 8] =
    ["running", "gap", "never", "key_used", "not_live", "market", "audience", "state"];

/// The aggregate; stream `entry/<journey>.<party_id>`.
pub(crate) enum Entry {}

/// The id of its stream.
pub(crate) fn stream_id(journey_id: &str, party_id: &str) -> String {
    format!("{journey_id}.{party_id}")
}

/// Journey and party of a stream; ids hold no dot.
pub(crate) fn parse_stream_id(id: &str) -> Option<(&str, &str)> {
    id.split_once('.')
}

/// What can be wished.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Note what one event means: an interaction that entries which are asked for want, a new entry, or both.
    Note {
        heard: Option<Box<proto::InstanceEntryHeard>>,
        requested: Option<Box<proto::InstanceEntryRequested>>,
    },
    /// Let the party in, or say which rule keeps it out.
    Answer(Box<Asked>),
    /// Note the end of an instance.
    Close { instance_id: String, how: &'static str },
}

/// What is known when the answer is given.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) tenant: String,
    pub(crate) journey_id: String,
    pub(crate) version: u32,
    pub(crate) party_id: String,
    pub(crate) entry_key: String,
    pub(crate) market: String,
    pub(crate) cause: Option<Cause>,
    /// Version of this stream at which it was asked for; 0 for a call.
    pub(crate) request: u64,
    pub(crate) reentry: Reentry,
    /// What keeps the party out whatever its history.
    pub(crate) kept_out: Option<&'static str>,
}

/// Nothing is refused: a party that may not enter is a fact too.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {}

/// How the last question was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Entered(String),
    Refused(String),
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    version: u64,
    /// Events that asked, or were heard for what asks.
    taken: Heard,
    /// What asked and was not answered, by the version of this stream at which it asked.
    pub(crate) open: BTreeMap<u64, proto::InstanceEntryRequested>,
    /// What came since the first of them, by the version of this stream at which it did.
    heard: BTreeMap<u64, proto::InstanceEntryHeard>,
    /// Number of entries by key.
    entries: BTreeMap<String, u32>,
    /// Instances that run, with their keys.
    running: BTreeMap<String, String>,
    ended_at: Option<Timestamp>,
    pub(crate) last: Option<Answer>,
    party_id: String,
    market: String,
}

impl State {
    /// The rule that keeps the party out.
    fn keeps_out(&self, asked: &Asked, at: Timestamp) -> Option<&'static str> {
        if asked.kept_out.is_some() {
            return asked.kept_out;
        }
        let used = self.entries.contains_key(&asked.entry_key);
        let gap_over = |gap: i64| self.ended_at.is_none_or(|end| end.0.saturating_add(gap) <= at.0);
        match asked.reentry {
            _ if self.running.len() >= MOST_RUNNING => Some("running"),
            Reentry::Unlimited => None,
            Reentry::PerKey => used.then_some("key_used"),
            Reentry::Never | Reentry::AfterExit(_) if !self.running.is_empty() => Some("running"),
            Reentry::Never => (!self.entries.is_empty()).then_some("never"),
            Reentry::AfterExit(gap) => (!gap_over(gap)).then_some("gap"),
        }
    }

    /// What came since something asked, oldest first, as its instance is told.
    pub(crate) fn heard_since(&self, request: u64) -> Vec<proto::InstanceWoken> {
        let told = |it: &proto::InstanceEntryHeard| proto::InstanceWoken {
            reason: EVENT.to_owned(),
            event: it.event.clone(),
            properties: it.properties.clone(),
            cause: it.cause.clone(),
            ..Default::default()
        };
        // A call asks and is answered at once.
        let since = if request == 0 { u64::MAX } else { request };
        self.heard.range(since..).map(|(_, it)| told(it)).collect()
    }

    fn answered(&mut self, request: u64) {
        self.open.remove(&request);
        match self.open.keys().next() {
            None => self.heard.clear(),
            Some(first) => self.heard = self.heard.split_off(first),
        }
    }

    #[cfg(test)]
    pub(crate) fn runs(&self) -> BTreeSet<&str> {
        self.running.keys().map(String::as_str).collect()
    }
}

impl Decider for Entry {
    const AGGREGATE: &'static str = "entry";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        Ok(match command {
            Command::Note { heard, requested } => {
                let heard = heard.filter(|it| {
                    let waits = !state.open.is_empty() && state.heard.len() < MOST_KEPT;
                    waits && !state.taken.knows(it.cause.as_ref())
                });
                let requested = requested.filter(|it| !state.taken.knows(it.cause.as_ref()));
                // Heard by what asked before, not by what it asks for itself.
                let heard = heard.map(|it| Event::Heard(*it)).into_iter();
                heard.chain(requested.map(|it| Event::Requested(*it))).collect()
            }
            Command::Answer(asked) => {
                if asked.request > 0 && !state.open.contains_key(&asked.request) {
                    return Ok(Vec::new());
                }
                vec![answer(state, *asked, at)]
            }
            Command::Close { instance_id, how } => match state.running.get(&instance_id) {
                None => Vec::new(),
                Some(key) => vec![Event::Closed(proto::InstanceEntryClosed {
                    entry_key: key.clone(),
                    instance_id,
                    ended_at: Some(at.to_proto()),
                    how: how.to_owned(),
                })],
            },
        })
    }

    fn evolve(mut state: State, event: &Event) -> State {
        state.version += 1;
        match event {
            Event::Requested(it) => {
                state.taken.note(it.cause.as_ref());
                state.party_id.clone_from(&it.party_id);
                state.open.insert(state.version, it.clone());
            }
            Event::Heard(it) => {
                state.taken.note(it.cause.as_ref());
                state.heard.insert(state.version, it.clone());
            }
            Event::Refused(it) => {
                state.answered(it.request);
                state.party_id.clone_from(&it.party_id);
                state.market.clone_from(&it.market);
                state.last = Some(Answer::Refused(it.rule.clone()));
            }
            Event::Entered(it) => {
                state.answered(it.request);
                state.party_id.clone_from(&it.party_id);
                state.market.clone_from(&it.market);
                state.entries.insert(it.entry_key.clone(), it.entry_number);
                state.running.insert(it.instance_id.clone(), it.entry_key.clone());
                state.last = Some(Answer::Entered(it.instance_id.clone()));
            }
            Event::Closed(it) => {
                state.running.remove(&it.instance_id);
                state.ended_at = state.ended_at.max(instant(it.ended_at.as_ref()));
            }
        }
        state
    }

    fn about(_id: &str, state: &State, event: &Event) -> About {
        let occurred_at = match event {
            Event::Requested(proto::InstanceEntryRequested { cause, .. })
            | Event::Heard(proto::InstanceEntryHeard { cause, .. }) => {
                cause.as_ref().and_then(|it| instant(it.occurred_at.as_ref()))
            }
            Event::Refused(_) | Event::Entered(_) | Event::Closed(_) => None,
        };
        About {
            party_id: state.party_id.clone(),
            market: state.market.clone(),
            occurred_at,
            ..About::default()
        }
    }
}

fn answer(state: &State, asked: Asked, at: Timestamp) -> Event {
    if let Some(rule) = state.keeps_out(&asked, at) {
        return Event::Refused(proto::InstanceEntryRefused {
            journey_id: asked.journey_id,
            version: asked.version,
            party_id: asked.party_id,
            entry_key: asked.entry_key,
            rule: rule.to_owned(),
            cause: asked.cause,
            request: asked.request,
            market: asked.market,
        });
    }
    let entry_number = state.entries.get(&asked.entry_key).copied().unwrap_or(0).saturating_add(1);
    let number = entry_number.to_string();
    let parts =
        [&asked.tenant, "ins", &asked.journey_id, &asked.party_id, &asked.entry_key, &number];
    Event::Entered(proto::InstanceEntered {
        instance_id: eventstore::derive_id("ins", &parts),
        journey_id: asked.journey_id,
        version: asked.version,
        party_id: asked.party_id,
        entry_key: asked.entry_key,
        entry_number,
        cause: asked.cause,
        request: asked.request,
        market: asked.market,
    })
}

#[cfg(test)]
mod tests;
