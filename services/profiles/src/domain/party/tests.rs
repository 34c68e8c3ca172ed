use eventstore::testing::given;
use proptest::prelude::*;
use rapport_proto::types::{Validity as Valid, clear};

use super::super::attribute::Name;
use super::super::place::{Language, Market, TimeZone};
use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn place(market: &str) -> Place {
    Place {
        market: Market::parse(market).expect("a market"),
        language: Some(Language::parse("de").expect("a language")),
        time_zone: Some(TimeZone::parse("Europe/Berlin").expect("a zone")),
    }
}

fn registered(kind: PartyKind) -> Event {
    Event::Registered(proto::PartyRegistered {
        kind: kind.into(),
        market: "DE".into(),
        language: "de".into(),
        time_zone: "Europe/Berlin".into(),
        source_id: "crm".into(),
    })
}

fn registration(kind: PartyKind) -> Registration {
    Registration {
        kind,
        place: place("DE"),
        source_id: "crm".into(),
        attributes: Changes::default(),
        identifiers: Vec::new(),
        contact_points: Vec::new(),
    }
}

fn code(text: &str) -> Code {
    Code::parse(text).expect("a code")
}

fn npi() -> NewIdentifier {
    NewIdentifier {
        identifier: Identifier::parse("npi", "1234567893").expect("an NPI"),
        valid: Validity::default(),
        verified_by: Some(code("nppes")),
    }
}

fn npi_added(number: u32) -> Event {
    Event::IdentifierAdded(proto::PartyIdentifierAdded {
        number,
        system: "npi".into(),
        value: Some(Personal::text("1234567893")),
        valid: None,
        verified_by: "nppes".into(),
    })
}

fn email(id: &str, verified: bool) -> NewContactPoint {
    let address = Address::parse(Channel::Email, "ada@example.org", &[]).expect("an address");
    NewContactPoint { contact_point_id: id.into(), address, verified }
}

fn email_added(id: &str, verification: Verification) -> Event {
    Event::ContactPointAdded(proto::PartyContactPointAdded {
        contact_point_id: id.into(),
        channel: Channel::Email.into(),
        value: Some(Personal::text("ada@example.org")),
        verification: verification.into(),
        ..Default::default()
    })
}

fn email_verified(id: &str, by: &str) -> Event {
    let (contact_point_id, verified_by) = (id.into(), by.into());
    Event::ContactPointVerified(proto::PartyContactPointVerified { contact_point_id, verified_by })
}

fn suppressed() -> Event {
    Event::Suppressed(proto::PartySuppressed { reason: "complaint".into() })
}

fn flag(value: bool) -> Clear {
    Clear { value: Some(clear::Value::Flag(value)) }
}

fn changes(name: &str, value: bool) -> Changes {
    let mut changes = Changes::default();
    changes.set_clear(Name::parse(name).expect("a name"), flag(value)).expect("a value");
    changes
}

fn personal(name: &str, value: &str) -> Changes {
    let mut changes = Changes::default();
    changes.set_personal(Name::parse(name).expect("a name"), value).expect("a value");
    changes
}

#[test]
fn registering_states_everything_in_one_unit() {
    let mut new = registration(PartyKind::Hcp);
    new.attributes = changes("licence_valid", true);
    new.identifiers = vec![npi(), npi()];
    new.contact_points = vec![email("cpt_1", true), email("cpt_2", true)];
    given::<Party>(vec![]).at(NOW).when(Command::Register(Box::new(new))).then(vec![
        registered(PartyKind::Hcp),
        Event::AttributesSet(proto::PartyAttributesSet {
            clear: [("licence_valid".to_owned(), flag(true))].into(),
            personal: None,
            removed: vec![],
        }),
        npi_added(1),
        email_added("cpt_1", Verification::Verified),
    ]);
}

#[test]
fn registering_twice_is_harmless_and_never_changes_the_kind() {
    let register = |kind| Command::Register(Box::new(registration(kind)));
    let known = || given::<Party>(vec![registered(PartyKind::Hcp)]).at(NOW);
    known().when(register(PartyKind::Hcp)).then(vec![]);
    known().when(register(PartyKind::Patient)).refused(|it| *it == Refusal::OtherKind);
}

#[test]
fn nothing_happens_to_a_party_that_is_not_known() {
    given::<Party>(vec![])
        .at(NOW)
        .when(Command::Suppress { reason: code("complaint") })
        .refused(|it| *it == Refusal::Unknown);
}

