use proptest::prelude::*;

use eventstore::Timestamp;

use super::*;

const MINUTE: i64 = 60 * 1_000_000;
const DAY: i64 = 1_440 * MINUTE;

fn zone(name: &str) -> Zone {
    Zone::parse(name).expect(name)
}

fn time(text: &str) -> LocalTime {
    LocalTime::parse(text).expect(text)
}

fn day(text: &str) -> Date {
    date(text).expect(text)
}

fn instant(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().expect(text).as_microsecond())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|it| (*it).to_owned()).collect()
}

#[test]
fn durations_are_exact_multiples() {
    for (text, micros) in [("14d", 14 * DAY), ("1h", DAY / 24), ("90m", 90 * MINUTE), ("0s", 0)] {
        assert_eq!(duration(text), Ok(micros), "{text}");
    }
    assert_eq!(duration("36525d"), Ok(36_525 * DAY));
    let wrong = [
        "",
        "d",
        "14",
        "14 d",
        "+1d",
        "-1d",
        "1.5h",
        "36526d",
        "1w",
        "99999999999999999999d",
        "1D",
        "١d",
    ];
    for text in wrong {
        assert!(duration(text).is_err(), "{text:?}");
    }
    assert_eq!(offset("-7d"), Ok(-7 * DAY));
    assert_eq!(offset("7d"), Ok(7 * DAY));
    assert!(offset("--7d").is_err());
}

#[test]
fn times_and_days_are_read_in_one_way_only() {
    assert_eq!(time("00:00").to_string(), "00:00");
    assert_eq!(time("23:59").to_string(), "23:59");
    for text in ["", "9:00", "24:00", "09:60", "09:00:00", "0900", "+9:00", "٠٩:٠٠"] {
        assert!(LocalTime::parse(text).is_err(), "{text:?}");
    }
    assert_eq!(day("2024-02-29").to_string(), "2024-02-29");
    for text in ["", "2023-02-29", "2026-1-1", "26-01-01", "2026/01/01", "2026-13-01", "٢٠٢٦-01"]
    {
        assert!(date(text).is_err(), "{text:?}");
    }
    for (text, wanted) in [("MON", Weekday::Monday), ("SUN", Weekday::Sunday)] {
        assert_eq!(weekday(text), Ok(wanted));
    }
    assert!(weekday("mon").is_err());
}

#[test]
fn zones_come_from_one_release_of_the_database() {
    assert_eq!(zone("europe/berlin").name(), "Europe/Berlin");
    for text in ["", "Mars/Olympus", "../../etc/passwd", "CEST+2", "Europe/Berlin\0"] {
        assert!(Zone::parse(text).is_err(), "{text:?}");
    }
    assert!(tzdata_version().starts_with("20"), "{}", tzdata_version());
}

#[test]
fn a_local_time_is_one_instant() {
    let cases = [
        ("Europe/Berlin", "2026-07-01", "09:00", "2026-07-01T07:00:00Z"),
        ("Europe/Berlin", "2026-12-01", "09:00", "2026-12-01T08:00:00Z"),
        // Gap 02:00-03:00: the first valid instant after it, not an hour later than written.
        ("Europe/Berlin", "2026-03-29", "02:00", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-03-29", "02:30", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", "2026-03-29", "03:00", "2026-03-29T01:00:00Z"),
        // Fold 02:00-03:00: the first of the two.
        ("Europe/Berlin", "2026-10-25", "02:30", "2026-10-25T00:30:00Z"),
        ("Europe/Berlin", "2026-10-25", "03:00", "2026-10-25T02:00:00Z"),
        ("America/New_York", "2026-03-08", "02:15", "2026-03-08T07:00:00Z"),
        ("America/New_York", "2026-11-01", "01:15", "2026-11-01T05:15:00Z"),
        ("Asia/Kolkata", "2026-03-29", "02:30", "2026-03-28T21:00:00Z"),
        // The day that Samoa skipped.
        ("Pacific/Apia", "2011-12-30", "09:00", "2011-12-30T10:00:00Z"),
        ("Pacific/Apia", "2011-12-31", "09:00", "2011-12-30T19:00:00Z"),
        // Ramadan: an hour back and an hour forward.
        ("Africa/Casablanca", "2026-02-15", "02:30", "2026-02-15T01:30:00Z"),
        ("Africa/Casablanca", "2026-03-22", "02:30", "2026-03-22T02:00:00Z"),
    ];
    for (name, date, clock, wanted) in cases {
        let at = at_local(&zone(name), day(date), time(clock));
        assert_eq!(at, instant(wanted), "{name} {date} {clock}: {at}");
    }
}

