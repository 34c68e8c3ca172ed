//! One party's way through one version of a journey.
//!
//! ```text
//! RUNNING → WAITING ⇄ PAUSED
//!              └→ COMPLETED(outcome) | EXITED(rule) | EJECTED(reason)
//! ```
//!
//! An instance stands at one node and waits for one thing there: an instant, an interaction, a decision, a touch, an
//! invitation. What other services report is written down as a wake ([`Event::Woken`]); a worker reads facts and lets
//! [`walk`] go on from there. A wake that names an interaction or an outcome stays open until the instance moves.
//!
//! **What comes early.** A decision, a touch or a question takes a while to settle, and workers take a while to look. An
//! instance hears what happens meanwhile as if none of that took any time: an interaction that a wait may want which is
//! to be reached without another wait is kept ([`walk::KEPT`]), and on entering such a wait the oldest that fits is
//! taken. What is kept stands in line by the instant at which it was recorded; a wait that ends takes from the line
//! everything up to what ended it: its timer's instant, or the interaction that matched.

pub(crate) mod reading;
pub(crate) mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use eventstore::{About, Decider, Timestamp};
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::TimerMode;
use rapport_proto::journeys::v1::instance_event::Event;
use rapport_proto::types::{Channel, Clear};

use self::reading::Reading;
use super::{Heard, instant, recorded_at};
use crate::graph::Graph;

/// How long a decision is tried.
pub(crate) const PATIENCE: i64 = 3_600 * 1_000_000;

/// The aggregate; stream `instance/ins_…`.
pub(crate) enum Instance {}

/// What can be wished of an instance.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Begin, walk to the first wait, and hear what happened since it was asked for.
    Start {
        started: Box<proto::InstanceStarted>,
        heard: Vec<proto::InstanceWoken>,
        step: Step,
    },
    /// Write down what one event means, in as many ways as it does.
    Wake(Vec<proto::InstanceWoken>),
    /// Go on.
    Go {
        input: Input,
        step: Step,
    },
    Pause {
        timers: TimerMode,
        reason: String,
        paused_at: Timestamp,
    },
    Resume,
    Eject {
        reason: String,
    },
}

/// What a step needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) tenant: String,
    pub(crate) graph: Arc<Graph>,
    pub(crate) reading: Arc<Reading>,
}

/// Why an instance goes on.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// It was woken, or its time has come: both are looked at, in the order of their instants.
    Look,
    /// Decisioning answered.
    Answered(Box<Answer>),
    /// Somebody asks whether it may still speak: exit criteria only.
    Check,
}

/// What decisioning answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Decided(Decision, BTreeMap<String, u64>),
    Unavailable(String),
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) decision_id: String,
    /// `DO_NOTHING` for nothing.
    pub(crate) action: String,
    pub(crate) treatment: String,
    pub(crate) module: String,
    pub(crate) channel: Channel,
    pub(crate) expires_at: Option<Timestamp>,
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no such instance")]
    Unknown,
    #[error("the instance ended")]
    Ended,
}

/// Where an instance stands in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Life {
    #[default]
    Unknown,
    Running,
    Completed,
    Exited,
    Ejected,
}

/// What an instance waits for at its node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wait {
    pub(crate) node: String,
    pub(crate) visit: u32,
    /// The timer; absent: it has none.
    pub(crate) due_at: Option<Timestamp>,
    /// From when a local rule looks.
    pub(crate) began_at: Option<Timestamp>,
    pub(crate) for_what: For,
}

/// What it is that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// An instant, or an interaction until then.
    Time,
    /// A decision, tried until then.
    Decision { gives_up_at: Timestamp },
    /// A touch.
    Touch(String),
    /// An invitation.
    Invitation(String),
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) life: Life,
    pub(crate) started: Option<proto::InstanceStarted>,
    /// Node at which it stands or ended.
    pub(crate) node: String,
    pub(crate) wait: Option<Wait>,
    pub(crate) paused: Option<Paused>,
    pub(crate) visits: BTreeMap<String, u32>,
    pub(crate) arms: BTreeMap<String, String>,
    pub(crate) decisions: BTreeMap<String, Decision>,
    /// Node of the last decision.
    pub(crate) decided_at: Option<String>,
    /// Last touch of each node.
    pub(crate) touches: BTreeMap<String, String>,
    /// Properties of the interaction that matched last.
    pub(crate) event: BTreeMap<String, Clear>,
    pub(crate) goals: BTreeSet<String>,
    /// Wakes that were not handled, oldest first.
    pub(crate) open: Vec<proto::InstanceWoken>,
    /// Interactions that a wait may want which is still to be reached, in line; at most [`walk::MOST_KEPT`].
    pub(crate) kept: Vec<proto::InstanceWoken>,
    /// Events that woke it.
    heard: Heard,
    /// Outcome, exit rule or reason of the end.
    pub(crate) outcome: String,
}

