//! Local time: gap, fold, a zone that changes, dates.

use super::super::*;
use super::world::{DAY, START, World, journey, text};

/// Microseconds since the epoch of `2026-03-29T01:00Z` and so on.
fn utc(day: &str, hour: i64, minute: i64) -> Timestamp {
    let zone = authored::calendar::Zone::parse("Etc/UTC").expect("a zone");
    let date = authored::calendar::date(day).expect("a date");
    let midnight = authored::calendar::LocalTime::parse("00:00").expect("a time");
    after(authored::calendar::at_local(&zone, date, midnight), (hour * 60 + minute) * 60_000_000)
}

/// Waits for a local time from an instant; returns when it is due.
fn until(rule: &str, zone: &str, from: Timestamp) -> Timestamp {
    let graph = journey("", &format!("  a: {{wait_until: {{{rule}, next: z}}}}\n"));
    let mut world = World::unstarted(&graph);
    world.zone(zone);
    world.at = from;
    world.begin();
    world.due().expect("a timer")
}

#[test]
fn a_local_time_is_the_recipients() {
    let table = [
        // Today, if it is not past; the instant itself counts.
        ("local_time: '09:00'", "Europe/Berlin", utc("2026-01-05", 7, 0), utc("2026-01-05", 8, 0)),
        ("local_time: '09:00'", "Europe/Berlin", utc("2026-01-05", 8, 0), utc("2026-01-05", 8, 0)),
        ("local_time: '09:00'", "Europe/Berlin", utc("2026-01-05", 8, 1), utc("2026-01-06", 8, 0)),
        (
            "local_time: '09:00'",
            "America/New_York",
            utc("2026-01-05", 7, 0),
            utc("2026-01-05", 14, 0),
        ),
        // Saturday waits for Monday.
        (
            "local_time: '09:00', weekdays: [MON]",
            "Europe/Berlin",
            utc("2026-01-03", 7, 0),
            utc("2026-01-05", 8, 0),
        ),
        // Clocks in Berlin jump from 02:00 to 03:00 on 29 March: the first valid instant after.
        (
            "local_time: '02:30'",
            "Europe/Berlin",
            utc("2026-03-28", 23, 30),
            utc("2026-03-29", 1, 0),
        ),
        // And show 02:30 twice on 25 October: the first of the two.
        (
            "local_time: '02:30'",
            "Europe/Berlin",
            utc("2026-10-24", 23, 0),
            utc("2026-10-25", 0, 30),
        ),
        // Not known: the last over both ends of the world.
        ("local_time: '09:00'", "", utc("2026-01-05", 7, 0), utc("2026-01-05", 21, 0)),
    ];
    for (rule, zone, from, expected) in table {
        assert_eq!(until(rule, zone, from), expected, "{rule} {zone} {from}");
    }
}

#[test]
fn a_wait_is_resolved_again_when_the_party_moves() {
    let graph = journey("", "  a: {wait_until: {local_time: '09:00', next: z}}\n");
    let start = |from: Timestamp| {
        let mut world = World::unstarted(&graph);
        world.at = from;
        world.begin();
        world
    };
    // Later: 09:00 in New York is 14:00 UTC.
    let mut later = start(utc("2026-01-05", 7, 0));
    later.zone("America/New_York");
    later.at = utc("2026-01-05", 7, 30);
    later.facts_changed();
    assert_eq!(later.look(), ["InstanceWaitStarted"]);
    assert_eq!(later.due(), Some(utc("2026-01-05", 14, 0)));
    assert_eq!(later.look(), Vec::<&str>::new());
    // Past by then: it fires now. 09:00 in Tokyo was midnight UTC.
    let mut past = start(utc("2026-01-04", 23, 0));
    assert_eq!(past.due(), Some(utc("2026-01-05", 8, 0)));
    past.zone("Asia/Tokyo");
    past.at = utc("2026-01-05", 3, 0);
    past.facts_changed();
    assert_eq!(past.look(), ["InstanceWaitStarted", "InstanceTimerFired", "InstanceCompleted"]);
    // The same zone again changes nothing.
    let mut same = start(utc("2026-01-05", 7, 0));
    same.facts_changed();
    assert_eq!(same.look(), Vec::<&str>::new());
}

