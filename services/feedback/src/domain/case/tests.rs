use eventstore::testing::given;
use proptest::prelude::*;

use super::super::HOUR;
use super::*;

/// Monday 5 January 2026, 08:00 in Berlin.
const MONDAY: Timestamp = Timestamp(1_767_596_400_000_000);

fn calendar() -> Option<proto::BusinessCalendar> {
    let day = |weekday: &str| proto::WorkingHours {
        weekday: weekday.into(),
        intervals: vec!["08:00-12:00".into(), "13:00-17:00".into()],
    };
    Some(proto::BusinessCalendar {
        time_zone: "Europe/Berlin".into(),
        hours: ["MON", "TUE", "WED", "THU", "FRI"].map(day).to_vec(),
        holidays: vec!["2026-01-06".into()],
    })
}

fn sla() -> Option<proto::Sla> {
    Some(proto::Sla { first_response: "4h".into(), resolution: "16h".into() })
}

fn wish() -> proto::CaseOpened {
    proto::CaseOpened {
        case_id: "cas_1".into(),
        r#type: proto::CaseType::Service.into(),
        party_id: "pty_1".into(),
        calendar: calendar(),
        sla: sla(),
        ..Default::default()
    }
}

fn hours(after: i64) -> Timestamp {
    later(MONDAY, after * HOUR)
}

/// A case that has been through commands, each at so many hours after the opening.
fn after(commands: impl IntoIterator<Item = (i64, Command)>) -> State {
    let opening = [(0, Command::Open(Box::new(wish())))];
    opening.into_iter().chain(commands).fold(State::default(), |state, (hour, command)| {
        let events = Case::decide(&state, command, hours(hour)).expect("granted");
        events.iter().fold(state, Case::evolve)
    })
}

fn pause() -> Command {
    Command::Pause { reason: "waiting_for_customer".into() }
}

fn resolve() -> Command {
    Command::Resolve { outcome: "refund".into() }
}

