//! Which segments an event can move anybody into or out of.

use std::collections::BTreeSet;

use authored::rule::Name;
use eventstore::{Error, Recorded};
use rapport_proto::profiles::v1::{ConsentKey, consent_event, interaction_event, party_event};

use super::definitions::{Live, LiveSegment};
use crate::domain::segment::Question;
use crate::domain::trait_definition::series::Activity;

/// What an event changed of a party, as rules name it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    /// The party is new.
    Everything,
    /// Fields of `party`; the market is part of every consent.
    Fields(&'static [&'static str]),
    /// These attributes; all of them when personal ones were set, whose names are sealed.
    Attributes { names: BTreeSet<String>, any: bool },
    /// How the party can be reached, which some grants depend on.
    ContactPoint,
    /// One consent.
    Consent(Option<ConsentKey>),
    /// Something the party did.
    Activity(Activity),
}

impl Change {
    /// What an event changed; nothing when no rule can see it.
    pub(crate) fn of(event: &Recorded) -> Result<Option<Self>, Error> {
        if event.envelope.party_id.is_empty() {
            return Ok(None);
        }
        Ok(match event.aggregate() {
            "party" => event.decode()?.and_then(of_party),
            "consent" => event.decode()?.map(|it| Self::Consent(key(it))),
            "interaction" => event.decode()?.and_then(|it| of_interaction(event, it)),
            _ => None,
        })
    }

    /// Whether it can change the outcome of a segment's rule.
    pub(crate) fn concerns(&self, segment: &LiveSegment, live: &Live) -> bool {
        let named = |root: &str, concerned: &dyn Fn(&Name) -> bool| {
            let names = segment.definition.rule.names().iter();
            names.into_iter().any(|name| name.root() == root && concerned(name))
        };
        match self {
            Self::Everything => true,
            Self::Fields(fields) => {
                named("party", &|name| fields.contains(&name.key()))
                    || (fields.contains(&"market") && !segment.needs.questions.is_empty())
            }
            Self::Attributes { names, any } => {
                named("attributes", &|name| *any || names.contains(name.key()))
            }
            Self::ContactPoint => !segment.needs.questions.is_empty(),
            Self::Consent(None) => !segment.needs.questions.is_empty(),
            Self::Consent(Some(key)) => segment.needs.questions.values().any(|it| asks(it, key)),
            Self::Activity(activity) => segment
                .needs
                .traits
                .iter()
                .any(|id| live.traits.get(id).is_some_and(|it| it.definition.counts(activity))),
        }
    }
}

fn of_party(event: party_event::Event) -> Option<Change> {
    use party_event::Event;
    match event {
        Event::Registered(_) => Some(Change::Everything),
        Event::AttributesSet(it) => Some(Change::Attributes {
            any: it.personal.is_some(),
            names: it.clear.into_keys().chain(it.removed).collect(),
        }),
        Event::Moved(_) => Some(Change::Fields(&["market", "language", "time_zone"])),
        Event::Suppressed(_) | Event::Released(_) => Some(Change::Fields(&["state"])),
        Event::ContactPointAdded(_)
        | Event::ContactPointVerified(_)
        | Event::ContactPointRemoved(_) => Some(Change::ContactPoint),
        Event::IdentifierAdded(_) | Event::IdentifierRemoved(_) | Event::PreferenceStated(_) => {
            None
        }
    }
}

fn key(event: consent_event::Event) -> Option<ConsentKey> {
    use consent_event::Event;
    match event {
        Event::Granted(it) => it.key,
        Event::Denied(it) => it.key,
        Event::Withdrawn(it) => it.key,
        Event::Expired(it) => it.key,
    }
}

fn of_interaction(event: &Recorded, fact: interaction_event::Event) -> Option<Change> {
    match fact {
        interaction_event::Event::Recorded(it) => Some(Change::Activity(Activity {
            name: it.name,
            source: it.source_id,
            occurred_at: event.occurred_at(),
            position: event.position,
            clear: it.clear,
        })),
        interaction_event::Event::Rejected(_) | interaction_event::Event::Conflicted(_) => None,
    }
}

fn asks(question: &Question, key: &ConsentKey) -> bool {
    question.purpose == key.purpose()
        && question.channel == key.channel()
        && question.sender_id == key.sender_id
}
