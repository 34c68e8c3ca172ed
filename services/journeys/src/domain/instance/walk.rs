//! The interpreter: from an input to the facts it leads to. Pure, bounded, total.
//!
//! On one input the order is goals, then exit criteria, then the node that waits; then the walk goes on until a node
//! waits again or the instance ends. A wake stands in line by the instant its cause was recorded, a timer by its due
//! instant; at the same instant the wake goes first. So an instance that was not looked at for a while goes the way it
//! would have gone.

pub(super) mod choice;
mod contact;
mod hear;
mod local;

use authored::rule::Truth;
use eventstore::{Decider as _, Timestamp};
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::Cause;
use rapport_proto::journeys::v1::instance_event::Event;

pub(crate) use self::hear::hears;

use super::reading::{Reading, Scope};
use super::{For, Input, Instance, PATIENCE, State, Step, Wait, after};
use crate::domain::recorded_at;
use crate::graph::{Graph, Node};

/// Nodes that one input may pass; a longer way goes on in the next unit.
const MOST_STEPS: usize = 64;
/// Events after which further inputs wait for the next unit.
const ENOUGH: usize = 100;
/// Interactions that an instance keeps for waits to come; what comes after them is not kept.
pub(crate) const MOST_KEPT: usize = 20;
/// What decisioning says for nothing.
pub(crate) const DO_NOTHING: &str = "DO_NOTHING";

/// An interaction that is waited for, or that reaches a goal.
pub(crate) const EVENT: &str = "event";
/// Something that rules may read changed.
pub(crate) const FACTS: &str = "facts";
/// A touch or an invitation was settled.
pub(crate) const SETTLED: &str = "settled";
/// A long way goes on in the next unit.
pub(crate) const CONTINUE: &str = "continue";
/// An interaction that a wait may want which is still to be reached.
pub(crate) const KEPT: &str = "kept";

/// The facts of a beginning.
pub(super) fn start(
    started: proto::InstanceStarted,
    heard: Vec<proto::InstanceWoken>,
    step: &Step,
    at: Timestamp,
) -> Vec<Event> {
    let (node, cause) = (started.node.clone(), started.cause.clone());
    let mut walk = Walk::new(State::default(), step, at);
    walk.emit(Event::Started(started));
    if !walk.exits(cause) {
        walk.run(&node);
        // Timers are left to their own firings, which know what else is on its way.
        for woken in heard {
            if !walk.state.is_ended() {
                walk.wake(&woken);
            }
        }
    }
    walk.events
}

/// The facts that inputs lead to.
pub(super) fn go(state: &State, input: &Input, step: &Step, at: Timestamp) -> Vec<Event> {
    if state.paused.is_some() {
        return Vec::new();
    }
    let mut walk = Walk::new(state.clone(), step, at);
    match input {
        Input::Look => walk.look(),
        Input::Answered(answer) => {
            // What happened before the answer goes first.
            walk.look();
            walk.answered(answer);
        }
        Input::Check => {
            let cause = Cause {
                r#type: "check".to_owned(),
                occurred_at: Some(at.to_proto()),
                ..Cause::default()
            };
            walk.exits(Some(cause));
        }
    }
    walk.events
}

/// What came of entering a node.
enum Entered {
    /// On to the next one.
    Next(String),
    /// The instance waits, or ended.
    Stops,
}

struct Walk<'a> {
    graph: &'a Graph,
    reading: &'a Reading,
    tenant: &'a str,
    at: Timestamp,
    state: State,
    events: Vec<Event>,
}

impl<'a> Walk<'a> {
    fn new(state: State, step: &'a Step, at: Timestamp) -> Self {
        let Step { tenant, graph, reading } = step;
        Self { graph, reading, tenant, at, state, events: Vec::new() }
    }

    fn emit(&mut self, event: Event) {
        let state = std::mem::take(&mut self.state);
        self.state = Instance::evolve(state, &event);
        self.events.push(event);
    }

