//! What an instance asks others to say, and what became of it.

use authored::rule::{Rule, Value};
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::Cause;
use rapport_proto::journeys::v1::instance_event::Event;
use rapport_proto::types::Channel;

use super::super::{Wait, after};
use super::{DO_NOTHING, Entered, Walk};
use crate::graph::{Node, Said};

impl Walk<'_> {
    pub(super) fn touch(
        &mut self,
        node: String,
        visit: u32,
        said: &Said,
        expires_after: i64,
        slots: &[(String, Rule)],
        skipped: &str,
    ) -> Entered {
        // Exit criteria hold before every touch.
        if self.exits(None) {
            return Entered::Stops;
        }
        let started = self.state.start();
        let expires_at = after(self.at, expires_after);
        let (module, channel, decision_id, expires_at) = match said {
            Said::Module { module, channel } => {
                (module.clone(), *channel, String::new(), expires_at)
            }
            Said::Decision(of) => {
                match self.state.decisions.get(of).filter(|it| it.action != DO_NOTHING) {
                    Some(it) => {
                        let expires_at =
                            it.expires_at.map_or(expires_at, |end| end.min(expires_at));
                        (it.module.clone(), it.channel, it.decision_id.clone(), expires_at)
                    }
                    None => {
                        let next = skipped.to_owned();
                        self.emit(Event::TouchSettled(proto::InstanceTouchSettled {
                            node,
                            visit,
                            verdict: "skipped".to_owned(),
                            reason: "no_decision".to_owned(),
                            next: next.clone(),
                            ..Default::default()
                        }));
                        return Entered::Next(next);
                    }
                }
            }
        };
        let scope = self.scope();
        let slots = (slots.iter())
            .filter_map(|(name, rule)| Some((name.clone(), text(&rule.value(&scope).ok()?))))
            .collect();
        let touch_id = derived("tch", &[self.tenant, "tch", &started.instance_id, &node], visit);
        self.emit(Event::TouchRequested(proto::InstanceTouchRequested {
            node,
            visit,
            touch_id,
            party_id: started.party_id,
            module,
            channel: channel.into(),
            decision_id,
            sender_id: self.graph.sender_id.clone(),
            expires_at: Some(expires_at.to_proto()),
            slots,
            instance_id: started.instance_id,
            journey_id: started.journey_id,
            journey_version: started.version,
        }));
        Entered::Stops
    }

    pub(super) fn touch_settled(
        &mut self,
        wait: &Wait,
        touch_id: &str,
        verdict: &str,
        reason: &str,
        cause: Option<Cause>,
    ) {
        let Some(next) = self.after_touch(&wait.node, verdict) else { return };
        self.emit(Event::TouchSettled(proto::InstanceTouchSettled {
            node: wait.node.clone(),
            visit: wait.visit,
            touch_id: touch_id.to_owned(),
            verdict: verdict.to_owned(),
            reason: reason.to_owned(),
            next: next.clone(),
            cause,
        }));
        self.run(&next);
    }

    fn after_touch(&self, node: &str, verdict: &str) -> Option<String> {
        let Some(Node::Touch { sent, skipped, failed, .. }) = self.graph.nodes.get(node) else {
            return None;
        };
        match verdict {
            "sent" => Some(sent.clone()),
            "skipped" => Some(skipped.clone()),
            "failed" => Some(failed.clone()),
            _ => None,
        }
    }

    pub(super) fn ask(
        &mut self,
        node: String,
        visit: u32,
        (survey, channel): (&str, Channel),
        expires_after: i64,
        about: Option<&str>,
    ) -> Entered {
        let started = self.state.start();
        let parts = [self.tenant, "inv", survey, &started.party_id, &started.instance_id, &node];
        let about_touch_id =
            about.and_then(|node| self.state.touches.get(node)).cloned().unwrap_or_default();
        self.emit(Event::FeedbackRequested(proto::InstanceFeedbackRequested {
            invitation_id: derived("inv", &parts, visit),
            node,
            visit,
            party_id: started.party_id,
            survey: survey.to_owned(),
            channel: channel.into(),
            sender_id: self.graph.sender_id.clone(),
            expires_at: Some(after(self.at, expires_after).to_proto()),
            about_touch_id,
            instance_id: started.instance_id,
            journey_id: started.journey_id,
        }));
        Entered::Stops
    }

    pub(super) fn feedback_settled(
        &mut self,
        wait: &Wait,
        invitation_id: &str,
        verdict: &str,
        reason: &str,
    ) {
        let Some(Node::Ask { issued, declined, .. }) = self.graph.nodes.get(&wait.node) else {
            return;
        };
        let next = if verdict == "issued" { issued.clone() } else { declined.clone() };
        self.emit(Event::FeedbackSettled(proto::InstanceFeedbackSettled {
            node: wait.node.clone(),
            visit: wait.visit,
            invitation_id: invitation_id.to_owned(),
            verdict: verdict.to_owned(),
            reason: reason.to_owned(),
            next: next.clone(),
        }));
        self.run(&next);
    }
}

fn derived(prefix: &str, parts: &[&str], visit: u32) -> String {
    let visit = visit.to_string();
    let parts: Vec<&str> = parts.iter().copied().chain([visit.as_str()]).collect();
    eventstore::derive_id(prefix, &parts)
}

/// A value as a slot of a module shows it.
fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Time(at) => at.to_string(),
        Value::Bool(_) | Value::Number(_) | Value::Duration(_) | Value::List(_) => {
            value.to_string()
        }
    }
}
