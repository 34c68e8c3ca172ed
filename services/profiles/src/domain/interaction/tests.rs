use eventstore::testing::given;
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn message(digest: u8, occurred_at: Timestamp) -> Command {
    Command::Record(Box::new(Message {
        source_id: "web".into(),
        message_id: "m-1".into(),
        name: "Order Completed".into(),
        occurred_at,
        clear: BTreeMap::new(),
        personal: Some(Raw(vec![1])),
        body_digest: vec![digest],
        raw: Raw(vec![digest]),
    }))
}

fn recorded(occurred_at: Timestamp, stated_at: Option<Timestamp>) -> Event {
    Event::Recorded(proto::InteractionRecorded {
        source_id: "web".into(),
        message_id: "m-1".into(),
        name: "Order Completed".into(),
        occurred_at: Some(occurred_at.to_proto()),
        stated_at: stated_at.map(Timestamp::to_proto),
        clear: BTreeMap::new(),
        personal: Some(Personal::Clear(vec![1])),
        body_digest: vec![7],
    })
}

fn conflicted(raw: u8) -> Event {
    Event::Conflicted(proto::InteractionConflicted {
        source_id: "web".into(),
        message_id: "m-1".into(),
        raw: Some(Personal::Clear(vec![raw])),
    })
}

fn reject() -> Command {
    let (source_id, message_id) = ("web".into(), "m-1".into());
    Command::Reject { source_id, message_id, code: Code::Schema, raw: Raw(vec![9]) }
}

fn rejected() -> Event {
    Event::Rejected(proto::InteractionRejected {
        source_id: "web".into(),
        message_id: "m-1".into(),
        code: "schema".into(),
        raw: Some(Personal::Clear(vec![9])),
    })
}

#[test]
fn a_message_is_recorded_exactly_once() {
    given::<Interaction>(vec![]).at(NOW).when(message(7, NOW)).then(vec![recorded(NOW, None)]);
    given::<Interaction>(vec![recorded(NOW, None)]).at(NOW).when(message(7, NOW)).then(vec![]);
}

#[test]
fn the_same_id_with_another_body_is_kept_as_a_conflict_once() {
    let first = recorded(NOW, None);
    given::<Interaction>(vec![first.clone()])
        .at(NOW)
        .when(message(8, NOW))
        .then(vec![conflicted(8)]);
    given::<Interaction>(vec![first, conflicted(8)]).at(NOW).when(message(8, NOW)).then(vec![]);
}

#[test]
fn conflicts_are_not_kept_without_end() {
    let mut known = vec![recorded(NOW, None)];
    known.extend((100..116).map(conflicted));
    given::<Interaction>(known).at(NOW).when(message(8, NOW)).then(vec![]);
}

#[test]
fn a_time_too_far_ahead_is_clamped_and_kept() {
    let (edge, beyond) = (Timestamp(NOW.0 + AHEAD_MAX.0), Timestamp(NOW.0 + AHEAD_MAX.0 + 1));
    given::<Interaction>(vec![]).at(NOW).when(message(7, edge)).then(vec![recorded(edge, None)]);
    given::<Interaction>(vec![])
        .at(NOW)
        .when(message(7, beyond))
        .then(vec![recorded(NOW, Some(beyond))]);
}

#[test]
fn a_rejected_message_is_kept_once() {
    given::<Interaction>(vec![]).at(NOW).when(reject()).then(vec![rejected()]);
    given::<Interaction>(vec![rejected()]).at(NOW).when(reject()).then(vec![]);
}

#[test]
fn what_no_party_can_seal_is_sealed_by_the_source() {
    let of = |party_id: &str| {
        let state = State { party_id: party_id.into(), ..State::default() };
        Interaction::about("itx_1", &state, &rejected())
    };
    assert_eq!((of("").subject.as_str(), of("pty_1").subject.as_str()), ("source/web", ""));
    assert_eq!(of("pty_1").party_id, "pty_1");
}

proptest! {
    #[test]
    fn evolve_never_panics_on_any_event_order(picks in prop::collection::vec(0..4_u8, 0..10)) {
        let events: Vec<_> = picks.into_iter().map(|pick| match pick {
            0 => recorded(NOW, None),
            1 => conflicted(8),
            2 => Event::Conflicted(proto::InteractionConflicted { raw: Some(Personal::Erased), ..Default::default() }),
            _ => Event::Rejected(proto::InteractionRejected::default()),
        }).collect();
        let state = eventstore::fold::<Interaction>(&events);
        prop_assert!(Interaction::decide(&state, message(7, NOW), NOW).is_ok());
    }

    #[test]
    fn repeating_a_granted_command_yields_no_event(digests in prop::collection::vec(0..4_u8, 1..10)) {
        let mut state = State::default();
        for digest in digests {
            let command = if digest == 0 { reject() } else { message(digest, NOW) };
            let events = Interaction::decide(&state, command.clone(), NOW).expect("nothing is refused");
            state = events.iter().fold(state, Interaction::evolve);
            prop_assert_eq!(Interaction::decide(&state, command, NOW), Ok(vec![]));
        }
    }
}
