use eventstore::Decider as _;
use rapport_proto::delivery::v1::touch_event::Event;
use rapport_proto::delivery::v1::{TouchAttempted, TouchRequested, TouchRetryScheduled};

use super::*;

const EXPIRES_AT: Timestamp = Timestamp(86_400_000_000);

/// A touch after attempts of which some asked nobody.
fn tried(attempts: u32, unasked: u32) -> State {
    let request =
        TouchRequested { expires_at: Some(EXPIRES_AT.to_proto()), ..TouchRequested::default() };
    State { request, attempts, unasked, ..State::default() }
}

fn later(code: &str, touch: &State) -> Outcome {
    outcome(touch, Told::Later { code: code.into() }, Timestamp(0))
}

fn again(after: Duration, code: &str) -> Outcome {
    Outcome::Again { at: Timestamp(0).plus(after), code: code.into(), in_doubt: false }
}

#[test]
fn who_was_never_asked_need_not_be_left_in_peace() {
    assert_eq!(later("stale", &tried(1, 0)), again(SOON, "stale"));
    assert_eq!(later("restarted", &tried(5, 4)), again(SOON, "restarted"));
    assert_eq!(later("451", &tried(1, 0)), again(SHORTEST_PAUSE, "451"));
    assert_eq!(later("451", &tried(3, 0)), again(SHORTEST_PAUSE * 4, "451"));
    assert_eq!(later("451", &tried(9, 0)), again(LONGEST_PAUSE, "451"));
    assert_eq!(later("451", &tried(ATTEMPTS, 0)), Outcome::Refused { code: "451".into() });
}

#[test]
fn rounds_in_which_nobody_was_asked_are_no_attempts() {
    // However often, and even at the end of its time: it is the gate that ends it, as out of date.
    assert_eq!(later("stale", &tried(40, 39)), again(LONGEST_PAUSE, "stale"));
    // Who is in the way of many rounds is in the way of fewer and fewer.
    for (unasked, pause) in [(9, SOON), (10, SHORTEST_PAUSE), (12, SHORTEST_PAUSE * 4)] {
        assert_eq!(later("stale", &tried(unasked + 1, unasked)), again(pause, "stale"));
    }
    let late = outcome(&tried(40, 39), Told::Later { code: "stale".into() }, EXPIRES_AT);
    assert!(matches!(late, Outcome::Again { .. }), "{late:?}");
    // Who is asked then for the first time has not been asked too often.
    assert_eq!(later("451", &tried(40, 39)), again(SHORTEST_PAUSE, "451"));
    let asked_often = tried(39 + ATTEMPTS, 39);
    assert_eq!(later("451", &asked_often), Outcome::Refused { code: "451".into() });
}

#[test]
fn the_log_tells_who_was_asked() {
    let attempted = |attempt| Event::Attempted(TouchAttempted { attempt, ..Default::default() });
    let retry = |code: &str, in_doubt| {
        let code = code.to_owned();
        Event::RetryScheduled(TouchRetryScheduled { code, in_doubt, ..Default::default() })
    };
    let events = [
        attempted(1),
        retry("stale", false),
        attempted(2),
        retry("restarted", false),
        attempted(3),
        retry("451", false),
        attempted(4),
        // Who repeats with the same key may have been asked.
        retry("restarted", true),
    ];
    let state = events.iter().fold(State::default(), Touch::evolve);
    assert_eq!((state.attempts, state.unasked), (4, 2));
}
