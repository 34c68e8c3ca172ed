use eventstore::testing::given;
use proptest::prelude::*;
use rapport_proto::types::{Clear, Money, clear::Value};

use super::series::{Activity, Series, compute};
use super::*;

const HOUR: i64 = DAY / 24;
/// 2026-01-01T00:00:00Z.
const NEW_YEAR: i64 = 1_767_225_600_000_000;

fn definition(kind: TraitKind) -> proto::Trait {
    proto::Trait {
        r#trait: "orders".into(),
        kind: kind.into(),
        event: "Order".into(),
        ..Default::default()
    }
}

fn of(kind: TraitKind, change: impl FnOnce(&mut proto::Trait)) -> Trait {
    let mut stated = definition(kind);
    change(&mut stated);
    Trait::parse(&stated).expect("a trait")
}

fn faults(change: impl FnOnce(&mut proto::Trait)) -> Vec<&'static str> {
    let mut stated = definition(TraitKind::Count);
    change(&mut stated);
    let faults = Trait::parse(&stated).expect_err("refused");
    faults.into_iter().map(|(field, _)| field).collect()
}

fn activity(at: i64, properties: &[(&str, Value)]) -> Activity {
    Activity {
        name: "Order".into(),
        source: "web".into(),
        occurred_at: Timestamp(at),
        position: u64::try_from(at.rem_euclid(1 << 40)).unwrap_or_default(),
        clear: (properties.iter())
            .map(|(name, value)| ((*name).to_owned(), Clear { value: Some(value.clone()) }))
            .collect(),
    }
}

fn at_days(days: &[i64]) -> Vec<Activity> {
    days.iter().map(|day| activity(day * DAY, &[])).collect()
}

fn number(found: Option<Clear>) -> Option<f64> {
    match found?.value? {
        Value::Number(it) => Some(it),
        other => panic!("no number: {other:?}"),
    }
}

fn money(currency: &str, units: i64, nanos: i32) -> Value {
    Value::Money(Money { currency_code: currency.into(), units, nanos })
}

