//! Intention to treat: everybody counts in the arm they were assigned to, from the same kind of instant on, whether or
//! not anything reached them.
//!
//! The index instant of a holdout is a party's first touch whose steps 1 to 6 of the gate passed: the held-out and the
//! treated are alike up to there. That of a split is the party's first pass through it. Outcomes count after it, up to
//! and including the end of the window; a party whose window is not over is left out and counted.

use std::collections::{BTreeMap, BTreeSet};

use eventstore::{Timestamp, draw};
use prost::Message as _;
use rapport_proto::delivery::v1::{
    GateStep, TouchDeferred, TouchReady, TouchSkipped, Verdict, VerdictOutcome,
};
use rapport_proto::journeys::v1::{InstanceSplit, InstanceStarted};
use rapport_proto::kpis::v1::experiment::AssignedBy;
use rapport_proto::kpis::v1::{Arm, Experiment};
use rapport_proto::profiles::v1::InteractionRecorded;

use super::contribution::{Contribution, PART, Role, Sums};
use super::record::Event;
use super::statistics::{Difference, MISMATCH, sample_ratio, welch};

const CONTROL: &str = "control";
const TREATED: &str = "treated";
/// What came of fewer patients than this in an arm is not shown.
const LEAST_PATIENTS: u64 = 5;
/// Parties drawn in one call, all worlds together: a few seconds of one processor.
const MOST_DRAWN: usize = 20_000_000;
/// Why a difference is withheld.
pub(crate) const FEW_PATIENTS: &str = "few_patients";
const SAMPLE_RATIO_MISMATCH: &str = "sample_ratio_mismatch";
/// An outcome that happened, where no value is asked for.
pub(crate) const HAPPENED: i64 = 1_000_000;

const INTERACTION: &str = "rapport.profiles.v1.InteractionRecorded";
const SKIPPED: &str = "rapport.delivery.v1.TouchSkipped";
const DEFERRED: &str = "rapport.delivery.v1.TouchDeferred";
const READY: &str = "rapport.delivery.v1.TouchReady";
const SPLIT: &str = "rapport.journeys.v1.InstanceSplit";
const STARTED: &str = "rapport.journeys.v1.InstanceStarted";

/// What an event tells an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A party did what counts.
    Outcome { name: String },
    /// A touch of a party reached the holdout.
    Touch { holdout: String },
    /// An instance went through the split.
    Split { node: String },
    /// An instance of the split's journey began.
    Instance { journey: String },
}

/// The facts that an experiment is made of: their role, source and type.
pub(crate) fn facts(experiment: &Experiment) -> Vec<(Role, &'static str, &'static str, Fact)> {
    let outcome = Fact::Outcome { name: experiment.outcome.clone() };
    let mut facts = vec![(Role::Main, "profiles", INTERACTION, outcome)];
    match &experiment.assigned_by {
        Some(AssignedBy::Holdout(holdout)) => {
            for type_name in [SKIPPED, DEFERRED, READY] {
                let touch = Fact::Touch { holdout: holdout.clone() };
                facts.push((Role::Other, "delivery", type_name, touch));
            }
        }
        Some(AssignedBy::Split(split)) => {
            let (journey, node) = split.split_once('/').unwrap_or((split, ""));
            facts.push((Role::Other, "journeys", SPLIT, Fact::Split { node: node.to_owned() }));
            let journey = Fact::Instance { journey: journey.to_owned() };
            facts.push((Role::Instance, "journeys", STARTED, journey));
        }
        None => {}
    }
    facts
}

