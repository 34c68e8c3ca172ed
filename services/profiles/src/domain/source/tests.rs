use eventstore::testing::given;
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn field(name: &str, kind: ClearKind) -> Field {
    Field::parse(name, kind).expect("a field")
}

fn register(owner: &str) -> Command {
    Command::Register {
        owner: owner.into(),
        clear_fields: vec![field("total", ClearKind::Money), field("total", ClearKind::Money)],
        write_key_hash: vec![7; 32],
    }
}

fn registered() -> Event {
    Event::Registered(proto::SourceRegistered {
        owner: "web team".into(),
        clear_fields: vec![ClearField { name: "total".into(), kind: ClearKind::Money.into() }],
        write_key_hash: vec![7; 32],
    })
}

fn extended() -> Event {
    Event::SchemaExtended(proto::SourceSchemaExtended {
        clear_fields: vec![ClearField { name: "vip".into(), kind: ClearKind::Flag.into() }],
    })
}

fn disabled() -> Event {
    Event::Disabled(proto::SourceDisabled { reason: "retired".into() })
}

fn disable() -> Command {
    Command::Disable { reason: Code::parse("retired").expect("a code") }
}

fn extend(name: &str, kind: ClearKind) -> Command {
    Command::Extend { clear_fields: vec![field(name, kind)] }
}

#[test]
fn registering_twice_is_harmless_and_another_content_is_refused() {
    given::<Source>(vec![]).at(NOW).when(register("web team")).then(vec![registered()]);
    given::<Source>(vec![registered()]).at(NOW).when(register("web team")).then(vec![]);
    given::<Source>(vec![registered()])
        .at(NOW)
        .when(register("other team"))
        .refused(|it| *it == Refusal::Exists);
}

#[test]
fn a_schema_grows_and_never_changes_a_kind() {
    let known = || given::<Source>(vec![registered()]).at(NOW);
    known().when(extend("vip", ClearKind::Flag)).then(vec![extended()]);
    known().when(extend("total", ClearKind::Money)).then(vec![]);
    known().when(extend("total", ClearKind::Number)).refused(|it| *it == Refusal::KindFixed);
    given::<Source>(vec![])
        .at(NOW)
        .when(extend("vip", ClearKind::Flag))
        .refused(|it| *it == Refusal::Unknown);
}

#[test]
fn a_disabled_source_stays_disabled() {
    given::<Source>(vec![registered()]).at(NOW).when(disable()).then(vec![disabled()]);
    let known = || given::<Source>(vec![registered(), disabled()]).at(NOW);
    known().when(disable()).then(vec![]);
    known().when(register("web team")).then(vec![]);
    known().when(extend("vip", ClearKind::Flag)).refused(|it| *it == Refusal::Disabled);
    given::<Source>(vec![]).at(NOW).when(disable()).refused(|it| *it == Refusal::Unknown);
}

#[test]
fn a_schema_has_an_end() {
    let clear_fields = (0..=MOST_FIELDS).map(|n| field(&n.to_string(), ClearKind::Flag)).collect();
    given::<Source>(vec![registered()])
        .at(NOW)
        .when(Command::Extend { clear_fields })
        .refused(|it| *it == Refusal::Full);
}

#[test]
fn hostile_property_names_are_refused() {
    for name in ["", " ", "a\0", "a\u{202e}", &"x".repeat(129)] {
        assert!(Field::parse(name, ClearKind::Flag).is_err(), "{name:?}");
    }
    assert!(Field::parse("total", ClearKind::Unspecified).is_err());
}

proptest! {
    #[test]
    fn evolve_never_panics_on_any_event_order(
        picks in prop::collection::vec((0..3_u8, any::<i32>(), any::<String>()), 0..10),
    ) {
        let events: Vec<_> = picks.into_iter().map(|(pick, kind, name)| {
            let clear_fields = vec![ClearField { name, kind }];
            match pick {
                0 => Event::Registered(proto::SourceRegistered { clear_fields, ..Default::default() }),
                1 => Event::SchemaExtended(proto::SourceSchemaExtended { clear_fields }),
                _ => disabled(),
            }
        }).collect();
        let state = eventstore::fold::<Source>(&events);
        let _ = Source::decide(&state, extend("vip", ClearKind::Flag), NOW);
    }

    #[test]
    fn repeating_a_granted_command_yields_no_event(picks in prop::collection::vec(0..5_u8, 1..10)) {
        let mut state = State::default();
        for pick in picks {
            let command = match pick {
                0 => register("web team"),
                1 => register("other team"),
                2 => extend("vip", ClearKind::Flag),
                3 => extend("total", ClearKind::Number),
                _ => disable(),
            };
            let Ok(events) = Source::decide(&state, command.clone(), NOW) else { continue };
            state = events.iter().fold(state, Source::evolve);
            prop_assert_eq!(Source::decide(&state, command, NOW), Ok(vec![]));
        }
    }
}