#[test]
fn a_definition_that_cannot_be_computed_is_refused_by_field() {
    assert_eq!(faults(|it| it.r#trait = "Orders-90d".into()), ["trait"]);
    assert_eq!(faults(|it| it.event.clear()), ["event"]);
    assert_eq!(faults(|it| it.source = "Web Shop".into()), ["source"]);
    assert_eq!(faults(|it| it.kind = 0), ["kind"]);
    assert_eq!(faults(|it| it.kind = 99), ["kind"]);
    assert_eq!(faults(|it| it.kind = TraitKind::Sum.into()), ["property"]);
    assert_eq!(faults(|it| it.property = "total".into()), ["property"]);
    assert_eq!(faults(|it| it.window = "ninety days".into()), ["window"]);
    assert_eq!(faults(|it| it.window = "0s".into()), ["window"]);
    assert_eq!(faults(|it| it.half_life = "30d".into()), ["half_life"]);
    assert_eq!(faults(|it| it.time_zone = "Europe/Berlin".into()), ["time_zone"]);
    assert_eq!(faults(|it| it.calendar = 17), ["calendar"]);
    let both = |it: &mut proto::Trait| {
        it.window = "90d".into();
        it.calendar = CalendarWindow::Month.into();
    };
    assert_eq!(faults(both), ["window"]);
    let zone = |it: &mut proto::Trait| {
        it.time_zone = "Mars/Olympus".into();
        it.calendar = CalendarWindow::Month.into();
    };
    assert_eq!(faults(zone), ["time_zone"]);
    let half_life = |it: &mut proto::Trait| {
        it.kind = TraitKind::DecayedCount.into();
        it.half_life = "-1d".into();
    };
    assert_eq!(faults(half_life), ["half_life"]);
    let several = |it: &mut proto::Trait| {
        it.event.clear();
        it.window = "x".into();
    };
    assert_eq!(faults(several), ["event", "window"]);
}

#[test]
fn a_filter_is_refused_with_its_column() {
    for (rule, column) in [
        ("event.total >", "column "),
        ("  traits.orders > 1", "column 3:"),
        ("event.total > 1 && now > timestamp('2026-01-01T00:00:00Z')", "column 20:"),
        ("event.total + 1", "column "),
    ] {
        let mut stated = definition(TraitKind::Count);
        stated.r#where = rule.into();
        let faults = Trait::parse(&stated).expect_err(rule);
        let [("where", Invalid::Rule(why))] = &faults[..] else { panic!("{faults:?}") };
        assert!(why.contains(column), "{rule}: {why}");
    }
}

#[test]
fn the_same_document_is_already_so_and_another_is_the_next_version() {
    let save = |stated: proto::Trait| Command::Save(Box::new(stated));
    let first = given::<TraitDefinition>([]).when(save(definition(TraitKind::Count))).events();
    let [Event::Activated(it)] = &first[..] else { panic!("{first:?}") };
    assert_eq!((it.version, it.hash.len()), (1, 32));
    given::<TraitDefinition>(first.clone()).when(save(definition(TraitKind::Count))).then([]);
    let next = given::<TraitDefinition>(first).when(save(definition(TraitKind::DaysSince)));
    assert_eq!(next.state().version, 2);
}

#[test]
fn counts_look_at_name_source_and_filter() {
    let plain = of(TraitKind::Count, |_| ());
    let picky = of(TraitKind::Count, |it| {
        it.source = "web".into();
        it.r#where = "event.total >= 10 && event.channel == 'shop'".into();
    });
    let shop = Value::Code("shop".into());
    let mut activities = vec![
        activity(1, &[("total", Value::Number(10.0)), ("channel", shop.clone())]),
        activity(2, &[("total", money("EUR", 9, 990_000_000)), ("channel", shop.clone())]),
        activity(3, &[("total", Value::Number(11.0))]),
        activity(4, &[("total", Value::Code("much".into())), ("channel", shop.clone())]),
    ];
    activities.push(Activity { source: "app".into(), ..activities[0].clone() });
    activities.push(Activity { name: "Visit".into(), ..activities[0].clone() });
    assert_eq!(number(compute(&plain, &activities, Timestamp(9))), Some(5.0));
    assert_eq!(number(compute(&picky, &activities, Timestamp(9))), Some(1.0));
    assert_eq!(number(compute(&plain, &[], Timestamp(9))), Some(0.0));
}

#[test]
fn a_sliding_window_is_open_at_its_start_and_closed_at_its_end() {
    let counted = of(TraitKind::Count, |it| it.window = "90d".into());
    let did = [activity(0, &[])];
    for (at, expected) in
        [(-1, 0.0), (0, 1.0), (90 * DAY - 1, 1.0), (90 * DAY, 0.0), (91 * DAY, 0.0)]
    {
        assert_eq!(number(compute(&counted, &did, Timestamp(at))), Some(expected), "{at}");
    }
}

#[test]
fn what_will_have_occurred_does_not_count_yet() {
    let plain = of(TraitKind::Count, |_| ());
    let series_of = at_days(&[1, 2, 3]);
    let series = Series::new(&plain, &series_of);
    assert_eq!(number(series.value(Timestamp(2 * DAY))), Some(2.0));
    assert_eq!(series.turns(Timestamp(2 * DAY), Timestamp::MAX, &[]), [Timestamp(3 * DAY)]);
}

#[test]
fn a_calendar_window_begins_at_local_midnight() {
    let at = |kind: CalendarWindow, zone: &str| {
        of(TraitKind::Count, |it| {
            it.calendar = kind.into();
            it.time_zone = zone.into();
        })
    };
    // 23:30 UTC on 31 December is 00:30 of the new year in Berlin.
    let did = [activity(NEW_YEAR - HOUR / 2, &[])];
    let counted = |of: &Trait, at: i64| number(compute(of, &did, Timestamp(at)));
    for kind in [CalendarWindow::Day, CalendarWindow::Month, CalendarWindow::Year] {
        assert_eq!(counted(&at(kind, "Europe/Berlin"), NEW_YEAR), Some(1.0), "{kind:?}");
        assert_eq!(counted(&at(kind, ""), NEW_YEAR), Some(0.0), "{kind:?}");
        assert_eq!(counted(&at(kind, ""), NEW_YEAR - 1), Some(1.0), "{kind:?}");
    }
    // The new year is a Thursday: its week began in the old one.
    assert_eq!(counted(&at(CalendarWindow::Week, ""), NEW_YEAR), Some(1.0));
    assert_eq!(counted(&at(CalendarWindow::Week, ""), NEW_YEAR + 4 * DAY), Some(0.0));
}

#[test]
fn a_month_turns_an_hour_earlier_after_the_clocks_were_changed() {
    let monthly = of(TraitKind::Count, |it| {
        it.calendar = CalendarWindow::Month.into();
        it.time_zone = "Europe/Berlin".into();
    });
    // 15 March 2026 12:00 UTC; the clocks change on 29 March.
    let march = NEW_YEAR + (31 + 28 + 14) * DAY + DAY / 2;
    let did = [activity(march, &[])];
    let series = Series::new(&monthly, &did);
    let april = NEW_YEAR + (31 + 28 + 31) * DAY - 2 * HOUR;
    assert_eq!(series.turns(Timestamp(march), Timestamp::MAX, &[1.0]), [Timestamp(april)]);
    assert_eq!(number(series.value(Timestamp(april - 1))), Some(1.0));
    assert_eq!(number(series.value(Timestamp(april))), Some(0.0));
}

#[test]
fn sums_of_money_are_exact_and_of_one_currency() {
    let sum = of(TraitKind::Sum, |it| it.property = "total".into());
    let summed = |totals: &[Value]| {
        let did: Vec<_> =
            (0..).zip(totals).map(|(at, it)| activity(at, &[("total", it.clone())])).collect();
        compute(&sum, &did, Timestamp(1000)).and_then(|it| it.value)
    };
    assert_eq!(summed(&[]), Some(Value::Number(0.0)));
    assert_eq!(summed(&[Value::Number(1.5), Value::Number(-0.5)]), Some(Value::Number(1.0)));
    let cents = vec![money("EUR", 0, 10_000_000); 300];
    assert_eq!(summed(&cents), Some(money("EUR", 3, 0)));
    assert_eq!(
        summed(&[money("EUR", 1, 0), money("EUR", -2, -500_000_000)]),
        Some(money("EUR", -1, -500_000_000))
    );
    assert_eq!(summed(&[money("EUR", 1, 0), money("USD", 1, 0)]), None);
    assert_eq!(summed(&[money("EUR", 1, 0), Value::Number(1.0)]), None);
    assert_eq!(summed(&[Value::Code("many".into())]), None);
    assert_eq!(summed(&[money("EUR", i64::MAX, 0), money("EUR", 1, 0)]), None);
    assert_eq!(summed(&[Value::Number(f64::MAX), Value::Number(f64::MAX)]), None);
}

#[test]
fn first_and_last_go_by_occurrence_and_then_by_position() {
    let code = |text: &str| Value::Code(text.into());
    let mut did = vec![
        activity(5, &[("sku", code("b"))]),
        activity(9, &[("sku", code("c"))]),
        activity(1, &[("sku", code("a"))]),
    ];
    did.push(Activity { position: 10, ..activity(9, &[("sku", code("d"))]) });
    let of = |kind| of(kind, |it| it.property = "sku".into());
    let value = |kind, at| compute(&of(kind), &did, Timestamp(at)).and_then(|it| it.value);
    assert_eq!(value(TraitKind::First, 9), Some(code("a")));
    assert_eq!(value(TraitKind::Last, 8), Some(code("b")));
    assert_eq!(value(TraitKind::Last, 9), Some(code("d")));
    assert_eq!(value(TraitKind::Last, 0), None);
    did.push(activity(20, &[]));
    let without = compute(&of(TraitKind::Last), &did, Timestamp(20));
    assert_eq!(without, None, "the last one has no such property");
}

#[test]
fn days_are_whole_periods_of_24_hours() {
    let since = of(TraitKind::DaysSince, |_| ());
    let did = at_days(&[3, 5]);
    let days = |at: i64| number(compute(&since, &did, Timestamp(at)));
    assert_eq!(days(3 * DAY - 1), None);
    assert_eq!(days(3 * DAY), Some(0.0));
    assert_eq!(days(4 * DAY - 1), Some(0.0));
    assert_eq!(days(4 * DAY), Some(1.0));
    assert_eq!(days(5 * DAY), Some(0.0));
    assert_eq!(days(95 * DAY), Some(90.0));
}

#[test]
fn a_count_halves_in_its_half_life() {
    let decayed = of(TraitKind::DecayedCount, |it| it.half_life = "7d".into());
    let did = at_days(&[0, 7]);
    let sum = |day: i64| number(compute(&decayed, &did, Timestamp(day * DAY)));
    assert_eq!((sum(-1), sum(0), sum(7), sum(14)), (Some(0.0), Some(1.0), Some(1.5), Some(0.75)));
    let default = of(TraitKind::DecayedCount, |_| ());
    assert_eq!(default.kind, Kind::DecayedCount(90 * DAY));
}

/// The first instant in a range, to the microsecond, at which a comparison is another than at its start.
fn turned(series: &Series<'_>, from: i64, to: i64, holds: impl Fn(f64) -> bool) -> Option<i64> {
    let holds = |at: i64| number(series.value(Timestamp(at))).is_some_and(&holds);
    let before = holds(from);
    let (mut low, mut high) = (from, to);
    if holds(high) == before {
        return None;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle) == before { low = middle } else { high = middle }
    }
    Some(high)
}

#[test]
fn a_decayed_count_crosses_at_the_exact_microsecond() {
    for half_life in ["1h", "7d", "90d", "36525d"] {
        let decayed = of(TraitKind::DecayedCount, |it| it.half_life = half_life.into());
        let did = at_days(&[-40, -10, -3, 0]);
        let series = Series::new(&decayed, &did);
        for limit in [0.001, 0.3, 1.0, 1.5] {
            let Some(exact) = turned(&series, 0, i64::MAX / 4, |sum| sum >= limit) else {
                continue;
            };
            let turns = series.turns(Timestamp(0), Timestamp::MAX, &[limit]);
            assert!(turns.contains(&Timestamp(exact)), "{half_life} {limit}: {exact} {turns:?}");
        }
    }
}

#[test]
fn odd_literals_make_no_turns() {
    let did = at_days(&[0]);
    for kind in [TraitKind::DecayedCount, TraitKind::DaysSince] {
        let of = of(kind, |_| ());
        let series = Series::new(&of, &did);
        for limit in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
            let turns = series.turns(Timestamp(DAY), Timestamp::MAX, &[limit]);
            assert!(turns.iter().all(|it| *it > Timestamp(DAY)), "{kind:?} {limit} {turns:?}");
        }
        assert!(series.turns(Timestamp(DAY), Timestamp::MAX, &[1e-300]).len() <= 2);
    }
}

