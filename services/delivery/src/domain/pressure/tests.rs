use super::*;

const NOW: Timestamp = Timestamp(1_767_268_800_000_000);

fn reserved(touch_id: &str, at: Timestamp) -> Event {
    Event::Reserved(ContactReserved {
        touch_id: touch_id.into(),
        channel: Channel::Email.into(),
        reserved_at: Some(at.to_proto()),
        ..ContactReserved::default()
    })
}

fn released(touch_id: &str) -> Event {
    Event::Released(ContactReleased { touch_id: touch_id.into(), reason: "550".into() })
}

fn left(events: &[Event]) -> Vec<String> {
    let state = events.iter().fold(State::default(), Pressure::evolve);
    state.contacts.into_iter().map(|it| it.touch_id).collect()
}

#[test]
fn what_no_line_can_count_any_more_is_forgotten() {
    let old = NOW.minus(LONGEST);
    let just = Timestamp(old.0 + 1);
    let events = [reserved("old", old), reserved("just", just), reserved("new", NOW)];
    assert_eq!(left(&events), ["just", "new"]);
    // A touch a day for ten years stays a year.
    let daily: Vec<_> = (0..3_650_u64)
        .map(|day| reserved(&day.to_string(), NOW.plus(Duration::from_secs(day * 86_400))))
        .collect();
    assert_eq!(left(&daily).len(), 366);
}

#[test]
fn what_is_given_back_counts_no_longer_and_what_is_tried_again_counts_once() {
    let later = Timestamp(NOW.0 + 1);
    let events = [reserved("a", NOW), reserved("b", NOW), reserved("a", later), released("b")];
    assert_eq!(left(&events), ["a"]);
    let state = events.iter().fold(State::default(), Pressure::evolve);
    assert_eq!(state.contacts[0].at, later);
    let again = Command::Release { touch_id: "b".into(), reason: "550".into() };
    assert_eq!(Pressure::decide(&state, again, later), Ok(Vec::new()));
}
