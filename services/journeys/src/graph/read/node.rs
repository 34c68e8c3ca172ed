//! Nodes, one kind after another.

use std::collections::BTreeSet;

use authored::calendar;
use authored::rule::Type;
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::node::Step;
use rapport_proto::types::Channel;

use super::super::findings::{
    DURATION_INVALID, FIELD_INVALID, FIELD_MISSING, ID_INVALID, TIME_INVALID,
};
use super::super::rules::Names;
use super::super::{Arm, Case, Node, Said, TimeOfDay};
use super::{DAY, Reader, shown};

impl Reader<'_> {
    pub(super) fn node(&mut self, id: &str, node: &proto::Node) -> Option<Node> {
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
            clock: TimeOfDay { time: time?, weekdays, text },
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

/// No slash: timers are named by it.
fn is_node_id(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
}
