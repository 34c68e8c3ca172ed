//! A country's file and the life of its versions. Stream `rule_pack/<market or archetype>`.
//!
//! ```text
//! DRAFT ──its own tests pass──▶ SIMULATED ──by a second person──▶ APPROVED ──a minute ahead──▶ LIVE ──▶ RETIRED
//! ```

use std::collections::BTreeMap;

use ::authored::version::{self, Draft, Versions};
use eventstore::{About, Decider, Timestamp};
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::rule_pack_event::Event;
use rapport_proto::is_market;

use super::authored::{Step, Turn, approved_by, turn};

/// At least so far ahead a pack is announced: every service has read it when it counts.
pub(crate) const AHEAD: i64 = 60 * 1_000_000;

/// The aggregate.
pub(crate) enum RulePack {}

/// What can be wished of a pack.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Save a version.
    Draft { by: Step, pack: Box<proto::RulePack>, hash: [u8; 32] },
    /// Note that its own tests passed.
    Simulate {
        by: Step,
        version: u32,
        tests: u32,
        unmapped: u32,
        inherited: Vec<proto::PackVersion>,
    },
    /// Approve what was simulated.
    Approve { by: Step, version: u32, hash: Option<[u8; 32]>, comment: String },
    /// Put it in force.
    Activate { by: Step, version: u32, effective_at: Timestamp, inherited: Vec<proto::Inherited> },
    /// End it.
    Retire { by: Step, version: u32, reason: String },
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Life(#[from] version::Refusal),
    #[error("version {version} was not approved")]
    Unsigned { version: u32 },
    #[error("an archetype that version {version} inherits from has changed since it was simulated")]
    ArchetypeChanged { version: u32 },
    #[error("a pack counts a minute after it is activated at the earliest")]
    TooSoon,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) versions: Versions,
    pub(crate) documents: BTreeMap<u32, proto::RulePack>,
    /// Archetypes with which each version was simulated.
    pub(crate) simulated_with: BTreeMap<u32, Vec<proto::PackVersion>>,
    /// Combinations without a line, by version.
    pub(crate) unmapped: BTreeMap<u32, u32>,
    /// Versions that were activated: from when each counts, and whether it was retired by name.
    pub(crate) activated: BTreeMap<u32, (Timestamp, bool)>,
}

impl State {
    /// Whether a version counts at an instant or will later. Listed as RETIRED, the one before the newest does so until
    /// the newest takes effect.
    fn counts(&self, version: u32, at: Timestamp) -> bool {
        let Some((effective_at, retired)) = self.activated.get(&version) else { return false };
        let replaced = |(other, (from, _)): (&u32, &(Timestamp, bool))| {
            *from <= at && (*from, *other) > (*effective_at, version)
        };
        !retired && !self.activated.iter().any(replaced)
    }
}

