//! Segments: who is in, and who crosses when.
//!
//! ```text
//! event ─ which rules look at what it changed? ─▶ evaluate at the event's instant ─▶ SegmentEntered / SegmentExited
//!                                                 └─ next instant at which time alone decides ─▶ SegmentCrossingExpected
//! timer ─ evaluate at its instant, and state the next
//! new version ─ everybody is looked at, page by page
//! new rule pack ─ everybody in its market
//! ```
//!
//! An event of this service is followed by the reactor `segments`; what it finds crossed at the instant the event was
//! recorded. What time alone changes crosses at the exact instant: each comparison of a rule that time can turn has a
//! literal, so the instants at which it turns are computed, and the first at which the whole rule turns is stated. A
//! party and segment have one timer. It is moved only when it is needed earlier; one that fires too early looks again.
//!
//! An event is judged by what was recorded up to it, and an instant by what was recorded before it; they take turns in
//! the order of their instants. So what crosses does not depend on when the reactor or the timers run.
//!
//! Whether a party is in is read from the facts whenever it is asked, so an answer never lags behind the log. Only the
//! events do, by the time it takes to write them.

mod change;
mod crossing;
mod definitions;
pub(crate) mod facts;
mod path;
mod preview;
mod reactor;
mod recompute;
mod settle;
mod sweep;

pub(crate) use crossing::cross;
pub(crate) use definitions::Definitions;
pub(crate) use preview::preview;
pub(crate) use reactor::{CONSUMER, consumer};
pub(crate) use recompute::{judge, recompute};

use std::collections::BTreeMap;

use eventstore::{Error, Timestamp};

use facts::Needs;

/// Segments a party is in at an instant, in the order of their ids.
pub(crate) async fn of(
    definitions: &Definitions,
    tenant: &str,
    party_id: &str,
    at: Timestamp,
) -> Result<Vec<String>, Error> {
    let live = definitions.live(tenant).await?;
    if live.segments.is_empty() {
        return Ok(Vec::new());
    }
    let needs = Needs { party: true, ..Needs::of(live.segments.values().map(|it| &it.needs)) };
    let ids = [party_id.to_owned()];
    let found = facts::load(definitions.store(), &live, tenant, &ids, &needs, at).await?;
    let Some(facts) = found.first() else { return Ok(Vec::new()) };
    let inside = live.segments.values().filter(|it| facts.hold(&it.definition.rule, at));
    Ok(inside.map(|it| it.definition.id.clone()).collect())
}

/// Versions of the live segments, by id.
pub(crate) async fn versions(
    definitions: &Definitions,
    tenant: &str,
) -> Result<BTreeMap<String, u32>, Error> {
    let live = definitions.live(tenant).await?;
    Ok(live.segments.iter().map(|(id, it)| (id.clone(), it.version)).collect())
}