/// A pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paused {
    pub(crate) timers: TimerMode,
    pub(crate) at: Timestamp,
}

impl State {
    /// An instance that is asked for, as far as it can be told what it would hear.
    pub(crate) fn asked_for(requested: &proto::InstanceEntryRequested, graph: &Graph) -> Self {
        let started = proto::InstanceStarted {
            entry: requested.entry.clone(),
            started_at: requested.cause.as_ref().and_then(|it| it.recorded_at),
            cause: requested.cause.clone(),
            ..Default::default()
        };
        Self {
            life: Life::Running,
            started: Some(started),
            node: graph.start.clone(),
            ..Self::default()
        }
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.life, Life::Completed | Life::Exited | Life::Ejected)
    }

    /// How it ended, as the entry's stream has it.
    pub(crate) fn ended_how(&self) -> Option<&'static str> {
        match self.life {
            Life::Unknown | Life::Running => None,
            Life::Completed => Some("completed"),
            Life::Exited => Some("exited"),
            Life::Ejected => Some("ejected"),
        }
    }

    /// The facts of its beginning; empty before.
    pub(crate) fn start(&self) -> proto::InstanceStarted {
        self.started.clone().unwrap_or_default()
    }

    /// The touch it waits for.
    pub(crate) fn awaited_touch(&self) -> Option<&str> {
        match self.wait.as_ref().map(|it| &it.for_what) {
            Some(For::Touch(touch_id)) => Some(touch_id),
            _ => None,
        }
    }

    /// The touch or the invitation it waits for.
    pub(crate) fn awaited(&self) -> Option<&str> {
        match self.wait.as_ref().map(|it| &it.for_what) {
            Some(For::Touch(id) | For::Invitation(id)) => Some(id),
            _ => None,
        }
    }

    /// Positions of the events that wait to be handled: facts that are read must include them.
    pub(crate) fn positions(&self) -> BTreeMap<String, u64> {
        positions(self.open.iter().chain(&self.kept).filter_map(|it| it.cause.as_ref()))
    }

    fn visit(&self, node: &str) -> u32 {
        self.visits.get(node).copied().unwrap_or(0)
    }

    /// It stands at a node and waits.
    fn stands(&mut self, node: &str, visit: u32, due_at: Option<Timestamp>, for_what: For) {
        self.moved(node, visit);
        let node = node.to_owned();
        self.wait = Some(Wait { node, visit, due_at, began_at: None, for_what });
    }

    /// Whatever was open has been handled; what was not is written down again in the same unit.
    fn moved(&mut self, node: &str, visit: u32) {
        node.clone_into(&mut self.node);
        self.visits.insert(node.to_owned(), visit);
        self.wait = None;
        self.open.clear();
    }

    fn ends(&mut self, life: Life, node: &str, outcome: &str) {
        self.life = life;
        if !node.is_empty() {
            node.clone_into(&mut self.node);
        }
        outcome.clone_into(&mut self.outcome);
        self.wait = None;
        self.paused = None;
        self.open.clear();
        self.kept.clear();
    }

    /// A wait ended at an instant: what was recorded until then is behind it.
    fn passed(&mut self, until: Option<Timestamp>) {
        if let Some(until) = until {
            self.kept.retain(|it| recorded_at(it.cause.as_ref()) > until);
        }
    }

    /// A wait ended by an interaction: what stands in line up to it is behind it.
    fn matched(&mut self, cause: Option<&proto::Cause>) {
        self.kept.retain(|it| in_line(it.cause.as_ref()) > in_line(cause));
    }

    /// An interaction waits in line and not for a look.
    fn keep(&mut self, woken: &proto::InstanceWoken) {
        self.open.retain(|it| it.reason != walk::EVENT || it.cause != woken.cause);
        let place = in_line(woken.cause.as_ref());
        if let Err(free) = self.kept.binary_search_by(|it| in_line(it.cause.as_ref()).cmp(&place)) {
            self.kept.insert(free, woken.clone());
        }
    }
}

