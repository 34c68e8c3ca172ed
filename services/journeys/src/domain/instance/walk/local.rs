//! Waits by the clock of the recipient.

use authored::calendar::{self, LocalTime, Zone};
use authored::rule::Value;
use eventstore::Timestamp;
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::instance_event::Event;

use super::super::{Wait, after};
use super::{Entered, Walk};
use crate::graph::{Node, TimeOfDay};

impl Walk<'_> {
    pub(super) fn wait_until(&mut self, node: String, visit: u32, clock: &TimeOfDay) -> Entered {
        // At a second visit the instant at hand is over: a cycle through one local time waits for the next.
        let from = if visit > 1 { after(self.at, 1) } else { self.at };
        let resolved = next_local(&self.reading.zones, clock, from);
        let resolved = resolved.unwrap_or((from, Vec::new()));
        self.local_wait(node, visit, from, resolved, &clock.text);
        Entered::Stops
    }

    pub(super) fn wait_date(&mut self, node: String, visit: u32, step: &Node) -> Entered {
        let Node::WaitDate { missing, .. } = step else { return Entered::Stops };
        match self.date(step) {
            Some((due_at, zones, rule)) => {
                self.local_wait(node, visit, self.at, (due_at, zones), &rule);
                Entered::Stops
            }
            None => {
                let next = missing.clone();
                self.emit(Event::TimerFired(proto::InstanceTimerFired {
                    node,
                    visit,
                    next: next.clone(),
                    due_at: None,
                }));
                Entered::Next(next)
            }
        }
    }

    /// Zone, date or market changed: a wait keeps its rule and may have another instant now.
    pub(super) fn resolve_again(&mut self, wait: &Wait) {
        let (Some(due_at), Some(began_at)) = (wait.due_at, wait.began_at) else { return };
        let resolved = match self.graph.nodes.get(&wait.node) {
            // Asked from when the wait began, so that what is past by now fires now.
            Some(Node::WaitUntil { clock, .. }) => {
                let local = next_local(&self.reading.zones, clock, began_at);
                local.map(|(again, zones)| (again, zones, clock.text.clone()))
            }
            Some(step @ Node::WaitDate { .. }) => self.date(step),
            _ => None,
        };
        if let Some((again, zones, rule)) = resolved.filter(|it| it.0 != due_at) {
            self.local_wait(wait.node.clone(), wait.visit, began_at, (again, zones), &rule);
        }
    }

    fn local_wait(
        &mut self,
        node: String,
        visit: u32,
        began_at: Timestamp,
        (due_at, zones): (Timestamp, Vec<String>),
        rule: &str,
    ) {
        self.emit(Event::WaitStarted(proto::InstanceWaitStarted {
            node,
            visit,
            due_at: Some(due_at.to_proto()),
            rule: rule.to_owned(),
            zones,
            tzdata: calendar::tzdata_version().to_owned(),
            timeout: false,
            began_at: Some(began_at.to_proto()),
        }));
    }

    /// Instant, zones and rule of a date; `None` when the attribute is missing or no time.
    fn date(&self, step: &Node) -> Option<(Timestamp, Vec<String>, String)> {
        let Node::WaitDate { attribute, offset, time, .. } = step else { return None };
        let Some(Value::Time(date)) =
            self.reading.attributes.get(attribute).and_then(Value::from_clear)
        else {
            return None;
        };
        let date = after(date, *offset);
        let Some(time) = time else { return Some((date, Vec::new(), String::new())) };
        let (due_at, zones) =
            last_at_local(&self.reading.zones, date, *time).unwrap_or((date, Vec::new()));
        Some((due_at, zones, time.to_string()))
    }
}

/// The next instant at which the recipient's clock shows a time, and the zone by which; where the zone is not known,
/// the last over all that it can be.
fn next_local(
    zones: &[Zone],
    clock: &TimeOfDay,
    from: Timestamp,
) -> Option<(Timestamp, Vec<String>)> {
    let (at, zone) = calendar::last_local(zones, clock.time, &clock.weekdays, from)?;
    Some((at, vec![zone.name().to_owned()]))
}

/// A local time on the local date of an instant; the last over all zones.
fn last_at_local(
    zones: &[Zone],
    date: Timestamp,
    time: LocalTime,
) -> Option<(Timestamp, Vec<String>)> {
    let in_zone = |zone: &Zone| {
        let day = calendar::date_of(zone, date)?;
        Some((calendar::at_local(zone, day, time), zone.name().to_owned()))
    };
    let (at, zone) = zones.iter().filter_map(in_zone).max_by_key(|it| it.0)?;
    Some((at, vec![zone]))
}
