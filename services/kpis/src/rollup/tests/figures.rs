use rapport_proto::decisioning::v1::{Chosen, DecisionMade, RewardClosed};
use rapport_proto::delivery::v1::{
    TouchClicked, TouchDelivered, TouchOpened, TouchResolved, TouchSent, TouchSkipped,
    TouchUnsubscribed,
};
use rapport_proto::feedback::v1::{
    CaseOpened, CasePaused, CaseReopened, CaseResolved, CaseResumed, CaseType,
};
use rapport_proto::profiles::v1::{ConsentKey, ConsentWithdrawn, InteractionRecorded};
use rapport_proto::types::{Channel, Clear, Money, Purpose, clear};

use super::*;
use crate::rollup::built_in;

fn built(metric: &str) -> &'static Definition {
    built_in::find(metric).expect("built in")
}

fn near(found: Option<f64>, expected: f64) {
    let found = found.expect("a figure");
    assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
}

#[test]
fn nps_is_promoters_minus_detractors_with_its_interval() {
    let scores = [10, 9, 9, 8, 7, 6, 0, 10];
    let said: Vec<_> = (1..)
        .zip(scores)
        .map(|(position, score)| {
            let other = (QuestionKind::Csat, 5);
            answered(position, MONDAY, &[(QuestionKind::Nps, score), other])
        })
        .collect();
    let nps = whole(built("nps"), &said);
    assert_eq!((nps.n, nps.small), (8, true));
    near(nps.value, 25.0);
    // Four of +100, two of 0, two of −100: variance (6·10⁴ − 8·25²)/7.
    let half = 1.96 * ((60_000.0 - 8.0 * 625.0) / 7.0_f64 / 8.0).sqrt();
    let (lower, upper) = nps.interval.expect("an interval");
    near(Some(lower), 25.0 - half);
    near(Some(upper), 25.0 + half);
}

#[test]
fn csat_is_a_share_of_answers_of_its_kind() {
    let said: Vec<_> = (1..)
        .zip([5, 4, 3, 1])
        .map(|(position, score)| answered(position, MONDAY, &[(QuestionKind::Csat, score)]))
        .collect();
    let csat = whole(built("csat"), &said);
    assert_eq!(csat.n, 4);
    near(csat.value, 0.5);
    let ces = answered(9, MONDAY, &[(QuestionKind::Ces, 6), (QuestionKind::Nps, 0)]);
    near(whole(built("ces"), &[ces]).value, 6.0);
}

#[test]
fn a_late_event_changes_its_old_bucket() {
    let mut said = vec![answered(1, days(0), &[(QuestionKind::Nps, 10)])];
    said.push(answered(2, days(8), &[(QuestionKind::Nps, 10)]));
    let query = Query::default();
    let weeks = |said: &[Said]| -> Vec<_> {
        let found = figures(built("nps"), &query, said);
        found.into_iter().map(|(cell, it)| (cell.bucket, it.value, it.n)).collect()
    };
    assert_eq!(weeks(&said), [(days(0), Some(100.0), 1), (days(7), Some(100.0), 1)]);
    said.push(answered(3, days(3), &[(QuestionKind::Nps, 0)]));
    assert_eq!(weeks(&said), [(days(0), Some(0.0), 2), (days(7), Some(100.0), 1)]);
}

#[test]
fn open_cases_are_censored_and_pauses_left_out() {
    let opened = |position: u64, case: &str, day| {
        let it = CaseOpened {
            case_id: case.into(),
            r#type: CaseType::Service.into(),
            ..Default::default()
        };
        Said::new("feedback", position, days(day), &it)
    };
    let resolved = |position: u64, case: &str, day, seconds| {
        let it =
            CaseResolved { case_id: case.into(), elapsed_seconds: seconds, ..Default::default() };
        Said::new("feedback", position, days(day), &it)
    };
    let said = [
        opened(1, "one", 0),
        opened(2, "two", 0),
        opened(3, "three", 1),
        resolved(4, "one", 1, 3_600),
        resolved(5, "one", 2, 7_200),
        resolved(6, "two", 3, 86_400),
    ];
    let median = whole(built("time-to-resolution"), &said);
    assert_eq!((median.n, median.censored), (3, 1));
    // One is reopened and ends after two hours; three is open for two days: S is ⅔ after one, ⅓ after two.
    assert_eq!(median.value, Some(86_400.0));
    let p90 = whole(built("time-to-resolution-p90"), &said);
    assert_eq!(p90.value, None);
}