/// The highest position of each source.
pub(crate) fn positions<'a>(
    causes: impl Iterator<Item = &'a proto::Cause>,
) -> BTreeMap<String, u64> {
    let mut positions = BTreeMap::new();
    for cause in causes {
        let at = positions.entry(cause.source.clone()).or_insert(0);
        *at = cause.position.max(*at);
    }
    positions
}

/// The place of an event in line: by its instant, and by its position among those of an instant.
fn in_line(cause: Option<&proto::Cause>) -> (Timestamp, &str, u64) {
    let (source, position) = cause.map_or(("", 0), |it| (it.source.as_str(), it.position));
    (recorded_at(cause), source, position)
}

impl Decider for Instance {
    const AGGREGATE: &'static str = "instance";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        if let Command::Start { started, heard, step } = command {
            return Ok(match state.life {
                Life::Unknown => walk::start(*started, heard, &step, at),
                _ => Vec::new(),
            });
        }
        if state.life == Life::Unknown {
            return Err(Refusal::Unknown);
        }
        let ended = state.is_ended();
        match command {
            Command::Start { .. } => Ok(Vec::new()),
            Command::Wake(_) | Command::Go { .. } | Command::Pause { .. } | Command::Resume
                if ended =>
            {
                Ok(Vec::new())
            }
            Command::Eject { .. } if ended => Err(Refusal::Ended),
            Command::Wake(mut woken) => {
                woken.retain(|it| !state.heard.knows(it.cause.as_ref()));
                Ok(woken.into_iter().map(Event::Woken).collect())
            }
            Command::Go { input, step } => Ok(walk::go(state, &input, &step, at)),
            Command::Pause { timers, reason, paused_at } => Ok(match state.paused {
                Some(_) => Vec::new(),
                None => vec![pause(state, timers, reason, paused_at)],
            }),
            Command::Resume => {
                Ok(state.paused.map(|paused| resume(state, paused, at)).into_iter().collect())
            }
            Command::Eject { reason } => Ok(vec![Event::Ejected(proto::InstanceEjected {
                reason,
                node: state.node.clone(),
                visit: state.visit(&state.node),
            })]),
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        let at = |time: &Option<prost_types::Timestamp>| instant(time.as_ref());
        match event {
            Event::Started(it) => {
                state.life = Life::Running;
                state.node.clone_from(&it.node);
                state.started = Some(it.clone());
            }
            Event::WaitStarted(it) => {
                state.stands(&it.node, it.visit, at(&it.due_at), For::Time);
                if let Some(wait) = state.wait.as_mut() {
                    wait.began_at = at(&it.began_at);
                }
            }
            Event::TimerFired(it) => {
                state.moved(&it.node, it.visit);
                state.passed(at(&it.due_at));
            }
            Event::EventMatched(it) => {
                state.moved(&it.node, it.visit);
                state.matched(it.cause.as_ref());
                state.event.clone_from(&it.properties);
            }
            Event::TimedOut(it) => {
                state.moved(&it.node, it.visit);
                state.passed(at(&it.due_at));
            }
            Event::Branched(it) => state.moved(&it.node, it.visit),
            Event::Split(it) => {
                state.moved(&it.node, it.visit);
                state.arms.entry(it.node.clone()).or_insert_with(|| it.arm.clone());
            }
            Event::DecisionRequested(it) => {
                let gives_up_at = at(&it.gives_up_at).unwrap_or_default();
                state.stands(&it.node, it.visit, None, For::Decision { gives_up_at });
            }
            Event::Decided(it) => {
                state.moved(&it.node, it.visit);
                state.decisions.remove(&it.node);
                if !it.decision_id.is_empty() {
                    let decision = Decision {
                        decision_id: it.decision_id.clone(),
                        action: it.action.clone(),
                        treatment: it.treatment.clone(),
                        module: it.module.clone(),
                        channel: it.channel(),
                        expires_at: at(&it.expires_at),
                    };
                    state.decisions.insert(it.node.clone(), decision);
                    state.decided_at = Some(it.node.clone());
                }
            }
            Event::TouchRequested(it) => {
                state.stands(&it.node, it.visit, None, For::Touch(it.touch_id.clone()));
                state.touches.insert(it.node.clone(), it.touch_id.clone());
            }
            Event::TouchSettled(it) => state.moved(&it.node, it.visit),
            Event::FeedbackRequested(it) => {
                let invitation = For::Invitation(it.invitation_id.clone());
                state.stands(&it.node, it.visit, at(&it.expires_at), invitation);
            }
            Event::FeedbackSettled(it) => state.moved(&it.node, it.visit),
            Event::AttributeSet(it) => state.moved(&it.node, it.visit),
            Event::GoalReached(it) => {
                state.goals.insert(it.goal.clone());
            }
            Event::Completed(it) => state.ends(Life::Completed, &it.node, &it.outcome),
            Event::Exited(it) => state.ends(Life::Exited, &it.node, &it.rule),
            Event::Ejected(it) => state.ends(Life::Ejected, &it.node, &it.reason),
            Event::Paused(it) => {
                let at = at(&it.paused_at).unwrap_or_default();
                state.paused = Some(Paused { timers: it.timers(), at });
            }
            Event::Resumed(it) => {
                state.paused = None;
                let due_at = at(&it.due_at);
                if let Some(wait) = state.wait.as_mut() {
                    match &mut wait.for_what {
                        For::Decision { gives_up_at } => {
                            *gives_up_at = after(due_at.unwrap_or(*gives_up_at), PATIENCE);
                        }
                        For::Time | For::Invitation(_) => wait.due_at = due_at,
                        For::Touch(_) => {}
                    }
                }
            }
            Event::Migrated(it) => {
                state.node.clone_from(&it.node);
                if let Some(started) = state.started.as_mut() {
                    started.version = it.to_version;
                }
            }
            Event::Woken(it) => woken(&mut state, it),
        }
        state
    }

    fn about(_id: &str, state: &State, event: &Event) -> About {
        let cause = match event {
            Event::Woken(it) => it.cause.as_ref(),
            Event::EventMatched(it) => it.cause.as_ref(),
            Event::GoalReached(it) => it.cause.as_ref(),
            _ => None,
        };
        let started = state.started.as_ref();
        About {
            party_id: started.map(|it| it.party_id.clone()).unwrap_or_default(),
            market: started.map(|it| it.market.clone()).unwrap_or_default(),
            occurred_at: cause.and_then(|it| instant(it.occurred_at.as_ref())),
            ..About::default()
        }
    }
}

