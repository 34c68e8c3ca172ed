//! A journey's versions and what each of them lets happen.
//!
//! ```text
//! DRAFT → CHECKED → APPROVED → LIVE ⇄ PAUSED
//!                               │  └ another version goes live, or drain ┐
//!                               └──────────────→ DRAINING ⇄ PAUSED ──────┴→ RETIRED
//! ```

use std::collections::BTreeMap;

use authored::version::{self, Draft, Versions, hash_from};
use eventstore::{Decider, Timestamp};
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::TimerMode;
use rapport_proto::journeys::v1::journey_event::Event;
use rapport_proto::types::{VersionInfo, VersionState};

use super::instant;

/// The aggregate; stream `journey/<id>`.
pub(crate) enum Journey {}

/// What can be wished of a journey. `actor` is who wishes it.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Draft {
        journey: Box<proto::Journey>,
        hash: [u8; 32],
        actor: String,
    },
    /// Its check found nothing.
    Check {
        version: u32,
        positions: BTreeMap<String, u64>,
    },
    Approve {
        version: u32,
        hash: Option<Vec<u8>>,
        comment: String,
        actor: String,
    },
    Publish {
        version: u32,
    },
    Pause {
        version: u32,
        timers: TimerMode,
        reason: String,
    },
    Resume {
        version: u32,
    },
    Drain {
        version: u32,
        reason: String,
    },
    Retire {
        version: u32,
        reason: String,
    },
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no such journey or version")]
    Unknown,
    #[error(transparent)]
    Version(#[from] version::Refusal),
    #[error("version {0} is live already")]
    AlreadyLive(u32),
    #[error("version {0} is not approved")]
    NotApproved(u32),
    #[error("version {version} is {state}; it needs to be {needs}")]
    WrongState { version: u32, state: &'static str, needs: &'static str },
}

/// What a version that went live once lets happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Parties may enter, unless it is paused.
    pub(crate) enters: bool,
    pub(crate) paused: Option<Pause>,
    pub(crate) retired_at: Option<Timestamp>,
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) timers: TimerMode,
    pub(crate) reason: String,
    pub(crate) at: Timestamp,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) versions: Versions,
    pub(crate) definitions: BTreeMap<u32, proto::Journey>,
    pub(crate) standing: BTreeMap<u32, Standing>,
}

impl State {
    /// The version that lets parties in now.
    pub(crate) fn entering(&self) -> Option<u32> {
        let enters = |it: &Standing| it.enters && it.paused.is_none() && it.retired_at.is_none();
        self.standing.iter().find(|(_, it)| enters(it)).map(|(version, _)| *version)
    }

    /// The version that is in force, paused or not.
    pub(crate) fn live(&self) -> Option<u32> {
        let live = |it: &Standing| it.enters && it.retired_at.is_none();
        self.standing.iter().find(|(_, it)| live(it)).map(|(version, _)| *version)
    }

    /// The version a request means by 0: the one that fits, else the newest.
    pub(crate) fn meant(&self, version: u32, fits: impl Fn(&Standing) -> bool) -> u32 {
        if version > 0 {
            return version;
        }
        let found =
            self.standing.iter().rev().find(|(_, it)| fits(it)).map(|(version, _)| *version);
        found.or_else(|| self.versions.newest().map(|(version, _)| version)).unwrap_or(0)
    }

    /// A version as the API shows it.
    pub(crate) fn info(&self, version: u32) -> Option<VersionInfo> {
        let mut info = self.versions.info(version)?;
        if let Some(standing) = self.standing.get(&version) {
            info.state = standing.state().into();
            info.retire_time = standing.retired_at.map(Timestamp::to_proto);
        }
        Some(info)
    }

    /// Whether a version may go live.
    pub(crate) fn may_publish(&self, version: u32) -> Result<&version::Entry, Refusal> {
        self.versions.get(version).ok_or(Refusal::Unknown)?;
        if self.live() == Some(version) {
            return Err(Refusal::AlreadyLive(version));
        }
        self.versions.may_activate(version).map_err(|_| Refusal::NotApproved(version))
    }

    fn standing(&self, version: u32) -> Result<&Standing, Refusal> {
        let entry = self.versions.get(version).ok_or(Refusal::Unknown)?;
        let draft = entry.state;
        self.standing.get(&version).ok_or(Refusal::WrongState {
            version,
            state: state_name(draft.into()),
            needs: "LIVE",
        })
    }

    /// A version that is not over.
    fn running(&self, version: u32, needs: &'static str) -> Result<&Standing, Refusal> {
        let standing = self.standing(version)?;
        match standing.retired_at {
            None => Ok(standing),
            Some(_) => Err(Refusal::WrongState { version, state: "RETIRED", needs }),
        }
    }
}

impl Standing {
    pub(crate) fn state(&self) -> VersionState {
        match self {
            Self { retired_at: Some(_), .. } => VersionState::Retired,
            Self { paused: Some(_), .. } => VersionState::Paused,
            Self { enters: false, .. } => VersionState::Draining,
            Self { .. } => VersionState::Live,
        }
    }
}

fn state_name(state: VersionState) -> &'static str {
    state.as_str_name().trim_start_matches("VERSION_STATE_")
}

