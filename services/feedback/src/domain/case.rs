//! Something to be resolved for a customer, against a business calendar.
//!
//! ```text
//! OPEN → RESPONDED → RESOLVED ⇄ REOPENED        beside it: PAUSED(reason), in which the clocks stand
//! ```
//!
//! Two clocks run from the opening: one of business time, one of the wall. They stand in a pause and when the case is
//! resolved, and go on where they stood. A target is missed when its time comes and what it promised has not happened;
//! it is noted once, by a timer or by whatever comes first after it.

use std::collections::BTreeSet;

use eventstore::{About, Decider, Timestamp};
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::case_event::Event;

use super::promise::Promise;
use super::{instant, later};

pub(crate) use rapport_proto::feedback::v1::case::State as Status;

/// Targets as events name them.
pub(crate) const FIRST_RESPONSE: &str = "first_response";
pub(crate) const RESOLUTION: &str = "resolution";
/// What cases are processed for.
const PURPOSE: &str = "SERVICE";

/// The aggregate; stream `case/cas_…`.
pub(crate) enum Case {}

/// What can be wished of a case.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Open it; when it is due is decided here.
    Open(Box<proto::CaseOpened>),
    Respond,
    Pause {
        reason: String,
    },
    Resume,
    Resolve {
        outcome: String,
    },
    Reopen {
        reason: String,
    },
    /// The time of a target has come.
    Breach {
        target: &'static str,
    },
}

/// Why a wish was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the case is not known")]
    Unknown,
    #[error("the case is resolved")]
    Resolved,
    #[error("the case is not resolved")]
    NotResolved,
    #[error("the clocks of the case stand already, for another reason")]
    Paused,
    #[error("the case was resolved with another outcome")]
    OtherOutcome,
    #[error("the calendar of the case cannot be read")]
    Calendar,
}

/// Time that counts, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// Of business time.
    pub(crate) worked: i64,
    /// Of the wall.
    pub(crate) elapsed: i64,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) status: Status,
    pub(crate) opened: proto::CaseOpened,
    /// Reason of the pause; none: not paused.
    pub(crate) paused: Option<String>,
    pub(crate) responded: bool,
    pub(crate) respond_by: Option<Timestamp>,
    pub(crate) resolve_by: Option<Timestamp>,
    pub(crate) breached: BTreeSet<String>,
    pub(crate) outcome: String,
    /// Until the clocks last stood.
    counted: Clocks,
    /// Since when they run again; none: they stand.
    runs_since: Option<Timestamp>,
}

impl State {
    fn promise(&self) -> Result<Promise, Refusal> {
        let (calendar, sla) = (self.opened.calendar.as_ref(), self.opened.sla.as_ref());
        // It was read when the case was opened: only other zone data can have made it unreadable.
        Promise::read(calendar, sla).map_err(|_| Refusal::Calendar)
    }

    /// What the clocks show.
    pub(crate) fn clocks(&self, at: Timestamp) -> Result<Clocks, Refusal> {
        let Some(since) = self.runs_since else { return Ok(self.counted) };
        Ok(Clocks {
            worked: self.counted.worked + self.promise()?.calendar.between(since, at),
            elapsed: self.counted.elapsed + (at.0 - since.0).max(0),
        })
    }

    /// When a target that was not missed yet is due.
    fn due(&self, target: &str) -> Option<Timestamp> {
        let due = if target == FIRST_RESPONSE { self.respond_by } else { self.resolve_by };
        due.filter(|_| !self.breached.contains(target))
    }

    /// Targets whose time has passed unnoticed.
    fn missed(&self, at: Timestamp) -> Vec<Event> {
        let due = [FIRST_RESPONSE, RESOLUTION].map(|target| Some((target, self.due(target)?)));
        let missed = due.into_iter().flatten().filter(|(_, due)| *due < at);
        missed.map(|(target, due)| self.breach(target, due)).collect()
    }

    fn breach(&self, target: &str, due_at: Timestamp) -> Event {
        Event::Breached(proto::CaseBreached {
            case_id: self.opened.case_id.clone(),
            target: target.to_owned(),
            due_at: Some(due_at.to_proto()),
        })
    }

    fn respond(&self, clocks: Clocks) -> Option<Event> {
        let responded = proto::CaseResponded {
            case_id: self.opened.case_id.clone(),
            business_seconds: seconds(clocks.worked),
        };
        (!self.responded).then_some(Event::Responded(responded))
    }

    /// When targets that are neither met nor missed are due, if the clocks run again from here.
    fn due_from(&self, at: Timestamp) -> Result<[Option<prost_types::Timestamp>; 2], Refusal> {
        let promise = self.promise()?;
        let due = |target: &str, micros: Option<i64>| {
            let left = micros?.checked_sub(self.counted.worked)?;
            let open = left > 0 && !self.breached.contains(target);
            open.then(|| promise.calendar.after(at, left)).flatten().map(Timestamp::to_proto)
        };
        let first_response = promise.first_response.filter(|_| !self.responded);
        Ok([due(FIRST_RESPONSE, first_response), due(RESOLUTION, promise.resolution)])
    }

    fn running(&self) -> Result<(), Refusal> {
        match self.status {
            Status::Unspecified => Err(Refusal::Unknown),
            Status::Resolved => Err(Refusal::Resolved),
            Status::Open | Status::Responded | Status::Reopened => Ok(()),
        }
    }
}

/// Whole seconds.
pub(crate) fn seconds(micros: i64) -> i64 {
    micros.div_euclid(1_000_000)
}

