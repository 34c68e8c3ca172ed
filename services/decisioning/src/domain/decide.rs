//! A decision as a pure function: the same inputs give the same record, bit for bit.
//!
//! ```text
//! actions × treatments ─ consent ─ content ─ country_rule ─ eligibility ─ applicability ─ suitability ─ contact_policy ─▶ E
//! E and DO_NOTHING ─ score P·C·V·L ─ π by the explorer and the floor ─ drawn with hash(salt, decision id, place) ─▶ slate
//! ```
//!
//! Every candidate keeps the first stage that stopped it, with clause, value and what was required. Quiet hours and the
//! holdout stop nothing here: the gate enforces them.

use std::collections::BTreeMap;

use ::authored::rule::{Failing, Judge};
use eventstore::Timestamp;
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::{Candidate, Chosen, DecisionMade, HoldoutStarted, Stage};
use rapport_proto::types::{Channel, Clear, ContentClass, Purpose};
use rapport_proto::{audience_of, purpose_of};

use super::explore::{self, Arm, THOMPSON_NORMAL};
use super::pack::{Answer, Pack, Question};
use super::policy::compiled::{Action, Compiled, Condition};
use super::{DO_NOTHING, holdout, later};

pub(crate) mod content;
pub(crate) mod facts;
pub(crate) mod pressure;
pub(crate) mod reads;

use content::Modules;
use facts::PartyFacts;
use pressure::Pressure;

/// The wish, validated.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wish {
    pub(crate) party_id: String,
    pub(crate) sender_id: String,
    pub(crate) context: BTreeMap<String, Clear>,
    /// Empty: every one.
    pub(crate) channels: Vec<Channel>,
    pub(crate) k: u32,
    /// Empty: every one.
    pub(crate) groups: Vec<String>,
    pub(crate) valid_for: i64,
    pub(crate) requested_by: String,
}

/// α and β of a party's affinity to a topic on a channel.
pub(crate) type Beta = (f64, f64);

/// Everything a decision depends on.
pub(crate) struct Inputs<'a> {
    pub(crate) decision_id: &'a str,
    pub(crate) at: Timestamp,
    pub(crate) salt: &'a str,
    pub(crate) wish: &'a Wish,
    pub(crate) policy: &'a Compiled,
    pub(crate) party: &'a PartyFacts,
    pub(crate) pack: Option<&'a Pack>,
    pub(crate) modules: &'a Modules,
    /// Position of `content` up to which modules count.
    pub(crate) content_position: u64,
    /// Newest first.
    pub(crate) happenings: &'a [proto::Happening],
    pub(crate) affinity: &'a dyn Fn(Channel, &str) -> Beta,
    pub(crate) holdouts: &'a [HoldoutStarted],
    pub(crate) positions: BTreeMap<String, u64>,
    pub(crate) model: Option<&'a Model>,
}

/// The snapshot that gave the priors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) as_of: Timestamp,
    pub(crate) hash: Vec<u8>,
}

/// Decides.
pub(crate) fn decide(inputs: &Inputs<'_>) -> DecisionMade {
    let mut deciding = Deciding::new(inputs);
    let mut candidates = deciding.candidates();
    let pi = deciding.score(&mut candidates);
    let drawn = explore::slate(&pi, inputs.wish.k, inputs.salt, inputs.decision_id);
    tell_survivors(&mut candidates, &drawn.iter().map(|it| it.index).collect::<Vec<_>>());
    let chosen = drawn.iter().map(|it| deciding.chosen(&candidates[it.index], it)).collect();
    deciding.record(candidates, chosen)
}

/// Why a candidate is stopped.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stopped {
    pub(crate) clause: String,
    pub(crate) value: String,
    pub(crate) required: String,
    pub(crate) next_allowed_at: Option<Timestamp>,
}

impl From<&Failing> for Stopped {
    fn from(failing: &Failing) -> Self {
        Self {
            clause: failing.clause.clone(),
            value: failing.unknown.as_ref().unwrap_or(&failing.value).clone(),
            required: failing.required.clone(),
            next_allowed_at: None,
        }
    }
}

