//! Reads the fields of a definition. Everything that is wrong is told at once.

use std::collections::BTreeSet;

use authored::calendar::{self, LocalTime};
use authored::rule::{Catalogue, Rule, Type};
use prost::Message as _;
use rapport_proto::is_market;
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::node::Step;
use rapport_proto::journeys::v1::{Crossing, entry, reentry};
use rapport_proto::types::{Audience, Channel};

use super::findings::{
    DURATION_INVALID, FIELD_INVALID, FIELD_MISSING, Findings, ID_INVALID, REENTRY_MISSING,
    TIME_INVALID, TOO_LARGE,
};
use super::rules::{self, Names};
use super::{Arm, Case, Clock, Entry, Goal, Graph, MOST_BYTES, MOST_NODES, Node, Reentry, Said};

const DAY: i64 = 86_400 * 1_000_000;
/// Elements a list of a node or of the journey may have.
const MOST_PARTS: usize = 50;

/// The journey, as far as it can be read.
pub(super) fn journey(
    journey: &proto::Journey,
    names: &Names,
    findings: &mut Findings,
) -> Option<Graph> {
    let size = journey.encoded_len();
    if size > MOST_BYTES || journey.nodes.len() > MOST_NODES {
        let text =
            format!("Use at most {MOST_NODES} nodes and {MOST_BYTES} bytes; split the journey.");
        findings.note("nodes", TOO_LARGE, text);
        return None;
    }
    let mut read = Reader { names, findings };
    read.authored("journey", &journey.journey);
    read.text("description", &journey.description, 0..=2_000);
    let sender_id = read.authored("sender", &journey.sender);
    let (markets, audiences) = (read.markets(&journey.markets), read.audiences(&journey.audiences));
    let entry = read.entry(journey.entry.as_ref());
    let reentry = read.reentry(journey.reentry.as_ref(), entry.as_ref());
    let party = names.party();
    read.few("exit_when", journey.exit_when.len());
    let exit_when = (journey.exit_when.iter().enumerate())
        .map(|(n, text)| read.rule(format!("exit_when[{n}]"), text, &party, &Type::Bool))
        .collect::<Vec<_>>();
    let goals = read.goals(&journey.goals);
    let nodes = (journey.nodes.iter())
        .map(|(id, node)| Some((id.clone(), read.node(id, node)?)))
        .collect::<Vec<_>>();
    Some(Graph {
        hash: authored::document::hash(journey),
        sender_id: sender_id?,
        markets: markets?,
        audiences: audiences?,
        entry: entry?,
        reentry: reentry?,
        exit_when: exit_when.into_iter().collect::<Option<_>>()?,
        goals: goals?,
        start: journey.start.clone(),
        nodes: nodes.into_iter().collect::<Option<_>>()?,
    })
}

struct Reader<'a> {
    names: &'a Names,
    findings: &'a mut Findings,
}

