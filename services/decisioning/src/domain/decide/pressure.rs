//! Contact policy: how often a party may be contacted, and what its reactions put off.
//!
//! A line allows iff fewer than `max` of what it counts lie in its rolling window; then the next contact is allowed when
//! the `max`-th newest leaves the window. A suppression stops its scope for a while after `count` outcomes within a
//! window. When several stop a candidate, the first is told, and the latest end.

use eventstore::Timestamp;
use rapport_proto::decisioning::v1::{Happening, HappeningKind};
use rapport_proto::types::{Channel, ContentClass};

use super::Stopped;
use super::content::Module;
use crate::domain::policy::compiled::{Action, Compiled, ContactLine, Scope, Suppression};
use crate::domain::{instant, later, names};

/// What a party's past comes to at an instant.
pub(super) struct Pressure<'i> {
    /// Lines that are full, with how many they count and until when they stay so.
    full: Vec<(&'i ContactLine, usize, Timestamp)>,
    /// Suppressions with the outcomes that they count, newest first.
    suppressions: Vec<(&'i Suppression, Vec<&'i Happening>)>,
    at: Timestamp,
}

impl<'i> Pressure<'i> {
    pub(super) fn new(policy: &'i Compiled, happenings: &'i [Happening], at: Timestamp) -> Self {
        let full = |line: &'i ContactLine| {
            let counted = counted(line, happenings, at);
            let oldest = counted.get(line.max.checked_sub(1)?)?;
            Some((line, counted.len(), later(*oldest, line.window)))
        };
        let full = policy.lines.iter().filter_map(full).collect();
        let counted = |line: &'i Suppression| {
            let counted: Vec<_> = happenings.iter().filter(|it| line.counts(it)).collect();
            (counted.len() >= line.count).then_some((line, counted))
        };
        let suppressions = policy.suppressions.iter().filter_map(counted).collect();
        Self { full, suppressions, at }
    }

    /// Why a candidate is stopped. Safety communication is exempt.
    pub(super) fn stops(
        &self,
        action: &Action,
        channel: Channel,
        module: &Module,
    ) -> Option<Stopped> {
        if module.class == ContentClass::SafetyCommunication {
            return None;
        }
        let lines = (self.full.iter())
            .filter(|(line, ..)| line.limits(channel, &module.product_id))
            .map(|(line, count, until)| Stopped {
                clause: line.id.clone(),
                value: format!("{count} in {}", span(line.window)),
                required: format!("< {}", line.max),
                next_allowed_at: Some(*until),
            });
        let suppressions = self.suppressions.iter().filter_map(|(line, counted)| {
            let until = self.suppressed_until(line, counted, action, channel)?;
            Some(Stopped {
                clause: line.id.clone(),
                value: format!("{} {} in {}", line.count, line.outcome, span(line.window)),
                required: format!("{} after the last of them", span(line.duration)),
                next_allowed_at: Some(until),
            })
        });
        let all: Vec<Stopped> = lines.chain(suppressions).collect();
        let latest = all.iter().filter_map(|it| it.next_allowed_at).max();
        all.into_iter().next().map(|first| Stopped { next_allowed_at: latest, ..first })
    }

    fn suppressed_until(
        &self,
        line: &Suppression,
        counted: &[&Happening],
        action: &Action,
        channel: Channel,
    ) -> Option<Timestamp> {
        let in_scope = |it: &&&Happening| match line.scope {
            Scope::Action => it.action == action.id,
            Scope::Group => it.group == action.group,
            Scope::Channel => it.channel() == channel,
        };
        let times = counted.iter().filter(in_scope);
        let times: Vec<Timestamp> = times.filter_map(|it| instant(it.at.as_ref())).collect();
        // Newest first: the first run of `count` within the window has the latest end.
        times
            .windows(line.count.max(1))
            .find(|run| run[0].0.saturating_sub(run[run.len() - 1].0) <= line.window)
            .map(|run| later(run[0], line.duration))
            .filter(|until| self.at < *until)
    }
}

/// When what a line counts happened within its window, newest first.
fn counted(line: &ContactLine, happenings: &[Happening], at: Timestamp) -> Vec<Timestamp> {
    let since = at.0.saturating_sub(line.window);
    (happenings.iter())
        .filter(|it| line.counts(it))
        .filter_map(|it| instant(it.at.as_ref()))
        .filter(|it| it.0 > since)
        .collect()
}

impl ContactLine {
    fn counts(&self, it: &Happening) -> bool {
        match it.kind() {
            HappeningKind::Contact => {
                let named =
                    names::channel_of(&it.name).is_some_and(|it| self.channels.contains(&it));
                named && (self.product_id.is_empty() || self.product_id == it.product_id)
            }
            HappeningKind::Interaction => self.interactions.contains(&it.name),
            HappeningKind::Outcome | HappeningKind::Unspecified => false,
        }
    }

    /// Whether a candidate falls under the line: its channel counts, or the line counts interactions only.
    fn limits(&self, channel: Channel, product_id: &str) -> bool {
        (self.channels.is_empty() || self.channels.contains(&channel))
            && (self.product_id.is_empty() || self.product_id == product_id)
    }
}

impl Suppression {
    fn counts(&self, it: &Happening) -> bool {
        it.kind() == HappeningKind::Outcome
            && it.name == self.outcome
            && (self.reason.is_empty() || it.reason == self.reason)
    }
}

/// A duration as documents write it.
pub(crate) fn span(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    let (unit, letter) = [(86_400, 'd'), (3_600, 'h'), (60, 'm')]
        .into_iter()
        .find(|(unit, _)| seconds % unit == 0 && seconds > 0)
        .unwrap_or((1, 's'));
    format!("{}{letter}", seconds / unit)
}
