//! What an instance hears: which interactions are written down for it, and what they do.

use authored::rule::Rule;
use eventstore::Timestamp;
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::instance_event::Event;

use super::super::reading::{Reading, Scope};
use super::super::{For, State, after};
use super::{EVENT, Entered, KEPT, MOST_KEPT, Walk};
use crate::domain::{instant, recorded_at};
use crate::graph::{Case, Goal, Graph, Node};

/// Why an interaction is written down for an instance as it stands: it is waited for or reaches a goal ([`EVENT`]), or a
/// wait may want it that is still to be reached ([`KEPT`]). One that is written down already for the same end is enough.
pub(crate) fn hears(
    graph: &Graph,
    state: &State,
    heard: &proto::InstanceWoken,
) -> Option<&'static str> {
    let reaches_first = |goal: &Goal| {
        let open = |it: &proto::InstanceWoken| it.reason == EVENT && reaches(goal, state, it);
        reaches(goal, state, heard) && !state.open.iter().any(open)
    };
    if graph.goals.iter().any(reaches_first) {
        return Some(EVENT);
    }
    match ear(graph, state, recorded_at(heard.cause.as_ref())) {
        Ear::Waits(cases) => find_case(cases, state, heard).map(|_| EVENT),
        Ear::Passes(node) => {
            let waits = graph.waits_ahead(node);
            let wanted = waits.iter().any(|cases| find_case(cases, state, heard).is_some());
            (wanted && state.kept.len() < MOST_KEPT).then_some(KEPT)
        }
        Ear::Deaf => None,
    }
}

/// How an instance hears interactions.
enum Ear<'a> {
    /// It waits for them.
    Waits(&'a [Case]),
    /// It is on its way from a node.
    Passes(&'a str),
    /// It waits for something else.
    Deaf,
}

/// How an instance hears what was recorded at an instant: as it would if whatever is settled at once had taken no time,
/// and whatever was over by then had been looked at.
fn ear<'a>(graph: &'a Graph, state: &'a State, at: Timestamp) -> Ear<'a> {
    let Some(wait) = &state.wait else { return Ear::Passes(&state.node) };
    if wait.for_what != For::Time {
        return Ear::Passes(&wait.node);
    }
    // In a pause nothing ends: what falls due is due when the pause is over, or later.
    let over = state.paused.is_none() && wait.due_at.is_some_and(|due| due < at);
    match graph.nodes.get(&wait.node) {
        Some(Node::WaitEvent { timed_out, .. }) if over => Ear::Passes(timed_out),
        Some(Node::WaitEvent { cases, .. }) => {
            let mut open = state.open.iter().filter(|it| it.reason == EVENT);
            match open.find_map(|it| find_case(cases, state, it)) {
                Some(case) => Ear::Passes(&case.next),
                None => Ear::Waits(cases),
            }
        }
        Some(
            Node::Wait { next, .. } | Node::WaitUntil { next, .. } | Node::WaitDate { next, .. },
        ) if over => Ear::Passes(next),
        _ => Ear::Deaf,
    }
}

fn reaches(goal: &Goal, state: &State, heard: &proto::InstanceWoken) -> bool {
    goal.event == heard.event
        && !state.goals.contains(&goal.name)
        && in_time(goal, state, heard)
        && holds(goal.filter.as_ref(), state, heard)
}

/// What happened before the entry was asked for, or too long after the start, reaches no goal.
fn in_time(goal: &Goal, state: &State, heard: &proto::InstanceWoken) -> bool {
    let started = state.started.as_ref();
    let started_at = started.and_then(|it| instant(it.started_at.as_ref())).unwrap_or_default();
    let asked = started.and_then(|it| it.cause.as_ref()).and_then(|it| it.recorded_at.as_ref());
    let asked_at = instant(asked).unwrap_or(started_at);
    let cause = heard.cause.as_ref();
    let occurred_at = cause.and_then(|it| instant(it.occurred_at.as_ref()));
    let occurred_at = occurred_at.unwrap_or_else(|| recorded_at(cause));
    occurred_at >= asked_at
        && goal.within.is_none_or(|within| occurred_at <= after(started_at, within))
}

fn find_case<'g>(
    cases: &'g [Case],
    state: &State,
    heard: &proto::InstanceWoken,
) -> Option<&'g Case> {
    let fits =
        |case: &&Case| case.event == heard.event && holds(case.filter.as_ref(), state, heard);
    cases.iter().find(fits)
}