impl Reader<'_> {
    fn wrong<T>(
        &mut self,
        place: impl Into<String>,
        code: &str,
        text: impl Into<String>,
    ) -> Option<T> {
        self.findings.note(place, code, text);
        None
    }

    fn authored(&mut self, place: impl Into<String>, text: &str) -> Option<String> {
        if chassis::name::is_authored_id(text) {
            return Some(text.to_owned());
        }
        self.wrong(
            place,
            ID_INVALID,
            "Start with a lower-case letter, then 1 to 62 of a-z, 0-9 and -.",
        )
    }

    /// A name that a person or a program chose: one harmless line.
    fn text(
        &mut self,
        place: impl Into<String>,
        text: &str,
        length: std::ops::RangeInclusive<usize>,
    ) -> Option<String> {
        match chassis::text::line("", text, length) {
            Ok(text) => Some(text.to_owned()),
            Err(it) if text.is_empty() => self.wrong(place, FIELD_MISSING, it.remedy),
            Err(it) => self.wrong(place, FIELD_INVALID, it.remedy),
        }
    }

    fn code(&mut self, place: impl Into<String>, text: &str) -> Option<String> {
        if is_code(text) {
            return Some(text.to_owned());
        }
        self.wrong(place, FIELD_INVALID, "Use a code: 1 to 64 of A-Z, a-z, 0-9, '.', '_', ':' and '-', starting with a letter or digit.")
    }

    fn few(&mut self, place: &str, count: usize) -> bool {
        if count > MOST_PARTS {
            self.findings.note(place, TOO_LARGE, format!("Use at most {MOST_PARTS}."));
        }
        count <= MOST_PARTS
    }

    fn rule(
        &mut self,
        place: String,
        text: &str,
        names: &Catalogue,
        result: &Type,
    ) -> Option<Rule> {
        let rule = match Rule::compile(text, names, result) {
            Ok(rule) => rule,
            Err(problem) => {
                self.findings.rule(place, &problem);
                return None;
            }
        };
        let asked = rule.names().iter().filter(|name| name.root() == "consent");
        for name in asked.filter(|name| rules::consent(name.key()).is_none()) {
            let text = format!(
                "`{name}`: ask as consent[\"PURPOSE/CHANNEL/sender\"], for example consent[\"PROMOTIONAL/EMAIL/northwind\"]."
            );
            self.findings.note(place.clone(), super::findings::RULE_INVALID, text);
        }
        Some(rule)
    }

    /// A rule that may be absent.
    fn filter(&mut self, place: String, text: &str, names: &Catalogue) -> Option<Option<Rule>> {
        if text.is_empty() {
            Some(None)
        } else {
            self.rule(place, text, names, &Type::Bool).map(Some)
        }
    }

    /// A duration in microseconds; where time must pass, not zero.
    fn duration(&mut self, place: impl Into<String>, text: &str, passes: bool) -> Option<i64> {
        match calendar::duration(text) {
            Ok(0) if passes => {
                self.wrong(place, DURATION_INVALID, "Use a duration above zero, for example 1h.")
            }
            Ok(duration) => Some(duration),
            Err(invalid) => self.wrong(place, DURATION_INVALID, invalid.remedy),
        }
    }

    fn duration_or(&mut self, place: String, text: &str, default: i64) -> Option<i64> {
        if text.is_empty() { Some(default) } else { self.duration(place, text, true) }
    }

    fn time(&mut self, place: String, text: &str) -> Option<LocalTime> {
        match LocalTime::parse(text) {
            Ok(time) => Some(time),
            Err(invalid) => self.wrong(place, TIME_INVALID, invalid.remedy),
        }
    }

    fn channel(&mut self, place: String, channel: i32) -> Option<Channel> {
        match Channel::try_from(channel) {
            Ok(Channel::Unspecified) | Err(_) => {
                self.wrong(place, FIELD_MISSING, "Choose a channel.")
            }
            Ok(channel) => Some(channel),
        }
    }

    fn markets(&mut self, markets: &[String]) -> Option<BTreeSet<String>> {
        if markets.is_empty() {
            return self.wrong("markets", FIELD_MISSING, "Name at least one market.");
        }
        if let Some(n) = markets.iter().position(|it| !is_market(it)) {
            let text = "Use an ISO 3166-1 alpha-2 code in capitals, for example DE.";
            return self.wrong(format!("markets[{n}]"), FIELD_INVALID, text);
        }
        Some(markets.iter().cloned().collect())
    }

    fn audiences(&mut self, audiences: &[i32]) -> Option<Vec<Audience>> {
        if audiences.is_empty() {
            return self.wrong("audiences", FIELD_MISSING, "Name at least one audience.");
        }
        let known =
            |it: &i32| Audience::try_from(*it).ok().filter(|it| *it != Audience::Unspecified);
        let read: Option<Vec<_>> = audiences.iter().map(known).collect();
        read.or_else(|| {
            self.wrong("audiences", FIELD_INVALID, "Use audiences such as HCP or PATIENT.")
        })
    }

    fn entry(&mut self, entry: Option<&proto::Entry>) -> Option<Entry> {
        match entry.and_then(|it| it.by.as_ref()) {
            None => {
                self.wrong("entry", FIELD_MISSING, "Say how parties enter: event, segment or api.")
            }
            Some(entry::By::Api(_)) => Some(Entry::Api),
            Some(entry::By::Segment(it)) => {
                let segment = self.authored("entry.segment.segment", &it.segment);
                match it.crossing() {
                    Crossing::Unspecified => self.wrong(
                        "entry.segment.crossing",
                        FIELD_MISSING,
                        "Use ENTERED or EXITED.",
                    ),
                    crossing => Some(Entry::Segment { segment: segment?, crossing }),
                }
            }
            Some(entry::By::Event(it)) => {
                let event = self.text("entry.event.event", &it.event, 1..=128);
                let filter =
                    self.filter("entry.event.where".into(), &it.r#where, &Names::interaction());
                let key = self.text("entry.event.key", &it.key, 0..=128);
                let key = key.map(|key| Some(key).filter(|it| !it.is_empty()));
                Some(Entry::Event { event: event?, filter: filter?, key: key? })
            }
        }
    }

    fn reentry(
        &mut self,
        reentry: Option<&proto::Reentry>,
        entry: Option<&Entry>,
    ) -> Option<Reentry> {
        match reentry.and_then(|it| it.rule.as_ref()) {
            None => {
                let text =
                    "Say when a party may enter again: never, after_exit, per_key or unlimited.";
                self.wrong("reentry", REENTRY_MISSING, text)
            }
            Some(reentry::Rule::Never(_)) => Some(Reentry::Never),
            Some(reentry::Rule::Unlimited(_)) => Some(Reentry::Unlimited),
            Some(reentry::Rule::AfterExit(it)) => {
                let gap = if it.gap.is_empty() {
                    Some(0)
                } else {
                    self.duration("reentry.after_exit.gap", &it.gap, false)
                };
                gap.map(Reentry::AfterExit)
            }
            Some(reentry::Rule::PerKey(_)) => match entry {
                Some(Entry::Event { key: None, .. } | Entry::Segment { .. }) => self.wrong(
                    "reentry",
                    FIELD_INVALID,
                    "per_key needs an entry with a key: an event with `key`, or api.",
                ),
                _ => Some(Reentry::PerKey),
            },
        }
    }

    fn goals(&mut self, goals: &[proto::Goal]) -> Option<Vec<Goal>> {
        self.few("goals", goals.len());
        let mut seen = BTreeSet::new();
        let mut read = Vec::new();
        for (n, goal) in goals.iter().enumerate() {
            let place = |field: &str| format!("goals[{n}].{field}");
            let name = self.code(place("name"), &goal.name);
            if !seen.insert(goal.name.as_str()) {
                self.findings.note(
                    place("name"),
                    FIELD_INVALID,
                    "Give every goal a name of its own.",
                );
            }
            let event = self.text(place("event"), &goal.event, 1..=128);
            let filter = self.filter(place("where"), &goal.r#where, &Names::interaction());
            let within = match goal.within.as_str() {
                "" => Some(None),
                text => self.duration(place("within"), text, true).map(Some),
            };
            let whole = || {
                Some(Goal {
                    name: name?,
                    event: event?,
                    filter: filter?,
                    within: within?,
                    exit: goal.exit,
                })
            };
            read.push(whole());
        }
        read.into_iter().collect()
    }

    fn node(&mut self, id: &str, node: &proto::Node) -> Option<Node> {
        if !is_node_id(id) {
            let text =
                "Start a node's id with a lower-case letter, then at most 62 of a-z, 0-9, _ and -.";
            self.findings.note(format!("nodes.{}", shown(id)), ID_INVALID, text);
        }
        let place = |field: &str| format!("nodes.{id}.{field}");
        match node.step.as_ref() {
            None => self.wrong(
                format!("nodes.{id}"),
                FIELD_MISSING,
                "Say what the node does: wait, branch, touch, exit and so on.",
            ),
            Some(Step::Wait(it)) => {
                let duration = self.duration(place("wait.for"), &it.r#for, true)?;
                Some(Node::Wait { duration, next: it.next.clone() })
            }
            Some(Step::WaitUntil(it)) => self.wait_until(id, it),
            Some(Step::WaitDate(it)) => self.wait_date(id, it),
            Some(Step::WaitEvent(it)) => self.wait_event(id, it),
            Some(Step::Branch(it)) => self.branch(id, it),
            Some(Step::Split(it)) => self.split(id, it),
            Some(Step::Decide(it)) => self.decide(id, it),
            Some(Step::Touch(it)) => self.touch(id, it),
            Some(Step::Ask(it)) => {
                let survey = self.authored(place("ask.survey"), &it.survey);
                let channel = self.channel(place("ask.channel"), it.channel);
                let expires_after =
                    self.duration_or(place("ask.expires_after"), &it.expires_after, 3 * DAY);
                Some(Node::Ask {
                    survey: survey?,
                    channel: channel?,
                    expires_after: expires_after?,
                    about: Some(it.about.clone()).filter(|it| !it.is_empty()),
                    issued: it.issued.clone(),
                    declined: it.declined.clone(),
                })
            }
            Some(Step::Set(it)) => {
                let attribute = self.attribute(place("set.attribute"), &it.attribute);
                let value =
                    self.rule(place("set.value"), &it.value, &self.names.party(), &Type::Any);
                Some(Node::Set { attribute: attribute?, value: value?, next: it.next.clone() })
            }
            Some(Step::Exit(it)) => {
                self.code(place("exit.outcome"), &it.outcome).map(|outcome| Node::Exit { outcome })
            }
        }
    }

    fn attribute(&mut self, place: String, text: &str) -> Option<String> {
        let fits = (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if fits {
            return Some(text.to_owned());
        }
        self.wrong(
            place,
            FIELD_INVALID,
            "Use a name: a lower-case letter, then at most 62 of a-z, 0-9 and _.",
        )
    }

    fn wait_until(&mut self, id: &str, it: &proto::WaitUntil) -> Option<Node> {
        let time = self.time(format!("nodes.{id}.wait_until.local_time"), &it.local_time);
        let mut weekdays = Vec::new();
        for (n, day) in it.weekdays.iter().enumerate() {
            match calendar::weekday(day) {
                Ok(day) => weekdays.push(day),
                Err(invalid) => {
                    self.findings.note(
                        format!("nodes.{id}.wait_until.weekdays[{n}]"),
                        TIME_INVALID,
                        invalid.remedy,
                    );
                }
            }
        }
        let text = match it.weekdays.as_slice() {
            [] => it.local_time.clone(),
            days => format!("{} {}", it.local_time, days.join(",")),
        };
        Some(Node::WaitUntil {
            clock: Clock { time: time?, weekdays, text },
            next: it.next.clone(),
        })
    }

    fn wait_date(&mut self, id: &str, it: &proto::WaitDate) -> Option<Node> {
        let place = |field: &str| format!("nodes.{id}.wait_date.{field}");
        let attribute = self.attribute(place("attribute"), &it.attribute);
        let offset = match it.offset.as_str() {
            "" => Some(0),
            text => match calendar::offset(text) {
                Ok(offset) => Some(offset),
                Err(invalid) => self.wrong(place("offset"), DURATION_INVALID, invalid.remedy),
            },
        };
        let time = match it.local_time.as_str() {
            "" => Some(None),
            text => self.time(place("local_time"), text).map(Some),
        };
        Some(Node::WaitDate {
            attribute: attribute?,
            offset: offset?,
            time: time?,
            next: it.next.clone(),
            missing: it.missing.clone(),
        })
    }

    fn wait_event(&mut self, id: &str, it: &proto::WaitEvent) -> Option<Node> {
        let place = |field: String| format!("nodes.{id}.wait_event.{field}");
        if it.any.is_empty() {
            self.findings.note(
                place("any".into()),
                FIELD_MISSING,
                "Name at least one interaction to wait for.",
            );
        }
        self.few(&place("any".into()), it.any.len());
        let mut cases = Vec::new();
        for (n, case) in it.any.iter().enumerate() {
            let event = self.text(place(format!("any[{n}].event")), &case.event, 1..=128);
            let names = Names::interaction_of_instance();
            let filter = self.filter(place(format!("any[{n}].where")), &case.r#where, &names);
            let whole = || Some(Case { event: event?, filter: filter?, next: case.next.clone() });
            cases.push(whole());
        }
        let timeout = self.duration(place("timeout".into()), &it.timeout, true);
        Some(Node::WaitEvent {
            cases: cases.into_iter().collect::<Option<_>>()?,
            timeout: timeout?,
            timed_out: it.timed_out.clone(),
        })
    }

    fn branch(&mut self, id: &str, it: &proto::Branch) -> Option<Node> {
        let party = self.names.party();
        if it.cases.is_empty() {
            self.findings.note(
                format!("nodes.{id}.branch.cases"),
                FIELD_MISSING,
                "Give at least one case.",
            );
        }
        self.few(&format!("nodes.{id}.branch.cases"), it.cases.len());
        let cases: Vec<_> = (it.cases.iter().enumerate())
            .map(|(n, case)| {
                let place = format!("nodes.{id}.branch.cases[{n}].when");
                Some((self.rule(place, &case.when, &party, &Type::Bool)?, case.next.clone()))
            })
            .collect();
        let cases = cases.into_iter().collect::<Option<_>>()?;
        Some(Node::Branch { cases, otherwise: it.r#else.clone() })
    }

    fn split(&mut self, id: &str, it: &proto::Split) -> Option<Node> {
        let place = |field: String| format!("nodes.{id}.split.{field}");
        let salt = self.text(place("salt".into()), &it.salt, 1..=128);
        if it.arms.len() < 2 {
            self.findings.note(place("arms".into()), FIELD_MISSING, "Give at least two arms.");
        }
        self.few(&place("arms".into()), it.arms.len());
        let mut names = BTreeSet::new();
        let mut arms = Vec::new();
        for (n, arm) in it.arms.iter().enumerate() {
            let name = self.code(place(format!("arms[{n}].name")), &arm.name);
            if !names.insert(arm.name.as_str()) {
                self.findings.note(
                    place(format!("arms[{n}].name")),
                    FIELD_INVALID,
                    "Give every arm a name of its own.",
                );
            }
            if !(1..=1_000_000).contains(&arm.weight) {
                self.findings.note(
                    place(format!("arms[{n}].weight")),
                    FIELD_INVALID,
                    "Use a weight from 1 to 1000000.",
                );
            }
            arms.push(name.map(|name| Arm { name, weight: arm.weight, next: arm.next.clone() }));
        }
        Some(Node::Split { salt: salt?, arms: arms.into_iter().collect::<Option<_>>()? })
    }

    fn decide(&mut self, id: &str, it: &proto::Decide) -> Option<Node> {
        let place = |field: &str| format!("nodes.{id}.decide.{field}");
        let slot = it.slot.clone().unwrap_or_default();
        if slot.k > 5 {
            self.findings.note(place("slot.k"), FIELD_INVALID, "Use 1 to 5 places.");
        }
        if slot.channels().any(|it| it == Channel::Unspecified) || slot.channels.len() > 20 {
            self.findings.note(
                place("slot.channels"),
                FIELD_INVALID,
                "Use channels such as EMAIL; leave the list empty for all.",
            );
        }
        self.few(&place("groups"), it.groups.len());
        for (n, group) in it.groups.iter().enumerate() {
            self.authored(place(&format!("groups[{n}]")), group);
        }
        if !it.valid_for.is_empty() {
            self.duration(place("valid_for"), &it.valid_for, true);
        }
        Some(Node::Decide {
            slot,
            groups: it.groups.clone(),
            valid_for: it.valid_for.clone(),
            chosen: it.chosen.clone(),
            nothing: it.nothing.clone(),
            unavailable: it.unavailable.clone(),
        })
    }

    fn touch(&mut self, id: &str, it: &proto::Touch) -> Option<Node> {
        let place = |field: &str| format!("nodes.{id}.touch.{field}");
        let said = match (it.decision.as_str(), it.module.as_str()) {
            ("", "") => self.wrong(
                place("module"),
                FIELD_MISSING,
                "Name a decide node in `decision`, or a module and a channel.",
            ),
            (decision, "") if it.channel == 0 => Some(Said::Decision(decision.to_owned())),
            ("", module) => {
                let module = self.authored(place("module"), module);
                let channel = self.channel(place("channel"), it.channel);
                module.zip(channel).map(|(module, channel)| Said::Module { module, channel })
            }
            (_, "") => self.wrong(
                place("channel"),
                FIELD_INVALID,
                "Leave it empty: the decision chooses the channel.",
            ),
            _ => {
                self.wrong(place("module"), FIELD_INVALID, "Name a decision or a module, not both.")
            }
        };
        let expires_after = self.duration_or(place("expires_after"), &it.expires_after, 3 * DAY);
        self.few(&place("slots"), it.slots.len());
        let party = self.names.party();
        let slots: Vec<_> = (it.slots.iter())
            .map(|(name, text)| {
                let place = place(&format!("slots.{}", shown(name)));
                let name = self.text(place.clone(), name, 1..=64);
                let rule = self.rule(place, text, &party, &Type::Any);
                Some((name?, rule?))
            })
            .collect();
        Some(Node::Touch {
            said: said?,
            expires_after: expires_after?,
            slots: slots.into_iter().collect::<Option<_>>()?,
            sent: it.sent.clone(),
            skipped: it.skipped.clone(),
            failed: it.failed.clone(),
        })
    }
}

/// A code that a program may branch on.
pub(crate) fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
}

/// No slash: timers are named by it.
fn is_node_id(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}

/// A key of the document, short enough and harmless in a message.
fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
