//! What is wrong with a policy, each finding with its place, a code, what to do and, in a rule, the column.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use ::authored::calendar::duration;
use ::authored::rule::{Catalogue, Problem, Rule, Type};
use eventstore::Timestamp;
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::types::{Channel, Finding};

use super::compiled::catalogue;
use crate::domain::{DO_NOTHING, instant};

/// Actions, groups, levers and so on, at most.
const MOST: usize = 2_500;
/// Treatments of an action, at most.
const MOST_TREATMENTS: usize = 20;
/// How many of one name are looked at: a contact line cannot count beyond.
pub(crate) const MOST_COUNTED: u32 = 100;
/// The longest window of a hard line, in microseconds.
const LONGEST_HARD: i64 = 366 * 86_400_000_000;
/// Findings told at once.
const MOST_TOLD: usize = 100;

/// What a draft is checked against.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) now: Timestamp,
    /// Types of the traits that are live; empty when none was ever seen, and then every name may be one.
    pub(crate) traits: BTreeMap<String, Type>,
    /// Modules that were ever approved; empty when none was ever seen.
    pub(crate) modules: BTreeSet<String>,
}

/// Collects findings.
#[derive(Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn add(&mut self, place: &str, code: &str, text: &str) {
        self.push(place, code, text, 0);
    }

    fn push(&mut self, place: &str, code: &str, text: &str, column: usize) {
        if self.0.len() < MOST_TOLD {
            self.0.push(Finding {
                place: place.to_owned(),
                code: code.to_owned(),
                text: text.to_owned(),
                column: u32::try_from(column).unwrap_or(u32::MAX),
                line: 0,
            });
        }
    }

    pub(crate) fn require(&mut self, holds: bool, place: &str, code: &str, text: &str) {
        if !holds {
            self.add(place, code, text);
        }
    }

    /// A text that has its own parser.
    pub(crate) fn parse<T, E: Display>(&mut self, place: &str, parsed: Result<T, E>) -> Option<T> {
        parsed.map_err(|error| self.add(place, "value_invalid", &error.to_string())).ok()
    }

    pub(crate) fn rule(&mut self, place: &str, compiled: Result<Rule, Problem>) {
        if let Err(Problem { column, text, remedy }) = compiled {
            self.push(place, "rule_invalid", &format!("{text}; {remedy}"), column);
        }
    }

    pub(crate) fn id(&mut self, place: &str, id: &str) {
        let remedy = "Use 1 to 63 of A-Z, a-z, 0-9, '_' and '-'.";
        self.require(chassis::name::is_id(id), place, "id_invalid", remedy);
    }

    pub(crate) fn most(&mut self, place: &str, number: usize, most: usize) {
        if number > most {
            self.add(place, "too_many", &format!("Use {most} at most."));
        }
    }

    pub(crate) fn done(self) -> Vec<Finding> {
        self.0
    }
}

/// One line of so many characters at most; not empty.
pub(crate) fn is_text(text: &str, most: usize) -> bool {
    chassis::text::line("", text, 1..=most).is_ok()
}

/// Everything that is wrong with a policy.
pub(crate) fn findings(policy: &proto::Policy, known: &Known) -> Vec<Finding> {
    let mut check = Check {
        found: Findings::default(),
        known,
        catalogue: catalogue((!known.traits.is_empty()).then_some(&known.traits)),
        groups: policy.groups.iter().map(|it| it.group.as_str()).collect(),
        actions: policy.actions.iter().map(|it| it.action.as_str()).collect(),
    };
    check.whole(policy);
    check.groups(&policy.groups);
    check.actions(&policy.actions);
    check.levers(&policy.levers);
    check.context_weights(&policy.context_weights);
    check.contact_policy(&policy.contact_policy);
    check.suppressions(&policy.suppressions);
    check.found.done()
}

struct Check<'a> {
    found: Findings,
    known: &'a Known,
    catalogue: Catalogue,
    groups: BTreeSet<&'a str>,
    actions: BTreeSet<&'a str>,
}