fn windows() -> impl Strategy<Value = proto::Trait> {
    let kinds = [
        TraitKind::Count,
        TraitKind::Sum,
        TraitKind::Last,
        TraitKind::First,
        TraitKind::DaysSince,
        TraitKind::DecayedCount,
    ];
    let window = prop_oneof![
        Just(("", CalendarWindow::Unspecified, "")),
        Just(("10d", CalendarWindow::Unspecified, "")),
        Just(("36h", CalendarWindow::Unspecified, "")),
        Just(("", CalendarWindow::Day, "America/New_York")),
        Just(("", CalendarWindow::Week, "")),
        Just(("", CalendarWindow::Month, "Europe/Berlin")),
        Just(("", CalendarWindow::Year, "Asia/Kolkata")),
    ];
    (prop::sample::select(kinds.to_vec()), window).prop_map(|(kind, (window, calendar, zone))| {
        let needed = matches!(kind, TraitKind::Sum | TraitKind::Last | TraitKind::First);
        proto::Trait {
            property: if needed { "total".into() } else { String::new() },
            window: window.into(),
            calendar: calendar.into(),
            time_zone: zone.into(),
            ..definition(kind)
        }
    })
}

/// Up to thirty orders within two months around a change of the clocks.
fn histories() -> impl Strategy<Value = Vec<Activity>> {
    let order = (0..60 * 24_i64, -5..50_i64).prop_map(|(hour, total)| {
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let total = Value::Number(total as f64);
        activity(NEW_YEAR + 60 * DAY + hour * HOUR, &[("total", total)])
    });
    // No two facts of a store have one position.
    prop::collection::vec(order, 0..30).prop_map(|mut orders| {
        for (position, order) in (1..).zip(&mut orders) {
            order.position = position;
        }
        orders
    })
}

