//! A policy ready to decide with: rules compiled, durations read, what must be fetched collected. Compiled once for
//! each version.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ::authored::calendar::duration;
use ::authored::rule::{Catalogue, Facts, Failing, Name, Rule, Type};
use eventstore::Timestamp;
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::HappeningKind;
use rapport_proto::types::Channel;

use crate::domain::{instant, names};

/// Half life of affinities when the policy states none.
const HALF_LIFE: i64 = 90 * 86_400 * 1_000_000;
/// Share that is spread evenly when the policy states none.
const EPSILON: f64 = 0.02;
/// L and C do not fall below.
const LEAST_FACTOR: f64 = 0.1;

/// What rules of a policy may look at. Without known traits every name may be one.
pub(crate) fn catalogue(traits: Option<&BTreeMap<String, Type>>) -> Catalogue {
    let names = Catalogue::new()
        .party()
        .open("attributes")
        .list("segments", Type::Text)
        .map("consent", Type::Bool)
        .open("context")
        .value("now", Type::Time);
    match traits {
        Some(traits) => {
            names.record("traits", traits.iter().map(|(name, type_)| (name, type_.clone())))
        }
        None => names.open("traits"),
    }
}

/// A policy version.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) version: u32,
    pub(crate) hash: Vec<u8>,
    pub(crate) actions: Vec<Action>,
    pub(crate) lines: Vec<ContactLine>,
    pub(crate) suppressions: Vec<Suppression>,
    pub(crate) epsilon: f64,
    pub(crate) do_nothing_score: f64,
    pub(crate) half_life: i64,
    context_weights: Vec<ContextWeight>,
    levers: Vec<Lever>,
    names: BTreeSet<Name>,
}

/// An action.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) id: String,
    pub(crate) group: String,
    /// Value over the largest value of the group.
    pub(crate) value: f64,
    /// Of the group and then of the action: both count as eligibility.
    pub(crate) eligibility: Vec<Condition>,
    pub(crate) applicability: Vec<Condition>,
    pub(crate) suitability: Vec<Condition>,
    pub(crate) rewards: Vec<proto::Reward>,
    pub(crate) treatments: Vec<proto::Treatment>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
}

/// A rule that must hold.
#[derive(Debug)]
pub(crate) enum Condition {
    Rule(Rule),
    /// A stored rule that this release cannot read: it never holds.
    Unreadable(String),
}

/// A line of the contact policy.
#[derive(Debug)]
pub(crate) struct ContactLine {
    pub(crate) id: String,
    /// Channels that count, and that the line limits.
    pub(crate) channels: Vec<Channel>,
    pub(crate) interactions: Vec<String>,
    pub(crate) product_id: String,
    pub(crate) window: i64,
    pub(crate) max: usize,
}

/// A stop after outcomes.
#[derive(Debug)]
pub(crate) struct Suppression {
    pub(crate) id: String,
    pub(crate) outcome: String,
    pub(crate) reason: String,
    pub(crate) count: usize,
    pub(crate) window: i64,
    pub(crate) duration: i64,
    pub(crate) scope: Scope,
}

/// What a suppression stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Action,
    Group,
    Channel,
}

#[derive(Debug)]
struct ContextWeight {
    id: String,
    when: Condition,
    group: String,
    action: String,
    weight: f64,
}

#[derive(Debug)]
struct Lever {
    id: String,
    group: String,
    action: String,
    weight: f64,
    until: Timestamp,
}

/// What a party's past is searched for: kind and name, and for how long back.
pub(crate) type Wanted = BTreeMap<(HappeningKind, String), i64>;

