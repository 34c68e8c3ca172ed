//! What an event says about a party, and which segments that can move it into or out of.

use std::collections::{BTreeSet, HashMap};

use eventstore::{Error, Recorded};
use rapport_proto::profiles::v1::{ConsentKey, consent_event, interaction_event, party_event};

use super::definitions::{Live, LiveSegment};
use crate::domain::segment::Question;
use crate::domain::trait_definition::series::Activity;

/// Events in which rules see something; see [`Fact::of`].
const READ: [&str; 13] = [
    "PartyRegistered",
    "PartyAttributesSet",
    "PartyMoved",
    "PartySuppressed",
    "PartyReleased",
    "PartyContactPointAdded",
    "PartyContactPointVerified",
    "PartyContactPointRemoved",
    "ConsentGranted",
    "ConsentDenied",
    "ConsentWithdrawn",
    "ConsentExpired",
    "InteractionRecorded",
];

/// Whether rules see something in events of a type.
pub(super) fn reads(type_name: &str) -> bool {
    type_name.rsplit('.').next().is_some_and(|name| READ.contains(&name))
}

/// What an event says about a party.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Party(Box<party_event::Event>),
    Consent(Box<consent_event::Event>),
    Activity(Activity),
}

impl Fact {
    /// What an event says; nothing when no rule can see it.
    pub(super) fn of(event: &Recorded) -> Result<Option<Self>, Error> {
        if event.envelope.party_id.is_empty() || !reads(&event.envelope.r#type) {
            return Ok(None);
        }
        Ok(match event.aggregate() {
            "party" => event.decode()?.map(|it| Self::Party(Box::new(it))),
            "consent" => event.decode()?.map(|it| Self::Consent(Box::new(it))),
            "interaction" => event.decode()?.and_then(|it| activity(event, it)).map(Self::Activity),
            _ => None,
        })
    }

    /// The market in which the party is from now on, if the event says so.
    pub(super) fn market(&self) -> Option<&str> {
        let Self::Party(event) = self else { return None };
        match &**event {
            party_event::Event::Registered(it) => Some(&it.market),
            party_event::Event::Moved(it) => Some(&it.market),
            _ => None,
        }
    }
}

fn activity(event: &Recorded, fact: interaction_event::Event) -> Option<Activity> {
    match fact {
        interaction_event::Event::Recorded(it) => Some(Activity {
            name: it.name,
            source: it.source_id,
            occurred_at: event.occurred_at(),
            position: event.position,
            clear: it.clear,
        }),
        interaction_event::Event::Rejected(_) | interaction_event::Event::Conflicted(_) => None,
    }
}

/// Something that rules look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Input {
    /// A field of `party`.
    Field(&'static str),
    Attribute(String),
    /// Any attribute: the names of personal ones are sealed.
    Attributes,
    Consent(Question),
    /// Any consent.
    Consents,
    Trait(String),
}

/// The fields of `party`.
const FIELDS: [&str; 5] = ["kind", "market", "language", "time_zone", "state"];

/// Which segments look at what.
#[derive(Debug, Default)]
pub(super) struct Index {
    users: HashMap<Input, BTreeSet<String>>,
    /// Traits by the name of the interactions that they look at.
    traits: HashMap<String, Vec<String>>,
}

impl Index {
    pub(super) fn new(live: &Live) -> Self {
        let mut index = Self::default();
        for (id, it) in &live.traits {
            index.traits.entry(it.definition.event.clone()).or_default().push(id.clone());
        }
        for (id, segment) in &live.segments {
            for input in inputs(segment) {
                index.users.entry(input).or_default().insert(id.clone());
            }
        }
        index
    }
}

/// What the rule of a segment looks at.
fn inputs(segment: &LiveSegment) -> Vec<Input> {
    let mut inputs = Vec::new();
    for name in segment.definition.rule.names() {
        match name.root() {
            "party" => {
                let field = FIELDS.into_iter().find(|it| *it == name.key());
                inputs.extend(field.map(Input::Field));
            }
            "attributes" => {
                inputs.extend([Input::Attributes, Input::Attribute(name.key().to_owned())]);
            }
            "traits" => inputs.push(Input::Trait(name.key().to_owned())),
            _ => {}
        }
    }
    for question in segment.needs.questions.values() {
        inputs.extend([Input::Consents, Input::Consent(question.clone())]);
    }
    inputs
}

impl Live {
    /// The segments of which a fact can change the outcome, in the order of their ids.
    pub(super) fn concerned(&self, fact: &Fact) -> Vec<&LiveSegment> {
        let Some(inputs) = self.changed(fact) else { return self.segments.values().collect() };
        let users = inputs.iter().filter_map(|input| self.index.users.get(input));
        let ids: BTreeSet<_> = users.flatten().collect();
        ids.into_iter().filter_map(|id| self.segments.get(id)).collect()
    }

    /// What a fact changes; everything when there is no list.
    fn changed(&self, fact: &Fact) -> Option<Vec<Input>> {
        match fact {
            Fact::Party(event) => of_party(event),
            Fact::Consent(event) => Some(match key(event).map(question) {
                Some(question) => vec![Input::Consent(question)],
                None => vec![Input::Consents],
            }),
            Fact::Activity(activity) => {
                let looking = self.index.traits.get(&activity.name).into_iter().flatten();
                let counts = |id: &&String| {
                    self.traits.get(*id).is_some_and(|it| it.definition.counts(activity))
                };
                Some(looking.filter(counts).cloned().map(Input::Trait).collect())
            }
        }
    }
}

fn of_party(event: &party_event::Event) -> Option<Vec<Input>> {
    use party_event::Event;
    Some(match event {
        // The party is new.
        Event::Registered(_) => return None,
        Event::AttributesSet(it) if it.personal.is_some() => vec![Input::Attributes],
        Event::AttributesSet(it) => {
            it.clear.keys().chain(&it.removed).cloned().map(Input::Attribute).collect()
        }
        // The market is part of every consent.
        Event::Moved(_) => {
            let fields = ["market", "language", "time_zone"].map(Input::Field);
            fields.into_iter().chain([Input::Consents]).collect()
        }
        Event::Suppressed(_) | Event::Released(_) => vec![Input::Field("state")],
        // Some grants depend on how the party can be reached.
        Event::ContactPointAdded(_)
        | Event::ContactPointVerified(_)
        | Event::ContactPointRemoved(_) => vec![Input::Consents],
        Event::IdentifierAdded(_) | Event::IdentifierRemoved(_) | Event::PreferenceStated(_) => {
            Vec::new()
        }
    })
}

fn key(event: &consent_event::Event) -> Option<&ConsentKey> {
    use consent_event::Event;
    match event {
        Event::Granted(it) => it.key.as_ref(),
        Event::Denied(it) => it.key.as_ref(),
        Event::Withdrawn(it) => it.key.as_ref(),
        Event::Expired(it) => it.key.as_ref(),
    }
}

fn question(key: &ConsentKey) -> Question {
    Question { purpose: key.purpose(), channel: key.channel(), sender_id: key.sender_id.clone() }
}

/// Ids of the segments that an event concerns.
#[cfg(test)]
pub(crate) fn concerned<'l>(live: &'l Live, event: &Recorded) -> Result<Vec<&'l str>, Error> {
    let fact = Fact::of(event)?;
    let segments = fact.map(|fact| live.concerned(&fact)).unwrap_or_default();
    Ok(segments.into_iter().map(|it| it.definition.id.as_str()).collect())
}