impl Fact {
    /// The key of the contribution that an event makes; none when it tells nothing.
    pub(crate) fn read(&self, event: &Event<'_>) -> Option<String> {
        let payload = event.payload;
        if event.party_id.is_empty() {
            return None;
        }
        match self {
            Self::Outcome { name } => {
                let it = InteractionRecorded::decode(payload).ok()?;
                (it.name == *name).then(String::new)
            }
            Self::Touch { holdout } => {
                let verdicts = match event.type_name {
                    SKIPPED => TouchSkipped::decode(payload).ok()?.verdicts,
                    DEFERRED => TouchDeferred::decode(payload).ok()?.verdicts,
                    _ => TouchReady::decode(payload).ok()?.verdicts,
                };
                arm(&verdicts, holdout).map(str::to_owned)
            }
            Self::Split { node } => {
                let it = InstanceSplit::decode(payload).ok()?;
                (it.node == *node).then(|| format!("{}{PART}{}", it.arm, event.id))
            }
            Self::Instance { journey } => {
                let it = InstanceStarted::decode(payload).ok()?;
                (it.journey_id == *journey).then(|| event.id.to_owned())
            }
        }
    }
}

/// The arm that the gate's verdicts show: none when a step before the holdout failed, or when it was another holdout's.
fn arm(verdicts: &[Verdict], holdout: &str) -> Option<&'static str> {
    let before = verdicts.iter().filter(|it| it.step() < GateStep::Holdout);
    if !before.clone().all(|it| it.outcome() == VerdictOutcome::Pass) || before.count() < 6 {
        return None;
    }
    let verdict = verdicts.iter().find(|it| it.step() == GateStep::Holdout)?;
    if !verdict.proof_ids.iter().any(|it| it == holdout) {
        return None;
    }
    match verdict.outcome() {
        VerdictOutcome::Fail => Some(CONTROL),
        VerdictOutcome::Pass => Some(TREATED),
        VerdictOutcome::NotReached | VerdictOutcome::Unspecified => None,
    }
}

/// What is compared, and when.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Microseconds.
    pub(crate) window: i64,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) control_share: f64,
    pub(crate) control_arm: String,
    /// Whether arms are those of a split.
    pub(crate) split: bool,
    /// Whether outcomes have values.
    pub(crate) valued: bool,
}

/// A party whose window is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) party_id: String,
    pub(crate) arm: String,
    /// Millionths.
    pub(crate) outcome: i64,
}

/// Parties and what came of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Units {
    /// Parties that reached the index instant, by arm.
    pub(crate) parties: BTreeMap<String, u64>,
    /// Those whose window is over, by party.
    pub(crate) complete: Vec<Unit>,
}

impl Units {
    /// How often the arms of so many parties may be drawn anew in one call.
    pub(crate) fn most_draws(&self) -> u32 {
        let parties = self.complete.len().max(1);
        u32::try_from(MOST_DRAWN / parties).unwrap_or(u32::MAX)
    }
}

impl Plan {
    /// Folds contributions, in whatever order, into parties; `as_of` is the latest instant that was recorded.
    pub(crate) fn units(&self, contributions: &[Contribution], as_of: Timestamp) -> Units {
        let of = |role| contributions.iter().filter(move |it| it.role == role);
        let instances: BTreeSet<&str> = of(Role::Instance).map(|it| it.key.as_str()).collect();
        let mut index: BTreeMap<&str, (Timestamp, u64, &str)> = BTreeMap::new();
        for it in of(Role::Other).filter(|it| self.from <= it.at && it.at < self.until) {
            let (arm, instance) = it.key.split_once(PART).unwrap_or((&it.key, ""));
            if self.split && !instances.contains(instance) {
                continue;
            }
            let seen = (it.at, it.position, arm);
            let first = index.entry(&it.party_id).or_insert(seen);
            *first = seen.min(*first);
        }
        let over = |at: Timestamp| Timestamp(at.0.saturating_add(self.window));
        let mut outcomes: BTreeMap<&str, i64> = BTreeMap::new();
        for it in of(Role::Main) {
            let Some((at, _, _)) = index.get(it.party_id.as_str()) else { continue };
            if *at < it.at && it.at <= over(*at) {
                let sum = outcomes.entry(&it.party_id).or_default();
                *sum = if self.valued { sum.saturating_add(it.value) } else { HAPPENED };
            }
        }
        let mut units = Units::default();
        for (party_id, (at, _, arm)) in index {
            *units.parties.entry(arm.to_owned()).or_default() += 1;
            if over(at) <= as_of {
                units.complete.push(Unit {
                    party_id: party_id.to_owned(),
                    arm: arm.to_owned(),
                    outcome: outcomes.get(party_id).copied().unwrap_or_default(),
                });
            }
        }
        units
    }