impl Decider for RulePack {
    const AGGREGATE: &'static str = "rule_pack";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Draft { by, pack, hash } => Ok(draft(state, &by, *pack, hash)),
            Command::Simulate { by, version, tests, unmapped, inherited } => {
                let entry = simulable(state, version, &inherited)?;
                Ok(vec![Event::Simulated(proto::RulePackSimulated {
                    version,
                    hash: entry.hash.to_vec(),
                    tests,
                    unmapped,
                    inherited,
                    step: by.to_proto(),
                })])
            }
            Command::Approve { by, version, hash, comment } => {
                if approved_by(&state.versions, version, &by.by) {
                    return Ok(Vec::new());
                }
                let meant = hash.as_ref().map(<[u8; 32]>::as_slice);
                let entry = state.versions.may_approve(version, &by.by, meant)?;
                Ok(vec![Event::Approved(proto::RulePackApproved {
                    version,
                    hash: entry.hash.to_vec(),
                    comment,
                    step: by.to_proto(),
                })])
            }
            Command::Activate { by, version, effective_at, inherited } => {
                activate(state, &by, version, effective_at, inherited, at)
            }
            Command::Retire { by, version, reason } => {
                if !state.counts(version, at) {
                    let standing = state.versions.get(version).map(|it| it.state);
                    if standing == Some(version::State::Retired) {
                        return Ok(Vec::new());
                    }
                    state.versions.may_retire(version)?;
                }
                Ok(vec![Event::Retired(proto::RulePackRetired {
                    version,
                    reason,
                    step: by.to_proto(),
                })])
            }
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        let versions = &mut state.versions;
        match event {
            Event::Drafted(it) => {
                turn(versions, it.version, it.step.as_ref(), &Turn::Drafted(&it.hash));
                state.documents.insert(it.version, it.pack.clone().unwrap_or_default());
            }
            Event::Simulated(it) => {
                turn(versions, it.version, it.step.as_ref(), &Turn::Checked(&it.hash));
                state.simulated_with.insert(it.version, it.inherited.clone());
                state.unmapped.insert(it.version, it.unmapped);
            }
            Event::Approved(it) => turn(versions, it.version, it.step.as_ref(), &Turn::Approved),
            Event::Activated(it) => {
                turn(versions, it.version, it.step.as_ref(), &Turn::Activated);
                let effective_at = super::instant(it.effective_at.as_ref()).unwrap_or_default();
                state.activated.insert(it.version, (effective_at, false));
            }
            Event::Retired(it) => {
                turn(versions, it.version, it.step.as_ref(), &Turn::Retired);
                if let Some((_, retired)) = state.activated.get_mut(&it.version) {
                    *retired = true;
                }
            }
        }
        state
    }

    fn about(id: &str, _state: &State, _event: &Event) -> About {
        let market = if is_market(id) { id.to_owned() } else { String::new() };
        About { market, ..About::default() }
    }
}

fn draft(state: &State, by: &Step, pack: proto::RulePack, hash: [u8; 32]) -> Vec<Event> {
    match state.versions.draft(&hash) {
        Draft::AlreadySo(_) => Vec::new(),
        Draft::New(version) => vec![Event::Drafted(proto::RulePackDrafted {
            version,
            pack: Some(pack),
            hash: hash.to_vec(),
            step: by.to_proto(),
        })],
    }
}

/// A version may be simulated until it is approved, and once more when an archetype has changed since: it is then to
/// be approved anew.
fn simulable<'s>(
    state: &'s State,
    version: u32,
    inherited: &[proto::PackVersion],
) -> Result<&'s version::Entry, Refusal> {
    let with = state.simulated_with.get(&version).map(Vec::as_slice);
    match state.versions.get(version) {
        Some(it) if it.state == version::State::Approved && with != Some(inherited) => Ok(it),
        _ => Ok(state.versions.may_check(version)?),
    }
}

fn activate(
    state: &State,
    by: &Step,
    version: u32,
    effective_at: Timestamp,
    inherited: Vec<proto::Inherited>,
    at: Timestamp,
) -> Result<Vec<Event>, Refusal> {
    let entry = state.versions.get(version).ok_or(version::Refusal::UnknownVersion { version })?;
    match entry.state {
        version::State::Live => return Ok(Vec::new()),
        version::State::Draft | version::State::Checked => {
            return Err(Refusal::Unsigned { version });
        }
        version::State::Approved | version::State::Retired => {}
    }
    state.versions.may_activate(version)?;
    if state.simulated_with.get(&version) != Some(&names_of(&inherited)) {
        return Err(Refusal::ArchetypeChanged { version });
    }
    if effective_at < super::later(at, AHEAD) {
        return Err(Refusal::TooSoon);
    }
    let document = state.documents.get(&version).cloned().unwrap_or_default();
    Ok(vec![Event::Activated(proto::RulePackActivated {
        market: document.rule_pack.clone(),
        version,
        hash: entry.hash.to_vec(),
        document: Some(document),
        inherited,
        effective_at: Some(effective_at.to_proto()),
        step: by.to_proto(),
    })])
}

/// The versions of archetypes.
pub(crate) fn names_of(inherited: &[proto::Inherited]) -> Vec<proto::PackVersion> {
    let name =
        |it: &proto::Inherited| proto::PackVersion { pack: it.pack.clone(), version: it.version };
    inherited.iter().map(name).collect()
}

#[cfg(test)]
mod tests;