#[test]
fn only_providers_have_an_npi() {
    for kind in [PartyKind::Patient, PartyKind::Caregiver, PartyKind::Employee] {
        given::<Party>(vec![registered(kind)])
            .at(NOW)
            .when(Command::AddIdentifier(npi()))
            .refused(|it| *it == Refusal::NotForKind);
    }
    for kind in [PartyKind::Hcp, PartyKind::Hco, PartyKind::Pharmacist] {
        given::<Party>(vec![registered(kind)])
            .at(NOW)
            .when(Command::AddIdentifier(npi()))
            .then(vec![npi_added(1)]);
    }
}

#[test]
fn an_identifier_with_another_validity_replaces_the_old_one_under_a_new_number() {
    let until = Timestamp(NOW.0 + 1);
    let ending = NewIdentifier { valid: Validity { from: None, until: Some(until) }, ..npi() };
    given::<Party>(vec![registered(PartyKind::Hcp), npi_added(1)])
        .at(NOW)
        .when(Command::AddIdentifier(ending))
        .then(vec![
            Event::IdentifierRemoved(proto::PartyIdentifierRemoved {
                number: 1,
                reason: REPLACED.into(),
            }),
            Event::IdentifierAdded(proto::PartyIdentifierAdded {
                number: 2,
                system: "npi".into(),
                value: Some(Personal::text("1234567893")),
                valid: Some(Valid { from: None, until: Some(until.to_proto()) }),
                verified_by: "nppes".into(),
            }),
        ]);
}

#[test]
fn removing_an_identifier_twice_is_harmless_and_a_foreign_number_is_refused() {
    let remove = |number| Command::RemoveIdentifier { number, reason: code("error") };
    let removed = Event::IdentifierRemoved(proto::PartyIdentifierRemoved {
        number: 1,
        reason: "error".into(),
    });
    let known = [registered(PartyKind::Hcp), npi_added(1), removed.clone()];
    given::<Party>(known[..2].to_vec()).at(NOW).when(remove(1)).then(vec![removed]);
    given::<Party>(known.to_vec()).at(NOW).when(remove(1)).then(vec![]);
    given::<Party>(known.to_vec())
        .at(NOW)
        .when(remove(2))
        .refused(|it| *it == Refusal::NoIdentifier);
    given::<Party>(known.to_vec())
        .at(NOW)
        .when(remove(0))
        .refused(|it| *it == Refusal::NoIdentifier);
}

#[test]
fn one_address_is_one_contact_point() {
    let known = vec![registered(PartyKind::Hcp), email_added("cpt_1", Verification::Unverified)];
    let add = |verified| Command::AddContactPoint(email("cpt_2", verified));
    given::<Party>(known.clone()).at(NOW).when(add(false)).then(vec![]);
    given::<Party>(known).at(NOW).when(add(true)).then(vec![email_verified("cpt_1", "stated")]);
}

#[test]
fn verifying_twice_is_harmless() {
    let known = vec![
        registered(PartyKind::Hcp),
        email_added("cpt_1", Verification::Unverified),
        email_verified("cpt_1", "double-opt-in"),
    ];
    let verify = |id: &str| Command::VerifyContactPoint {
        contact_point_id: id.into(),
        verified_by: code("double-opt-in"),
    };
    given::<Party>(known[..2].to_vec())
        .at(NOW)
        .when(verify("cpt_1"))
        .then(vec![email_verified("cpt_1", "double-opt-in")]);
    given::<Party>(known.clone()).at(NOW).when(verify("cpt_1")).then(vec![]);
    given::<Party>(known)
        .at(NOW)
        .when(verify("cpt_9"))
        .refused(|it| *it == Refusal::NoContactPoint);
}

#[test]
fn a_removed_contact_point_is_gone() {
    let remove = || Command::RemoveContactPoint {
        contact_point_id: "cpt_1".into(),
        reason: code("bounced"),
    };
    let removed = Event::ContactPointRemoved(proto::PartyContactPointRemoved {
        contact_point_id: "cpt_1".into(),
        reason: "bounced".into(),
    });
    let known =
        [registered(PartyKind::Hcp), email_added("cpt_1", Verification::Verified), removed.clone()];
    given::<Party>(known[..2].to_vec()).at(NOW).when(remove()).then(vec![removed]);
    given::<Party>(known.to_vec())
        .at(NOW)
        .when(remove())
        .refused(|it| *it == Refusal::NoContactPoint);
}

