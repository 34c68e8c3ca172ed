//! A metric: the life of its versions, its targets, and the alerts about them. Stream `metric/<id>`.
//!
//! ```text
//! version  DRAFT (checked) ─by somebody else─▶ APPROVED ─▶ LIVE ─▶ RETIRED
//! target   set ─bucket closes─▶ judged ─▶ judged ─▶ …          one alert stands at a time: raised ─▶ cleared
//! ```

use std::collections::BTreeMap;

use authored::version::{self, Draft, State as Stage, Versions, hash_from};
use eventstore::{Decider, Timestamp, derive_id};
use rapport_proto::kpis::v1 as proto;
use rapport_proto::kpis::v1::metric_event::Event;

use super::instant;

/// The aggregate.
pub(crate) enum Metric {}

/// What can be wished of a metric.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Save a version, which was checked.
    Draft { by: String, document: Box<proto::Metric>, hash: [u8; 32] },
    /// Sign it off.
    Approve { by: String, version: u32, hash: Option<[u8; 32]>, comment: String },
    /// Put it in force.
    Activate { by: String, version: u32 },
    /// End it.
    Retire { by: String, version: u32, reason: String },
    /// Set or change a target.
    SetTarget { target: Box<proto::Target>, judge_at: Timestamp },
    /// Remove a target.
    RemoveTarget { target: String },
    /// Judge what closed, oldest first.
    Judge { tenant: String, metric: String, judged: Vec<proto::TargetJudged> },
    /// Clear an alert by hand.
    Clear { alert_id: String },
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Life(#[from] version::Refusal),
    #[error("the metric has no such target")]
    UnknownTarget,
    #[error("there is no such alert")]
    UnknownAlert,
    #[error("the metric has {most} targets already")]
    TooManyTargets { most: usize },
}

/// Targets of one metric, at most.
const MOST_TARGETS: usize = 100;

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) versions: Versions,
    pub(crate) documents: BTreeMap<u32, proto::Metric>,
    pub(crate) targets: BTreeMap<String, Watched>,
    /// Alerts raised so far: part of the next one's id.
    alerts: u64,
}

/// A target and how it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Watched {
    pub(crate) target: proto::Target,
    /// What was said of buckets, latest last: nothing, or why they miss the target.
    judged: BTreeMap<Timestamp, Option<String>>,
    /// The alert that stands.
    pub(crate) alert: Option<String>,
}

/// Buckets whose judgement is remembered.
const REMEMBERED: usize = 4;

impl Decider for Metric {
    const AGGREGATE: &'static str = "metric";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        let versions = &state.versions;
        let now = Some(at.to_proto());
        match command {
            Command::Draft { by, document, hash } => Ok(match versions.draft(&hash) {
                Draft::AlreadySo(_) => Vec::new(),
                Draft::New(version) => vec![Event::Drafted(proto::MetricVersionDrafted {
                    version,
                    document: Some(*document),
                    hash: hash.to_vec(),
                    by,
                    at: now,
                })],
            }),
            Command::Approve { by, version, hash, comment } => {
                if is_approved_by(versions, version, &by) {
                    return Ok(Vec::new());
                }
                let meant = hash.as_ref().map(<[u8; 32]>::as_slice);
                let hash = versions.may_approve(version, &by, meant)?.hash.to_vec();
                let approved = proto::MetricVersionApproved { version, hash, comment, by, at: now };
                Ok(vec![Event::Approved(approved)])
            }
            Command::Activate { by, version } => {
                if versions.live().is_some_and(|it| it.0 == version) {
                    return Ok(Vec::new());
                }
                let hash = versions.may_activate(version)?.hash.to_vec();
                let document = state.documents.get(&version).cloned();
                Ok(vec![Event::Activated(proto::MetricVersionActivated {
                    version,
                    document,
                    hash,
                    by,
                    at: now,
                })])
            }
            Command::Retire { by, version, reason } => {
                let stands = versions.get(version).map(|it| it.state);
                if stands == Some(Stage::Retired) {
                    return Ok(Vec::new());
                }
                versions.may_retire(version)?;
                let retired = proto::MetricVersionRetired { version, reason, by, at: now };
                Ok(vec![Event::Retired(retired)])
            }
            Command::SetTarget { target, judge_at } => set_target(state, *target, judge_at),
            Command::RemoveTarget { target } => remove_target(state, &target),
            Command::Judge { tenant, metric, judged } => Ok(judge(state, &tenant, &metric, judged)),
            Command::Clear { alert_id } => clear(state, &alert_id),
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        let time = |at: &Option<prost_types::Timestamp>| instant(at.as_ref()).unwrap_or_default();
        let versions = &mut state.versions;
        match event {
            Event::Drafted(it) => {
                let hash = hash_from(&it.hash).unwrap_or_default();
                // A document with findings is never saved, so what is saved is checked.
                versions.drafted(it.version, &it.by, hash, time(&it.at));
                versions.checked(it.version, hash, time(&it.at));
                state.documents.insert(it.version, it.document.clone().unwrap_or_default());
            }
            Event::Approved(it) => versions.approved(it.version, &it.by, time(&it.at)),
            Event::Activated(it) => versions.activated(it.version, time(&it.at)),
            Event::Retired(it) => versions.retired(it.version, time(&it.at)),
            Event::TargetSet(it) => {
                let target = it.target.clone().unwrap_or_default();
                if it.removed {
                    state.targets.remove(&target.target);
                } else {
                    let watched = Watched { target: target.clone(), ..Watched::default() };
                    state.targets.insert(target.target, watched);
                }
            }
            Event::TargetJudged(it) => {
                if let Some(watched) = state.targets.get_mut(&it.target) {
                    watched.judged.insert(time(&it.bucket), said(it));
                    while watched.judged.len() > REMEMBERED {
                        watched.judged.pop_first();
                    }
                }
            }
            Event::AlertRaised(it) => {
                state.alerts += 1;
                if let Some(watched) = state.targets.get_mut(&it.target) {
                    watched.alert = Some(it.alert_id.clone());
                }
            }
            Event::AlertCleared(it) => {
                if let Some(watched) = state.targets.get_mut(&it.target) {
                    watched.alert = None;
                }
            }
        }
        state
    }
}