impl Decider for Journey {
    const AGGREGATE: &'static str = "journey";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        let now = Some(at.to_proto());
        match command {
            Command::Draft { journey, hash, actor } => Ok(match state.versions.draft(&hash) {
                Draft::AlreadySo(_) => Vec::new(),
                Draft::New(version) => vec![Event::Drafted(proto::JourneyVersionDrafted {
                    version,
                    journey: Some(*journey),
                    hash: hash.to_vec(),
                    author: actor,
                    drafted_at: now,
                })],
            }),
            Command::Check { version, positions } => {
                let entry = state.versions.may_check(version)?;
                Ok(vec![Event::Checked(proto::JourneyVersionChecked {
                    version,
                    hash: entry.hash.to_vec(),
                    positions,
                    checked_at: now,
                })])
            }
            Command::Approve { version, hash, comment, actor } => {
                let entry = state.versions.may_approve(version, &actor, hash.as_deref())?;
                Ok(vec![Event::Approved(proto::JourneyVersionApproved {
                    version,
                    hash: entry.hash.to_vec(),
                    comment,
                    approver: actor,
                    approved_at: now,
                })])
            }
            Command::Publish { version } => publish(state, version, at),
            Command::Pause { version, timers, reason } => {
                let paused = state.running(version, "LIVE or DRAINING")?.paused.as_ref();
                if paused.is_some_and(|it| it.timers == timers) {
                    return Ok(Vec::new());
                }
                if paused.is_some() {
                    let needs = "LIVE or DRAINING";
                    return Err(Refusal::WrongState { version, state: "PAUSED", needs });
                }
                Ok(vec![Event::Paused(proto::JourneyVersionPaused {
                    version,
                    timers: timers.into(),
                    reason,
                    paused_at: now,
                })])
            }
            Command::Resume { version } => Ok(match &state.running(version, "PAUSED")?.paused {
                None => Vec::new(),
                Some(_) => {
                    vec![Event::Resumed(proto::JourneyVersionResumed { version, resumed_at: now })]
                }
            }),
            Command::Drain { version, reason } => {
                Ok(match state.running(version, "LIVE")?.enters {
                    false => Vec::new(),
                    true => vec![draining(version, reason, at)],
                })
            }
            Command::Retire { version, reason } => Ok(match state.standing(version)?.retired_at {
                Some(_) => Vec::new(),
                None => vec![Event::Retired(proto::JourneyVersionRetired {
                    version,
                    reason,
                    retired_at: now,
                })],
            }),
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        let at = |time: &Option<prost_types::Timestamp>| instant(time.as_ref()).unwrap_or_default();
        match event {
            Event::Drafted(it) => {
                if let (Some(hash), Some(journey)) = (hash_from(&it.hash), &it.journey) {
                    state.versions.drafted(it.version, &it.author, hash, at(&it.drafted_at));
                    state.definitions.insert(it.version, journey.clone());
                }
            }
            Event::Checked(it) => {
                if let Some(hash) = hash_from(&it.hash) {
                    state.versions.checked(it.version, hash, at(&it.checked_at));
                }
            }
            Event::Approved(it) => {
                state.versions.approved(it.version, &it.approver, at(&it.approved_at));
            }
            Event::Activated(it) => {
                state.versions.activated(it.version, at(&it.activated_at));
                for standing in state.standing.values_mut() {
                    standing.enters = false;
                }
                let standing = Standing { enters: true, paused: None, retired_at: None };
                state.standing.insert(it.version, standing);
            }
            Event::Paused(it) => {
                let pause =
                    Pause { timers: it.timers(), reason: it.reason.clone(), at: at(&it.paused_at) };
                if let Some(standing) = state.standing.get_mut(&it.version) {
                    standing.paused = Some(pause);
                }
            }
            Event::Resumed(it) => {
                if let Some(standing) = state.standing.get_mut(&it.version) {
                    standing.paused = None;
                }
            }
            Event::Draining(it) => {
                if let Some(standing) = state.standing.get_mut(&it.version) {
                    standing.enters = false;
                }
            }
            Event::Retired(it) => {
                state.versions.retired(it.version, at(&it.retired_at));
                if let Some(standing) = state.standing.get_mut(&it.version) {
                    standing.enters = false;
                    standing.retired_at = Some(at(&it.retired_at));
                }
            }
        }
        state
    }
}

/// The version before drains: what is in it goes on.
fn publish(state: &State, version: u32, at: Timestamp) -> Result<Vec<Event>, Refusal> {
    let entry = state.may_publish(version)?;
    let before = state.live().map(|before| draining(before, "superseded".to_owned(), at));
    let activated = Event::Activated(proto::JourneyVersionActivated {
        version,
        journey: state.definitions.get(&version).cloned(),
        hash: entry.hash.to_vec(),
        activated_at: Some(at.to_proto()),
    });
    Ok(before.into_iter().chain([activated]).collect())
}

fn draining(version: u32, reason: String, at: Timestamp) -> Event {
    let draining_at = Some(at.to_proto());
    Event::Draining(proto::JourneyVersionDraining { version, reason, draining_at })
}

#[cfg(test)]
mod tests;
