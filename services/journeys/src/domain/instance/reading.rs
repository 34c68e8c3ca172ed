//! What is read about a party for one step, and how rules find it.

use std::collections::BTreeMap;

use authored::calendar::Zone;
use authored::rule::{Facts, Name, Rule, Value};
use eventstore::Timestamp;
use rapport_proto::types::{Clear, PartyKind};

use super::State;

/// Facts about a party at an instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reading {
    pub(crate) kind: PartyKind,
    pub(crate) market: String,
    pub(crate) language: String,
    pub(crate) time_zone: String,
    pub(crate) state: String,
    pub(crate) attributes: BTreeMap<String, Clear>,
    pub(crate) traits: BTreeMap<String, Clear>,
    pub(crate) segments: Vec<String>,
    /// By `purpose/channel/sender`.
    pub(crate) consents: BTreeMap<String, bool>,
    /// The party's zone, or all zones of its market when it is not known.
    pub(crate) zones: Vec<Zone>,
    pub(crate) positions: BTreeMap<String, u64>,
}

/// What a rule sees: the party, the instance, and the interaction at hand.
pub(crate) struct Scope<'a> {
    pub(crate) reading: &'a Reading,
    pub(crate) state: &'a State,
    /// The interaction that is looked at; absent: the one that matched last.
    pub(crate) event: Option<&'a BTreeMap<String, Clear>>,
    pub(crate) at: Timestamp,
}

impl Facts for Scope<'_> {
    fn get(&self, name: &Name) -> Option<Value> {
        let clear = |map: &BTreeMap<String, Clear>| map.get(name.key()).and_then(Value::from_clear);
        match name.root() {
            "now" => Some(Value::Time(self.at)),
            "party" => self.party(name.key()),
            "attributes" => clear(&self.reading.attributes),
            "traits" => clear(&self.reading.traits),
            "segments" => Some(Value::list(self.reading.segments.iter().map(String::as_str))),
            "consent" => self.reading.consents.get(name.key()).map(|it| Value::Bool(*it)),
            "event" => clear(self.event.unwrap_or(&self.state.event)),
            "entry" => {
                let entry = &self.state.started.as_ref()?.entry;
                entry.get(name.key()).and_then(Value::from_clear)
            }
            "decision" => self.decision(name.key()),
            _ => None,
        }
    }
}

impl Scope<'_> {
    fn party(&self, key: &str) -> Option<Value> {
        let Reading { kind, market, language, time_zone, state, .. } = self.reading;
        let text = match key {
            "kind" => kind.as_str_name().trim_start_matches("PARTY_KIND_"),
            "market" => market,
            "language" => language,
            "time_zone" => time_zone,
            "state" => state,
            _ => return None,
        };
        (!text.is_empty()).then(|| Value::from(text))
    }

    /// Of the decision that was made last.
    fn decision(&self, key: &str) -> Option<Value> {
        let decision = self.state.decisions.get(self.state.decided_at.as_ref()?)?;
        let text = match key {
            "id" => decision.decision_id.as_str(),
            "action" => &decision.action,
            "treatment" => &decision.treatment,
            "channel" => decision.channel.as_str_name().trim_start_matches("CHANNEL_"),
            _ => return None,
        };
        (!text.is_empty()).then(|| Value::from(text))
    }

    /// The values that a rule reads, as text; unknown ones are `unknown`.
    pub(crate) fn values(&self, rule: &Rule) -> BTreeMap<String, String> {
        let told = |name: &Name| {
            let value = self.get(name).map_or_else(|| "unknown".to_owned(), |it| it.to_string());
            (name.to_string(), value)
        };
        rule.names().iter().map(told).collect()
    }
}