/// Where there is no rule everything holds; where it is unknown nothing does. What filters interactions reads the
/// interaction and the entry only, so that the answer is the same whenever it is asked.
fn holds(rule: Option<&Rule>, state: &State, heard: &proto::InstanceWoken) -> bool {
    let Some(rule) = rule else { return true };
    let (reading, event) = (Reading::default(), Some(&heard.properties));
    rule.check(&Scope { reading: &reading, state, event, at: Timestamp::default() }).is_true()
}

impl Walk<'_> {
    pub(super) fn reach_goals(&mut self, woken: &proto::InstanceWoken) {
        for goal in &self.graph.goals {
            if !reaches(goal, &self.state, woken) {
                continue;
            }
            let cause = woken.cause.clone();
            self.emit(Event::GoalReached(proto::InstanceGoalReached {
                goal: goal.name.clone(),
                cause,
            }));
            if goal.exit {
                return self.complete(&goal.name);
            }
        }
    }

    /// An interaction ends the wait for it, or is kept for one that is still to be reached.
    pub(super) fn hear(&mut self, woken: &proto::InstanceWoken) {
        let graph = self.graph;
        match hears(graph, &self.state, woken) {
            None => {}
            Some(KEPT) => {
                let (reason, node) = (KEPT.to_owned(), self.state.node.clone());
                self.emit(Event::Woken(proto::InstanceWoken { reason, node, ..woken.clone() }));
            }
            Some(_) => {
                let (node, visit) = self.place();
                let Some(Node::WaitEvent { cases, .. }) = graph.nodes.get(&node) else { return };
                let Some(case) = find_case(cases, &self.state, woken) else { return };
                let next = self.matched((node, visit), case, woken);
                self.run(&next);
            }
        }
    }

    /// The oldest interaction that was kept for this wait ends it as it begins.
    pub(super) fn hears_kept(&mut self, place: (String, u32), cases: &[Case]) -> Entered {
        let due = self.state.wait.as_ref().and_then(|it| it.due_at);
        let in_time = |it: &&proto::InstanceWoken| Some(recorded_at(it.cause.as_ref())) <= due;
        let mut kept = self.state.kept.iter().filter(in_time);
        let found =
            kept.find_map(|it| find_case(cases, &self.state, it).map(|case| (it.clone(), case)));
        match found {
            Some((woken, case)) => Entered::Next(self.matched(place, case, &woken)),
            None => Entered::Stops,
        }
    }

    /// The node that follows.
    fn matched(
        &mut self,
        (node, visit): (String, u32),
        case: &Case,
        woken: &proto::InstanceWoken,
    ) -> String {
        self.emit(Event::EventMatched(proto::InstanceEventMatched {
            node,
            visit,
            event: woken.event.clone(),
            next: case.next.clone(),
            cause: woken.cause.clone(),
            properties: woken.properties.clone(),
        }));
        case.next.clone()
    }

    /// Whether something ends the wait that was kept behind it: a pause came to be known only after the wait seemed over,
    /// and gave it more time.
    pub(super) fn hears_late(&mut self) -> bool {
        let (graph, place) = (self.graph, self.place());
        let node = self.state.wait.as_ref().and_then(|it| graph.nodes.get(&it.node));
        let Some(Node::WaitEvent { cases, .. }) = node else { return false };
        match self.hears_kept(place, cases) {
            Entered::Next(next) => self.run(&next),
            Entered::Stops => return false,
        }
        true
    }
}
