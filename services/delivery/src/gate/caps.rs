//! Pressure caps: lines of the contact policy that are hard. A line names channels and interactions. It limits touches by
//! the channels it names, or by every channel when it names interactions only, of its product or of all; it allows one
//! if fewer than `max` of what it counts lie in its rolling window. What happened at an instant lies in the window up
//! to, not including, that instant plus the window: then its place is free. `decisioning` filters by the same lines, and
//! reads them alike.

use std::collections::BTreeMap;

use authored::calendar;
use eventstore::Timestamp;
use rapport_proto::decisioning::v1::{self as decisioning, ContactLine};
use rapport_proto::delivery::v1::Reservation;
use rapport_proto::types::Channel;

use super::Gathered;
use crate::domain::channel_of;
use crate::domain::pressure::LONGEST;

/// What of a version of the policy limits contacts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) version: u32,
    /// The hard lines.
    pub(super) lines: Vec<Line>,
}

/// A hard line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    id: String,
    channels: Vec<Channel>,
    interactions: Vec<String>,
    /// Empty: all.
    pub(super) product_id: String,
    window: String,
    /// The window in microseconds; `None` when nobody can keep it, and nothing passes.
    span: Option<i64>,
    max: u32,
}

/// An interaction that lines count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) at: Timestamp,
}

/// How far to look for interactions of a name: so long ago, and so many of the newest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) back: i64,
    pub(crate) most: u32,
}

/// A line without a free place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) line: String,
    pub(crate) count: usize,
    pub(crate) max: u32,
    pub(crate) window: String,
    pub(crate) next_allowed_at: Timestamp,
}

impl Policy {
    pub(crate) fn compile(version: u32, policy: &decisioning::Policy) -> Self {
        let lines = policy.contact_policy.iter().filter(|it| it.hard).map(Line::compile).collect();
        Self { version, lines }
    }

    /// Which interactions lines count, and how far to look for each. Of a name the newest `max` of the largest line are
    /// enough: a line that counts it is full when they lie in its window, whatever else does, and the `max`-th newest
    /// of all that it counts, whose end frees a place, is among them.
    pub(crate) fn looks(&self) -> BTreeMap<&str, Look> {
        let mut looks: BTreeMap<&str, Look> = BTreeMap::new();
        for line in &self.lines {
            for name in &line.interactions {
                let look = looks.entry(name).or_default();
                look.back = look.back.max(line.span.unwrap_or_default());
                look.most = look.most.max(line.max);
            }
        }
        looks
    }
}

impl Line {
    pub(super) fn compile(line: &ContactLine) -> Self {
        let (channels, interactions): (Vec<_>, Vec<_>) =
            line.counts.iter().partition(|it| channel_of(it).is_some());
        let span = calendar::duration(&line.window).ok();
        Self {
            id: line.id.clone(),
            channels: channels.into_iter().filter_map(|it| channel_of(it)).collect(),
            interactions: interactions.into_iter().cloned().collect(),
            product_id: line.product_id.clone(),
            window: line.window.clone(),
            // What lies farther back is forgotten, so that such a line would count too little.
            span: span.filter(|it| Timestamp(*it) <= Timestamp(0).plus(LONGEST)),
            max: line.max,
        }
    }

    fn limits(&self, channel: Channel, product_id: &str) -> bool {
        let by_channel = self.channels.is_empty() || self.channels.contains(&channel);
        by_channel && self.is_about(product_id)
    }

    fn is_about(&self, product_id: &str) -> bool {
        self.product_id.is_empty() || self.product_id == product_id
    }

    fn full(&self, gathered: &Gathered, span: i64, at: Timestamp) -> Option<Full> {
        let touches = (gathered.contacts.iter())
            // The place this touch itself took before it was tried again is not in its way.
            .filter(|it| it.touch_id != gathered.request.touch_id)
            .filter(|it| self.channels.contains(&it.channel) && self.is_about(&it.product_id))
            .map(|it| it.at);
        // Interactions name no product: under a line for one product they count all the same.
        let seen = gathered.interactions.iter().filter(|it| self.interactions.contains(&it.name));
        let frees = |it: Timestamp| Timestamp(it.0.saturating_add(span));
        let all = touches.chain(seen.map(|it| it.at));
        let mut taken: Vec<Timestamp> = all.filter(|it| frees(*it) > at).collect();
        let max = self.max as usize;
        if taken.len() < max {
            return None;
        }
        taken.sort_unstable();
        let leaves = taken.get(taken.len() - max).copied().unwrap_or(Timestamp::MAX);
        Some(Full {
            line: self.id.clone(),
            count: taken.len(),
            max: self.max,
            window: self.window.clone(),
            next_allowed_at: frees(leaves),
        })
    }
}

/// The first line that has no place for this touch; an error names a line that cannot be kept.
pub(super) fn first_full(gathered: &Gathered, at: Timestamp) -> Result<Option<Full>, String> {
    for line in limiting(gathered) {
        let span = line.span.ok_or_else(|| line.id.clone())?;
        if let Some(full) = line.full(gathered, span, at) {
            return Ok(Some(full));
        }
    }
    Ok(None)
}

/// The places this touch takes: one under each line that counts it.
pub(super) fn reservations(gathered: &Gathered, at: Timestamp) -> Vec<Reservation> {
    let version = gathered.policy.as_ref().map_or(0, |it| it.version);
    limiting(gathered)
        .filter(|line| line.channels.contains(&gathered.channel()))
        .map(|line| Reservation {
            line: line.id.clone(),
            reservation_id: format!("{}/{}", line.id, gathered.request.touch_id),
            counts_until: Some(
                Timestamp(at.0.saturating_add(line.span.unwrap_or_default())).to_proto(),
            ),
            policy_version: version,
        })
        .collect()
}

/// The lines that limit this touch.
fn limiting(gathered: &Gathered) -> impl Iterator<Item = &Line> {
    let (channel, product) = (gathered.channel(), gathered.product_id());
    let lines = gathered.policy.iter().flat_map(|it| &it.lines);
    lines.filter(move |line| line.limits(channel, product))
}
