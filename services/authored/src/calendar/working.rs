//! Business time: which of the time between two instants people work.
//!
//! An instant is business time when the clock on the wall shows a time within an interval of its weekday and the local
//! date is no holiday. So a day on which the clocks go forward or back has as much of it as the wall shows.

use std::collections::BTreeSet;

use eventstore::Timestamp;
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::Offset;

use super::Invalid;
use super::local::Zone;
use super::text::LocalTime;

const DAY: i64 = 86_400 * 1_000_000;
/// The first day of the epoch was a Thursday.
const EPOCH_WEEKDAY: i64 = 3;
/// How far into the future is looked: ten years.
const HORIZON: i64 = 3_660 * DAY;

/// When people work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkingTime {
    zone: Zone,
    /// From Monday: intervals in order, in microseconds after midnight.
    hours: [Vec<Interval>; 7],
    /// Days since the epoch.
    holidays: BTreeSet<i64>,
}

/// A part of a day, in microseconds after midnight; the end is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    from: i64,
    until: i64,
}

impl Interval {
    /// Reads `09:00-12:30`; `24:00` ends a day.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const REMEDY: Invalid =
            Invalid { remedy: "Use an interval from earlier to later, for example 09:00-12:30." };
        let (from, until) = text.split_once('-').ok_or(REMEDY)?;
        let micros = |text: &str| match text {
            "24:00" => Ok(DAY),
            text => LocalTime::parse(text).map(of_midnight).map_err(|_| REMEDY),
        };
        let (from, until) = (micros(from)?, micros(until)?);
        if from < until { Ok(Self { from, until }) } else { Err(REMEDY) }
    }
}

fn of_midnight(time: LocalTime) -> i64 {
    let time: Time = time.time();
    (i64::from(time.hour()) * 60 + i64::from(time.minute())) * 60 * 1_000_000
}

impl WorkingTime {
    /// Hours of work by weekday; a weekday without any is free.
    pub fn new(
        zone: Zone,
        hours: impl IntoIterator<Item = (Weekday, Vec<Interval>)>,
        holidays: impl IntoIterator<Item = Date>,
    ) -> Result<Self, Invalid> {
        const TWICE: Invalid = Invalid { remedy: "Name each weekday once." };
        const ORDER: Invalid =
            Invalid { remedy: "Give the intervals of a day in order, without overlap." };
        const NEVER: Invalid = Invalid { remedy: "Give at least one interval of work." };
        let mut week: [Vec<Interval>; 7] = Default::default();
        for (weekday, intervals) in hours {
            if intervals.windows(2).any(|it| it[0].until > it[1].from) {
                return Err(ORDER);
            }
            let day = &mut week[usize::from(weekday.to_monday_zero_offset().unsigned_abs())];
            if !day.is_empty() {
                return Err(TWICE);
            }
            *day = intervals;
        }
        if week.iter().all(Vec::is_empty) {
            return Err(NEVER);
        }
        let holidays = holidays.into_iter().filter_map(day_number).collect();
        Ok(Self { zone, hours: week, holidays })
    }

    /// Every hour of every day.
    pub fn always(zone: Zone) -> Self {
        let whole = Interval { from: 0, until: DAY };
        Self { zone, hours: std::array::from_fn(|_| vec![whole]), holidays: BTreeSet::new() }
    }

    /// Business time between two instants, in microseconds.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> i64 {
        let mut sum = 0;
        self.visit(from.0, to.0, |start, end| {
            sum += end - start;
            true
        });
        sum
    }

    /// The first instant from `from` on by which so many microseconds of business time have passed; `None` when that
    /// takes more than ten years.
    pub fn after(&self, from: Timestamp, micros: i64) -> Option<Timestamp> {
        if micros <= 0 {
            return Some(from);
        }
        let (mut left, mut due) = (micros, None);
        self.visit(from.0, from.0.saturating_add(HORIZON), |start, end| {
            if left <= end - start {
                due = Some(Timestamp(start + left));
            }
            left -= end - start;
            due.is_none()
        });
        due
    }

    /// Calls for every stretch of business time between two instants, in order, until it is answered `false`.
    fn visit(&self, from: i64, to: i64, mut stretch: impl FnMut(i64, i64) -> bool) {
        let mut at = from;
        while at < to {
            // Between two changes of the offset, the wall is a fixed distance away.
            let Some(offset) = self.zone.offset(Timestamp(at)) else { return };
            let change = self.zone.next_change(Timestamp(at)).map_or(to, |it| it.0.min(to));
            for day in (at + offset).div_euclid(DAY).. {
                let midnight = day * DAY - offset;
                if midnight >= change {
                    break;
                }
                for it in self.intervals(day) {
                    let (start, end) =
                        ((midnight + it.from).max(at), (midnight + it.until).min(change));
                    if start < end && !stretch(start, end) {
                        return;
                    }
                }
            }
            at = change;
        }
    }

    fn intervals(&self, day: i64) -> &[Interval] {
        if self.holidays.contains(&day) {
            return &[];
        }
        let weekday = usize::try_from((day + EPOCH_WEEKDAY).rem_euclid(7)).unwrap_or_default();
        &self.hours[weekday]
    }
}