#[test]
fn the_next_local_time_is_today_if_it_is_not_past() {
    let workdays =
        [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday];
    let cases: [(&str, &str, &[Weekday], &str, &str); 8] = [
        ("Europe/Berlin", "09:00", &[], "2026-07-01T06:59:00Z", "2026-07-01T07:00:00Z"),
        ("Europe/Berlin", "09:00", &[], "2026-07-01T07:00:00Z", "2026-07-01T07:00:00Z"),
        ("Europe/Berlin", "09:00", &[], "2026-07-01T07:00:00.000001Z", "2026-07-02T07:00:00Z"),
        // Friday evening to Monday, over the change to summer time.
        ("Europe/Berlin", "09:00", &workdays, "2026-03-27T20:00:00Z", "2026-03-30T07:00:00Z"),
        ("Europe/Berlin", "02:30", &[], "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
        // Between the two 02:30 of that night: the first is past.
        ("Europe/Berlin", "02:30", &[], "2026-10-25T00:45:00Z", "2026-10-26T01:30:00Z"),
        ("Pacific/Apia", "09:00", &[], "2011-12-29T20:00:00Z", "2011-12-30T19:00:00Z"),
        // That Friday did not happen.
        (
            "Pacific/Apia",
            "09:00",
            &[Weekday::Friday],
            "2011-12-29T12:00:00Z",
            "2012-01-05T19:00:00Z",
        ),
    ];
    for (name, clock, days, after, wanted) in cases {
        let at = next_local(&zone(name), time(clock), days, instant(after));
        assert_eq!(at, Some(instant(wanted)), "{name} {clock} after {after}: {at:?}");
    }
    assert_eq!(next_local(&zone("UTC"), time("09:00"), &[], Timestamp::MAX), None);
}

#[test]
fn an_unknown_zone_waits_for_the_last_of_the_market() {
    let zones = [zone("America/New_York"), zone("America/Los_Angeles"), zone("America/Chicago")];
    let (at, last) = last_local(&zones, time("09:00"), &[], instant("2026-07-01T12:00:00Z"))
        .expect("there is one");
    assert_eq!((at, last.name()), (instant("2026-07-01T16:00:00Z"), "America/Los_Angeles"));
    assert_eq!(last_local(&[], time("09:00"), &[], Timestamp(0)), None);
}

#[test]
fn a_leap_day_has_its_anniversary_on_the_28th() {
    let cases = [
        ("2024-02-29", 1, "2025-02-28"),
        ("2024-02-29", 4, "2028-02-29"),
        ("2024-02-29", -1, "2023-02-28"),
        ("2023-02-28", 1, "2024-02-28"),
        ("2025-12-31", 2, "2027-12-31"),
    ];
    for (date, years, wanted) in cases {
        assert_eq!(anniversary(day(date), years), Some(day(wanted)), "{date} {years:+}");
    }
    assert_eq!(anniversary(day("2024-02-29"), i32::MAX), None);
}

#[test]
fn periods_begin_at_local_midnight() {
    use Period::{Day, Month, Week, Year};
    let cases = [
        (
            "Europe/Berlin",
            "2026-07-01T22:30:00Z",
            Day,
            "2026-07-01T22:00:00Z",
            "2026-07-02T22:00:00Z",
        ),
        (
            "Europe/Berlin",
            "2026-03-29T12:00:00Z",
            Day,
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        ),
        (
            "Europe/Berlin",
            "2026-03-29T12:00:00Z",
            Week,
            "2026-03-22T23:00:00Z",
            "2026-03-29T22:00:00Z",
        ),
        (
            "Europe/Berlin",
            "2026-03-29T12:00:00Z",
            Month,
            "2026-02-28T23:00:00Z",
            "2026-03-31T22:00:00Z",
        ),
        (
            "Europe/Berlin",
            "2026-03-29T12:00:00Z",
            Year,
            "2025-12-31T23:00:00Z",
            "2026-12-31T23:00:00Z",
        ),
        (
            "Asia/Kolkata",
            "2026-01-31T18:30:00Z",
            Month,
            "2026-01-31T18:30:00Z",
            "2026-02-28T18:30:00Z",
        ),
        (
            "Pacific/Apia",
            "2011-12-29T12:00:00Z",
            Day,
            "2011-12-29T10:00:00Z",
            "2011-12-30T10:00:00Z",
        ),
    ];
    for (name, at, period, from, to) in cases {
        let zone = zone(name);
        assert_eq!(
            start_of(&zone, instant(at), period),
            Some(instant(from)),
            "{name} {at} {period:?}"
        );
        assert_eq!(end_of(&zone, instant(at), period), Some(instant(to)), "{name} {at} {period:?}");
    }
    assert_eq!(start_of(&zone("UTC"), Timestamp::MAX, Day), None);
}

fn german() -> (QuietHours, Calendar) {
    let quiet = QuietHours::parse("20:00", "08:00", &texts(&["SUN", "HOLIDAY"])).expect("right");
    let calendar = Calendar::parse(
        &texts(&["Europe/Berlin"]),
        &texts(&["SAT", "SUN"]),
        &texts(&["2026-12-25", "2026-12-26"]),
    );
    (quiet, calendar.expect("right"))
}

#[test]
fn quiet_ends_when_everything_that_is_quiet_has_ended() {
    let (quiet, calendar) = german();
    let cases = [
        ("2026-07-01T12:00:00Z", "2026-07-01T12:00:00Z", None),
        ("2026-07-01T17:59:59Z", "2026-07-01T17:59:59Z", None),
        ("2026-07-01T18:00:00Z", "2026-07-02T06:00:00Z", Some("20:00-08:00")),
        ("2026-07-02T05:59:59Z", "2026-07-02T06:00:00Z", Some("20:00-08:00")),
        ("2026-07-02T06:00:00Z", "2026-07-02T06:00:00Z", None),
        // Saturday evening: over Sunday to Monday.
        ("2026-07-04T19:00:00Z", "2026-07-06T06:00:00Z", Some("20:00-08:00")),
        // Thursday evening: Friday and Saturday are holidays, then comes Sunday.
        ("2026-12-24T19:30:00Z", "2026-12-28T07:00:00Z", Some("20:00-08:00")),
        // The night of the change to summer time is an hour shorter.
        ("2026-03-27T20:00:00Z", "2026-03-28T07:00:00Z", Some("20:00-08:00")),
        ("2026-03-28T20:00:00Z", "2026-03-30T06:00:00Z", Some("20:00-08:00")),
    ];
    for (at, until, rule) in cases {
        let allowed = quiet.next_allowed(&calendar, &calendar.zones, instant(at)).expect("it ends");
        assert_eq!(allowed.at, instant(until), "{at}: {allowed:?}");
        assert_eq!(allowed.held.map(|it| it.rule.to_string()).as_deref(), rule, "{at}");
    }
}

#[test]
fn all_zones_of_the_market_must_allow() {
    let quiet = QuietHours::parse("20:00", "08:00", &[]).expect("right");
    let zones = [zone("America/New_York"), zone("America/Los_Angeles"), zone("Pacific/Honolulu")];
    let from = instant("2026-07-01T13:00:00Z");
    let allowed = quiet.next_allowed(&Calendar::default(), &zones, from).expect("it ends");
    assert_eq!(allowed.at, instant("2026-07-01T18:00:00Z"), "eight in Honolulu");
    let held = allowed.held.expect("it was held");
    assert_eq!(
        (held.zone.as_str(), held.rule.to_string().as_str()),
        ("Pacific/Honolulu", "20:00-08:00")
    );
    assert_eq!(quiet.next_allowed(&Calendar::default(), &[], from), None, "no zone, no answer");
}

#[test]
fn a_market_that_is_always_quiet_has_no_answer() {
    let all = texts(&["MON", "TUE", "WED", "THU", "FRI", "WEEKEND"]);
    let quiet = QuietHours::parse("", "", &all).expect("right");
    let (_, calendar) = german();
    assert_eq!(quiet.next_allowed(&calendar, &calendar.zones, Timestamp(0)), None);
    // Day and night are never quiet at the same time everywhere, but together they always are.
    let quiet = QuietHours::parse("08:00", "21:00", &[]).expect("right");
    let zones = [zone("UTC"), zone("Pacific/Auckland")];
    assert_eq!(quiet.next_allowed(&calendar, &zones, Timestamp(0)), None);
    assert_eq!(quiet.next_allowed(&calendar, &zones, Timestamp::MAX), None);
}

#[test]
fn quiet_hours_that_say_nothing_clear_are_refused() {
    assert!(QuietHours::parse("20:00", "20:00", &[]).is_err());
    assert!(QuietHours::parse("20:00", "", &[]).is_err());
    assert!(QuietHours::parse("20:00", "08:00", &texts(&["SUNDAY"])).is_err());
    assert!(Calendar::parse(&texts(&["Mars"]), &[], &[]).is_err());
    assert!(Calendar::parse(&[], &texts(&["Sat"]), &[]).is_err());
    assert!(Calendar::parse(&[], &[], &texts(&["25.12."])).is_err());
}

const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Pacific/Apia",
    "Africa/Casablanca",
    "America/St_Johns",
    "Australia/Lord_Howe",
];

