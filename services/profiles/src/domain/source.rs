//! A system that reports what customers do, and which of its properties stay clear.

use std::collections::BTreeMap;

use eventstore::{Decider, Timestamp};
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::{ClearField, source_event::Event};
use rapport_proto::types::ClearKind;

use super::Invalid;
use super::code::Code;

pub(crate) mod schema;

/// Most clear fields of one source.
pub(crate) const MOST_FIELDS: usize = 500;

/// The aggregate; stream `source/<source id>`.
pub(crate) enum Source {}

/// What can be wished of a source.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Let a system record.
    Register { owner: String, clear_fields: Vec<Field>, write_key_hash: Vec<u8> },
    /// Declare further clear fields.
    Extend { clear_fields: Vec<Field> },
    /// Stop it from recording.
    Disable { reason: Code },
}

/// A property that carries no personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    name: String,
    kind: ClearKind,
}

impl Field {
    pub(crate) fn parse(name: &str, kind: ClearKind) -> Result<Self, Invalid> {
        if kind == ClearKind::Unspecified {
            return Err(Invalid::value("Choose a kind: number, money, code, time or flag."));
        }
        Ok(Self { name: super::line(name, 1..=128)?.to_owned(), kind })
    }
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the source is not known")]
    Unknown,
    #[error("the source is known with another content")]
    Exists,
    #[error("the source is disabled")]
    Disabled,
    #[error("a declared property keeps its kind")]
    KindFixed,
    #[error("the source declares as many clear properties as a source can declare")]
    Full,
}

/// Whether a source may record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Status {
    /// Not registered.
    #[default]
    Unknown,
    Active,
    Disabled,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) status: Status,
    pub(crate) owner: String,
    /// Kind of each clear property, by name.
    pub(crate) clear_fields: BTreeMap<String, ClearKind>,
    pub(crate) write_key_hash: Vec<u8>,
}

impl Decider for Source {
    const AGGREGATE: &'static str = "source";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Register { owner, clear_fields, write_key_hash } => {
                register(state, owner, &clear_fields, write_key_hash)
            }
            Command::Extend { clear_fields } => extend(state, &clear_fields),
            Command::Disable { reason } => disable(state, &reason),
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Registered(it) => {
                state.status = Status::Active;
                state.owner.clone_from(&it.owner);
                state.write_key_hash.clone_from(&it.write_key_hash);
                declare(&mut state, &it.clear_fields);
            }
            Event::SchemaExtended(it) => declare(&mut state, &it.clear_fields),
            Event::Disabled(_) => state.status = Status::Disabled,
        }
        state
    }
}

fn register(
    state: &State,
    owner: String,
    fields: &[Field],
    write_key_hash: Vec<u8>,
) -> Result<Vec<Event>, Refusal> {
    let clear_fields = undeclared(&BTreeMap::new(), fields)?;
    let registered =
        Event::Registered(proto::SourceRegistered { owner, clear_fields, write_key_hash });
    if state.status == Status::Unknown {
        return Ok(vec![registered]);
    }
    let same = Source::evolve(State::default(), &registered);
    let known = State { status: Status::Active, ..state.clone() };
    if same == known { Ok(Vec::new()) } else { Err(Refusal::Exists) }
}

fn extend(state: &State, fields: &[Field]) -> Result<Vec<Event>, Refusal> {
    match state.status {
        Status::Unknown => return Err(Refusal::Unknown),
        Status::Disabled => return Err(Refusal::Disabled),
        Status::Active => {}
    }
    let clear_fields = undeclared(&state.clear_fields, fields)?;
    if clear_fields.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Event::SchemaExtended(proto::SourceSchemaExtended { clear_fields })])
}

fn disable(state: &State, reason: &Code) -> Result<Vec<Event>, Refusal> {
    match state.status {
        Status::Unknown => Err(Refusal::Unknown),
        Status::Disabled => Ok(Vec::new()),
        Status::Active => {
            let reason = reason.as_str().to_owned();
            Ok(vec![Event::Disabled(proto::SourceDisabled { reason })])
        }
    }
}

/// The fields that are not declared yet.
fn undeclared(
    known: &BTreeMap<String, ClearKind>,
    fields: &[Field],
) -> Result<Vec<ClearField>, Refusal> {
    let mut declared = known.clone();
    let mut added = Vec::new();
    for field in fields {
        match declared.get(&field.name) {
            Some(kind) if *kind == field.kind => {}
            Some(_) => return Err(Refusal::KindFixed),
            None => {
                declared.insert(field.name.clone(), field.kind);
                added.push(ClearField { name: field.name.clone(), kind: field.kind.into() });
            }
        }
    }
    if declared.len() > MOST_FIELDS { Err(Refusal::Full) } else { Ok(added) }
}

fn declare(state: &mut State, fields: &[ClearField]) {
    for field in fields {
        state.clear_fields.insert(field.name.clone(), field.kind());
    }
}

#[cfg(test)]
mod tests;