/// Whether the version was approved already by this person: a repeat without the request id is harmless.
fn is_approved_by(versions: &Versions, version: u32, by: &str) -> bool {
    let approved = [Stage::Approved, Stage::Live, Stage::Retired];
    (versions.get(version))
        .is_some_and(|it| approved.contains(&it.state) && it.approved_by.as_deref() == Some(by))
}

fn set_target(
    state: &State,
    target: proto::Target,
    judge_at: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let known = state.targets.get(&target.target);
    if known.is_some_and(|it| it.target == target) {
        return Ok(Vec::new());
    }
    if known.is_none() && state.targets.len() >= MOST_TARGETS {
        return Err(Refusal::TooManyTargets { most: MOST_TARGETS });
    }
    let cleared = known.and_then(|it| cleared(it, "target_changed"));
    let set = proto::TargetSet {
        target: Some(target),
        removed: false,
        judge_at: Some(judge_at.to_proto()),
    };
    Ok(cleared.into_iter().chain([Event::TargetSet(set)]).collect())
}

fn remove_target(state: &State, target: &str) -> Result<Vec<Event>, Refusal> {
    let known = state.targets.get(target).ok_or(Refusal::UnknownTarget)?;
    let set =
        proto::TargetSet { target: Some(known.target.clone()), removed: true, judge_at: None };
    Ok(cleared(known, "target_changed").into_iter().chain([Event::TargetSet(set)]).collect())
}

fn cleared(watched: &Watched, cause: &str) -> Option<Event> {
    let alert_id = watched.alert.clone()?;
    let target = watched.target.target.clone();
    Some(Event::AlertCleared(proto::AlertCleared { alert_id, target, cause: cause.to_owned() }))
}

/// What a judgement says; none when it is silent, empty when the target is met.
fn said(judged: &proto::TargetJudged) -> Option<String> {
    (!judged.silent).then(|| judged.cause.clone())
}

/// Each bucket that was not judged before, or now with another outcome, is told; an alert is raised when none stands and
/// cleared as soon as a bucket meets the target; one of which nothing can be said does neither. The last one is always
/// told: it states the next timer.
fn judge(
    state: &State,
    tenant: &str,
    metric: &str,
    judged: Vec<proto::TargetJudged>,
) -> Vec<Event> {
    let mut state = state.clone();
    let mut events = Vec::new();
    let last = judged.len().saturating_sub(1);
    for (index, it) in judged.into_iter().enumerate() {
        let Some(watched) = state.targets.get(&it.target) else { continue };
        let bucket = instant(it.bucket.as_ref()).unwrap_or_default();
        let same = watched.judged.get(&bucket) == Some(&said(&it));
        let first = !watched.judged.contains_key(&bucket);
        // The bucket before the first one is nobody's news.
        if index < last && (same || first) {
            continue;
        }
        let mut told = Vec::new();
        match said(&it).as_deref() {
            None => {}
            Some("") => told.extend(cleared(watched, "met")),
            Some(_) if watched.alert.is_some() => {}
            Some(_) => told.push(Event::AlertRaised(raised(tenant, metric, state.alerts, &it))),
        }
        told.insert(0, Event::TargetJudged(it));
        state = told.iter().fold(state, Metric::evolve);
        events.extend(told);
    }
    events
}

fn raised(
    tenant: &str,
    metric: &str,
    number: u64,
    judged: &proto::TargetJudged,
) -> proto::AlertRaised {
    let bucket = instant(judged.bucket.as_ref()).unwrap_or_default();
    let parts = [tenant, metric, &judged.target, &bucket.0.to_string(), &number.to_string()];
    proto::AlertRaised {
        alert_id: derive_id("alt", &parts),
        target: judged.target.clone(),
        cause: judged.cause.clone(),
        bucket: judged.bucket,
        value: judged.value,
        n: judged.n,
        definition_hash: judged.definition_hash.clone(),
        positions: judged.positions.clone(),
    }
}

fn clear(state: &State, alert_id: &str) -> Result<Vec<Event>, Refusal> {
    let standing = state.targets.values().find(|it| it.alert.as_deref() == Some(alert_id));
    match standing {
        Some(watched) => Ok(cleared(watched, "by_hand").into_iter().collect()),
        // It was raised once, or the caller would not know its metric.
        None if state.alerts > 0 => Ok(Vec::new()),
        None => Err(Refusal::UnknownAlert),
    }
}

#[cfg(test)]
mod tests;