/// A wake that carries nothing says that facts changed: one of them is as good as many.
fn woken(state: &mut State, woken: &proto::InstanceWoken) {
    state.heard.note(woken.cause.as_ref());
    if woken.reason == walk::KEPT {
        return state.keep(woken);
    }
    if woken.reason == walk::CONTINUE {
        state.node.clone_from(&woken.node);
        state.wait = None;
    }
    if woken.reason == walk::FACTS {
        state.open.retain(|it| it.reason != walk::FACTS);
    }
    state.open.push(woken.clone());
}

fn pause(state: &State, timers: TimerMode, reason: String, paused_at: Timestamp) -> Event {
    Event::Paused(proto::InstancePaused {
        timers: timers.into(),
        reason,
        paused_at: Some(paused_at.to_proto()),
        node: state.node.clone(),
        visit: state.wait.as_ref().map_or(0, |it| it.visit),
    })
}

/// Timers that stood still have left what they had left; those that ran are due when they were, or now.
fn resume(state: &State, paused: Paused, at: Timestamp) -> Event {
    let wait = state.wait.as_ref();
    let decides = wait.is_some_and(|it| matches!(it.for_what, For::Decision { .. }));
    let left = |due: Timestamp| match paused.timers {
        TimerMode::Freeze => after(at, due.0.saturating_sub(paused.at.0).max(0)),
        TimerMode::Run | TimerMode::Unspecified => due.max(at),
    };
    let due_at = if decides { Some(at) } else { wait.and_then(|it| it.due_at).map(left) };
    Event::Resumed(proto::InstanceResumed {
        due_at: due_at.map(Timestamp::to_proto),
        node: state.node.clone(),
        visit: wait.map_or(0, |it| it.visit),
        decides,
        touch_id: state.awaited_touch().unwrap_or_default().to_owned(),
    })
}

/// Later by microseconds.
pub(crate) fn after(at: Timestamp, micros: i64) -> Timestamp {
    Timestamp(at.0.saturating_add(micros))
}

#[cfg(test)]
mod tests;
