//! A survey's versions. A draft is checked whole before it is saved, so every version is CHECKED at once:
//!
//! ```text
//! CHECKED → APPROVED → LIVE → RETIRED
//! ```

mod check;

use std::collections::BTreeMap;

use authored::calendar;
use authored::version::{self, Draft, Versions, hash_from};
use eventstore::{Decider, Timestamp};
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::survey_event::Event;

use super::instant;

pub(crate) use check::{check, scale};

/// How long between two invitations of a family, and between any two, unless the survey says otherwise.
const FAMILY_GAP: &str = "90d";
const GLOBAL_GAP: &str = "14d";
/// How long an invitation may be answered, unless the survey says otherwise.
const ANSWER_WITHIN: &str = "14d";

/// The aggregate; stream `survey/<id>`.
pub(crate) enum Survey {}

/// What can be wished of a survey. `actor` is who wishes it.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Draft { document: Box<proto::Survey>, hash: [u8; 32], actor: String },
    Approve { version: u32, hash: Option<Vec<u8>>, comment: String, actor: String },
    Activate { version: u32 },
    Retire { version: u32, reason: String },
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) versions: Versions,
    pub(crate) documents: BTreeMap<u32, proto::Survey>,
}

impl State {
    /// The version in force.
    pub(crate) fn live(&self) -> Option<(u32, &proto::Survey)> {
        let (version, _) = self.versions.live()?;
        Some((version, self.documents.get(&version)?))
    }

    /// The version a reader means by 0: the live one, else the newest.
    pub(crate) fn shown(&self, version: u32) -> u32 {
        if version > 0 {
            return version;
        }
        let live = self.versions.live().or_else(|| self.versions.newest());
        live.map_or(0, |(version, _)| version)
    }
}

/// The least time between two invitations, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gaps {
    pub(crate) family: i64,
    pub(crate) global: i64,
}

impl Gaps {
    pub(crate) fn of(survey: &proto::Survey) -> Self {
        let cooldown = survey.cooldown.clone().unwrap_or_default();
        let family = duration(&cooldown.family, FAMILY_GAP);
        Self { family, global: duration(&cooldown.global, GLOBAL_GAP) }
    }
}

/// How long an invitation may be answered after it was issued, in microseconds.
pub(crate) fn answer_within(survey: &proto::Survey) -> i64 {
    duration(&survey.answer_within, ANSWER_WITHIN)
}

/// A duration that was checked when the survey was saved.
fn duration(text: &str, default: &str) -> i64 {
    let text = if text.is_empty() { default } else { text };
    calendar::duration(text).unwrap_or_default()
}

impl Decider for Survey {
    const AGGREGATE: &'static str = "survey";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = version::Refusal;

    fn decide(
        state: &State,
        command: Command,
        at: Timestamp,
    ) -> Result<Vec<Event>, version::Refusal> {
        let now = Some(at.to_proto());
        Ok(match command {
            Command::Draft { document, hash, actor } => match state.versions.draft(&hash) {
                Draft::AlreadySo(_) => Vec::new(),
                Draft::New(version) => vec![Event::Drafted(proto::SurveyVersionDrafted {
                    version,
                    document: Some(*document),
                    hash: hash.to_vec(),
                    author: actor,
                    drafted_at: now,
                })],
            },
            Command::Approve { version, hash, comment, actor } => {
                let entry = state.versions.may_approve(version, &actor, hash.as_deref())?;
                vec![Event::Approved(proto::SurveyVersionApproved {
                    version,
                    hash: entry.hash.to_vec(),
                    comment,
                    approver: actor,
                    approved_at: now,
                })]
            }
            Command::Activate { version } => {
                if state.versions.live().is_some_and(|(live, _)| live == version) {
                    return Ok(Vec::new());
                }
                let entry = state.versions.may_activate(version)?;
                vec![Event::Activated(proto::SurveyVersionActivated {
                    version,
                    document: state.documents.get(&version).cloned(),
                    hash: entry.hash.to_vec(),
                    activated_at: now,
                })]
            }
            Command::Retire { version, reason } => {
                let entry = state.versions.get(version);
                if entry.is_some_and(|it| it.state == version::State::Retired) {
                    return Ok(Vec::new());
                }
                state.versions.may_retire(version)?;
                let retired = proto::SurveyVersionRetired { version, reason, retired_at: now };
                vec![Event::Retired(retired)]
            }
        })
    }

    fn evolve(mut state: State, event: &Event) -> State {
        let at = |time: &Option<prost_types::Timestamp>| instant(time.as_ref()).unwrap_or_default();
        match event {
            Event::Drafted(it) => {
                if let (Some(hash), Some(document)) = (hash_from(&it.hash), &it.document) {
                    let at = at(&it.drafted_at);
                    state.versions.drafted(it.version, &it.author, hash, at);
                    state.versions.checked(it.version, hash, at);
                    state.documents.insert(it.version, document.clone());
                }
            }
            Event::Approved(it) => {
                state.versions.approved(it.version, &it.approver, at(&it.approved_at));
            }
            Event::Activated(it) => state.versions.activated(it.version, at(&it.activated_at)),
            Event::Retired(it) => state.versions.retired(it.version, at(&it.retired_at)),
        }
        state
    }
}

#[cfg(test)]
mod tests;