/// Days since the epoch; `None` for dates that no instant has.
fn day_number(date: Date) -> Option<i64> {
    let midnight = Offset::UTC.to_timestamp(date.to_datetime(Time::midnight())).ok()?;
    Some(midnight.as_second().div_euclid(86_400))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::{date, weekday};
    use super::*;

    const MINUTE: i64 = 60_000_000;

    /// A calendar as a test states it.
    #[derive(Clone, Debug)]
    struct Stated {
        zone: &'static str,
        hours: BTreeMap<&'static str, Vec<&'static str>>,
        holidays: Vec<&'static str>,
    }

    impl Stated {
        fn read(&self) -> WorkingTime {
            let day = |it: &str| weekday(it).expect("a weekday");
            let hours = self.hours.iter().map(|(name, intervals)| {
                let parsed = intervals.iter().map(|it| Interval::parse(it).expect("an interval"));
                (day(name), parsed.collect())
            });
            let holidays = self.holidays.iter().map(|it| date(it).expect("a date"));
            WorkingTime::new(Zone::parse(self.zone).expect("a zone"), hours, holidays)
                .expect("valid")
        }

        /// Minute by minute, from what the wall shows.
        fn counted(&self, from: Timestamp, to: Timestamp) -> i64 {
            let zone = Zone::parse(self.zone).expect("a zone");
            let works = |at: i64| {
                let local = zone.local(Timestamp(at)).expect("in range");
                let name = super::super::text::weekday_text(local.weekday());
                let free = self.holidays.iter().any(|it| date(it) == Ok(local.date()));
                let shown = format!("{:02}:{:02}", local.hour(), local.minute());
                let within = |it: &&str| {
                    let (from, until) = it.split_once('-').expect("two times");
                    from <= shown.as_str() && shown.as_str() < until
                };
                !free && self.hours.get(name).is_some_and(|it| it.iter().any(within))
            };
            let minutes = (from.0..to.0).step_by(usize::try_from(MINUTE).expect("fits"));
            minutes.filter(|at| works(*at)).map(|_| MINUTE).sum()
        }
    }

    fn office() -> Stated {
        let day = vec!["08:00-12:00", "13:00-17:00"];
        Stated {
            zone: "Europe/Berlin",
            hours: ["MON", "TUE", "WED", "THU", "FRI"].map(|it| (it, day.clone())).into(),
            holidays: vec!["2026-01-01", "2026-12-25"],
        }
    }

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().expect("a time");
        Timestamp(time.as_microsecond())
    }

    #[test]
    fn lunch_nights_weekends_and_holidays_do_not_count() {
        let office = office().read();
        // Wednesday 31 December 2025, 16:30, to Friday 2 January, 08:30.
        let (from, to) = (at("2025-12-31T15:30:00Z"), at("2026-01-02T07:30:00Z"));
        assert_eq!(office.between(from, to), 60 * MINUTE);
        assert_eq!(office.after(from, 30 * MINUTE), Some(at("2025-12-31T16:00:00Z")));
        assert_eq!(office.after(from, 31 * MINUTE), Some(at("2026-01-02T07:01:00Z")));
        assert_eq!(office.after(from, 0), Some(from));
        assert_eq!(office.between(to, from), 0);
    }

    #[test]
    fn a_night_shift_has_as_much_time_as_the_wall_shows() {
        let always = WorkingTime::always(Zone::parse("Europe/Berlin").expect("a zone"));
        let (spring, autumn) = (at("2026-03-28T23:00:00Z"), at("2026-10-24T22:00:00Z"));
        let day = |from: Timestamp| Timestamp(from.0 + DAY);
        assert_eq!(always.between(spring, day(spring)), DAY, "an hour is an hour");
        let night =
            Stated { hours: [("SUN", vec!["02:00-03:00"])].into(), holidays: vec![], ..office() };
        assert_eq!(night.read().between(spring, day(spring)), 0, "02:00 to 03:00 is skipped");
        assert_eq!(night.read().between(autumn, day(autumn)), 120 * MINUTE, "and comes twice");
    }

    #[test]
    fn what_is_never_reached_is_said_so() {
        let rare =
            Stated { hours: [("SUN", vec!["00:00-00:01"])].into(), holidays: vec![], ..office() };
        assert_eq!(rare.read().after(at("2026-01-01T00:00:00Z"), DAY), None);
    }

    #[test]
    fn calendars_that_mean_nothing_are_refused() {
        for text in
            ["", "9-12", "12:00-09:00", "09:00-09:00", "09:00", "24:00-24:00", "09:00-25:00"]
        {
            assert!(Interval::parse(text).is_err(), "{text}");
        }
        let (berlin, interval) = (Zone::parse("Europe/Berlin").expect("a zone"), |it| {
            Interval::parse(it).expect("an interval")
        });
        let new =
            |hours: Vec<(Weekday, Vec<Interval>)>| WorkingTime::new(berlin.clone(), hours, []);
        assert!(new(vec![]).is_err());
        let overlapping = vec![interval("09:00-12:00"), interval("11:00-13:00")];
        assert!(new(vec![(Weekday::Monday, overlapping)]).is_err());
        let day = || (Weekday::Monday, vec![interval("00:00-24:00")]);
        assert!(new(vec![day(), day()]).is_err());
        assert!(new(vec![day()]).is_ok());
    }

    fn calendars() -> impl Strategy<Value = Stated> {
        const DAYS: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
        let intervals = prop_oneof![
            Just(vec![]),
            Just(vec!["00:00-24:00"]),
            Just(vec!["09:00-12:30", "13:15-18:00"]),
            Just(vec!["00:30-02:45", "03:00-03:01", "22:00-24:00"]),
        ];
        let zone = prop_oneof![
            Just("Europe/Berlin"),
            Just("America/New_York"),
            Just("Australia/Lord_Howe"),
            Just("Asia/Kathmandu"),
            Just("America/Santiago"),
        ];
        let holidays = prop::sample::subsequence(
            vec!["2026-03-29", "2026-03-30", "2026-04-05", "2026-10-25", "2026-11-01"],
            0..=5,
        );
        (zone, prop::collection::vec(intervals, 7), holidays).prop_map(|(zone, week, holidays)| {
            let mut hours: BTreeMap<_, _> =
                DAYS.into_iter().zip(week).filter(|(_, it)| !it.is_empty()).collect();
            hours.entry("MON").or_insert_with(|| vec!["09:00-12:30"]);
            Stated { zone, hours, holidays }
        })
    }

    /// Around the days on which clocks change.
    fn instants() -> impl Strategy<Value = (Timestamp, Timestamp)> {
        let start = prop_oneof![
            Just("2026-03-06T00:00:00Z"),
            Just("2026-03-27T00:00:00Z"),
            Just("2026-04-03T00:00:00Z"),
            Just("2026-09-04T00:00:00Z"),
            Just("2026-10-23T00:00:00Z"),
            Just("2026-10-30T00:00:00Z"),
        ];
        (start, 0_i64..2_880, 0_i64..14_400).prop_map(|(start, from, long)| {
            let from = at(start).0 + from * MINUTE;
            (Timestamp(from), Timestamp(from + long * MINUTE))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn business_time_is_what_counting_minutes_gives(
            stated in calendars(),
            (from, to) in instants(),
        ) {
            let calendar = stated.read();
            let counted = stated.counted(from, to);
            prop_assert_eq!(calendar.between(from, to), counted);
            // And back: the instant by which it has passed is the first one.
            if counted > 0 {
                let due = calendar.after(from, counted).expect("reached");
                prop_assert!(due <= to);
                prop_assert_eq!(calendar.between(from, due), counted);
                prop_assert!(calendar.between(from, Timestamp(due.0 - 1)) < counted);
            }
        }
    }
}