#[test]
fn an_open_case_waits_by_the_clock_of_the_ended_ones() {
    const HOUR: i64 = 3_600;
    let at = |hours: i64| Timestamp(MONDAY.0 + hours * HOUR * 1_000_000);
    let said = |position: u64, hours: i64, it: &dyn Fn() -> Said| {
        let mut said = it();
        (said.position, said.occurred_at, said.recorded_at) = (position, at(hours), at(hours));
        said
    };
    let of = |case: &'static str| case.to_owned();
    let opened = |case: &'static str| {
        move || {
            Said::new(
                "feedback",
                0,
                MONDAY,
                &CaseOpened { case_id: of(case), ..Default::default() },
            )
        }
    };
    let paused = |case: &'static str, hours: i64| {
        move || {
            let elapsed_micros = hours * HOUR * 1_000_000;
            let it = CasePaused { case_id: of(case), elapsed_micros, ..Default::default() };
            Said::new("feedback", 0, MONDAY, &it)
        }
    };
    let resumed = |case: &'static str| {
        move || {
            Said::new(
                "feedback",
                0,
                MONDAY,
                &CaseResumed { case_id: of(case), ..Default::default() },
            )
        }
    };
    let reopened = |case: &'static str| {
        move || {
            Said::new(
                "feedback",
                0,
                MONDAY,
                &CaseReopened { case_id: of(case), ..Default::default() },
            )
        }
    };
    let resolved = |case: &'static str, hours: i64| {
        move || {
            let it = CaseResolved {
                case_id: of(case),
                elapsed_seconds: hours * HOUR,
                ..Default::default()
            };
            Said::new("feedback", 0, MONDAY, &it)
        }
    };
    let time = |said: &[Said]| {
        let it = whole(built("time-to-resolution-p90"), said);
        (it.value, it.n, it.censored)
    };
    // One stands still after an hour: it is not at risk any more when the other ends after ten.
    let mut all = vec![
        said(1, 0, &opened("one")),
        said(2, 0, &opened("two")),
        said(3, 1, &paused("one", 1)),
        said(4, 10, &resolved("two", 10)),
    ];
    assert_eq!(time(&all), (Some(36_000.0), 2, 1));
    // It goes on for two hours, three in all.
    all.push(said(5, 20, &resumed("one")));
    all.push(said(6, 22, &opened("three")));
    assert_eq!(time(&all), (Some(36_000.0), 3, 2));
    // Opened again, what was resolved is open: nothing has ended.
    all.push(said(7, 23, &reopened("two")));
    assert_eq!(time(&all), (None, 3, 3));
    // Resolved again after two hours more.
    all.push(said(8, 25, &resolved("two", 12)));
    assert_eq!(time(&all), (Some(43_200.0), 3, 2));
    let reversed: Vec<_> = all.iter().rev().cloned().collect();
    assert_eq!(time(&reversed), time(&all));
}

#[test]
fn what_turns_out_to_have_been_sent_was_sent() {
    let resolved = |position: u64, sent| {
        let it = TouchResolved { sent, adapter: "smtp".into(), ..Default::default() };
        Said::new("delivery", position, days(0), &it).id(&format!("tch_{position}"))
    };
    let touch = TouchSent { adapter: "smtp".into(), ..Default::default() };
    let opened = TouchOpened::default();
    let said = [
        Said::new("delivery", 1, days(0), &touch).id("tch_1"),
        resolved(2, true),
        resolved(3, false),
        Said::new("delivery", 4, days(0), &opened).id("tch_2"),
        Said::new("delivery", 5, days(0), &TouchDelivered::default()).id("tch_2"),
        Said::new("delivery", 6, days(0), &TouchClicked::default()).id("tch_2"),
    ];
    let sent = built("touches-sent");
    let found = figures(sent, &by(sent, "adapter"), &said);
    let by_adapter: Vec<_> = found.iter().map(|(it, n)| (it.values[0].as_str(), n.n)).collect();
    assert_eq!(by_adapter, [("smtp", 2)]);
    for rate in ["delivery-rate", "open-rate", "click-rate"] {
        let it = whole(built(rate), &said);
        assert_eq!((it.value, it.n), (Some(0.5), 2), "{rate}");
    }
}

