//! How two parties are related, and for how long.

use eventstore::{About, Decider, Timestamp};
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::{RelationKind, relation_event::Event};
use rapport_proto::types::PartyKind;

use super::code::{self, Code};
use super::validity::Validity;

/// The aggregate; stream `relation/<rel id>`.
pub(crate) enum Relation {}

/// What can be wished of a relation.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Relate two parties.
    Record(New),
    /// End the relation; absent: now.
    End { at: Option<Timestamp>, reason: Code },
}

/// A new relation.
#[derive(Clone, Debug)]
pub(crate) struct New {
    pub(crate) kind: RelationKind,
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) role: Option<Code>,
    pub(crate) product_id: String,
    pub(crate) valid: Validity,
}

/// A party at one end, with what its own stream says it is.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) party_id: String,
    pub(crate) kind: PartyKind,
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the relation is not known")]
    Unknown,
    #[error("parties of these kinds are not related in this way")]
    KindConflict,
    #[error("a party is not related to itself")]
    ToItself,
    #[error("the relation is known with another content")]
    Other,
    #[error("the relation ends before it starts")]
    EndsFirst,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// The relation as recorded.
    pub(crate) recorded: Option<proto::RelationRecorded>,
    /// When it ended, if it did.
    pub(crate) ended_at: Option<Timestamp>,
}

/// Whether parties of these kinds are related in this way: a table, so that a new kind is a decision.
pub(crate) fn fits(relation: RelationKind, from: PartyKind, to: PartyKind) -> bool {
    use PartyKind as Kind;
    match relation {
        RelationKind::Unspecified => false,
        RelationKind::Affiliated => {
            matches!(from, Kind::Hcp | Kind::Pharmacist | Kind::Employee) && to == Kind::Hco
        }
        RelationKind::CoveredBy => {
            !matches!(from, Kind::Unspecified | Kind::Employee) && to == Kind::Employee
        }
        RelationKind::Treats => from == Kind::Hcp && to == Kind::Patient,
        RelationKind::CaregiverOf => from == Kind::Caregiver && to == Kind::Patient,
    }
}

impl Decider for Relation {
    const AGGREGATE: &'static str = "relation";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Record(new) => record(state, new),
            Command::End { at: stated, reason } => end(state, stated.unwrap_or(at), &reason),
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Recorded(it) => state.recorded = Some(it.clone()),
            Event::Ended(it) => state.ended_at = it.ended_at.as_ref().and_then(super::instant),
        }
        state
    }

    fn about(_id: &str, state: &State, _event: &Event) -> About {
        let party_id = state.recorded.as_ref().map(|it| it.from_party_id.clone());
        About { party_id: party_id.unwrap_or_default(), ..About::default() }
    }
}

fn record(state: &State, new: New) -> Result<Vec<Event>, Refusal> {
    if !fits(new.kind, new.from.kind, new.to.kind) {
        return Err(Refusal::KindConflict);
    }
    if new.from.party_id == new.to.party_id {
        return Err(Refusal::ToItself);
    }
    let recorded = proto::RelationRecorded {
        kind: new.kind.into(),
        from_party_id: new.from.party_id,
        to_party_id: new.to.party_id,
        role: code::text(new.role.as_ref()),
        product_id: new.product_id,
        valid: new.valid.to_proto(),
    };
    match &state.recorded {
        None => Ok(vec![Event::Recorded(recorded)]),
        Some(known) if *known == recorded => Ok(Vec::new()),
        Some(_) => Err(Refusal::Other),
    }
}

fn end(state: &State, at: Timestamp, reason: &Code) -> Result<Vec<Event>, Refusal> {
    let known = state.recorded.as_ref().ok_or(Refusal::Unknown)?;
    if state.ended_at.is_some() {
        return Ok(Vec::new());
    }
    if Validity::of(known.valid.as_ref()).from.is_some_and(|from| at < from) {
        return Err(Refusal::EndsFirst);
    }
    Ok(vec![Event::Ended(proto::RelationEnded {
        ended_at: Some(at.to_proto()),
        reason: reason.as_str().to_owned(),
    })])
}

#[cfg(test)]
mod tests;
