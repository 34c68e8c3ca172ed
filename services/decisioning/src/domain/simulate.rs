//! A draft on history: recorded decisions are made again from what they recorded, with the draft in the place of the
//! policy. An unchanged policy gives no difference; that is the test of determinism.

use std::collections::{BTreeMap, BTreeSet};

use rapport_proto::decisioning::v1::{Candidate, DecisionMade, SimulationSummary, Stage};
use rapport_proto::types::Channel;

use super::decide::content::Modules;
use super::decide::facts::PartyFacts;
use super::decide::{Inputs, Wish, decide};
use super::pack::Pack;
use super::policy::compiled::Compiled;
use super::{DO_NOTHING, instant};

/// Source of the modules.
const CONTENT: &str = "content";

/// The priors of who never met a topic on a channel: nothing is known.
const IGNORANT: (f64, f64) = (1.0, 1.0);

/// Makes a recorded decision again with a policy. What the record does not know is unknown again.
pub(crate) fn again(
    record: &DecisionMade,
    policy: &Compiled,
    pack: Option<&Pack>,
    modules: &Modules,
) -> DecisionMade {
    let at = instant(record.decided_at.as_ref()).unwrap_or_default();
    let party = PartyFacts::of_record(&record.facts, &record.context, at);
    let expires_at = instant(record.expires_at.as_ref()).unwrap_or(at);
    let wish = Wish {
        party_id: record.party_id.clone(),
        sender_id: record.sender_id.clone(),
        context: record.context.clone(),
        channels: record.channels().collect(),
        k: record.k,
        groups: record.groups.clone(),
        valid_for: expires_at.0.saturating_sub(at.0),
        requested_by: record.requested_by.clone(),
    };
    let affinity = |channel: Channel, topic: &str| {
        let of = |topic: &str| {
            let same = |it: &&_| is_of(it, channel, topic);
            record.affinities.iter().find(same).map(|it| (it.alpha, it.beta))
        };
        of(topic).or_else(|| of("")).unwrap_or(IGNORANT)
    };
    let made = decide(&Inputs {
        decision_id: &record.decision_id,
        at,
        salt: &record.salt,
        wish: &wish,
        policy,
        party: &party,
        pack,
        modules,
        content_position: record.positions.get(CONTENT).copied().unwrap_or_default(),
        happenings: &record.happenings,
        affinity: &affinity,
        holdouts: &[],
        positions: record.positions.clone(),
        model: None,
    });
    DecisionMade {
        holdout_id: record.holdout_id.clone(),
        arm: record.arm,
        model_as_of: record.model_as_of,
        model_hash: record.model_hash.clone(),
        latency_us: record.latency_us,
        ..made
    }
}

fn is_of(it: &rapport_proto::decisioning::v1::Affinity, channel: Channel, topic: &str) -> bool {
    it.channel() == channel && it.topic == topic
}

/// What a simulation finds, decision by decision.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    summary: SimulationSummary,
    /// Facts that the draft reads: those that some record tells, and those that some does not.
    told: BTreeSet<String>,
    missing: BTreeSet<String>,
}

impl Tally {
    /// Of history up to a position.
    pub(crate) fn until(position: u64) -> Self {
        let summary = SimulationSummary { position, ..SimulationSummary::default() };
        Self { summary, ..Self::default() }
    }

    /// Adds one decision, as it was and as it would be.
    pub(crate) fn add(&mut self, before: &DecisionMade, after: &DecisionMade) {
        let summary = &mut self.summary;
        summary.decisions += 1;
        let differs = before.candidates != after.candidates || before.chosen != after.chosen;
        summary.changed += u64::from(differs);
        let nothing =
            |it: &DecisionMade| it.chosen.first().is_none_or(|it| it.action == DO_NOTHING);
        summary.now_nothing += u64::from(nothing(after) && !nothing(before));
        count_chosen(&mut summary.chosen_before, before);
        count_chosen(&mut summary.chosen_after, after);
        count_stopped(&mut summary.stopped_before, &before.candidates);
        count_stopped(&mut summary.stopped_after, &after.candidates);
        // A context belongs to its request: a name that is not in it was not given.
        for name in after.facts.keys().filter(|it| !it.starts_with("context.")) {
            let told = before.facts.contains_key(name);
            let names = if told { &mut self.told } else { &mut self.missing };
            names.insert(name.clone());
        }
    }

    pub(crate) fn finish(mut self) -> SimulationSummary {
        self.summary.unread = self.missing.difference(&self.told).cloned().collect();
        self.summary
    }
}

fn count_chosen(counts: &mut BTreeMap<String, u64>, made: &DecisionMade) {
    for chosen in &made.chosen {
        *counts.entry(chosen.action.clone()).or_default() += 1;
    }
}

fn count_stopped(counts: &mut BTreeMap<String, u64>, candidates: &[Candidate]) {
    for candidate in candidates {
        if let Some(stage) = stage_name(candidate.stage_failed()) {
            *counts.entry(stage).or_default() += 1;
        }
    }
}

/// `country_rule`; none for a candidate that was drawn.
pub(crate) fn stage_name(stage: Stage) -> Option<String> {
    let name = stage.as_str_name().strip_prefix("STAGE_")?;
    (stage != Stage::Unspecified).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