    fn scope(&self) -> Scope<'_> {
        Scope { reading: self.reading, state: &self.state, event: None, at: self.at }
    }

    /// The wait whose instant has come.
    fn due(&self) -> Option<Wait> {
        let wait = self.state.wait.clone()?;
        let has_timer = matches!(wait.for_what, For::Time | For::Invitation(_));
        (has_timer && wait.due_at.is_some_and(|due| due <= self.at)).then_some(wait)
    }

    /// Handles wakes and the timer in the order of their instants.
    fn look(&mut self) {
        let mut wakes = std::mem::take(&mut self.state.open).into_iter().peekable();
        loop {
            if self.state.is_ended() {
                return;
            }
            // What is left is written down again, behind what has happened since.
            if self.events.len() >= ENOUGH {
                wakes.for_each(|woken| self.emit(Event::Woken(woken)));
                return;
            }
            let due = self.due();
            let first = |woken: &proto::InstanceWoken| {
                due.as_ref()
                    .and_then(|it| it.due_at)
                    .is_none_or(|due| recorded_at(woken.cause.as_ref()) <= due)
            };
            if let Some(woken) = wakes.next_if(first) {
                self.wake(&woken);
            } else if self.hears_late() {
                continue;
            } else if let Some(wait) = due {
                self.fire(&wait);
            } else {
                return;
            }
        }
    }

    fn wake(&mut self, woken: &proto::InstanceWoken) {
        if woken.reason == EVENT {
            self.reach_goals(woken);
        }
        if self.state.is_ended() || self.exits(woken.cause.clone()) {
            return;
        }
        if woken.reason == CONTINUE {
            let node = woken.node.clone();
            return self.run(&node);
        }
        if woken.reason == EVENT {
            return self.hear(woken);
        }
        let Some(wait) = self.state.wait.clone() else { return };
        match (self.graph.nodes.get(&wait.node), &wait.for_what) {
            (Some(Node::Touch { .. }), For::Touch(id)) if *id == woken.about => {
                self.touch_settled(
                    &wait,
                    &woken.about,
                    &woken.verdict,
                    &woken.detail,
                    woken.cause.clone(),
                );
            }
            (Some(Node::Ask { .. }), For::Invitation(id)) if *id == woken.about => {
                self.feedback_settled(&wait, id, &woken.verdict, &woken.detail);
            }
            (Some(Node::WaitUntil { .. } | Node::WaitDate { .. }), _) => self.resolve_again(&wait),
            _ => {}
        }
    }

    /// Ends the instance when an exit criterion holds.
    fn exits(&mut self, cause: Option<Cause>) -> bool {
        let scope = self.scope();
        let Some(rule) = self.graph.exit_when.iter().find(|rule| rule.check(&scope) == Truth::True)
        else {
            return false;
        };
        let (node, visit) = self.place();
        let exited = proto::InstanceExited {
            rule: rule.text().to_owned(),
            values: scope.values(rule).into_iter().collect(),
            node,
            cause,
            visit,
        };
        self.emit(Event::Exited(exited));
        true
    }

    fn place(&self) -> (String, u32) {
        (self.state.node.clone(), self.state.wait.as_ref().map_or(0, |it| it.visit))
    }

    fn complete(&mut self, outcome: &str) {
        let (node, visit) = self.place();
        self.emit(Event::Completed(proto::InstanceCompleted {
            outcome: outcome.to_owned(),
            node,
            visit,
        }));
    }

    /// The timer of a wait.
    fn fire(&mut self, wait: &Wait) {
        let due_at = wait.due_at.map(Timestamp::to_proto);
        let cause = Cause {
            r#type: "timer".to_owned(),
            occurred_at: due_at,
            recorded_at: due_at,
            ..Cause::default()
        };
        if self.exits(Some(cause)) {
            return;
        }
        let (node, visit) = (wait.node.clone(), wait.visit);
        match self.graph.nodes.get(&wait.node) {
            Some(
                Node::Wait { next, .. }
                | Node::WaitUntil { next, .. }
                | Node::WaitDate { next, .. },
            ) => {
                let next = next.clone();
                self.emit(Event::TimerFired(proto::InstanceTimerFired {
                    node,
                    visit,
                    next: next.clone(),
                    due_at,
                }));
                self.run(&next);
            }
            Some(Node::WaitEvent { timed_out, .. }) => {
                let next = timed_out.clone();
                self.emit(Event::TimedOut(proto::InstanceTimedOut {
                    node,
                    visit,
                    next: next.clone(),
                    due_at,
                }));
                self.run(&next);
            }
            Some(Node::Ask { .. }) => match &wait.for_what {
                For::Invitation(id) => self.feedback_settled(wait, id, "declined", "no_answer"),
                For::Time | For::Decision { .. } | For::Touch(_) => {}
            },
            // A stored definition has no other node with a timer.
            _ => self.state.wait = None,
        }
    }

    /// Walks until a node waits.
    fn run(&mut self, node: &str) {
        let mut node = node.to_owned();
        for _ in 0..MOST_STEPS {
            match self.enter(&node) {
                Entered::Next(next) => node = next,
                Entered::Stops => return,
            }
        }
        self.emit(Event::Woken(proto::InstanceWoken {
            reason: CONTINUE.to_owned(),
            node,
            ..Default::default()
        }));
    }

    fn enter(&mut self, id: &str) -> Entered {
        let graph = self.graph;
        let visit = self.state.visit(id).saturating_add(1);
        let node = id.to_owned();
        let Some(step) = graph.nodes.get(id) else {
            // A stored definition has no way that leads nowhere.
            self.complete("no_node");
            return Entered::Stops;
        };
        match step {
            Node::Wait { duration, .. } => self.wait(node, visit, after(self.at, *duration), false),
            Node::WaitEvent { cases, timeout, .. } => {
                self.wait(node.clone(), visit, after(self.at, *timeout), true);
                self.hears_kept((node, visit), cases)
            }
            Node::WaitUntil { clock, .. } => self.wait_until(node, visit, clock),
            Node::WaitDate { .. } => self.wait_date(node, visit, step),
            Node::Branch { cases, otherwise } => self.branch(node, visit, cases, otherwise),
            Node::Split { salt, arms } => {
                let arm = self.arm(id, salt, arms);
                let (arm, next) = arm.unwrap_or_default();
                self.emit(Event::Split(proto::InstanceSplit {
                    node,
                    visit,
                    arm,
                    next: next.clone(),
                }));
                Entered::Next(next)
            }
            Node::Decide { .. } => {
                let gives_up_at = Some(after(self.at, PATIENCE).to_proto());
                self.emit(Event::DecisionRequested(proto::InstanceDecisionRequested {
                    node,
                    visit,
                    gives_up_at,
                }));
                Entered::Stops
            }
            Node::Touch { said, expires_after, slots, skipped, .. } => {
                self.touch(node, visit, said, *expires_after, slots, skipped)
            }
            Node::Ask { survey, channel, expires_after, about, .. } => {
                self.ask(node, visit, (survey, *channel), *expires_after, about.as_deref())
            }
            Node::Set { attribute, value, next } => {
                let value = value.value(&self.scope()).ok().and_then(|it| it.to_clear());
                self.emit(Event::AttributeSet(proto::InstanceAttributeSet {
                    node,
                    visit,
                    party_id: self.state.start().party_id,
                    attribute: attribute.clone(),
                    value,
                    next: next.clone(),
                }));
                Entered::Next(next.clone())
            }
            Node::Exit { outcome } => {
                self.emit(Event::Completed(proto::InstanceCompleted {
                    outcome: outcome.clone(),
                    node,
                    visit: 0,
                }));
                Entered::Stops
            }
        }
    }

    fn wait(&mut self, node: String, visit: u32, due_at: Timestamp, timeout: bool) -> Entered {
        self.emit(Event::WaitStarted(proto::InstanceWaitStarted {
            node,
            visit,
            due_at: Some(due_at.to_proto()),
            timeout,
            ..Default::default()
        }));
        Entered::Stops
    }
}
