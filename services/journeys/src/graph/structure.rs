//! How nodes hang together: ways out, ways in, ways round.

use std::collections::{BTreeMap, BTreeSet};

use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::node::Step;

use super::findings::{
    CYCLE_WITHOUT_WAIT, DANGLING, DECISION_NOT_MADE, Findings, NO_START, OUTCOME_MISSING,
    UNREACHABLE,
};

/// Every way out of a node: the field and the node it names.
pub(super) fn outcomes(node: &proto::Node) -> Vec<(String, &str)> {
    fn ways<'a>(list: &[(&str, &'a String)]) -> Vec<(String, &'a str)> {
        list.iter().map(|(field, next)| ((*field).to_owned(), next.as_str())).collect()
    }
    match &node.step {
        None | Some(Step::Exit(_)) => Vec::new(),
        Some(Step::Wait(it)) => ways(&[("wait.next", &it.next)]),
        Some(Step::WaitUntil(it)) => ways(&[("wait_until.next", &it.next)]),
        Some(Step::WaitDate(it)) => {
            ways(&[("wait_date.next", &it.next), ("wait_date.missing", &it.missing)])
        }
        Some(Step::WaitEvent(it)) => {
            let cases = it.any.iter().enumerate();
            let cases =
                cases.map(|(n, case)| (format!("wait_event.any[{n}].next"), case.next.as_str()));
            cases.chain([("wait_event.timed_out".to_owned(), it.timed_out.as_str())]).collect()
        }
        Some(Step::Branch(it)) => {
            let cases = it.cases.iter().enumerate();
            let cases =
                cases.map(|(n, case)| (format!("branch.cases[{n}].next"), case.next.as_str()));
            cases.chain([("branch.else".to_owned(), it.r#else.as_str())]).collect()
        }
        Some(Step::Split(it)) => {
            let arms = it.arms.iter().enumerate();
            arms.map(|(n, arm)| (format!("split.arms[{n}].next"), arm.next.as_str())).collect()
        }
        Some(Step::Decide(it)) => ways(&[
            ("decide.chosen", &it.chosen),
            ("decide.nothing", &it.nothing),
            ("decide.unavailable", &it.unavailable),
        ]),
        Some(Step::Touch(it)) => ways(&[
            ("touch.sent", &it.sent),
            ("touch.skipped", &it.skipped),
            ("touch.failed", &it.failed),
        ]),
        Some(Step::Ask(it)) => ways(&[("ask.issued", &it.issued), ("ask.declined", &it.declined)]),
        Some(Step::Set(it)) => ways(&[("set.next", &it.next)]),
    }
}

/// Whether time passes at a node, whatever the party does. What may settle at once does not count: touch, ask, decide,
/// and a date that may be past.
fn waits(node: &proto::Node) -> bool {
    matches!(&node.step, Some(Step::Wait(_) | Step::WaitUntil(_) | Step::WaitEvent(_)))
}

/// Checks the graph.
pub(super) fn check(journey: &proto::Journey, findings: &mut Findings) {
    let nodes: BTreeMap<&str, &proto::Node> =
        journey.nodes.iter().map(|(id, node)| (id.as_str(), node)).collect();
    for (id, node) in &nodes {
        check_outcomes(id, node, &nodes, findings);
    }
    let start = journey.start.as_str();
    if !nodes.contains_key(start) {
        findings.note("start", NO_START, "Name the node at which the journey starts.");
        return;
    }
    let reached = reach(start, &nodes, None);
    for id in nodes.keys().filter(|id| !reached.contains(*id)) {
        let text = "No way leads here: take the node out, or lead a way to it.";
        findings.note(format!("nodes.{id}"), UNREACHABLE, text);
    }
    check_cycles(&nodes, findings);
    for (id, node) in &nodes {
        check_references(start, id, node, &nodes, findings);
    }
}

fn check_outcomes(
    id: &str,
    node: &proto::Node,
    nodes: &BTreeMap<&str, &proto::Node>,
    findings: &mut Findings,
) {
    for (field, next) in outcomes(node) {
        let place = format!("nodes.{id}.{field}");
        if next.is_empty() {
            findings.note(
                place,
                OUTCOME_MISSING,
                "Name the node that follows in this case: every way out leads somewhere.",
            );
        } else if !nodes.contains_key(next) {
            findings.note(place, DANGLING, "Name a node of this journey.");
        }
    }
}

/// Everything that can be reached from a node, without leaving one node by one of its ways.
fn reach<'a>(
    start: &'a str,
    nodes: &BTreeMap<&'a str, &'a proto::Node>,
    without: Option<(&str, &str)>,
) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![start]);
    while let Some(id) = open.pop() {
        let Some(node) = nodes.get(id).filter(|_| reached.insert(id)) else { continue };
        let ways =
            outcomes(node).into_iter().filter(|(field, _)| without != Some((id, field.as_str())));
        open.extend(ways.map(|(_, next)| next).filter(|next| nodes.contains_key(next)));
    }
    reached
}