fn any_zone() -> impl Strategy<Value = Zone> {
    prop::sample::select(ZONES.to_vec()).prop_map(zone)
}

/// From 2011 on: the rules of today and Samoa's skipped day.
fn any_instant() -> impl Strategy<Value = Timestamp> {
    let (from, to) = (instant("2011-06-01T00:00:00Z").0, instant("2032-01-01T00:00:00Z").0);
    (from..to).prop_map(Timestamp)
}

fn any_time() -> impl Strategy<Value = LocalTime> {
    (0..24, 0..60).prop_map(|(hour, minute)| time(&format!("{hour:02}:{minute:02}")))
}

fn clock(zone: &Zone, at: Timestamp) -> jiff::civil::DateTime {
    zone.local(at).expect("it is a year like any other")
}

/// Whether it is quiet by the words of the rule.
fn is_quiet(quiet: &QuietHours, calendar: &Calendar, zone: &Zone, at: Timestamp) -> bool {
    let local = clock(zone, at);
    let whole_day = quiet.also.iter().any(|it| match it {
        Also::Day(day) => local.weekday() == *day,
        Also::Weekend => calendar.weekend.contains(&local.weekday()),
        Also::Holiday => calendar.holidays.contains(&local.date()),
    });
    let in_window = quiet.window.is_some_and(|(from, to)| {
        let now = local.time();
        if from < to {
            now >= from.time() && now < to.time()
        } else {
            now >= from.time() || now < to.time()
        }
    });
    whole_day || in_window
}

