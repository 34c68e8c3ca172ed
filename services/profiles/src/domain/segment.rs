//! The definition of a segment: a rule over what is known of a party.
//!
//! A definition is live once it is saved; the next version replaces it. Time moves nobody unseen: a name that changes
//! without an event may only be compared with a literal, so that the instant of crossing can be computed.

use std::collections::BTreeMap;

use authored::rule::{Catalogue, Comparison, Name, Op, Rule, Type, Value};
use eventstore::{Decider, Timestamp};
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::segment_event::Event;
use rapport_proto::types::{Channel, Purpose};

use super::Invalid;
use super::trait_definition::Fault;

/// The aggregate; stream `segment/<id>`.
pub(crate) enum SegmentDefinition {}

/// What can be wished of a segment.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Make a definition live; [`Segment::parse`] accepted it.
    Save(Box<proto::Segment>),
}

/// There is nothing to refuse: what a definition needs is checked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    /// The live version; 0 when there is none.
    pub(crate) version: u32,
    pub(crate) hash: Vec<u8>,
    pub(crate) definition: proto::Segment,
}

impl Decider for SegmentDefinition {
    const AGGREGATE: &'static str = "segment";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
        let Command::Save(definition) = command;
        let hash = authored::document::hash(&*definition).to_vec();
        if state.version > 0 && state.hash == hash {
            return Ok(Vec::new());
        }
        Ok(vec![Event::Activated(proto::SegmentVersionActivated {
            version: state.version.saturating_add(1),
            segment: Some(*definition),
            hash,
        })])
    }

    fn evolve(_state: State, event: &Event) -> State {
        let Event::Activated(it) = event;
        State {
            version: it.version,
            hash: it.hash.clone(),
            definition: it.segment.clone().unwrap_or_default(),
        }
    }
}

/// What a rule must know of a trait.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) type_: Type,
    pub(crate) depends_on_time: bool,
}

/// The live traits, by id.
pub(crate) type Traits = BTreeMap<String, Known>;

/// A definition that can be evaluated.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) id: String,
    pub(crate) rule: Rule,
}

impl Segment {
    /// Reads a definition, or tells everything that is wrong with it.
    pub(crate) fn parse(stated: &proto::Segment, traits: &Traits) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        if !chassis::name::is_authored_id(&stated.segment) {
            let remedy = "Start with a lower-case letter, then 1 to 62 of a-z, 0-9 and -.";
            faults.push(("segment", Invalid::value(remedy)));
        }
        if let Err(invalid) = super::line(&stated.description, 0..=1000) {
            faults.push(("description", invalid));
        }
        match rule(&stated.rule, traits) {
            Ok(rule) if faults.is_empty() => Ok(Self { id: stated.segment.clone(), rule }),
            Ok(_) => Err(faults),
            Err(invalid) => {
                faults.push(("rule", invalid));
                Err(faults)
            }
        }
    }

    /// Reads a definition that was accepted when it was saved. The types of traits are found out when it runs: one may
    /// have become known since.
    pub(crate) fn of(stated: &proto::Segment) -> Result<Self, Invalid> {
        let names = catalogue().map("traits", Type::Any);
        Ok(Self { id: stated.segment.clone(), rule: compile(&stated.rule, &names)? })
    }
}

/// Reads a rule that decides who is in.
pub(crate) fn rule(text: &str, traits: &Traits) -> Result<Rule, Invalid> {
    let types = traits.iter().map(|(id, known)| (id, known.type_.clone()));
    let rule = compile(text, &catalogue().record("traits", types))?;
    for used in rule.comparisons() {
        let told = |text: &str, remedy: &str| {
            Err(Invalid::Rule(format!("column {}: {text}; {remedy}", used.column)))
        };
        if used.name.root() == "consent" && Question::parse(used.name.key()).is_none() {
            return told(
                "this asks for no consent",
                "write consent[\"PURPOSE/CHANNEL/sender\"], for example consent[\"PROMOTIONAL/EMAIL/northwind\"]",
            );
        }
        if depends_on_time(&used.name, traits) && !is_exact(used) {
            let text = format!("`{}` changes with time alone", used.name);
            return told(
                &text,
                "compare it with a literal by ==, !=, <, <=, >, >= or in, so that the instant of crossing is exact",
            );
        }
    }
    Ok(rule)
}

fn compile(text: &str, names: &Catalogue) -> Result<Rule, Invalid> {
    Rule::compile(text, names, &Type::Bool).map_err(|it| Invalid::Rule(it.to_string()))
}

fn catalogue() -> Catalogue {
    Catalogue::new().party().open("attributes").map("consent", Type::Bool).value("now", Type::Time)
}

fn depends_on_time(name: &Name, traits: &Traits) -> bool {
    match name.root() {
        "now" => true,
        "traits" => traits.get(name.key()).is_some_and(|it| it.depends_on_time),
        _ => false,
    }
}

/// Whether the instants at which the outcome changes can be computed. Whether a value is there is such a question too.
fn is_exact(used: &Comparison) -> bool {
    match used.op {
        Op::Equal
        | Op::NotEqual
        | Op::Less
        | Op::LessOrEqual
        | Op::Greater
        | Op::GreaterOrEqual
        | Op::In => used.literal.is_some(),
        Op::Has => true,
        Op::Other => false,
    }
}

/// Whether a party may be contacted for a purpose, by a channel, in a sender's name: `PROMOTIONAL/EMAIL/northwind`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) purpose: Purpose,
    pub(crate) channel: Channel,
    pub(crate) sender_id: String,
}

impl Question {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let purpose = Purpose::from_str_name(&format!("PURPOSE_{}", parts.next()?))?;
        let channel = Channel::from_str_name(&format!("CHANNEL_{}", parts.next()?))?;
        let sender_id = parts.next().filter(|it| chassis::name::is_authored_id(it))?.to_owned();
        let stated = purpose != Purpose::Unspecified && channel != Channel::Unspecified;
        stated.then_some(Self { purpose, channel, sender_id })
    }

    /// The key under which rules ask it: what [`parse`](Self::parse) reads.
    pub(crate) fn key(&self) -> String {
        let purpose = self.purpose.as_str_name().trim_start_matches("PURPOSE_");
        let channel = self.channel.as_str_name().trim_start_matches("CHANNEL_");
        format!("{purpose}/{channel}/{}", self.sender_id)
    }
}

/// The literals that a rule compares a name with.
pub(crate) fn literals<'r>(rule: &'r Rule, name: &Name) -> impl Iterator<Item = &'r Value> {
    let name = name.clone();
    let of_name = rule.comparisons().iter().filter(move |it| it.name == name);
    of_name.filter_map(|it| it.literal.as_ref()).flat_map(|literal| match literal {
        Value::List(values) => values.iter(),
        one => std::slice::from_ref(one).iter(),
    })
}

#[cfg(test)]
mod tests;
