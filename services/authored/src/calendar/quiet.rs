//! Quiet hours: when nobody is to be disturbed, and when it is over everywhere.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use eventstore::Timestamp;
use jiff::civil::{Date, DateTime, Time, Weekday};

use super::Invalid;
use super::local::Zone;
use super::text::{self, LocalTime};

/// How far ahead the end of quiet is looked for.
const HORIZON: Duration = Duration::from_secs(60 * 86_400);

/// A market's zones and days off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calendar {
    /// Every zone of the market.
    pub zones: Vec<Zone>,
    /// Days off each week.
    pub weekend: Vec<Weekday>,
    /// Days off by date.
    pub holidays: BTreeSet<Date>,
}

impl Calendar {
    /// Reads what a rule pack says.
    pub fn parse(
        zones: &[String],
        weekend: &[String],
        holidays: &[String],
    ) -> Result<Self, Invalid> {
        Ok(Self {
            zones: zones.iter().map(|it| Zone::parse(it)).collect::<Result<_, _>>()?,
            weekend: weekend.iter().map(|it| text::weekday(it)).collect::<Result<_, _>>()?,
            holidays: holidays.iter().map(|it| text::date(it)).collect::<Result<_, _>>()?,
        })
    }
}

/// Days that are quiet from midnight to midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Also {
    /// A day of the week.
    Day(Weekday),
    /// The calendar's weekend.
    Weekend,
    /// The calendar's holidays.
    Holiday,
}

/// When nobody is to be disturbed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuietHours {
    /// From a local time on until before another; across midnight when that is earlier.
    pub window: Option<(LocalTime, LocalTime)>,
    /// Whole days.
    pub also: Vec<Also>,
}

/// What makes an instant quiet. Shown in verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// The window.
    Window(LocalTime, LocalTime),
    /// A day of the week.
    Day(Weekday),
    /// The weekend.
    Weekend,
    /// A holiday.
    Holiday(Date),
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window(from, to) => write!(f, "{from}-{to}"),
            Self::Day(day) => f.write_str(text::weekday_text(*day)),
            Self::Weekend => f.write_str("WEEKEND"),
            Self::Holiday(date) => write!(f, "HOLIDAY {date}"),
        }
    }
}

/// When it is quiet no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The instant that was asked about, or the first one after it.
    pub at: Timestamp,
    /// What held it back last; `None` when nothing did.
    pub held: Option<Held>,
}

/// What held something back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// In which zone.
    pub zone: String,
    /// What was quiet there.
    pub rule: Quiet,
}

impl QuietHours {
    /// Reads what a rule pack says. Without times only whole days are quiet.
    pub fn parse(from: &str, to: &str, also: &[String]) -> Result<Self, Invalid> {
        let window = match (from, to) {
            ("", "") => None,
            _ => Some((LocalTime::parse(from)?, LocalTime::parse(to)?)),
        };
        if window.is_some_and(|(from, to)| from == to) {
            return Err(Invalid { remedy: "Give `from` and `to` different times, or neither." });
        }
        let also = also.iter().map(|it| match it.as_str() {
            "WEEKEND" => Ok(Also::Weekend),
            "HOLIDAY" => Ok(Also::Holiday),
            day => text::weekday(day).map(Also::Day).map_err(|_| Invalid {
                remedy: "Use MON, TUE, WED, THU, FRI, SAT, SUN, WEEKEND or HOLIDAY.",
            }),
        });
        Ok(Self { window, also: also.collect::<Result<_, _>>()? })
    }

    /// The first instant from `at` on that is quiet in none of these zones: the party's, or all of its market's where
    /// that is not known. `None` without a zone, and when there is none within 60 days.
    pub fn next_allowed(
        &self,
        calendar: &Calendar,
        zones: &[Zone],
        at: Timestamp,
    ) -> Option<Allowed> {
        let last = at.plus(HORIZON);
        let mut allowed = (!zones.is_empty()).then_some(Allowed { at, held: None })?;
        while allowed.at <= last {
            let mut held = None;
            for zone in zones {
                if let Some(found) = self.quiet(calendar, zone.local(allowed.at)?) {
                    held = Some((zone, found));
                    break;
                }
            }
            let Some((zone, (rule, rest))) = held else {
                return Some(allowed);
            };
            // While the offset stays the clock on the wall runs evenly; when it changes, look again.
            let end = allowed.at.plus(rest);
            let change = zone.next_change(allowed.at).unwrap_or(Timestamp::MAX);
            let held = Some(Held { zone: zone.name().to_owned(), rule });
            allowed = Allowed { at: end.min(change), held };
        }
        None
    }

    /// What makes a local time quiet, and for how long on the wall.
    fn quiet(&self, calendar: &Calendar, local: DateTime) -> Option<(Quiet, Duration)> {
        let (date, time) = (local.date(), local.time());
        let whole_day = self.also.iter().find_map(|also| match also {
            Also::Day(day) => (date.weekday() == *day).then_some(Quiet::Day(*day)),
            Also::Weekend => calendar.weekend.contains(&date.weekday()).then_some(Quiet::Weekend),
            Also::Holiday => calendar.holidays.contains(&date).then_some(Quiet::Holiday(date)),
        });
        if let Some(rule) = whole_day {
            return Some((rule, until(time, Time::midnight())));
        }
        let (from, to) = self.window?;
        let inside = if from <= to {
            from.time() <= time && time < to.time()
        } else {
            from.time() <= time || time < to.time()
        };
        inside.then(|| (Quiet::Window(from, to), until(time, to.time())))
    }
}

/// From one time on the wall to the next occurrence of another; a day when they are the same.
fn until(from: Time, to: Time) -> Duration {
    const DAY: u64 = 86_400_000_000;
    let micros = |it: Time| {
        let seconds =
            (i64::from(it.hour()) * 60 + i64::from(it.minute())) * 60 + i64::from(it.second());
        (seconds * 1_000_000 + i64::from(it.subsec_nanosecond()) / 1_000).unsigned_abs()
    };
    let (from, to) = (micros(from), micros(to));
    Duration::from_micros(if to > from { to - from } else { to + DAY - from })
}
