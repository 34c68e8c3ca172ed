//! A journey as it is walked: every id, rule, duration and time read once, every node's ways out known.
//!
//! [`Graph::compile`] is the check of a definition. It finds everything that can be found without asking another
//! service; with the types of traits from [`Names`] it finds the rest of what rules may get wrong.

mod findings;
mod lines;
mod read;
mod rules;
mod structure;

use std::collections::{BTreeMap, BTreeSet};

use authored::calendar::{LocalTime, Weekday};
use authored::document;
use authored::rule::Rule;
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::Crossing;
use rapport_proto::types::{Audience, Channel, Finding, Purpose};

pub use findings::CODES;
pub(crate) use findings::{
    CONTENT_NOT_USABLE, COUNTRY_RULE, Findings, UNKNOWN_SEGMENT, UNKNOWN_TRAIT,
};
pub(crate) use read::is_code;
pub(crate) use rules::Names;

/// Nodes a journey may have.
pub(crate) const MOST_NODES: usize = 200;
/// Bytes a definition may have; an event that carries it has 256 KiB at most.
pub(crate) const MOST_BYTES: usize = 192 * 1024;

/// Checks the text of a journey without a server: what `rapport journey check FILE` prints. Each finding names the
/// place and, where it can be told, the line.
///
/// ```
/// let findings = journeys::check("journey: hello\nstart: hi\nnodes: {hi: {exit: {outcome: done}}}\n");
/// assert!(findings.iter().any(|it| it.place == "reentry" && it.code == "reentry_missing"));
/// ```
pub fn check(yaml: &str) -> Vec<Finding> {
    match document::parse::<proto::Journey>(yaml) {
        Err(problems) => problems.into_iter().map(findings::of_problem).collect(),
        Ok(journey) => match Graph::compile(&journey, &Names::default()) {
            Ok(_) => Vec::new(),
            Err(found) => found.into_iter().map(|it| lines::located(yaml, it)).collect(),
        },
    }
}

/// A definition that passed the check.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    /// SHA-256 of the definition's bytes.
    pub(crate) hash: [u8; 32],
    pub(crate) sender_id: String,
    pub(crate) markets: BTreeSet<String>,
    pub(crate) audiences: Vec<Audience>,
    pub(crate) entry: Entry,
    pub(crate) reentry: Reentry,
    pub(crate) exit_when: Vec<Rule>,
    pub(crate) goals: Vec<Goal>,
    pub(crate) start: String,
    pub(crate) nodes: BTreeMap<String, Node>,
}

/// How parties enter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry {
    Event { event: String, filter: Option<Rule>, key: Option<String> },
    Segment { segment: String, crossing: Crossing },
    Api,
}

/// When a party may enter again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reentry {
    Never,
    /// After the exit and a gap in microseconds.
    AfterExit(i64),
    PerKey,
    Unlimited,
}

/// What the journey is for.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    pub(crate) name: String,
    pub(crate) event: String,
    pub(crate) filter: Option<Rule>,
    /// Microseconds from the start.
    pub(crate) within: Option<i64>,
    pub(crate) exit: bool,
}

/// An interaction that is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) event: String,
    pub(crate) filter: Option<Rule>,
    pub(crate) next: String,
}

/// A share of a split.
#[derive(Clone, Debug)]
pub(crate) struct Arm {
    pub(crate) name: String,
    pub(crate) weight: u32,
    pub(crate) next: String,
}

/// What a touch says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// What the decision of this node chose.
    Decision(String),
    Module {
        module: String,
        channel: Channel,
    },
}

/// A local time, on some days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimeOfDay {
    pub(crate) time: LocalTime,
    /// None: every day.
    pub(crate) weekdays: Vec<Weekday>,
    /// As it is written, for events.
    pub(crate) text: String,
}

/// A step. Durations are microseconds.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Wait {
        duration: i64,
        next: String,
    },
    WaitUntil {
        clock: TimeOfDay,
        next: String,
    },
    WaitDate {
        attribute: String,
        offset: i64,
        time: Option<LocalTime>,
        next: String,
        missing: String,
    },
    WaitEvent {
        cases: Vec<Case>,
        timeout: i64,
        timed_out: String,
    },
    Branch {
        cases: Vec<(Rule, String)>,
        otherwise: String,
    },
    Split {
        salt: String,
        arms: Vec<Arm>,
    },
    Decide {
        slot: proto::Slot,
        groups: Vec<String>,
        valid_for: String,
        chosen: String,
        nothing: String,
        unavailable: String,
    },
    Touch {
        said: Said,
        expires_after: i64,
        slots: Vec<(String, Rule)>,
        sent: String,
        skipped: String,
        failed: String,
    },
    Ask {
        survey: String,
        channel: Channel,
        expires_after: i64,
        about: Option<String>,
        issued: String,
        declined: String,
    },
    Set {
        attribute: String,
        value: Rule,
        next: String,
    },
    Exit {
        outcome: String,
    },
}

/// A consent verdict that a rule reads, as `GetFacts` is asked for it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Consent {
    /// `PROMOTIONAL/EMAIL/northwind`, as the rule writes it.
    pub(crate) key: String,
    pub(crate) purpose: Purpose,
    pub(crate) channel: Channel,
    pub(crate) sender_id: String,
}

