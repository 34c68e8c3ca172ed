//! Reads the fields of a definition. Everything that is wrong is told at once.

mod node;

use std::collections::BTreeSet;

use authored::calendar::{self, LocalTime};
use authored::rule::{Catalogue, Rule, Type};
use prost::Message as _;
use rapport_proto::is_market;
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::{Crossing, entry, reentry};
use rapport_proto::types::{Audience, Channel};

use super::findings::{
    DURATION_INVALID, FIELD_INVALID, FIELD_MISSING, Findings, ID_INVALID, REENTRY_MISSING,
    TIME_INVALID, TOO_LARGE,
};
use super::rules::{self, Names};
use super::{Entry, Goal, Graph, MOST_BYTES, MOST_NODES, Reentry};

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
}

/// A code that a program may branch on.
pub(crate) fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b))
}

/// A key of the document, short enough and harmless in a message.
fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
