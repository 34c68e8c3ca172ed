//! Pressure caps: lines of the contact policy that are hard. A line allows a contact if fewer than `max` of what it
//! counts lie in its rolling window. A contact at an instant lies in the window up to, not including, that instant plus
//! the window: then its place is free.

use authored::calendar;
use eventstore::Timestamp;
use rapport_proto::decisioning::v1::{self as decisioning, ContactLine};
use rapport_proto::delivery::v1::Reservation;

use super::{Gathered, counted_as};

/// What of the live policy limits contacts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Policy {
    pub(crate) version: u32,
    /// The hard lines.
    pub(crate) lines: Vec<ContactLine>,
}

impl Policy {
    pub(crate) fn of(version: u32, policy: &decisioning::Policy) -> Self {
        let lines = policy.contact_policy.iter().filter(|it| it.hard).cloned().collect();
        Self { version, lines }
    }
}

/// An interaction that lines count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) at: Timestamp,
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

/// The first line that has no place for this touch; an error names a line that cannot be read.
pub(crate) fn first_full(gathered: &Gathered, at: Timestamp) -> Result<Option<Full>, String> {
    for line in lines_of(gathered) {
        let window = calendar::duration(&line.window).map_err(|_| line.id.clone())?;
        if let Some(full) = full(gathered, line, window, at) {
            return Ok(Some(full));
        }
    }
    Ok(None)
}

/// The places this touch takes: one under each line that counts it.
pub(crate) fn reservations(gathered: &Gathered, at: Timestamp) -> Vec<Reservation> {
    let version = gathered.policy.as_ref().map_or(0, |it| it.version);
    lines_of(gathered)
        .map(|line| {
            let window = calendar::duration(&line.window).unwrap_or_default();
            Reservation {
                line: line.id.clone(),
                reservation_id: format!("{}/{}", line.id, gathered.request.touch_id),
                counts_until: Some(Timestamp(at.0.saturating_add(window)).to_proto()),
                policy_version: version,
            }
        })
        .collect()
}

/// The lines that count this touch.
fn lines_of(gathered: &Gathered) -> impl Iterator<Item = &ContactLine> {
    let (name, product) = (counted_as(gathered.channel()), gathered.product_id());
    gathered.policy.iter().flat_map(|it| &it.lines).filter(move |line| {
        counts(line, name) && (line.product_id.is_empty() || line.product_id == product)
    })
}

fn counts(line: &ContactLine, name: &str) -> bool {
    line.counts.iter().any(|it| it == name)
}

fn full(gathered: &Gathered, line: &ContactLine, window: i64, at: Timestamp) -> Option<Full> {
    let touches = gathered
        .contacts
        .iter()
        // The place this touch itself took before it was tried again is not in its way.
        .filter(|it| it.touch_id != gathered.request.touch_id)
        .filter(|it| counts(line, counted_as(it.channel)))
        .filter(|it| line.product_id.is_empty() || line.product_id == it.product_id)
        .map(|it| it.at);
    // Interactions name no product: under a line for one product they count all the same.
    let seen = gathered.interactions.iter().filter(|it| counts(line, &it.name)).map(|it| it.at);
    let frees = |it: Timestamp| Timestamp(it.0.saturating_add(window));
    let mut taken: Vec<Timestamp> = touches.chain(seen).filter(|it| frees(*it) > at).collect();
    let max = line.max as usize;
    if taken.len() < max {
        return None;
    }
    taken.sort_unstable();
    let leaves = taken.get(taken.len() - max).copied().unwrap_or(Timestamp::MAX);
    Some(Full {
        line: line.id.clone(),
        count: taken.len(),
        max: line.max,
        window: line.window.clone(),
        next_allowed_at: frees(leaves),
    })
}
