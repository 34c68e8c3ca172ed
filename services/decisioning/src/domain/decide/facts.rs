//! What is known of a party at the instant of a decision: what rules read, and the verdicts on consent.

use std::collections::{BTreeMap, HashMap};

use ::authored::rule::{Facts, Name, Value};
use eventstore::Timestamp;
use rapport_proto::decisioning::v1::Fact;
use rapport_proto::types::{Channel, Clear, PartyKind, Purpose, clear};

use super::Stopped;
use crate::domain::names;

/// The state of a party that may be contacted.
const ACTIVE: &str = "ACTIVE";

/// A party's facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PartyFacts {
    pub(crate) kind: PartyKind,
    pub(crate) market: String,
    pub(crate) state: String,
    /// By name, as rules write it: `traits.orders_90d`.
    values: HashMap<String, Value>,
    /// Why contact is not allowed, by `purpose/channel/sender`; empty when it is.
    consents: BTreeMap<String, String>,
}

impl Facts for PartyFacts {
    fn get(&self, name: &Name) -> Option<Value> {
        self.values.get(name.as_str()).cloned()
    }
}

/// `PROMOTIONAL/EMAIL/northwind`: how a rule names a consent.
pub(crate) fn consent_key(purpose: Purpose, channel: Channel, sender_id: &str) -> String {
    format!("{}/{}/{sender_id}", names::purpose(purpose), names::channel(channel))
}

impl PartyFacts {
    /// A party at an instant.
    pub(crate) fn new(kind: PartyKind, market: &str, state: &str, at: Timestamp) -> Self {
        let mut facts =
            Self { kind, market: market.into(), state: state.into(), ..Self::default() };
        facts.set("party.kind", names::kind(kind));
        facts.set("party.market", market);
        facts.set("party.state", state);
        facts.set("now", at);
        facts
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// A clear value in a group; one that cannot be read stays unknown.
    pub(crate) fn set_clear(&mut self, root: &str, key: &str, clear: &Clear) {
        if let Some(value) = Value::from_clear(clear) {
            self.values.insert(format!("{root}.{key}"), value);
        }
    }

    pub(crate) fn set_segments<'a>(&mut self, segments: impl IntoIterator<Item = &'a str>) {
        self.set("segments", Value::list(segments));
    }

    /// A verdict on consent; the detail says why contact is not allowed.
    pub(crate) fn set_consent(&mut self, key: &str, allowed: bool, detail: &str) {
        self.set(&format!("consent.{key}"), allowed);
        let why = match (allowed, detail) {
            (true, _) => "",
            (false, "") => "denied",
            (false, detail) => detail,
        };
        self.consents.insert(key.to_owned(), why.to_owned());
    }

    /// Why nobody may contact the party at all.
    pub(super) fn inactive(&self) -> Option<Stopped> {
        (self.state != ACTIVE).then(|| Stopped {
            clause: "party.state".to_owned(),
            value: format!("party.state = {}", self.state),
            required: format!("== {ACTIVE}"),
            next_allowed_at: None,
        })
    }

    /// Why the party may not be contacted for a purpose; a question nobody asked is no consent.
    pub(super) fn no_consent(
        &self,
        purpose: Purpose,
        channel: Channel,
        sender_id: &str,
    ) -> Option<Stopped> {
        let key = consent_key(purpose, channel, sender_id);
        let why = match self.consents.get(&key) {
            Some(why) if why.is_empty() => return None,
            Some(why) => why.clone(),
            None => format!("unknown:consent.{key}"),
        };
        Some(Stopped {
            clause: key,
            value: why,
            required: "consent".to_owned(),
            next_allowed_at: None,
        })
    }

    /// Who the party is, its consents, and what rules read, known or not. The context and the instant stand in the
    /// record beside it.
    pub(crate) fn to_proto<'n>(
        &self,
        read: impl Iterator<Item = &'n Name>,
    ) -> BTreeMap<String, Fact> {
        let always = |name: &str| name.starts_with("party.") || name.starts_with("consent.");
        let mut facts: BTreeMap<String, Fact> = (self.values.iter())
            .filter(|(name, _)| always(name))
            .map(|(name, value)| (name.clone(), self.fact(name, value)))
            .collect();
        for name in read.map(Name::as_str) {
            let fact = match self.values.get(name) {
                Some(_) if name == "now" || name.starts_with("context.") || always(name) => {
                    continue;
                }
                Some(value) => self.fact(name, value),
                None => Fact { unknown: true, ..Fact::default() },
            };
            facts.insert(name.to_owned(), fact);
        }
        facts
    }

    fn fact(&self, name: &str, value: &Value) -> Fact {
        let detail = name.strip_prefix("consent.").and_then(|key| self.consents.get(key));
        let codes = match value {
            Value::List(values) => values.iter().filter_map(text).collect(),
            _ => Vec::new(),
        };
        let detail = detail.cloned().unwrap_or_default();
        Fact { value: value.to_clear(), unknown: false, codes, detail }
    }

    /// The facts of a record, with its context and instant.
    pub(crate) fn of_record(
        facts: &BTreeMap<String, Fact>,
        context: &BTreeMap<String, Clear>,
        at: Timestamp,
    ) -> Self {
        let code = |name: &str| match facts.get(name).and_then(|it| it.value.as_ref()) {
            Some(Clear { value: Some(clear::Value::Code(code)) }) => code.as_str(),
            _ => "",
        };
        let kind = names::kind_of(code("party.kind"));
        let mut party = Self::new(kind, code("party.market"), code("party.state"), at);
        for (name, fact) in facts.iter().filter(|(_, it)| !it.unknown) {
            if let Some(key) = name.strip_prefix("consent.") {
                let allowed = fact.value.as_ref().and_then(Value::from_clear);
                party.set_consent(key, allowed == Some(Value::Bool(true)), &fact.detail);
            } else if let Some(value) = fact.value.as_ref().and_then(Value::from_clear) {
                party.set(name, value);
            } else if fact.value.is_none() {
                party.set(name, Value::list(fact.codes.iter().map(String::as_str)));
            }
        }
        for (name, value) in context {
            party.set_clear("context", name, value);
        }
        party
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.to_string()),
        _ => None,
    }
}
