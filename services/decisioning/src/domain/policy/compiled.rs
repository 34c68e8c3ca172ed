//! A policy ready to decide with: rules compiled, durations read, what must be fetched collected. Compiled once for
//! each version.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use ::authored::calendar::duration;
use ::authored::rule::{Catalogue, Facts, Failing, Judge, Name, RuleId, Rules, Type};
use eventstore::{Timestamp, hex};
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
    /// Salt of the draws: the beginning of the hash.
    pub(crate) salt: String,
    pub(crate) actions: Vec<Action>,
    pub(crate) lines: Vec<ContactLine>,
    pub(crate) suppressions: Vec<Suppression>,
    pub(crate) epsilon: f64,
    pub(crate) do_nothing_score: f64,
    pub(crate) half_life: i64,
    /// What of a party's past the contact policy and the suppressions look at.
    pub(crate) wanted: Wanted,
    context_weights: Vec<ContextWeight>,
    levers: Vec<Lever>,
    rules: Rules,
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
    /// The context weights and the levers that are for it, by their places in the policy.
    context_weights: Vec<usize>,
    levers: Vec<usize>,
}

/// A rule that must hold.
#[derive(Debug)]
pub(crate) enum Condition {
    Rule(RuleId),
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

/// What a party's past is searched for, and for how long back.
pub(crate) type Wanted = BTreeMap<Want, i64>;

/// Something that may have happened. Of each as many are read as a line may count; of an outcome as many for each action
/// and channel that it came of, though no more than the 1,000 newest are looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Want {
    pub(crate) kind: HappeningKind,
    pub(crate) name: String,
    /// Of this product only; empty: of every one.
    pub(crate) product_id: String,
    /// For this reason only; empty: for any.
    pub(crate) reason: String,
}

impl Compiled {
    pub(crate) fn new(version: u32, hash: &[u8], policy: &proto::Policy) -> Self {
        let mut rules = Rules::new(catalogue(None));
        let weights = policy.context_weights.iter();
        let context_weights: Vec<_> =
            weights.map(|it| ContextWeight::new(it, &mut rules)).collect();
        let levers: Vec<_> = policy.levers.iter().map(Lever::new).collect();
        let groups = Groups::new(policy);
        let action = |it: &proto::Action| Action {
            context_weights: places(&context_weights, |one| is_for(it, &one.group, &one.action)),
            levers: places(&levers, |one| is_for(it, &one.group, &one.action)),
            ..Action::new(it, &groups, &mut rules)
        };
        let actions = policy.actions.iter().map(action).collect();
        let lines: Vec<_> = policy.contact_policy.iter().map(ContactLine::new).collect();
        let suppressions: Vec<_> = policy.suppressions.iter().map(Suppression::new).collect();
        Self {
            version,
            hash: hash.to_vec(),
            salt: hex(&hash[..hash.len().min(8)]),
            actions,
            wanted: wanted(&lines, &suppressions),
            lines,
            suppressions,
            epsilon: policy.explore.as_ref().and_then(|it| it.epsilon).unwrap_or(EPSILON),
            do_nothing_score: policy.do_nothing_score,
            half_life: match micros(&policy.affinity_half_life) {
                0 => HALF_LIFE,
                stated => stated,
            },
            context_weights,
            levers,
            rules,
        }
    }

    /// Facts that rules look at.
    pub(crate) fn names(&self) -> &[Name] {
        self.rules.names()
    }

    /// Its rules over a party's facts.
    pub(crate) fn judge(&self, facts: &dyn Facts) -> Judge<'_> {
        self.rules.over(facts)
    }

    /// C of an action, and the weights that matched, given which of them hold.
    pub(crate) fn context(&self, action: &Action, holding: &[bool]) -> (f64, Vec<String>) {
        let matching = action.context_weights.iter().filter(|it| holding[**it]);
        let matching = matching.map(|it| &self.context_weights[*it]);
        factor(matching.map(|it| (&it.id, it.weight)))
    }

    /// Which context weights hold; unknown does not.
    pub(crate) fn holding(&self, judge: &Judge<'_>) -> Vec<bool> {
        self.context_weights.iter().map(|it| it.when.first_failing(judge).is_none()).collect()
    }

    /// L of an action at an instant, and the levers that applied.
    pub(crate) fn levers(&self, action: &Action, at: Timestamp) -> (f64, Vec<String>) {
        let applying = action.levers.iter().map(|it| &self.levers[*it]).filter(|it| it.until > at);
        factor(applying.map(|it| (&it.id, it.weight)))
    }
}

