use eventstore::testing::given;
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn end_of(party_id: &str, kind: PartyKind) -> End {
    End { party_id: party_id.into(), kind }
}

fn new(kind: RelationKind, from: PartyKind, to: PartyKind) -> New {
    New {
        kind,
        from: end_of("pty_a", from),
        to: end_of("pty_b", to),
        role: Code::parse_optional("attending").expect("a code"),
        product_id: String::new(),
        valid: Validity { from: Some(Timestamp(NOW.0 - 10)), until: None },
    }
}

fn treats() -> New {
    new(RelationKind::Treats, PartyKind::Hcp, PartyKind::Patient)
}

fn recorded() -> Event {
    Event::Recorded(proto::RelationRecorded {
        kind: RelationKind::Treats.into(),
        from_party_id: "pty_a".into(),
        to_party_id: "pty_b".into(),
        role: "attending".into(),
        product_id: String::new(),
        valid: Validity { from: Some(Timestamp(NOW.0 - 10)), until: None }.to_proto(),
    })
}

fn ended(at: Timestamp) -> Event {
    Event::Ended(proto::RelationEnded { ended_at: Some(at.to_proto()), reason: "moved".into() })
}

fn end_at(at: Option<Timestamp>) -> Command {
    Command::End { at, reason: Code::parse("moved").expect("a code") }
}

#[test]
fn recording_twice_is_harmless_and_another_content_is_refused() {
    given::<Relation>(vec![]).at(NOW).when(Command::Record(treats())).then(vec![recorded()]);
    given::<Relation>(vec![recorded()]).at(NOW).when(Command::Record(treats())).then(vec![]);
    let other = New { role: None, ..treats() };
    given::<Relation>(vec![recorded()])
        .at(NOW)
        .when(Command::Record(other))
        .refused(|it| *it == Refusal::Other);
}

#[test]
fn ending_twice_is_harmless() {
    given::<Relation>(vec![recorded()]).at(NOW).when(end_at(None)).then(vec![ended(NOW)]);
    given::<Relation>(vec![recorded(), ended(NOW)]).at(NOW).when(end_at(None)).then(vec![]);
    given::<Relation>(vec![]).at(NOW).when(end_at(None)).refused(|it| *it == Refusal::Unknown);
    given::<Relation>(vec![recorded()])
        .at(NOW)
        .when(end_at(Some(Timestamp(NOW.0 - 11))))
        .refused(|it| *it == Refusal::EndsFirst);
}

#[test]
fn each_relation_joins_the_kinds_it_is_for() {
    use PartyKind as Kind;
    let allowed = [
        (RelationKind::Affiliated, Kind::Hcp, Kind::Hco),
        (RelationKind::Affiliated, Kind::Employee, Kind::Hco),
        (RelationKind::CoveredBy, Kind::Hcp, Kind::Employee),
        (RelationKind::CoveredBy, Kind::Hco, Kind::Employee),
        (RelationKind::Treats, Kind::Hcp, Kind::Patient),
        (RelationKind::CaregiverOf, Kind::Caregiver, Kind::Patient),
    ];
    for (kind, from, to) in allowed {
        assert!(fits(kind, from, to), "{kind:?} {from:?} {to:?}");
    }
    let refused = [
        (RelationKind::Affiliated, Kind::Patient, Kind::Hco),
        (RelationKind::Affiliated, Kind::Hcp, Kind::Payer),
        (RelationKind::CoveredBy, Kind::Employee, Kind::Employee),
        (RelationKind::CoveredBy, Kind::Hcp, Kind::Hcp),
        (RelationKind::Treats, Kind::Patient, Kind::Hcp),
        (RelationKind::Treats, Kind::Pharmacist, Kind::Patient),
        (RelationKind::CaregiverOf, Kind::Hcp, Kind::Patient),
        (RelationKind::Unspecified, Kind::Hcp, Kind::Patient),
    ];
    for (kind, from, to) in refused {
        given::<Relation>(vec![])
            .at(NOW)
            .when(Command::Record(new(kind, from, to)))
            .refused(|it| *it == Refusal::KindConflict);
    }
}

#[test]
fn a_party_is_not_related_to_itself() {
    let own = New { to: end_of("pty_a", PartyKind::Patient), ..treats() };
    given::<Relation>(vec![])
        .at(NOW)
        .when(Command::Record(own))
        .refused(|it| *it == Refusal::ToItself);
}

proptest! {
    #[test]
    fn evolve_never_panics_on_any_event_order(
        kinds in prop::collection::vec((any::<i32>(), any::<bool>(), any::<i64>(), any::<i32>()), 0..10),
    ) {
        let events: Vec<_> = kinds.into_iter().map(|(kind, ends, seconds, nanos)| {
            let ended_at = Some(prost_types::Timestamp { seconds, nanos });
            if ends {
                Event::Ended(proto::RelationEnded { ended_at, ..Default::default() })
            } else {
                Event::Recorded(proto::RelationRecorded { kind, ..Default::default() })
            }
        }).collect();
        let state = eventstore::fold::<Relation>(&events);
        let _ = Relation::decide(&state, end_at(None), NOW);
    }

    #[test]
    fn repeating_a_granted_command_yields_no_event(ends in prop::collection::vec(any::<bool>(), 1..6)) {
        let mut state = State::default();
        for end in ends {
            let command = if end { end_at(None) } else { Command::Record(treats()) };
            let Ok(events) = Relation::decide(&state, command.clone(), NOW) else { continue };
            state = events.iter().fold(state, Relation::evolve);
            prop_assert_eq!(Relation::decide(&state, command, NOW), Ok(vec![]));
        }
    }
}