impl Compiled {
    pub(crate) fn new(version: u32, hash: &[u8], policy: &proto::Policy) -> Self {
        let groups: HashMap<&str, &proto::ActionGroup> =
            policy.groups.iter().map(|it| (it.group.as_str(), it)).collect();
        let mut largest: HashMap<&str, f64> = HashMap::new();
        for action in &policy.actions {
            let value = largest.entry(&action.group).or_default();
            *value = value.max(action.value);
        }
        let catalogue = catalogue(None);
        let rules = |texts: &[&str]| -> Vec<Condition> {
            let written = texts.iter().filter(|it| !it.is_empty());
            written.map(|it| Condition::compile(it, &catalogue)).collect()
        };
        let action = |it: &proto::Action| Action {
            id: it.action.clone(),
            group: it.group.clone(),
            value: it.value / largest.get(it.group.as_str()).copied().unwrap_or(it.value),
            eligibility: rules(&[
                groups.get(it.group.as_str()).map_or("", |it| it.eligibility.as_str()),
                &it.eligibility,
            ]),
            applicability: rules(&[&it.applicability]),
            suitability: rules(&[&it.suitability]),
            rewards: it.rewards.clone(),
            treatments: it.treatments.clone(),
            starts_at: instant(it.starts_at.as_ref()),
            ends_at: instant(it.ends_at.as_ref()),
        };
        let context_weight = |it: &proto::ContextWeight| ContextWeight {
            id: it.id.clone(),
            when: Condition::compile(&it.when, &catalogue),
            group: it.group.clone(),
            action: it.action.clone(),
            weight: it.weight,
        };
        let mut compiled = Self {
            version,
            hash: hash.to_vec(),
            actions: policy.actions.iter().map(action).collect(),
            lines: policy.contact_policy.iter().map(ContactLine::new).collect(),
            suppressions: policy.suppressions.iter().map(Suppression::new).collect(),
            epsilon: policy.explore.as_ref().and_then(|it| it.epsilon).unwrap_or(EPSILON),
            do_nothing_score: policy.do_nothing_score,
            half_life: match micros(&policy.affinity_half_life) {
                0 => HALF_LIFE,
                stated => stated,
            },
            context_weights: policy.context_weights.iter().map(context_weight).collect(),
            levers: policy.levers.iter().map(Lever::new).collect(),
            names: BTreeSet::new(),
        };
        compiled.names = compiled.conditions().flat_map(Condition::names).cloned().collect();
        compiled
    }

    fn conditions(&self) -> impl Iterator<Item = &Condition> {
        (self.actions.iter())
            .flat_map(|it| it.eligibility.iter().chain(&it.applicability).chain(&it.suitability))
            .chain(self.context_weights.iter().map(|it| &it.when))
    }

    /// Facts that rules look at.
    pub(crate) fn names(&self) -> &BTreeSet<Name> {
        &self.names
    }

    /// What of a party's past the contact policy and the suppressions look at.
    pub(crate) fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::new();
        let mut want = |kind, name: &str, back: i64| {
            let longest = wanted.entry((kind, name.to_owned())).or_insert(back);
            *longest = back.max(*longest);
        };
        for line in &self.lines {
            for channel in &line.channels {
                want(HappeningKind::Contact, names::channel(*channel), line.window);
            }
            for name in &line.interactions {
                want(HappeningKind::Interaction, name, line.window);
            }
        }
        for line in &self.suppressions {
            let back = line.window.saturating_add(line.duration);
            want(HappeningKind::Outcome, &line.outcome, back);
        }
        wanted
    }

    /// C of an action, and the weights that matched, given which of them hold.
    pub(crate) fn context(&self, action: &Action, holding: &[bool]) -> (f64, Vec<String>) {
        let matching = (self.context_weights.iter().zip(holding))
            .filter(|(it, holds)| **holds && action.is_in(&it.group, &it.action))
            .map(|(it, _)| it);
        let (sum, ids) = matching.fold((0.0, Vec::new()), |(sum, mut ids), it| {
            ids.push(it.id.clone());
            (sum + it.weight, ids)
        });
        ((1.0 + sum / 100.0).max(LEAST_FACTOR), ids)
    }

    /// Which context weights hold; unknown does not.
    pub(crate) fn holding(&self, facts: &dyn Facts) -> Vec<bool> {
        self.context_weights.iter().map(|it| it.when.first_failing(facts).is_none()).collect()
    }

    /// L of an action at an instant, and the levers that applied.
    pub(crate) fn levers(&self, action: &Action, at: Timestamp) -> (f64, Vec<String>) {
        let applying =
            self.levers.iter().filter(|it| it.until > at && action.is_in(&it.group, &it.action));
        let (sum, ids) = applying.fold((0.0, Vec::new()), |(sum, mut ids), it| {
            ids.push(it.id.clone());
            (sum + it.weight, ids)
        });
        ((1.0 + sum / 100.0).max(LEAST_FACTOR), ids)
    }
}