#[test]
fn machine_opens_do_not_count_and_rates_stand_where_the_touch_was_sent() {
    let sent = |position: u64, day| {
        let it = TouchSent { adapter: "smtp".into(), ..Default::default() };
        Said::new("delivery", position, days(day), &it).id(&format!("tch_{position}"))
    };
    let opened = |position: u64, touch: &str, machine| {
        let it = TouchOpened { machine, ..Default::default() };
        Said::new("delivery", position, days(8), &it).id(touch)
    };
    let said = [
        sent(1, 0),
        sent(2, 0),
        sent(3, 7),
        opened(4, "tch_1", false),
        opened(5, "tch_1", false),
        opened(6, "tch_2", true),
        opened(7, "tch_unknown", false),
    ];
    let found = figures(built("open-rate"), &Query::default(), &said);
    let weeks: Vec<_> = found.iter().map(|(cell, it)| (cell.bucket, it.value, it.n)).collect();
    assert_eq!(weeks, [(days(0), Some(0.5), 2), (days(7), Some(0.0), 1)]);
}

fn order(position: u64, party: &str, value: clear::Value) -> Said {
    let value = Clear { value: Some(value) };
    let it = InteractionRecorded {
        name: "Order Completed".into(),
        clear: [("revenue".to_owned(), value)].into(),
        ..Default::default()
    };
    Said::new("profiles", position, days(1), &it).party(party)
}

fn money(currency: &str, units: i64, nanos: i32) -> clear::Value {
    clear::Value::Money(Money { currency_code: currency.into(), units, nanos })
}

#[test]
fn money_is_summed_by_currency_to_the_millionth() {
    let said = [
        order(1, "a", money("EUR", 10, 100_000_000)),
        order(2, "a", money("EUR", 20, 200_000_000)),
        order(3, "b", money("USD", 5, 0)),
        order(4, "c", clear::Value::Number(29.33)),
        order(5, "c", clear::Value::Flag(true)),
    ];
    let query = Query { total: true, ..Query::default() };
    let found = figures(built("order-value"), &query, &said);
    let sums: Vec<_> = found.iter().map(|(it, sum)| (it.currency.as_str(), sum.value)).collect();
    assert_eq!(sums, [("", Some(29.33)), ("EUR", Some(30.3)), ("USD", Some(5.0))]);
    assert_eq!(whole(built("orders"), &said).value, Some(5.0));
    let parties = whole(built("ordering-parties"), &said);
    assert_eq!((parties.value, parties.n), (Some(3.0), 5));
}

#[test]
fn skips_are_counted_by_reason() {
    let skipped = |position, reason: &str| {
        let it = TouchSkipped { reason: reason.into(), ..Default::default() };
        Said::new("delivery", position, MONDAY, &it)
    };
    let said = [skipped(1, "cap"), skipped(2, "consent"), skipped(3, "cap")];
    let definition = built("touches-skipped");
    let found = figures(definition, &by(definition, "reason"), &said);
    let reasons: Vec<_> = found.iter().map(|(it, n)| (it.values[0].as_str(), n.value)).collect();
    assert_eq!(reasons, [("cap", Some(2.0)), ("consent", Some(1.0))]);
    let only = vec![(Dimension::find(&definition.series, "reason").expect("one"), "cap".into())];
    let query = Query { only, total: true, ..Query::default() };
    assert_eq!(figures(definition, &query, &said).into_values().next().map(|it| it.n), Some(2));
}

#[test]
fn decisions_are_accepted_when_they_are_rewarded() {
    let made = |position: u64, action: &str| {
        let chosen = Chosen { action: action.into(), ..Default::default() };
        let chosen = if action.is_empty() { Vec::new() } else { vec![chosen] };
        let it = DecisionMade { chosen, ..Default::default() };
        Said::new("decisioning", position, MONDAY, &it).id(&format!("dec_{position}"))
    };
    let closed = |position: u64, decision: &str, reward| {
        let it = RewardClosed { reward, ..Default::default() };
        Said::new("decisioning", position, days(9), &it).id(decision)
    };
    let said = [
        made(1, "write"),
        made(2, "write"),
        made(3, ""),
        made(4, "call"),
        closed(5, "dec_1", 1.0),
        closed(6, "dec_2", 0.0),
    ];
    let definition = built("decision-acceptance");
    let found = figures(definition, &by(definition, "action"), &said);
    let shares: Vec<_> =
        found.iter().map(|(it, s)| (it.values[0].as_str(), s.value, s.n)).collect();
    assert_eq!(shares, [("call", Some(0.0), 1), ("write", Some(0.5), 2)]);
}

