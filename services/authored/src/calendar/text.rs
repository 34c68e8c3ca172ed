//! How documents write durations, times and days.

use std::fmt;

use jiff::civil::{Date, Time, Weekday};

use super::Invalid;

/// A hundred years.
const LONGEST: i64 = 36_525 * DAY;
const DAY: i64 = 86_400 * 1_000_000;

/// Microseconds of `<n>(d|h|m|s)`; a day is exactly 24 hours.
pub fn duration(text: &str) -> Result<i64, Invalid> {
    const REMEDY: Invalid = Invalid {
        remedy: "Use a whole number with d, h, m or s, for example 14d; 36525d at most.",
    };
    let (number, unit) = [("d", DAY), ("h", DAY / 24), ("m", DAY / 1_440), ("s", 1_000_000)]
        .into_iter()
        .find_map(|(letter, unit)| Some((text.strip_suffix(letter)?, unit)))
        .ok_or(REMEDY)?;
    if number.is_empty() || !number.bytes().all(|it| it.is_ascii_digit()) {
        return Err(REMEDY);
    }
    let number: i64 = number.parse().map_err(|_| REMEDY)?;
    number.checked_mul(unit).filter(|it| *it <= LONGEST).ok_or(REMEDY)
}

/// A duration that may be negative: `-7d` is a week before.
pub fn offset(text: &str) -> Result<i64, Invalid> {
    match text.strip_prefix('-') {
        Some(before) => duration(before).map(|it| -it),
        None => duration(text),
    }
}

/// `MON` to `SUN`.
pub fn weekday(text: &str) -> Result<Weekday, Invalid> {
    Ok(match text {
        "MON" => Weekday::Monday,
        "TUE" => Weekday::Tuesday,
        "WED" => Weekday::Wednesday,
        "THU" => Weekday::Thursday,
        "FRI" => Weekday::Friday,
        "SAT" => Weekday::Saturday,
        "SUN" => Weekday::Sunday,
        _ => return Err(Invalid { remedy: "Use MON, TUE, WED, THU, FRI, SAT or SUN." }),
    })
}

/// As [`weekday`] reads it.
pub(super) fn weekday_text(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "MON",
        Weekday::Tuesday => "TUE",
        Weekday::Wednesday => "WED",
        Weekday::Thursday => "THU",
        Weekday::Friday => "FRI",
        Weekday::Saturday => "SAT",
        Weekday::Sunday => "SUN",
    }
}

/// `2026-12-25`.
pub fn date(text: &str) -> Result<Date, Invalid> {
    const REMEDY: Invalid = Invalid { remedy: "Use a date, for example 2026-12-25." };
    let shape = text.len() == 10
        && text.bytes().enumerate().all(|(index, it)| match index {
            4 | 7 => it == b'-',
            _ => it.is_ascii_digit(),
        });
    if !shape {
        return Err(REMEDY);
    }
    let part = |from: usize, to: usize| text[from..to].parse::<i16>().map_err(|_| REMEDY);
    let small = |it: i16| i8::try_from(it).map_err(|_| REMEDY);
    Date::new(part(0, 4)?, small(part(5, 7)?)?, small(part(8, 10)?)?).map_err(|_| REMEDY)
}

/// A time on the clock on the wall, to the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalTime(Time);

impl LocalTime {
    /// Reads `09:00`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const REMEDY: Invalid = Invalid { remedy: "Use a time from 00:00 to 23:59." };
        let two = |it: &str| match it.as_bytes() {
            [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
                i8::try_from((tens - b'0') * 10 + ones - b'0').ok()
            }
            _ => None,
        };
        let (hour, minute) = text.split_once(':').ok_or(REMEDY)?;
        let (hour, minute) = (two(hour).ok_or(REMEDY)?, two(minute).ok_or(REMEDY)?);
        Time::new(hour, minute, 0, 0).map(Self).map_err(|_| REMEDY)
    }

    pub(super) const MIDNIGHT: Self = Self(Time::midnight());

    pub(super) fn time(self) -> Time {
        self.0
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0.hour(), self.0.minute())
    }
}