/// The value by its definition, without a clever thought.
fn naive(stated: &proto::Trait, did: &[Activity], at: Timestamp) -> Option<Value> {
    let zone = Zone::parse(if stated.time_zone.is_empty() { "UTC" } else { &stated.time_zone });
    let zone = zone.expect("a zone");
    let window = calendar::duration(&stated.window).unwrap_or(i64::MAX);
    let period = match stated.calendar() {
        CalendarWindow::Unspecified => None,
        CalendarWindow::Day => Some(Period::Day),
        CalendarWindow::Week => Some(Period::Week),
        CalendarWindow::Month => Some(Period::Month),
        CalendarWindow::Year => Some(Period::Year),
    };
    let mut counted: Vec<&Activity> = Vec::new();
    for it in did {
        let within = it.occurred_at <= at && at.0 - it.occurred_at.0 < window;
        let same = period.is_none_or(|period| {
            calendar::start_of(&zone, it.occurred_at, period)
                == calendar::start_of(&zone, at, period)
        });
        if within && same {
            counted.push(it);
        }
    }
    counted.sort_by_key(|it| (it.occurred_at, it.position));
    let total = |it: &Activity| it.clear.get("total").and_then(|it| it.value.clone());
    let number = |it: &&Activity| match total(it) {
        Some(Value::Number(it)) => it,
        _ => 0.0,
    };
    #[expect(clippy::cast_precision_loss, reason = "small")]
    match stated.kind() {
        TraitKind::Unspecified => None,
        TraitKind::Count => Some(Value::Number(counted.len() as f64)),
        TraitKind::Sum => Some(Value::Number(counted.iter().map(number).sum())),
        TraitKind::Last => total(counted.last()?),
        TraitKind::First => total(counted.first()?),
        TraitKind::DaysSince => {
            Some(Value::Number(((at.0 - counted.last()?.occurred_at.0) / DAY) as f64))
        }
        TraitKind::DecayedCount => {
            let age = |it: &&Activity| (at.0 - it.occurred_at.0) as f64 / (90 * DAY) as f64;
            Some(Value::Number(counted.iter().map(|it| (-age(it)).exp2()).sum()))
        }
    }
}

