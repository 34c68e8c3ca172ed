//! Calendars and clocks on walls: durations are exact, calendar rules are local.
//!
//! A local time that a zone skips is the first valid instant after the gap; one that a zone repeats is the first of
//! the two. A day without a year's 29 February is the 28th. The zones are those of one release of the IANA database
//! ([`tzdata_version`]), the same on every machine. Everything here is pure.
//!
//! ```
//! use authored::calendar::{LocalTime, Zone, next_local};
//! use eventstore::Timestamp;
//!
//! let berlin = Zone::parse("Europe/Berlin")?;
//! let nine = LocalTime::parse("09:00")?;
//! let next = next_local(&berlin, nine, &[], Timestamp(0)).expect("there is a tomorrow");
//! assert_eq!(next.to_string(), "1970-01-01T08:00:00.000000Z");
//! # Ok::<(), authored::calendar::Invalid>(())
//! ```

mod local;
mod quiet;
mod text;
mod working;

pub use jiff::civil::{Date, Weekday};
pub use local::{
    Period, Zone, anniversary, at_local, date_of, end_of, last_local, next_local, start_of,
    tzdata_version,
};
pub use quiet::{Allowed, Also, Calendar, Held, Quiet, QuietHours};
pub use text::{LocalTime, date, duration, offset, weekday};
pub use working::{Interval, WorkingTime};

/// A text of a document that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{remedy}")]
pub struct Invalid {
    /// What to write instead.
    pub remedy: &'static str,
}

#[cfg(test)]
mod tests;