#[test]
fn suppression_and_release_take_turns() {
    let suppress = || Command::Suppress { reason: code("complaint") };
    let release = || Command::Release { reason: code("mistake") };
    let released = Event::Released(proto::PartyReleased { reason: "mistake".into() });
    let known = [registered(PartyKind::Hcp), suppressed(), released.clone()];
    given::<Party>(known[..1].to_vec()).at(NOW).when(release()).then(vec![]);
    given::<Party>(known[..1].to_vec()).at(NOW).when(suppress()).then(vec![suppressed()]);
    given::<Party>(known[..2].to_vec()).at(NOW).when(suppress()).then(vec![]);
    given::<Party>(known[..2].to_vec()).at(NOW).when(release()).then(vec![released]);
    given::<Party>(known.to_vec()).at(NOW).when(suppress()).then(vec![suppressed()]);
}

#[test]
fn moving_to_where_the_party_is_is_harmless() {
    let moved = Event::Moved(proto::PartyMoved {
        market: "AT".into(),
        language: "de".into(),
        time_zone: "Europe/Berlin".into(),
    });
    let known = vec![registered(PartyKind::Hcp)];
    given::<Party>(known.clone()).at(NOW).when(Command::Move(place("DE"))).then(vec![]);
    given::<Party>(known).at(NOW).when(Command::Move(place("AT"))).then(vec![moved]);
}

#[test]
fn attributes_change_only_where_they_differ() {
    let set = |changes, seen| Command::SetAttributes { changes, seen };
    let known = || {
        let registered = registered(PartyKind::Hcp);
        let first = Party::decide(
            &eventstore::fold::<Party>([&registered]),
            set(changes("licence_valid", true), None),
            NOW,
        );
        [vec![registered], first.expect("granted")].concat()
    };
    given::<Party>(known()).at(NOW).when(set(changes("licence_valid", true), Some(2))).then(vec![]);
    given::<Party>(known())
        .at(NOW)
        .when(set(changes("licence_valid", false), Some(1)))
        .refused(|it| *it == Refusal::Changed);
    given::<Party>(known()).at(NOW).when(set(changes("licence_valid", false), Some(2))).then(vec![
        Event::AttributesSet(proto::PartyAttributesSet {
            clear: [("licence_valid".to_owned(), flag(false))].into(),
            personal: None,
            removed: vec![],
        }),
    ]);
}

#[test]
fn an_attribute_is_clear_or_personal_never_both() {
    let events = [
        registered(PartyKind::Hcp),
        Event::AttributesSet(proto::PartyAttributesSet {
            clear: [("tier".to_owned(), flag(true))].into(),
            ..Default::default()
        }),
    ];
    let state = eventstore::fold::<Party>(&events);
    let set = Command::SetAttributes { changes: personal("tier", "gold"), seen: None };
    let facts = Party::decide(&state, set.clone(), NOW).expect("granted");
    let state = facts.iter().fold(state, Party::evolve);
    assert!(state.attributes.is_empty());
    assert_eq!(state.personal["tier"].as_text(), Some("gold"));
    assert_eq!(Party::decide(&state, set, NOW), Ok(vec![]));
}

#[test]
fn an_erased_party_accepts_nothing() {
    let erased = Event::IdentifierAdded(proto::PartyIdentifierAdded {
        number: 1,
        system: "npi".into(),
        value: Some(Personal::Erased),
        ..Default::default()
    });
    let known = vec![registered(PartyKind::Hcp), erased, suppressed()];
    given::<Party>(known.clone())
        .at(NOW)
        .when(Command::Move(place("AT")))
        .refused(|it| *it == Refusal::Erased);
    given::<Party>(known)
        .at(NOW)
        .when(Command::Register(Box::new(registration(PartyKind::Hcp))))
        .refused(|it| *it == Refusal::Erased);
}

#[test]
fn a_party_does_not_grow_without_end() {
    let mut known = vec![registered(PartyKind::Hcp)];
    known.extend((1..=200).map(|number| {
        Event::IdentifierAdded(proto::PartyIdentifierAdded {
            number,
            system: "crm".into(),
            value: Some(Personal::text(number.to_string())),
            ..Default::default()
        })
    }));
    given::<Party>(known)
        .at(NOW)
        .when(Command::AddIdentifier(npi()))
        .refused(|it| *it == Refusal::Full("identifiers"));
}

#[test]
fn personal_values_are_never_printed() {
    let state =
        eventstore::fold::<Party>(&[npi_added(1), email_added("cpt_1", Verification::Verified)]);
    let printed = format!("{state:?}{:?}{:?}", npi(), email("cpt_1", true));
    assert!(!printed.contains("1234567893") && !printed.contains("ada@"));
}