/// Finds a cycle among the nodes at which no time passes: one finding for each node where a walk closes one.
fn check_cycles(nodes: &BTreeMap<&str, &proto::Node>, findings: &mut Findings) {
    let mut done = BTreeSet::new();
    for id in nodes.keys() {
        let mut path = Vec::new();
        if let Some(cycle) = find_cycle(id, nodes, &mut path, &mut done) {
            let text = format!(
                "The way {} leads back without waiting: put a wait, wait_until or wait_event on it.",
                cycle.join(" → ")
            );
            let first = cycle.first().copied().unwrap_or_default();
            findings.note(format!("nodes.{first}"), CYCLE_WITHOUT_WAIT, text);
        }
    }
}

/// Depth first; at most [`MOST_NODES`](super::MOST_NODES) deep.
fn find_cycle<'a>(
    id: &'a str,
    nodes: &BTreeMap<&'a str, &'a proto::Node>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if let Some(from) = path.iter().position(|it| *it == id) {
        let closed = path[from..].iter().copied().chain([id]).collect();
        return Some(closed);
    }
    let node = nodes.get(id).filter(|node| !waits(node) && !done.contains(id))?;
    path.push(id);
    let mut found = None;
    for (_, next) in outcomes(node) {
        let next = nodes.get_key_value(next).map(|(id, _)| *id);
        found = found.or_else(|| next.and_then(|next| find_cycle(next, nodes, path, done)));
    }
    path.pop();
    done.insert(id);
    found
}

/// Nodes that are named otherwise than as the next one.
fn check_references(
    start: &str,
    id: &str,
    node: &proto::Node,
    nodes: &BTreeMap<&str, &proto::Node>,
    findings: &mut Findings,
) {
    let is = |id: &str, wanted: fn(&Step) -> bool| {
        nodes.get(id).and_then(|node| node.step.as_ref()).is_some_and(wanted)
    };
    match &node.step {
        Some(Step::Touch(touch)) if !touch.decision.is_empty() => {
            let place = format!("nodes.{id}.touch.decision");
            if !is(&touch.decision, |step| matches!(step, Step::Decide(_))) {
                findings.note(place, DANGLING, "Name a decide node of this journey.");
            } else if reach(start, nodes, Some((&touch.decision, "decide.chosen"))).contains(id) {
                let text = format!(
                    "A way leads here that does not leave {} by `chosen`: lead it elsewhere, or decide on it first.",
                    touch.decision
                );
                findings.note(place, DECISION_NOT_MADE, text);
            }
        }
        Some(Step::Ask(ask))
            if !ask.about.is_empty() && !is(&ask.about, |step| matches!(step, Step::Touch(_))) =>
        {
            let place = format!("nodes.{id}.ask.about");
            let text = "Name a touch node of this journey, or leave it empty.";
            findings.note(place, DANGLING, text);
        }
        _ => {}
    }
}