struct Deciding<'i> {
    inputs: &'i Inputs<'i>,
    /// The policy's rules over the party's facts.
    judge: Judge<'i>,
    pressure: Pressure<'i>,
    /// Answers that several candidates share.
    consents: Asked<(Purpose, Channel)>,
    countries: Asked<Question>,
    affinities: Vec<proto::Affinity>,
    /// What stands behind each candidate.
    behind: Vec<Behind<'i>>,
}

/// Questions that were answered, with what stops whom they are asked for.
type Asked<Q> = Vec<(Q, Option<Stopped>)>;

struct Behind<'i> {
    action: &'i Action,
    class: Option<ContentClass>,
    topic: &'i str,
}

impl<'i> Deciding<'i> {
    fn new(inputs: &'i Inputs<'i>) -> Self {
        Self {
            inputs,
            judge: inputs.policy.judge(inputs.party),
            pressure: Pressure::new(inputs.policy, inputs.happenings, inputs.at),
            consents: Asked::new(),
            countries: Asked::new(),
            affinities: Vec::new(),
            behind: Vec::new(),
        }
    }

    /// Every action and treatment that is offered for this slot, each with the first stage that stops it.
    fn candidates(&mut self) -> Vec<Candidate> {
        let Inputs { policy, wish, modules, at, content_position, .. } = self.inputs;
        let mut candidates = Vec::new();
        for action in policy.actions.iter().filter(|it| it.is_offered(*at)) {
            if !wish.groups.is_empty() && !wish.groups.contains(&action.group) {
                continue;
            }
            // The same for every treatment of the action.
            let mut rules: Option<Option<(Stage, Stopped)>> = None;
            for treatment in &action.treatments {
                let channel = treatment.channel();
                if !wish.channels.is_empty() && !wish.channels.contains(&channel) {
                    continue;
                }
                let mut candidate = Candidate {
                    action: action.id.clone(),
                    treatment: treatment.treatment.clone(),
                    channel: channel.into(),
                    module: treatment.module.clone(),
                    ..Candidate::default()
                };
                let known = modules.newest(&treatment.module, *content_position);
                let stopped = self
                    .gates(&candidate, known)
                    .or_else(|| rules.get_or_insert_with(|| self.rules(action)).clone())
                    .or_else(|| {
                        let stopped = self.pressure.stops(action, channel, known?)?;
                        Some((Stage::ContactPolicy, stopped))
                    });
                if let Some((stage, stopped)) = stopped {
                    candidate.stage_failed = stage.into();
                    candidate.clause = stopped.clause;
                    candidate.value = stopped.value;
                    candidate.required = stopped.required;
                    candidate.next_allowed_at = stopped.next_allowed_at.map(Timestamp::to_proto);
                }
                let topic = match (treatment.topic.as_str(), known) {
                    ("", Some(module)) => module.topic.as_str(),
                    (stated, _) => stated,
                };
                self.behind.push(Behind { action, class: known.map(|it| it.class), topic });
                candidates.push(candidate);
            }
        }
        candidates
    }

    /// Consent, content and country: what no score may outweigh.
    fn gates(
        &mut self,
        candidate: &Candidate,
        known: Option<&content::Module>,
    ) -> Option<(Stage, Stopped)> {
        let Inputs { party, wish, modules, pack, at, content_position, .. } = self.inputs;
        let channel = candidate.channel();
        if let Some(stopped) = party.inactive() {
            return Some((Stage::Consent, stopped));
        }
        // Without a class nobody can tell which consent it would need.
        let Some(known) = known else {
            return Some((Stage::Content, content::never_approved(&candidate.module)));
        };
        let asked = (purpose_of(known.class), channel);
        let no_consent =
            once(&mut self.consents, asked, || party.no_consent(asked.0, channel, &wish.sender_id));
        if let Some(stopped) = no_consent {
            return Some((Stage::Consent, stopped));
        }
        let place = content::Place {
            market: &party.market,
            audience: audience_of(party.kind),
            channel,
            at: *at,
            position: *content_position,
        };
        if let Err(stopped) = modules.usable(&candidate.module, &place) {
            return Some((Stage::Content, stopped));
        }
        let question = Question { class: known.class, audience: place.audience, channel };
        let denied = once(&mut self.countries, question, || country(*pack, party, question));
        denied.map(|stopped| (Stage::CountryRule, stopped))
    }