#[test]
fn a_cycle_through_one_local_time_waits_for_the_next_day() {
    let graph = journey("", "  a: {wait_until: {local_time: '09:00', next: a}}\n");
    let mut world = World::unstarted(&graph);
    world.at = utc("2026-01-05", 7, 0);
    world.begin();
    world.at = utc("2026-01-05", 8, 0);
    assert_eq!(world.look(), ["InstanceTimerFired", "InstanceWaitStarted"]);
    assert_eq!(world.due(), Some(utc("2026-01-06", 8, 0)));
}

/// Waits for a date; returns when it is due, or where it went without one.
fn date(rule: &str, zone: &str, value: Option<Clear>) -> Result<Timestamp, String> {
    let graph = journey(
        "",
        &format!(
            "  a: {{wait_date: {{attribute: renewal, {rule}, next: z, missing: m}}}}\n  m: {{exit: {{outcome: missing}}}}\n"
        ),
    );
    let mut world = World::unstarted(&graph);
    world.zone(zone);
    world.reading.attributes.extend(value.map(|it| ("renewal".to_owned(), it)));
    world.begin();
    world.due().ok_or(world.state.outcome)
}

#[test]
fn a_date_is_an_attribute_with_an_offset_at_a_local_time() {
    let at = |day: &str, hour: i64| Some(text::time(utc(day, hour, 0)));
    let table = [
        ("offset: 0s", "Europe/Berlin", at("2026-06-10", 12), Ok(utc("2026-06-10", 12, 0))),
        ("offset: -7d", "Europe/Berlin", at("2026-06-10", 12), Ok(utc("2026-06-03", 12, 0))),
        ("local_time: '09:00'", "Europe/Berlin", at("2026-06-10", 12), Ok(utc("2026-06-10", 7, 0))),
        // 23:00 UTC is the next day in Berlin.
        ("local_time: '09:00'", "Europe/Berlin", at("2026-06-10", 23), Ok(utc("2026-06-11", 7, 0))),
        // 29 February stands in its own year; seven days before it, too.
        (
            "offset: -7d, local_time: '09:00'",
            "Europe/Berlin",
            at("2028-02-29", 12),
            Ok(utc("2028-02-22", 8, 0)),
        ),
        // Gap and fold.
        ("local_time: '02:30'", "Europe/Berlin", at("2026-03-29", 12), Ok(utc("2026-03-29", 1, 0))),
        (
            "local_time: '02:30'",
            "Europe/Berlin",
            at("2026-10-25", 12),
            Ok(utc("2026-10-25", 0, 30)),
        ),
        // The zone is not known: the last of both ends.
        ("local_time: '09:00'", "", at("2026-06-10", 13), Ok(utc("2026-06-10", 21, 0))),
        ("offset: 0s", "Europe/Berlin", None, Err("missing".to_owned())),
        ("offset: 0s", "Europe/Berlin", Some(text::code("tomorrow")), Err("missing".to_owned())),
    ];
    for (rule, zone, value, expected) in table {
        assert_eq!(date(rule, zone, value), expected, "{rule} {zone}");
    }
}

#[test]
fn a_date_that_changes_moves_the_wait_and_a_past_one_fires_now() {
    let graph = journey("", "  a: {wait_date: {attribute: renewal, next: z, missing: z}}\n");
    let mut world = World::unstarted(&graph);
    world.reading.attributes.insert("renewal".into(), text::time(after(START, 9 * DAY)));
    world.begin();
    world.reading.attributes.insert("renewal".into(), text::time(after(START, 5 * DAY)));
    world.facts_changed();
    world.look();
    assert_eq!(world.due(), Some(after(START, 5 * DAY)));
    // Taken away: the wait keeps what it had.
    world.reading.attributes.clear();
    world.facts_changed();
    assert_eq!(world.look(), Vec::<&str>::new());
    world.reading.attributes.insert("renewal".into(), text::time(after(START, -DAY)));
    world.facts_changed();
    assert_eq!(world.look(), ["InstanceWaitStarted", "InstanceTimerFired", "InstanceCompleted"]);
}