impl Check<'_> {
    fn whole(&mut self, policy: &proto::Policy) {
        let found = &mut self.found;
        let default = policy.policy == super::DEFAULT;
        found.require(default, "policy", "id_invalid", "Use `default`: a tenant has one policy.");
        let epsilon = policy.explore.as_ref().and_then(|it| it.epsilon).unwrap_or_default();
        let share = (0.0..=1.0).contains(&epsilon);
        found.require(share, "explore.epsilon", "value_invalid", "Use a share from 0 to 1.");
        let score = policy.do_nothing_score;
        let fits = score.is_finite() && (0.0..=1_000.0).contains(&score);
        found.require(fits, "do_nothing_score", "value_invalid", "Use a number from 0 to 1,000.");
        if !policy.affinity_half_life.is_empty() {
            self.span("affinity_half_life", &policy.affinity_half_life);
        }
        for (place, number) in [
            ("groups", policy.groups.len()),
            ("actions", policy.actions.len()),
            ("levers", policy.levers.len()),
            ("context_weights", policy.context_weights.len()),
            ("contact_policy", policy.contact_policy.len()),
            ("suppressions", policy.suppressions.len()),
        ] {
            self.found.most(place, number, MOST);
        }
    }

    fn groups(&mut self, groups: &[proto::ActionGroup]) {
        let mut ids = BTreeSet::new();
        for (index, group) in groups.iter().enumerate() {
            let place = format!("groups[{index}]");
            self.own_id(&mut ids, &format!("{place}.group"), &group.group);
            self.rule(&format!("{place}.eligibility"), &group.eligibility);
        }
    }

    fn actions(&mut self, actions: &[proto::Action]) {
        let mut ids = BTreeSet::new();
        for (index, action) in actions.iter().enumerate() {
            let place = format!("actions[{index}]");
            let at = |field: &str| format!("{place}.{field}");
            self.own_id(&mut ids, &at("action"), &action.action);
            let taken = action.action == DO_NOTHING;
            self.found.require(!taken, &at("action"), "id_invalid", "DO_NOTHING is taken.");
            self.group(&at("group"), &action.group, true);
            let value = action.value.is_finite() && action.value > 0.0;
            self.found.require(value, &at("value"), "value_invalid", "Use a number above 0.");
            self.rule(&at("eligibility"), &action.eligibility);
            self.rule(&at("applicability"), &action.applicability);
            self.rule(&at("suitability"), &action.suitability);
            self.rewards(&place, &action.rewards);
            self.treatments(&place, &action.treatments);
            let (from, until) =
                (instant(action.starts_at.as_ref()), instant(action.ends_at.as_ref()));
            if let (Some(from), Some(until)) = (from, until) {
                let remedy = "Use an end after the start.";
                self.found.require(from < until, &at("ends_at"), "value_invalid", remedy);
            }
        }
    }

    fn rewards(&mut self, action: &str, rewards: &[proto::Reward]) {
        self.found.most(&format!("{action}.rewards"), rewards.len(), 20);
        for (index, reward) in rewards.iter().enumerate() {
            let place = format!("{action}.rewards[{index}]");
            self.text(&format!("{place}.event"), &reward.event, 128);
            self.span(&format!("{place}.within"), &reward.within);
            let fits = reward.value > 0.0 && reward.value <= 1.0;
            let remedy = "Use a number above 0 and up to 1.";
            self.found.require(fits, &format!("{place}.value"), "value_invalid", remedy);
        }
    }

    fn treatments(&mut self, action: &str, treatments: &[proto::Treatment]) {
        let place = format!("{action}.treatments");
        let some = !treatments.is_empty();
        self.found.require(some, &place, "value_invalid", "Give at least one treatment.");
        self.found.most(&place, treatments.len(), MOST_TREATMENTS);
        let mut ids = BTreeSet::new();
        for (index, treatment) in treatments.iter().enumerate() {
            let place = format!("{place}[{index}]");
            let at = |field: &str| format!("{place}.{field}");
            self.own_id(&mut ids, &at("treatment"), &treatment.treatment);
            let stated = treatment.channel() != Channel::Unspecified;
            self.found.require(stated, &at("channel"), "value_invalid", "Name a channel.");
            self.found.id(&at("module"), &treatment.module);
            let known =
                self.known.modules.is_empty() || self.known.modules.contains(&treatment.module);
            let remedy = "Name a module that was approved.";
            self.found.require(known, &at("module"), "module_unknown", remedy);
            if !treatment.topic.is_empty() {
                self.text(&at("topic"), &treatment.topic, 128);
            }
        }
    }

    fn levers(&mut self, levers: &[proto::Lever]) {
        let mut ids = BTreeSet::new();
        for (index, lever) in levers.iter().enumerate() {
            let place = format!("levers[{index}]");
            let at = |field: &str| format!("{place}.{field}");
            self.own_id(&mut ids, &at("lever"), &lever.lever);
            self.scope(&place, &lever.group, &lever.action);
            let one = !lever.group.is_empty() || !lever.action.is_empty();
            self.found.require(one, &place, "value_invalid", "Name a group or an action.");
            self.weight(&at("weight"), lever.weight);
            self.text(&at("owner"), &lever.owner, 128);
            self.text(&at("reason"), &lever.reason, 500);
            match instant(lever.until.as_ref()) {
                None => {
                    self.found.add(&at("until"), "value_invalid", "State until when it counts.")
                }
                Some(until) if until <= self.known.now => {
                    self.found.add(&at("until"), "lever_expired", "Use an end in the future.");
                }
                Some(_) => {}
            }
        }
    }

    fn context_weights(&mut self, weights: &[proto::ContextWeight]) {
        let mut ids = BTreeSet::new();
        for (index, weight) in weights.iter().enumerate() {
            let place = format!("context_weights[{index}]");
            self.own_id(&mut ids, &format!("{place}.id"), &weight.id);
            let when = format!("{place}.when");
            self.found.require(
                !weight.when.is_empty(),
                &when,
                "rule_invalid",
                "Write a condition.",
            );
            self.rule(&when, &weight.when);
            self.scope(&place, &weight.group, &weight.action);
            self.weight(&format!("{place}.weight"), weight.weight);
        }
    }

    fn contact_policy(&mut self, lines: &[proto::ContactLine]) {
        let mut ids = BTreeSet::new();
        for (index, line) in lines.iter().enumerate() {
            let place = format!("contact_policy[{index}]");
            let at = |field: &str| format!("{place}.{field}");
            self.own_id(&mut ids, &at("id"), &line.id);
            let stated = !line.counts.is_empty() && line.counts.iter().all(|it| is_text(it, 128));
            let remedy = "Name channels such as EMAIL, or interactions such as Call Completed.";
            self.found.require(stated, &at("counts"), "value_invalid", remedy);
            self.found.most(&at("counts"), line.counts.len(), 50);
            self.span(&at("window"), &line.window);
            let fits = (1..=MOST_COUNTED).contains(&line.max);
            self.found.require(fits, &at("max"), "value_invalid", "Use a number from 1 to 100.");
            // `delivery` keeps hard lines, and remembers no longer.
            let kept = !duration(&line.window).is_ok_and(|it| it > LONGEST_HARD);
            let remedy = "Use a window of at most 366d, or a line that is not hard.";
            self.found.require(!line.hard || kept, &at("hard"), "value_invalid", remedy);
        }
    }

    fn suppressions(&mut self, lines: &[proto::OutcomeSuppression]) {
        let mut ids = BTreeSet::new();
        for (index, line) in lines.iter().enumerate() {
            let place = format!("suppressions[{index}]");
            let at = |field: &str| format!("{place}.{field}");
            self.own_id(&mut ids, &at("id"), &line.id);
            self.text(&at("outcome"), &line.outcome, 128);
            let fits = (1..=MOST_COUNTED).contains(&line.count);
            self.found.require(fits, &at("count"), "value_invalid", "Use a number from 1 to 100.");
            self.span(&at("window"), &line.window);
            self.span(&at("duration"), &line.duration);
            let known = ["action", "group", "channel"].contains(&line.scope.as_str());
            let remedy = "Use action, group or channel.";
            self.found.require(known, &at("scope"), "value_invalid", remedy);
        }
    }

    fn own_id<'b>(&mut self, taken: &mut BTreeSet<&'b str>, place: &str, id: &'b str) {
        self.found.id(place, id);
        self.found.require(taken.insert(id), place, "duplicate", "Use another id.");
    }

    fn scope(&mut self, place: &str, group: &str, action: &str) {
        self.group(&format!("{place}.group"), group, false);
        let known = action.is_empty() || self.actions.contains(action);
        let place = format!("{place}.action");
        self.found.require(known, &place, "dangling", "Name an action of this policy.");
    }

    fn group(&mut self, place: &str, group: &str, required: bool) {
        let known = self.groups.contains(group) || (group.is_empty() && !required);
        self.found.require(known, place, "dangling", "Name a group of this policy.");
    }

    fn weight(&mut self, place: &str, weight: f64) {
        let fits = (-90.0..=1_000.0).contains(&weight);
        let remedy = "Use a percentage from -90 to 1000.";
        self.found.require(fits, place, "value_invalid", remedy);
    }

    fn span(&mut self, place: &str, text: &str) {
        let longer = self.found.parse(place, duration(text)).is_none_or(|it| it > 0);
        self.found.require(longer, place, "value_invalid", "Use a duration above 0.");
    }

    fn text(&mut self, place: &str, text: &str, most: usize) {
        let remedy = "Use one line of text; it is required.";
        self.found.require(is_text(text, most), place, "value_invalid", remedy);
    }

    fn rule(&mut self, place: &str, rule: &str) {
        if !rule.is_empty() {
            self.found.rule(place, Rule::compile(rule, &self.catalogue, &Type::Bool));
        }
    }
}

#[cfg(test)]
mod tests;