#[test]
fn withdrawals_take_from_what_was_said_to_what_was_recorded() {
    let unsubscribed = |position: u64, party: &str| {
        let it = TouchUnsubscribed {
            party_id: party.into(),
            purpose: Purpose::Promotional.into(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
            market: "DE".into(),
            ..Default::default()
        };
        Said::new("delivery", position, MONDAY, &it).party(party)
    };
    let key = ConsentKey {
        party_id: "a".into(),
        purpose: Purpose::Promotional.into(),
        channel: Channel::Email.into(),
        sender_id: "northwind".into(),
        market: "DE".into(),
    };
    let withdrawn = ConsentWithdrawn { key: Some(key), ..Default::default() };
    let mut end = Said::new("profiles", 3, MONDAY, &withdrawn).party("a");
    end.recorded_at = Timestamp(MONDAY.0 + 2_500_000);
    let said = [unsubscribed(1, "a"), unsubscribed(2, "b"), end];
    let time = whole(built("consent-withdrawal-time"), &said);
    assert_eq!((time.value, time.n, time.censored), (Some(2.5), 2, 1));
    // Who withdrew in another way a month before is not done with by that.
    let mut long_ago = Said::new("profiles", 3, days(-30), &withdrawn).party("a");
    long_ago.recorded_at = MONDAY;
    let time = whole(built("consent-withdrawal-time"), &[unsubscribed(1, "a"), long_ago]);
    assert_eq!((time.value, time.n, time.censored), (None, 1, 1));
}

#[test]
fn texts_that_wait_for_safety_are_counted() {
    use rapport_proto::feedback::v1::{SafetyCandidateEscalated, SafetyCandidateHandedOff};
    let escalated = |position: u64, level| {
        let it = SafetyCandidateEscalated { level, ..Default::default() };
        Said::new("feedback", position, MONDAY, &it)
    };
    let taken = |position: u64, late| {
        let it = SafetyCandidateHandedOff { late, ..Default::default() };
        Said::new("feedback", position, MONDAY, &it)
    };
    let said = [escalated(1, 1), escalated(2, 1), escalated(3, 3), taken(4, false), taken(5, true)];
    let escalations = built("safety-escalations");
    let found = figures(escalations, &by(escalations, "level"), &said);
    let levels: Vec<_> = found.iter().map(|(it, s)| (it.values[0].as_str(), s.value)).collect();
    assert_eq!(levels, [("1", Some(2.0)), ("3", Some(1.0))]);
    assert_eq!(whole(built("safety-late-hand-offs"), &said).value, Some(1.0));
}

#[test]
fn a_quantile_is_a_value_that_was_measured() {
    let definition = compiled(
        "metric: waits
unit: SCORE
source: feedback
event: rapport.feedback.v1.ResponseSubmitted
each: answers
measure: {quantile: {value: item.score, q: 0.3}}
",
    );
    let said: Vec<_> = (1..)
        .zip((1..=30).rev())
        .map(|(position, score)| answered(position, MONDAY, &[(QuestionKind::Ces, score)]))
        .collect();
    assert_eq!(whole(&definition, &said).value, Some(9.0));
    assert_eq!(whole(&definition, &said[..1]).value, Some(30.0));
}

#[test]
fn buckets_are_local() {
    let definition = compiled(
        "metric: local
unit: COUNT
source: delivery
event: rapport.delivery.v1.TouchSent
measure: {count: true}
bucket: DAY
time_zone: Europe/Berlin
",
    );
    let late = Timestamp(MONDAY.0 + 23 * 3_600 * 1_000_000 + 1_800_000_000);
    let said = Said::new("delivery", 1, late, &TouchSent::default());
    let found = figures(&definition, &Query::default(), &[said]);
    let bucket = found.keys().next().expect("a bucket").bucket;
    assert_eq!(bucket, Timestamp(days(1).0 - 3_600 * 1_000_000));
    assert_eq!(definition.series.bucket_end(bucket).map(|it| it.0 - bucket.0), Some(DAY));
}