    fn rules(&self, action: &Action) -> Option<(Stage, Stopped)> {
        let first = |stage, conditions: &[Condition]| {
            let failing = conditions.iter().find_map(|it| it.first_failing(&self.judge))?;
            Some((stage, Stopped::from(&*failing)))
        };
        first(Stage::Eligibility, &action.eligibility)
            .or_else(|| first(Stage::Applicability, &action.applicability))
            .or_else(|| first(Stage::Suitability, &action.suitability))
    }

    /// Scores the survivors, adds DO_NOTHING, and returns π over all, 0 for those that were stopped.
    fn score(&mut self, candidates: &mut Vec<Candidate>) -> Vec<f64> {
        let Inputs { policy, at, .. } = self.inputs;
        let holding = policy.holding(&self.judge);
        let mut arms = Vec::new();
        let mut surviving = Vec::new();
        for (index, candidate) in candidates.iter_mut().enumerate() {
            if candidate.stage_failed != 0 {
                continue;
            }
            let Behind { action, topic, .. } = &self.behind[index];
            let (alpha, beta) =
                affinity(self.inputs, &mut self.affinities, candidate.channel(), topic);
            (candidate.alpha, candidate.beta) = (alpha, beta);
            candidate.p = alpha / (alpha + beta);
            (candidate.c, candidate.context_weights) = policy.context(action, &holding);
            candidate.v = action.value;
            (candidate.l, candidate.levers) = policy.levers(action, *at);
            candidate.score = candidate.p * candidate.c * candidate.v * candidate.l;
            arms.push(Arm::of_beta(candidate.c * candidate.v * candidate.l, alpha, beta));
            surviving.push(index);
        }
        candidates.push(Candidate {
            action: DO_NOTHING.to_owned(),
            score: policy.do_nothing_score,
            ..Candidate::default()
        });
        surviving.push(candidates.len() - 1);
        let pi = explore::probabilities(&arms, policy.do_nothing_score, policy.epsilon);
        let mut whole = vec![0.0; candidates.len()];
        for (index, pi) in surviving.into_iter().zip(pi) {
            candidates[index].pi = pi;
            whole[index] = pi;
        }
        whole
    }

    fn chosen(&self, candidate: &Candidate, drawn: &explore::Drawn) -> Chosen {
        let behind = self.behind.get(drawn.index);
        Chosen {
            action: candidate.action.clone(),
            treatment: candidate.treatment.clone(),
            module: candidate.module.clone(),
            channel: candidate.channel,
            pi: drawn.pi,
            draw: drawn.draw,
            topic: behind.map(|it| it.topic.to_owned()).unwrap_or_default(),
            group: behind.map(|it| it.action.group.clone()).unwrap_or_default(),
            rewards: behind.map(|it| it.action.rewards.clone()).unwrap_or_default(),
        }
    }