impl Action {
    /// Whether it is offered at an instant.
    pub(crate) fn is_offered(&self, at: Timestamp) -> bool {
        self.starts_at.is_none_or(|it| it <= at) && self.ends_at.is_none_or(|it| at < it)
    }

    /// Whether a weight for this group and action is for this action; an empty one is for every one.
    fn is_in(&self, group: &str, action: &str) -> bool {
        (group.is_empty() || group == self.group) && (action.is_empty() || action == self.id)
    }
}

impl Condition {
    fn compile(text: &str, catalogue: &Catalogue) -> Self {
        match Rule::compile(text, catalogue, &Type::Bool) {
            Ok(rule) => Self::Rule(rule),
            Err(_) => Self::Unreadable(text.to_owned()),
        }
    }

    /// Why it does not hold; nothing when it does.
    pub(crate) fn first_failing(&self, facts: &dyn Facts) -> Option<Failing> {
        match self {
            Self::Rule(rule) => {
                let row = rule.bind(facts);
                if rule.check_row(&row).is_true() { None } else { rule.first_failing(facts) }
            }
            Self::Unreadable(text) => Some(Failing {
                clause: text.clone(),
                value: "the rule cannot be read".to_owned(),
                required: "a rule of this release".to_owned(),
                unknown: Some("unknown:rule".to_owned()),
            }),
        }
    }

    fn names(&self) -> impl Iterator<Item = &Name> {
        match self {
            Self::Rule(rule) => Some(rule.names().iter()),
            Self::Unreadable(_) => None,
        }
        .into_iter()
        .flatten()
    }
}

impl ContactLine {
    fn new(line: &proto::ContactLine) -> Self {
        let (channels, interactions): (Vec<_>, Vec<_>) =
            line.counts.iter().partition(|it| names::channel_of(it).is_some());
        Self {
            id: line.id.clone(),
            channels: channels.into_iter().filter_map(|it| names::channel_of(it)).collect(),
            interactions: interactions.into_iter().cloned().collect(),
            product_id: line.product_id.clone(),
            window: micros(&line.window),
            max: line.max as usize,
        }
    }
}

impl Suppression {
    fn new(line: &proto::OutcomeSuppression) -> Self {
        Self {
            id: line.id.clone(),
            outcome: line.outcome.clone(),
            reason: line.reason.clone(),
            count: line.count as usize,
            window: micros(&line.window),
            duration: micros(&line.duration),
            scope: match line.scope.as_str() {
                "action" => Scope::Action,
                "group" => Scope::Group,
                _ => Scope::Channel,
            },
        }
    }
}

impl Lever {
    fn new(lever: &proto::Lever) -> Self {
        Self {
            id: lever.lever.clone(),
            group: lever.group.clone(),
            action: lever.action.clone(),
            weight: lever.weight,
            until: instant(lever.until.as_ref()).unwrap_or_default(),
        }
    }
}

/// A duration that was checked when it was drafted; 0 when it is none.
pub(crate) fn micros(text: &str) -> i64 {
    duration(text).unwrap_or_default()
}
