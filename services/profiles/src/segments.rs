//! Segments: who is in, and who crosses when.
//!
//! ```text
//! events ─ which rules look at what each changed? ─▶ evaluate at its instant ─▶ SegmentEntered / SegmentExited
//!                                                 └─ next instant at which time alone decides ─▶ SegmentCrossingExpected
//! timer ─ evaluate at its instant, and state the next
//! new version ─ everybody is looked at, page by page
//! new rule pack ─ everybody in its market
//! ```
//!
//! Events of this service are followed by the reactor `segments`, many at a time (`walk.rs`); what one moves crosses at
//! the instant it was recorded. What time alone changes crosses at the exact instant: each comparison of a rule that
//! time can turn has a literal, so the instants at which it turns are computed, and the first at which the whole rule
//! turns is stated. A party and segment have one timer. It is stated anew when it is needed earlier, or is due so soon
//! that it may have fired by then; one that fires too early looks again.
//!
//! An event is judged by what was recorded up to it, and an instant by what was recorded before it; they take turns in
//! the order of their instants. So what crosses does not depend on when the reactor or the timers run. A version judges
//! nothing that was before it: it looks at everybody as the reactor has followed them, and then follows like any other,
//! so that who is in by the version before and by the new one crosses nothing (`sweep.rs`).
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
mod settle;
pub(crate) mod sweep;
mod walk;

#[cfg(test)]
pub(crate) use change::concerned;
pub(crate) use crossing::cross;
pub(crate) use definitions::{Definitions, Live, LiveSegment};
pub(crate) use preview::preview;
pub(crate) use reactor::{CONSUMER, consumer};
pub(crate) use sweep::sweep;