/// What weights in percent come to, and their ids.
fn factor<'a>(weights: impl Iterator<Item = (&'a String, f64)>) -> (f64, Vec<String>) {
    let (sum, ids) = weights.fold((0.0, Vec::new()), |(sum, mut ids), (id, weight)| {
        ids.push(id.clone());
        (sum + weight, ids)
    });
    ((1.0 + sum / 100.0).max(LEAST_FACTOR), ids)
}

/// Where those stand that are meant.
fn places<T>(all: &[T], is_meant: impl Fn(&T) -> bool) -> Vec<usize> {
    (0..).zip(all).filter(|(_, it)| is_meant(it)).map(|(place, _)| place).collect()
}

/// Whether a weight for this group and action is for an action; an empty one is for every one.
fn is_for(it: &proto::Action, group: &str, action: &str) -> bool {
    (group.is_empty() || group == it.group) && (action.is_empty() || action == it.action)
}

fn wanted(lines: &[ContactLine], suppressions: &[Suppression]) -> Wanted {
    let mut wanted = Wanted::new();
    let mut want = |kind, name: &str, product: &str, reason: &str, back: i64| {
        let [name, product_id, reason] = [name, product, reason].map(str::to_owned);
        let want = Want { kind, name, product_id, reason };
        let longest = wanted.entry(want).or_insert(back);
        *longest = back.max(*longest);
    };
    for line in lines {
        for channel in &line.channels {
            let name = names::channel(*channel);
            want(HappeningKind::Contact, name, &line.product_id, "", line.window);
        }
        for name in &line.interactions {
            want(HappeningKind::Interaction, name, "", "", line.window);
        }
    }
    for line in suppressions {
        let back = line.window.saturating_add(line.duration);
        want(HappeningKind::Outcome, &line.outcome, "", &line.reason, back);
    }
    wanted
}

/// What actions take from the others of their group.
struct Groups<'p> {
    eligibility: HashMap<&'p str, &'p str>,
    largest: HashMap<&'p str, f64>,
}

impl<'p> Groups<'p> {
    fn new(policy: &'p proto::Policy) -> Self {
        let stated = policy.groups.iter();
        let eligibility = stated.map(|it| (it.group.as_str(), it.eligibility.as_str())).collect();
        let mut largest: HashMap<&str, f64> = HashMap::new();
        for action in &policy.actions {
            let value = largest.entry(&action.group).or_default();
            *value = value.max(action.value);
        }
        Self { eligibility, largest }
    }
}

impl Action {
    fn new(it: &proto::Action, groups: &Groups<'_>, rules: &mut Rules) -> Self {
        let group = it.group.as_str();
        let mut conditions = |texts: &[&str]| -> Vec<Condition> {
            let written = texts.iter().filter(|it| !it.is_empty());
            written.map(|it| Condition::compile(it, rules)).collect()
        };
        Self {
            id: it.action.clone(),
            group: it.group.clone(),
            value: it.value / groups.largest.get(group).copied().unwrap_or(it.value),
            eligibility: conditions(&[
                groups.eligibility.get(group).copied().unwrap_or_default(),
                &it.eligibility,
            ]),
            applicability: conditions(&[&it.applicability]),
            suitability: conditions(&[&it.suitability]),
            rewards: it.rewards.clone(),
            treatments: it.treatments.clone(),
            starts_at: instant(it.starts_at.as_ref()),
            ends_at: instant(it.ends_at.as_ref()),
            context_weights: Vec::new(),
            levers: Vec::new(),
        }
    }

    /// Whether it is offered at an instant.
    pub(crate) fn is_offered(&self, at: Timestamp) -> bool {
        self.starts_at.is_none_or(|it| it <= at) && self.ends_at.is_none_or(|it| at < it)
    }
}

impl Condition {
    fn compile(text: &str, rules: &mut Rules) -> Self {
        rules.add(text).map_or_else(|_| Self::Unreadable(text.to_owned()), Self::Rule)
    }

    /// Why it does not hold; nothing when it does.
    pub(crate) fn first_failing<'j>(&self, judge: &'j Judge<'_>) -> Option<Cow<'j, Failing>> {
        match self {
            Self::Rule(rule) => judge.first_failing(*rule),
            Self::Unreadable(text) => Some(Cow::Owned(Failing {
                clause: text.clone(),
                value: "the rule cannot be read".to_owned(),
                required: "a rule of this release".to_owned(),
                unknown: Some("unknown:rule".to_owned()),
            })),
        }
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

impl ContextWeight {
    fn new(it: &proto::ContextWeight, rules: &mut Rules) -> Self {
        Self {
            id: it.id.clone(),
            when: Condition::compile(&it.when, rules),
            group: it.group.clone(),
            action: it.action.clone(),
            weight: it.weight,
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
