use super::*;

fn later(code: &str, attempts: u32) -> Outcome {
    let request = rapport_proto::delivery::v1::TouchRequested {
        expires_at: Some(Timestamp(0).plus(Duration::from_secs(86_400)).to_proto()),
        ..Default::default()
    };
    let touch = State { request, attempts, ..State::default() };
    outcome(&touch, Told::Later { code: code.into() }, Timestamp(0))
}

fn again(after: Duration, code: &str) -> Outcome {
    Outcome::Again { at: Timestamp(0).plus(after), code: code.into(), in_doubt: false }
}

#[test]
fn who_was_never_asked_need_not_be_left_in_peace() {
    assert_eq!(later("stale", 1), again(SOON, "stale"));
    assert_eq!(later("restarted", 5), again(SOON, "restarted"));
    assert_eq!(later("451", 1), again(SHORTEST_PAUSE, "451"));
    assert_eq!(later("451", 3), again(SHORTEST_PAUSE * 4, "451"));
    assert_eq!(later("451", 9), again(LONGEST_PAUSE, "451"));
    assert_eq!(later("451", ATTEMPTS), Outcome::Refused { code: "451".into() });
}