    fn record(self, candidates: Vec<Candidate>, chosen: Vec<Chosen>) -> DecisionMade {
        let Inputs { wish, policy, party, pack, at, .. } = self.inputs;
        let read = policy.names().iter().chain(pack.iter().flat_map(|it| &it.reads));
        let first = chosen.first().and_then(|first| {
            let same =
                |it: &Candidate| it.action == first.action && it.treatment == first.treatment;
            self.behind.get(candidates.iter().position(same)?)
        });
        let class = first.and_then(|it| it.class).unwrap_or_default();
        let (holdout, arm) = holdout::counting(self.inputs.holdouts, class, &wish.party_id);
        let windows = chosen.iter().flat_map(|it| &it.rewards);
        let longest = windows.map(|it| super::policy::compiled::micros(&it.within)).max();
        DecisionMade {
            decision_id: self.inputs.decision_id.to_owned(),
            party_id: wish.party_id.clone(),
            decided_at: Some(at.to_proto()),
            context: wish.context.clone(),
            channels: wish.channels.iter().map(|it| i32::from(*it)).collect(),
            k: wish.k,
            groups: wish.groups.clone(),
            sender_id: wish.sender_id.clone(),
            policy_version: policy.version,
            policy_hash: policy.hash.clone(),
            packs: pack.map(|it| (party.market.clone(), it.version)).into_iter().collect(),
            model_as_of: self.inputs.model.map(|it| it.as_of.to_proto()),
            model_hash: self.inputs.model.map(|it| it.hash.clone()).unwrap_or_default(),
            facts: party.to_proto(read),
            positions: self.inputs.positions.clone(),
            candidates,
            epsilon: policy.epsilon,
            explorer: THOMPSON_NORMAL.to_owned(),
            salt: self.inputs.salt.to_owned(),
            chosen,
            holdout_id: holdout.map(|it| it.holdout_id.clone()).unwrap_or_default(),
            arm: arm.into(),
            expires_at: Some(later(*at, wish.valid_for).to_proto()),
            latency_us: 0,
            market: party.market.clone(),
            requested_by: wish.requested_by.clone(),
            happenings: self.inputs.happenings.to_vec(),
            affinities: self.affinities,
            closes_at: longest.map(|it| later(*at, it).to_proto()),
            affinity_half_life_us: policy.half_life,
        }
    }
}

/// α and β, noted for the record once for each channel and topic.
fn affinity(
    inputs: &Inputs<'_>,
    noted: &mut Vec<proto::Affinity>,
    channel: Channel,
    topic: &str,
) -> Beta {
    let same = |it: &&proto::Affinity| it.channel() == channel && it.topic == topic;
    if let Some(found) = noted.iter().find(same) {
        return (found.alpha, found.beta);
    }
    let (alpha, beta) = (inputs.affinity)(channel, topic);
    noted.push(proto::Affinity { channel: channel.into(), topic: topic.to_owned(), alpha, beta });
    (alpha, beta)
}

/// Survivors that were not drawn: outscored when another one, or doing nothing, scored higher.
fn tell_survivors(candidates: &mut [Candidate], drawn: &[usize]) {
    let surviving = candidates.iter().filter(|it| it.stage_failed == 0);
    let highest = surviving.map(|it| it.score).fold(f64::NEG_INFINITY, f64::max);
    for (index, candidate) in candidates.iter_mut().enumerate() {
        if candidate.stage_failed == 0 && !drawn.contains(&index) {
            let outscored = candidate.score < highest;
            let stage = if outscored { Stage::Outscored } else { Stage::NotDrawn };
            candidate.stage_failed = stage.into();
        }
    }
}

/// What a question was answered, asked now if it was not before.
fn once<Q: PartialEq + Copy>(
    asked: &mut Asked<Q>,
    question: Q,
    answer: impl FnOnce() -> Option<Stopped>,
) -> Option<Stopped> {
    if let Some((_, answered)) = asked.iter().find(|it| it.0 == question) {
        return answered.clone();
    }
    let answered = answer();
    asked.push((question, answered.clone()));
    answered
}

/// Why the rules of the party's country do not allow a contact.
fn country(pack: Option<&Pack>, party: &PartyFacts, question: Question) -> Option<Stopped> {
    let Some(pack) = pack else {
        return Some(denied(&Answer::no_pack(), &party.market));
    };
    if !pack.enables(party.kind) {
        return Some(Stopped {
            clause: "enabled_kinds".to_owned(),
            value: format!("party.kind = {}", super::names::kind(party.kind)),
            required: "a kind that the market's pack enables".to_owned(),
            next_allowed_at: None,
        });
    }
    let answer = pack.answer(question, Some(party));
    (!answer.allows()).then(|| denied(&answer, &party.market))
}

fn denied(answer: &Answer, market: &str) -> Stopped {
    let clause = match (answer.pack.as_str(), answer.rule.as_str()) {
        ("", _) => market.to_owned(),
        (pack, "") => pack.to_owned(),
        (pack, rule) => format!("{pack}/{rule}"),
    };
    let value = if answer.detail.is_empty() { "DENY" } else { &answer.detail };
    Stopped { clause, value: value.to_owned(), required: "ALLOW".to_owned(), next_allowed_at: None }
}

#[cfg(test)]
pub(crate) mod tests;