fn any_personal() -> impl Strategy<Value = Option<Personal>> {
    prop_oneof![
        Just(None),
        Just(Some(Personal::Erased)),
        Just(Some(Personal::default())),
        any::<Vec<u8>>().prop_map(|bytes| Some(Personal::Clear(bytes))),
    ]
}

/// Any fact at all, well-formed or not.
fn any_event() -> impl Strategy<Value = Event> {
    let id =
        || prop_oneof![Just("cpt_1".to_owned()), Just("cpt_2".to_owned()), Just(String::new())];
    prop_oneof![
        (any::<i32>()).prop_map(|kind| {
            Event::Registered(proto::PartyRegistered { kind, ..Default::default() })
        }),
        (any_personal(), any::<Vec<String>>()).prop_map(|(personal, removed)| {
            let clear =
                removed.iter().take(1).map(|name| (name.clone(), Clear::default())).collect();
            Event::AttributesSet(proto::PartyAttributesSet { clear, personal, removed })
        }),
        (any::<u32>(), any_personal()).prop_map(|(number, value)| {
            let system = "npi".into();
            Event::IdentifierAdded(proto::PartyIdentifierAdded {
                number,
                system,
                value,
                ..Default::default()
            })
        }),
        any::<u32>().prop_map(|number| {
            Event::IdentifierRemoved(proto::PartyIdentifierRemoved {
                number,
                reason: String::new(),
            })
        }),
        (id(), any::<i32>(), any_personal()).prop_map(|(contact_point_id, channel, value)| {
            Event::ContactPointAdded(proto::PartyContactPointAdded {
                contact_point_id,
                channel,
                value,
                ..Default::default()
            })
        }),
        id().prop_map(|id| email_verified(&id, "x")),
        id().prop_map(|contact_point_id| {
            let reason = String::new();
            Event::ContactPointRemoved(proto::PartyContactPointRemoved { contact_point_id, reason })
        }),
        Just(Event::Moved(proto::PartyMoved::default())),
        Just(suppressed()),
        Just(Event::Released(proto::PartyReleased::default())),
        (any::<i32>(), any::<i32>()).prop_map(|(channel, frequency)| {
            Event::PreferenceStated(proto::PreferenceStated {
                channel,
                frequency,
                ..Default::default()
            })
        }),
    ]
}

fn any_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        any::<bool>().prop_map(|verified| {
            let mut new = registration(PartyKind::Hcp);
            new.identifiers = vec![npi()];
            new.contact_points = vec![email("cpt_1", verified)];
            Command::Register(Box::new(new))
        }),
        any::<bool>().prop_map(|value| Command::SetAttributes {
            changes: changes("vip", value),
            seen: None
        }),
        "[a-z]{1,3}".prop_map(|value| Command::SetAttributes {
            changes: personal("vip", &value),
            seen: None
        }),
        Just(Command::AddIdentifier(npi())),
        (0..3_u32).prop_map(|number| Command::RemoveIdentifier { number, reason: code("error") }),
        (0..3_u32, any::<bool>()).prop_map(|(id, verified)| Command::AddContactPoint(email(
            &format!("cpt_{id}"),
            verified
        ))),
        (0..3_u32).prop_map(|id| Command::VerifyContactPoint {
            contact_point_id: format!("cpt_{id}"),
            verified_by: code("call"),
        }),
        prop_oneof![Just("DE"), Just("AT")].prop_map(|market| Command::Move(place(market))),
        Just(Command::Suppress { reason: code("complaint") }),
        Just(Command::Release { reason: code("mistake") }),
        (0..7_i32, 1..5_i32).prop_map(|(channel, frequency)| {
            Command::StatePreference(Preference {
                channel: Channel::try_from(channel).unwrap_or_default(),
                topic: None,
                frequency: Frequency::try_from(frequency).unwrap_or_default(),
            })
        }),
    ]
}

proptest! {
    #[test]
    fn evolve_never_panics_on_any_event_order(events in prop::collection::vec(any_event(), 0..20)) {
        let state = eventstore::fold::<Party>(&events);
        prop_assert_eq!(state.version, events.len() as u64);
        let _ = Party::decide(&state, Command::AddIdentifier(npi()), NOW);
    }

    #[test]
    fn repeating_a_granted_command_yields_no_event(commands in prop::collection::vec(any_command(), 1..12)) {
        let mut state = State::default();
        for command in commands {
            // A removed contact point cannot be removed again: it is not known any more.
            let Ok(events) = Party::decide(&state, command.clone(), NOW) else { continue };
            state = events.iter().fold(state, Party::evolve);
            let again = Party::decide(&state, command, NOW);
            prop_assert_eq!(again, Ok(vec![]));
        }
    }
}