fn breached(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|it| match it {
            Event::Breached(it) => Some(it.target.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn targets_are_due_in_business_time() {
    let state = after([]);
    assert_eq!(state.respond_by, Some(hours(4)), "at noon");
    // 8 h on Monday, the 6th is a holiday, 8 h on Wednesday.
    assert_eq!(state.resolve_by, Some(hours(48 + 9)));
}

#[test]
fn the_first_response_counts_and_the_second_does_not() {
    let state = after([]);
    let responded = proto::CaseResponded { case_id: "cas_1".into(), business_seconds: 3 * 3_600 };
    let events = Case::decide(&state, Command::Respond, hours(3)).expect("granted");
    assert_eq!(events, [Event::Responded(responded)]);
    let state = events.iter().fold(state, Case::evolve);
    assert_eq!(state.status, Status::Responded);
    assert_eq!(Case::decide(&state, Command::Respond, hours(4)), Ok(vec![]));
}

#[test]
fn a_pause_stops_the_clocks() {
    // Two hours of work, a pause over the rest of the day, the holiday, and until Wednesday, 10:00.
    let state = after([(2, pause())]);
    assert_eq!((state.respond_by, state.resolve_by), (None, None));
    assert_eq!(state.clocks(hours(30)).map(|it| it.worked), Ok(2 * HOUR));
    let state = after([(2, pause()), (50, Command::Resume)]);
    assert_eq!(state.respond_by, Some(hours(52)), "two hours were left");
    let events = Case::decide(&state, resolve(), hours(51)).expect("granted");
    let [Event::Responded(_), Event::Resolved(it)] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!((it.business_seconds, it.elapsed_seconds), (3 * 3_600, 3 * 3_600));
}

#[test]
fn pausing_twice_is_harmless_and_for_another_reason_refused() {
    let state = after([(2, pause())]);
    assert_eq!(Case::decide(&state, pause(), hours(3)), Ok(vec![]));
    let other = Command::Pause { reason: "waiting_for_parts".into() };
    assert_eq!(Case::decide(&state, other, hours(3)), Err(Refusal::Paused));
    assert_eq!(Case::decide(&after([]), Command::Resume, hours(3)), Ok(vec![]));
}

#[test]
fn a_target_is_missed_when_its_time_comes() {
    let state = after([]);
    let breach = || Command::Breach { target: FIRST_RESPONSE };
    let at = |at: Timestamp| Case::decide(&state, breach(), at).expect("granted").len();
    assert_eq!(at(Timestamp(hours(4).0 - 1)), 0);
    assert_eq!(at(hours(4)), 1);
    // Responded in time, in a pause, or missed already: nothing.
    for commands in
        [vec![(1, Command::Respond)], vec![(1, pause())], vec![(4, breach())], vec![(1, resolve())]]
    {
        assert_eq!(Case::decide(&after(commands), breach(), hours(5)), Ok(vec![]));
    }
}

#[test]
fn what_comes_first_after_a_missed_target_notes_it() {
    let state = after([]);
    let events = Case::decide(&state, resolve(), hours(80)).expect("granted");
    assert_eq!(breached(&events), [FIRST_RESPONSE, RESOLUTION]);
    assert!(matches!(events.last(), Some(Event::Resolved(_))));
    let events = Case::decide(&state, Command::Respond, hours(4)).expect("granted");
    assert_eq!(breached(&events), [""; 0], "at the last moment is in time");
}

#[test]
fn a_case_that_is_opened_again_goes_on_where_it_stood() {
    let state = after([(2, resolve()), (48, Command::Reopen { reason: "not_done".into() })]);
    assert_eq!(state.status, Status::Reopened);
    // 14 h are left: 8 on Wednesday from 08:00, 6 on Thursday.
    assert_eq!(state.resolve_by, Some(hours(72 + 7)));
    assert_eq!(state.respond_by, None);
    let events = Case::decide(&state, resolve(), hours(49)).expect("granted");
    let [Event::Resolved(it)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((it.business_seconds, it.elapsed_seconds), (3 * 3_600, 3 * 3_600));
}

#[test]
fn what_is_over_is_not_changed() {
    let resolved = || after([(2, resolve())]);
    assert_eq!(Case::decide(&resolved(), resolve(), hours(3)), Ok(vec![]));
    let other = Command::Resolve { outcome: "other".into() };
    assert_eq!(Case::decide(&resolved(), other, hours(3)), Err(Refusal::OtherOutcome));
    for command in [pause(), Command::Respond, Command::Resume] {
        assert_eq!(Case::decide(&resolved(), command, hours(3)), Err(Refusal::Resolved));
    }
    given::<Case>([]).when(Command::Respond).refused(|it| *it == Refusal::Unknown);
    let reopen = Command::Reopen { reason: "x".into() };
    assert_eq!(Case::decide(&after([]), reopen, hours(1)), Err(Refusal::NotResolved));
}

#[test]
fn without_a_calendar_every_hour_counts() {
    let wish = proto::CaseOpened { calendar: None, ..wish() };
    let opened = Case::decide(&State::default(), Command::Open(Box::new(wish)), MONDAY);
    let state = opened.expect("granted").iter().fold(State::default(), Case::evolve);
    assert_eq!(state.respond_by, Some(hours(4)));
    assert_eq!(state.clocks(hours(100)).map(|it| it.worked), Ok(100 * HOUR));
}

proptest! {
    /// Whatever happens in which order: the clocks show the time that ran, to the microsecond, and each target is
    /// missed once at most.
    #[test]
    fn clocks_add_up_over_any_number_of_pauses(
        steps in prop::collection::vec((0_i64..50 * HOUR, 0_usize..6), 1..30),
    ) {
        let mut state = after([]);
        let (mut at, mut expected, mut misses) = (MONDAY, Clocks::default(), Vec::new());
        let promise = state.promise().expect("readable");
        for (later, step) in steps {
            let next = Timestamp(at.0 + later);
            if state.runs_since.is_some() {
                expected.worked += promise.calendar.between(at, next);
                expected.elapsed += later;
            }
            at = next;
            let command = match step {
                0 => pause(),
                1 => Command::Resume,
                2 => Command::Respond,
                3 => resolve(),
                4 => Command::Reopen { reason: "x".into() },
                _ => Command::Breach { target: RESOLUTION },
            };
            let events = Case::decide(&state, command, at).unwrap_or_default();
            misses.extend(breached(&events).into_iter().map(str::to_owned));
            state = events.iter().fold(state, Case::evolve);
            prop_assert_eq!(state.clocks(at), Ok(expected));
        }
        prop_assert_eq!(misses.len(), misses.iter().collect::<BTreeSet<_>>().len());
        let late = |target: &str, micros: Option<i64>| {
            state.breached.contains(target) && expected.worked < micros.unwrap_or_default()
        };
        prop_assert!(!late(FIRST_RESPONSE, promise.first_response), "missed too early");
        prop_assert!(!late(RESOLUTION, promise.resolution), "missed too early");
    }
}