proptest! {
    #[test]
    fn a_value_equals_a_recompute_by_definition(
        stated in windows(), did in histories(), hour in -10..70 * 24_i64, reversed in any::<bool>(),
    ) {
        let of = Trait::parse(&stated).expect("a trait");
        let at = Timestamp(NEW_YEAR + 60 * DAY + hour * HOUR);
        let expected = naive(&stated, &did, at);
        let mut given = did;
        if reversed { given.reverse(); }
        prop_assert_eq!(compute(&of, &given, at).and_then(|it| it.value), expected);
    }

    /// Between two turns a comparison with the literal has one outcome.
    #[test]
    fn nothing_turns_between_two_turns(
        stated in windows(), did in histories(), hour in -10..70 * 24_i64, limit in 0..40_i32,
        share in 0.0..1.0_f64,
    ) {
        let of = Trait::parse(&stated).expect("a trait");
        let series = Series::new(&of, &did);
        let at = Timestamp(NEW_YEAR + 60 * DAY + hour * HOUR);
        let limit = f64::from(limit) / 4.0;
        let outcome = |at: Timestamp| {
            let value = series.value(at).and_then(|it| match it.value? {
                Value::Number(it) => Some(it),
                _ => None,
            });
            (value.is_some(), value.is_some_and(|it| it >= limit), value.is_some_and(|it| it > limit))
        };
        let mut turns = series.turns(at, Timestamp::MAX, &[limit]);
        turns.sort();
        let next = turns.first().map_or(at.0 + 4000 * DAY, |it| it.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small")]
        let between = at.0 + ((next - 1 - at.0) as f64 * share) as i64;
        prop_assert_eq!(outcome(Timestamp(between)), outcome(at));
        prop_assert_eq!(outcome(Timestamp(next - 1)), outcome(at));
    }
}