impl Graph {
    /// Reads a definition, or tells everything that is wrong with it.
    pub(crate) fn compile(journey: &proto::Journey, names: &Names) -> Result<Self, Vec<Finding>> {
        let mut findings = Findings::default();
        let graph = read::journey(journey, names, &mut findings);
        if journey.nodes.len() <= MOST_NODES {
            structure::check(journey, &mut findings);
        }
        match graph {
            Some(graph) if findings.0.is_empty() => Ok(graph),
            _ => Err(findings.0),
        }
    }

    /// Every rule that reads facts about the party.
    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.exit_when.iter().chain(self.nodes.values().flat_map(Node::rules))
    }

    /// Traits that rules read.
    pub(crate) fn traits(&self) -> BTreeSet<String> {
        self.named("traits")
    }

    /// Consent verdicts that rules read.
    pub(crate) fn consents(&self) -> Vec<Consent> {
        self.named("consent").iter().filter_map(|key| rules::consent(key)).collect()
    }

    /// Segments that the entry or a rule names.
    pub(crate) fn segments(&self) -> BTreeSet<String> {
        let entry = match &self.entry {
            Entry::Segment { segment, .. } => Some(segment.clone()),
            Entry::Event { .. } | Entry::Api => None,
        };
        let read = self.rules().flat_map(|rule| rules::segments(rule.text()));
        entry.into_iter().chain(read).collect()
    }

    /// Whether a rule reads in which segments the party is.
    pub(crate) fn reads_segments(&self) -> bool {
        !self.named("segments").is_empty()
    }

    fn named(&self, root: &str) -> BTreeSet<String> {
        let names = self.rules().flat_map(Rule::names);
        names.filter(|name| name.root() == root).map(|name| name.key().to_owned()).collect()
    }

    /// Whether an exit criterion reads anything of these roots.
    pub(crate) fn exits_by(&self, roots: &[&str]) -> bool {
        self.exit_when.iter().flat_map(Rule::names).any(|name| roots.contains(&name.root()))
    }

    /// The waits for interactions that can be reached from a node, itself included, without another kind of wait: what
    /// is heard now may be meant for them.
    pub(crate) fn waits_ahead<'g>(&'g self, node: &'g str) -> Vec<&'g [Case]> {
        let (mut seen, mut open, mut waits) = (BTreeSet::new(), vec![node], Vec::new());
        while let Some(id) = open.pop() {
            let Some(node) = self.nodes.get(id).filter(|_| seen.insert(id)) else { continue };
            if let Node::WaitEvent { cases, .. } = node {
                waits.push(cases.as_slice());
            }
            open.extend(node.ways_at_once());
        }
        waits
    }

    /// Whether anybody in it may ever want an interaction of a name.
    pub(crate) fn wants(&self, event: &str) -> bool {
        let waits = |node: &Node| match node {
            Node::WaitEvent { cases, .. } => cases.iter().any(|case| case.event == event),
            _ => false,
        };
        self.goals.iter().any(|goal| goal.event == event) || self.nodes.values().any(waits)
    }

    /// Whether anything in it depends on local time.
    pub(crate) fn reads_clock(&self) -> bool {
        self.nodes.values().any(|node| match node {
            Node::WaitUntil { .. } => true,
            Node::WaitDate { time, .. } => time.is_some(),
            _ => false,
        })
    }

    /// Modules that touch nodes name, with the node and the channel.
    pub(crate) fn modules(&self) -> impl Iterator<Item = (&str, &str, Channel)> {
        self.nodes.iter().filter_map(|(id, node)| match node {
            Node::Touch { said: Said::Module { module, channel }, .. } => {
                Some((id.as_str(), module.as_str(), *channel))
            }
            _ => None,
        })
    }
}

impl Node {
    /// The ways on which the node may be left without waiting for an instant.
    fn ways_at_once(&self) -> Vec<&str> {
        match self {
            Self::Wait { .. } | Self::WaitUntil { .. } | Self::Exit { .. } => Vec::new(),
            Self::WaitDate { missing, .. } => vec![missing],
            Self::WaitEvent { cases, .. } => cases.iter().map(|it| it.next.as_str()).collect(),
            Self::Branch { cases, otherwise } => {
                cases.iter().map(|(_, next)| next.as_str()).chain([otherwise.as_str()]).collect()
            }
            Self::Split { arms, .. } => arms.iter().map(|it| it.next.as_str()).collect(),
            Self::Decide { chosen, nothing, unavailable, .. } => vec![chosen, nothing, unavailable],
            Self::Touch { sent, skipped, failed, .. } => vec![sent, skipped, failed],
            Self::Ask { issued, declined, .. } => vec![issued, declined],
            Self::Set { next, .. } => vec![next],
        }
    }

    /// Rules over the party's facts; what filters interactions reads the interaction only.
    fn rules(&self) -> Vec<&Rule> {
        match self {
            Self::Branch { cases, .. } => cases.iter().map(|(rule, _)| rule).collect(),
            Self::Touch { slots, .. } => slots.iter().map(|(_, rule)| rule).collect(),
            Self::Set { value, .. } => vec![value],
            Self::Wait { .. }
            | Self::WaitUntil { .. }
            | Self::WaitDate { .. }
            | Self::WaitEvent { .. }
            | Self::Split { .. }
            | Self::Decide { .. }
            | Self::Ask { .. }
            | Self::Exit { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