impl Decider for Case {
    const AGGREGATE: &'static str = "case";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        let case_id = state.opened.case_id.clone();
        match command {
            Command::Open(opened) => open(state, *opened, at),
            Command::Respond => {
                state.running()?;
                let mut events = state.missed(at);
                events.extend(state.respond(state.clocks(at)?));
                Ok(if state.responded { Vec::new() } else { events })
            }
            Command::Pause { reason } => {
                state.running()?;
                match &state.paused {
                    Some(paused) if *paused == reason => return Ok(Vec::new()),
                    Some(_) => return Err(Refusal::Paused),
                    None => {}
                }
                let clocks = state.clocks(at)?;
                let mut events = state.missed(at);
                events.push(Event::Paused(proto::CasePaused {
                    case_id,
                    reason,
                    paused_at: Some(at.to_proto()),
                    worked_micros: clocks.worked,
                    elapsed_micros: clocks.elapsed,
                }));
                Ok(events)
            }
            Command::Resume => {
                state.running()?;
                if state.paused.is_none() {
                    return Ok(Vec::new());
                }
                let [respond_by, resolve_by] = state.due_from(at)?;
                let resumed_at = Some(at.to_proto());
                let resumed = proto::CaseResumed { case_id, respond_by, resolve_by, resumed_at };
                Ok(vec![Event::Resumed(resumed)])
            }
            Command::Resolve { outcome } => {
                match state.running() {
                    Err(Refusal::Resolved) if state.outcome == outcome => return Ok(Vec::new()),
                    Err(Refusal::Resolved) => return Err(Refusal::OtherOutcome),
                    other => other?,
                }
                let clocks = state.clocks(at)?;
                let mut events = state.missed(at);
                events.extend(state.respond(clocks));
                events.push(Event::Resolved(proto::CaseResolved {
                    case_id,
                    outcome,
                    business_seconds: seconds(clocks.worked),
                    elapsed_seconds: seconds(clocks.elapsed),
                    worked_micros: clocks.worked,
                    elapsed_micros: clocks.elapsed,
                }));
                Ok(events)
            }
            Command::Reopen { reason } => match state.status {
                Status::Unspecified => Err(Refusal::Unknown),
                Status::Reopened => Ok(Vec::new()),
                Status::Open | Status::Responded => Err(Refusal::NotResolved),
                Status::Resolved => {
                    let [_, resolve_by] = state.due_from(at)?;
                    let reopened_at = Some(at.to_proto());
                    let it = proto::CaseReopened { case_id, reason, resolve_by, reopened_at };
                    Ok(vec![Event::Reopened(it)])
                }
            },
            Command::Breach { target } => {
                let due = state.due(target).filter(|it| *it <= at);
                Ok(due.map(|due| state.breach(target, due)).into_iter().collect())
            }
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Opened(it) => {
                state.status = Status::Open;
                state.opened = it.clone();
                state.respond_by = instant(it.respond_by.as_ref());
                state.resolve_by = instant(it.resolve_by.as_ref());
                state.runs_since = instant(it.opened_at.as_ref());
            }
            Event::Responded(_) => {
                if state.status == Status::Open {
                    state.status = Status::Responded;
                }
                state.responded = true;
                state.respond_by = None;
            }
            Event::Paused(it) => {
                state.paused = Some(it.reason.clone());
                state.stand(it.worked_micros, it.elapsed_micros);
            }
            Event::Resumed(it) => {
                state.paused = None;
                state.respond_by = instant(it.respond_by.as_ref());
                state.resolve_by = instant(it.resolve_by.as_ref());
                state.runs_since = instant(it.resumed_at.as_ref());
            }
            Event::Resolved(it) => {
                state.status = Status::Resolved;
                state.paused = None;
                state.outcome.clone_from(&it.outcome);
                state.stand(it.worked_micros, it.elapsed_micros);
            }
            Event::Reopened(it) => {
                state.status = Status::Reopened;
                state.outcome.clear();
                state.resolve_by = instant(it.resolve_by.as_ref());
                state.runs_since = instant(it.reopened_at.as_ref());
            }
            Event::Breached(it) => {
                state.breached.insert(it.target.clone());
            }
        }
        state
    }

    fn about(_: &str, state: &State, _: &Event) -> About {
        About {
            party_id: state.opened.party_id.clone(),
            market: state.opened.market.clone(),
            purpose: PURPOSE.to_owned(),
            ..About::default()
        }
    }
}

impl State {
    /// The clocks stand, showing this.
    fn stand(&mut self, worked: i64, elapsed: i64) {
        self.counted = Clocks { worked, elapsed };
        self.runs_since = None;
        self.respond_by = None;
        self.resolve_by = None;
    }
}

fn open(state: &State, opened: proto::CaseOpened, at: Timestamp) -> Result<Vec<Event>, Refusal> {
    if state.status != Status::Unspecified {
        return Ok(Vec::new());
    }
    let promise = Promise::read(opened.calendar.as_ref(), opened.sla.as_ref())
        .map_err(|_| Refusal::Calendar)?;
    let due = |micros: Option<i64>| {
        micros.map(|it| promise.calendar.after(at, it).unwrap_or(later(at, it)).to_proto())
    };
    Ok(vec![Event::Opened(proto::CaseOpened {
        respond_by: due(promise.first_response),
        resolve_by: due(promise.resolution),
        opened_at: Some(at.to_proto()),
        ..opened
    })])
}

#[cfg(test)]
mod tests;
