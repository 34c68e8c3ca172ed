//! What a customer did, as a source reported it: appended once, never changed.

use std::collections::BTreeMap;

use eventstore::{About, Decider, Timestamp};
use rapport_proto::Personal;
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::interaction_event::Event;
use rapport_proto::types::Clear;

/// How far ahead of the clock a source's time may lie before it is clamped.
pub(crate) const AHEAD_MAX: Timestamp = Timestamp(5 * 60 * 1_000_000);
/// Most conflicting messages kept for one message id: a source that repeats itself differently for ever is heard, not
/// stored for ever.
pub(crate) const MOST_CONFLICTS: usize = 16;

/// The aggregate; stream `interaction/<itx id>`. A message that is recorded is the first fact of its stream, so a
/// stream expected to be empty makes it exactly once.
pub(crate) enum Interaction {}

/// What can be wished of an interaction.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Record what a source reports.
    Record(Box<Message>),
    /// Keep what cannot be recorded.
    Reject { source_id: String, message_id: String, code: Code, raw: Raw },
}

/// A message that fits its source's schema.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) source_id: String,
    pub(crate) message_id: String,
    pub(crate) name: String,
    pub(crate) occurred_at: Timestamp,
    pub(crate) clear: BTreeMap<String, Clear>,
    /// Bytes of the `Struct` of all other properties.
    pub(crate) personal: Option<Raw>,
    /// Keyed digest of the message as it came.
    pub(crate) body_digest: Vec<u8>,
    /// The message as it came.
    pub(crate) raw: Raw,
}

/// Bytes that may be personal: they are not printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raw({} bytes)", self.0.len())
    }
}

/// Why a message was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Schema,
    TooLarge,
    BadTime,
    UnknownType,
    UnknownParty,
}

impl Code {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::TooLarge => "too_large",
            Self::BadTime => "bad_time",
            Self::UnknownType => "unknown_type",
            Self::UnknownParty => "unknown_party",
        }
    }
}

/// There is nothing to refuse: what cannot be recorded is kept as rejected or as a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// The recorded message.
    pub(crate) recorded: Option<proto::InteractionRecorded>,
    /// Other messages that came with the same id.
    pub(crate) conflicts: Vec<Personal>,
    pub(crate) rejected: bool,
    /// Party it is about, and that party's market: they stand in the envelope, so whoever appends gives them.
    pub(crate) party_id: String,
    pub(crate) market: String,
}

impl Decider for Interaction {
    const AGGREGATE: &'static str = "interaction";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        Ok(match command {
            Command::Record(message) => match &state.recorded {
                None => vec![recorded(*message, at)],
                Some(known) if known.body_digest == message.body_digest => Vec::new(),
                Some(_) => conflict(state, *message),
            },
            Command::Reject { .. } if state.rejected => Vec::new(),
            Command::Reject { source_id, message_id, code, raw } => {
                vec![Event::Rejected(proto::InteractionRejected {
                    source_id,
                    message_id,
                    code: code.as_str().to_owned(),
                    raw: Some(Personal::Clear(raw.0)),
                })]
            }
        })
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Recorded(it) => state.recorded = Some(it.clone()),
            Event::Conflicted(it) => state.conflicts.push(it.raw.clone().unwrap_or_default()),
            Event::Rejected(_) => state.rejected = true,
        }
        state
    }

    fn about(_id: &str, state: &State, event: &Event) -> About {
        let (source_id, occurred_at) = match event {
            Event::Recorded(it) => {
                (&it.source_id, it.occurred_at.as_ref().and_then(super::instant))
            }
            Event::Rejected(it) => (&it.source_id, None),
            Event::Conflicted(it) => (&it.source_id, None),
        };
        // What no party's key can seal is sealed by the source's own.
        let subject =
            if state.party_id.is_empty() { format!("source/{source_id}") } else { String::new() };
        About {
            party_id: state.party_id.clone(),
            market: state.market.clone(),
            subject,
            occurred_at,
            ..About::default()
        }
    }
}

fn recorded(message: Message, at: Timestamp) -> Event {
    let too_far = message.occurred_at.0 > at.0.saturating_add(AHEAD_MAX.0);
    let occurred_at = if too_far { at } else { message.occurred_at };
    Event::Recorded(proto::InteractionRecorded {
        source_id: message.source_id,
        message_id: message.message_id,
        name: message.name,
        occurred_at: Some(occurred_at.to_proto()),
        stated_at: too_far.then(|| message.occurred_at.to_proto()),
        clear: message.clear,
        personal: message.personal.map(|raw| Personal::Clear(raw.0)),
        body_digest: message.body_digest,
    })
}

fn conflict(state: &State, message: Message) -> Vec<Event> {
    let raw = Personal::Clear(message.raw.0);
    if state.conflicts.contains(&raw) || state.conflicts.len() >= MOST_CONFLICTS {
        return Vec::new();
    }
    vec![Event::Conflicted(proto::InteractionConflicted {
        source_id: message.source_id,
        message_id: message.message_id,
        raw: Some(raw),
    })]
}

#[cfg(test)]
mod tests;