    fn control(&self) -> &str {
        if self.split { &self.control_arm } else { CONTROL }
    }

    /// Compares the control arm with all others. Where few of an arm are patients, what came of them is withheld, and so
    /// is what it could be computed from.
    pub(crate) fn compare(&self, units: &Units, patients: &BTreeSet<String>) -> Compared {
        let (mut sums, mut control, mut treated) =
            (BTreeMap::new(), Sums::default(), Sums::default());
        let mut guarded: BTreeMap<&str, u64> = BTreeMap::new();
        for unit in &units.complete {
            *guarded.entry(&unit.arm).or_default() += u64::from(patients.contains(&unit.party_id));
            sums.entry(unit.arm.as_str()).or_insert_with(Sums::default).add(unit.outcome);
            let side = if unit.arm == self.control() { &mut control } else { &mut treated };
            side.add(unit.outcome);
        }
        let shown = |arm: &str, parties: u64| {
            let sums = sums.get(arm).copied().unwrap_or_default();
            let suppressed = guarded.get(arm).is_some_and(|it| (1..LEAST_PATIENTS).contains(it));
            let shown = |it: Option<f64>| it.filter(|_| !suppressed).unwrap_or_default();
            Arm {
                arm: arm.to_owned(),
                parties,
                complete: sums.n,
                mean: shown(sums.mean()),
                deviation: shown(sums.variance()).sqrt(),
                suppressed,
            }
        };
        let of = |arm: &str| units.parties.get(arm).copied().unwrap_or_default();
        let mut arms = vec![shown(self.control(), of(self.control()))];
        if !self.split {
            arms.push(shown(TREATED, of(TREATED)));
        }
        let listed: Vec<String> = arms.iter().map(|it| it.arm.clone()).collect();
        let others = units.parties.iter().filter(|it| !listed.contains(it.0));
        arms.extend(others.map(|(arm, parties)| shown(arm, *parties)));
        let all = units.parties.values().sum();
        let sample_ratio_p = sample_ratio(of(self.control()), all, self.control_share);
        let mismatch = sample_ratio_p < MISMATCH;
        let withheld = if arms.iter().any(|it| it.suppressed) {
            FEW_PATIENTS
        } else if mismatch {
            SAMPLE_RATIO_MISMATCH
        } else {
            ""
        };
        let difference = welch(&control, &treated).filter(|_| withheld.is_empty());
        Compared { arms, difference, sample_ratio_p, mismatch, withheld }
    }

    /// Draws the arms anew so many times, as a holdout draws them, and tells in which share of the worlds the interval
    /// covers zero. Outcomes stay as they are, so there is nothing to find.
    pub(crate) fn coverage(
        &self,
        units: &Units,
        seed: &str,
        times: u32,
        period: &str,
    ) -> Option<f64> {
        let (mut covered, mut worlds) = (0_u32, 0_u32);
        for number in 0..times {
            let salt = format!("{seed}/{number}");
            let (mut control, mut treated) = (Sums::default(), Sums::default());
            for unit in &units.complete {
                let drawn = draw(&salt, &format!("{}/{period}", unit.party_id));
                let side = if drawn < self.control_share { &mut control } else { &mut treated };
                side.add(unit.outcome);
            }
            if let Some(difference) = welch(&control, &treated) {
                worlds += 1;
                covered += u32::from(difference.covers(0.0));
            }
        }
        (worlds > 0).then(|| f64::from(covered) / f64::from(worlds))
    }
}

/// A comparison of arms.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Compared {
    pub(crate) arms: Vec<Arm>,
    pub(crate) difference: Option<Difference>,
    pub(crate) sample_ratio_p: f64,
    pub(crate) mismatch: bool,
    /// Why the difference is withheld; empty: it is not.
    pub(crate) withheld: &'static str,
}
