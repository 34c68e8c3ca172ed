//! Everything that decides what is best next: one document per tenant, and the life of its versions. Stream
//! `policy/default`.
//!
//! ```text
//! DRAFT ──simulated on history──▶ SIMULATED ──by a second person──▶ APPROVED ──▶ LIVE ──▶ RETIRED
//! ```

use std::collections::BTreeMap;

use ::authored::version::{self, Draft, Versions};
use eventstore::{Decider, Timestamp};
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::policy_event::Event;

use super::authored::{Step, Turn, approved_by, turn};

pub(crate) mod check;
pub(crate) mod compiled;

/// The one policy of a tenant.
pub(crate) const DEFAULT: &str = "default";

/// The aggregate.
pub(crate) enum Policy {}

/// What can be wished of a policy.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Save a version.
    Draft { by: Step, policy: Box<proto::Policy>, hash: [u8; 32] },
    /// Note what a simulation found.
    Simulate { by: Step, version: u32, summary: Box<proto::SimulationSummary> },
    /// Approve what was simulated.
    Approve { by: Step, version: u32, hash: Option<[u8; 32]>, comment: String },
    /// Put it in force.
    Activate { by: Step, version: u32 },
    /// End it.
    Retire { by: Step, version: u32, reason: String },
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Life(#[from] version::Refusal),
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) versions: Versions,
    pub(crate) documents: BTreeMap<u32, proto::Policy>,
}

impl Decider for Policy {
    const AGGREGATE: &'static str = "policy";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
        let versions = &state.versions;
        let standing = |version| versions.get(version).map(|it| it.state);
        match command {
            Command::Draft { by, policy, hash } => Ok(match versions.draft(&hash) {
                Draft::AlreadySo(_) => Vec::new(),
                Draft::New(version) => vec![Event::Drafted(proto::PolicyVersionDrafted {
                    version,
                    policy: Some(*policy),
                    hash: hash.to_vec(),
                    step: by.to_proto(),
                })],
            }),
            Command::Simulate { by, version, summary } => {
                let entry = versions.may_check(version)?;
                Ok(vec![Event::Simulated(proto::PolicyVersionSimulated {
                    version,
                    hash: entry.hash.to_vec(),
                    summary: Some(*summary),
                    step: by.to_proto(),
                })])
            }
            Command::Approve { by, version, hash, comment } => {
                if approved_by(versions, version, &by.by) {
                    return Ok(Vec::new());
                }
                let meant = hash.as_ref().map(<[u8; 32]>::as_slice);
                let entry = versions.may_approve(version, &by.by, meant)?;
                Ok(vec![Event::Approved(proto::PolicyVersionApproved {
                    version,
                    hash: entry.hash.to_vec(),
                    comment,
                    step: by.to_proto(),
                })])
            }
            Command::Activate { by, version } => {
                if standing(version) == Some(version::State::Live) {
                    return Ok(Vec::new());
                }
                let entry = versions.may_activate(version)?;
                Ok(vec![Event::Activated(proto::PolicyVersionActivated {
                    version,
                    policy: state.documents.get(&version).cloned(),
                    hash: entry.hash.to_vec(),
                    step: by.to_proto(),
                })])
            }
            Command::Retire { by, version, reason } => {
                if standing(version) == Some(version::State::Retired) {
                    return Ok(Vec::new());
                }
                versions.may_retire(version)?;
                let step = by.to_proto();
                Ok(vec![Event::Retired(proto::PolicyVersionRetired { version, reason, step })])
            }
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        let versions = &mut state.versions;
        match event {
            Event::Drafted(it) => {
                turn(versions, it.version, it.step.as_ref(), &Turn::Drafted(&it.hash));
                state.documents.insert(it.version, it.policy.clone().unwrap_or_default());
            }
            Event::Simulated(it) => {
                turn(versions, it.version, it.step.as_ref(), &Turn::Checked(&it.hash));
            }
            Event::Approved(it) => turn(versions, it.version, it.step.as_ref(), &Turn::Approved),
            Event::Activated(it) => turn(versions, it.version, it.step.as_ref(), &Turn::Activated),
            Event::Retired(it) => turn(versions, it.version, it.step.as_ref(), &Turn::Retired),
        }
        state
    }
}

#[cfg(test)]
mod tests;