proptest! {
    #[test]
    fn the_next_local_time_is_never_past_and_shows_that_time(
        zone in any_zone(), at in any_time(), after in any_instant(), day in 0..8_i8,
    ) {
        let weekdays: Vec<_> = Weekday::from_monday_zero_offset(day).into_iter().collect();
        let found = next_local(&zone, at, &weekdays, after).expect("there is a next week");
        prop_assert!(found >= after);
        prop_assert!(found.0 - after.0 < 15 * DAY);
        let local = clock(&zone, found);
        prop_assert!(weekdays.is_empty() || weekdays.contains(&local.weekday()));
        // The clock shows that time, or has just jumped over it.
        let before = clock(&zone, Timestamp(found.0 - 1));
        let jumped = before.time() < at.time() && local.time() > at.time();
        prop_assert!(local.time() == at.time() || jumped, "{} {}", before, local);
        // A second look finds the same, and just after it another.
        prop_assert_eq!(next_local(&zone, at, &weekdays, found), Some(found));
        let next = next_local(&zone, at, &weekdays, Timestamp(found.0 + 1));
        prop_assert!(next.is_some_and(|it| it > found));
    }

    #[test]
    fn what_is_allowed_is_not_quiet_and_everything_before_it_is(
        zones in prop::collection::vec(any_zone(), 1..3),
        from in any_time(), to in any_time(), at in any_instant(),
        also in prop::collection::vec(prop::sample::select(vec!["SUN", "MON", "WEEKEND", "HOLIDAY"]), 0..2),
    ) {
        prop_assume!(from != to);
        let quiet = QuietHours::parse(&from.to_string(), &to.to_string(), &texts(&also)).expect("right");
        let (_, mut calendar) = german();
        calendar.holidays.extend(zones.iter().filter_map(|it| date_of(it, at)));
        let somewhere = |at| zones.iter().any(|zone| is_quiet(&quiet, &calendar, zone, at));
        let found = quiet.next_allowed(&calendar, &zones, at);
        let end = found.as_ref().map_or(Timestamp(at.0 + 3 * DAY), |it| it.at);
        if let Some(allowed) = &found {
            prop_assert!(!somewhere(allowed.at));
            prop_assert_eq!(allowed.held.is_none(), allowed.at == at);
        }
        let mut earlier = at;
        while earlier < end {
            prop_assert!(somewhere(earlier), "{} is allowed, {} was found", earlier, end);
            earlier = Timestamp(earlier.0 + MINUTE);
        }
    }

    #[test]
    fn an_instant_lies_in_its_period(zone in any_zone(), at in any_instant()) {
        for period in [Period::Day, Period::Week, Period::Month, Period::Year] {
            let from = start_of(&zone, at, period).expect("a year like any other");
            let to = end_of(&zone, at, period).expect("a year like any other");
            prop_assert!(from <= at && at < to, "{:?}: {} {} {}", period, from, at, to);
            prop_assert_eq!(start_of(&zone, to, period), Some(to));
        }
    }

    #[test]
    fn no_text_makes_reading_panic(text in any::<String>()) {
        let _ = (duration(&text), offset(&text), LocalTime::parse(&text), date(&text));
        let _ = (weekday(&text), Zone::parse(&text));
    }
}
