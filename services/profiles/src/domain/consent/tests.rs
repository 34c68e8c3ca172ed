use eventstore::testing::given;
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
const DAY: i64 = 86_400_000_000;

fn day(number: i64) -> Timestamp {
    Timestamp(NOW.0 + number * DAY)
}

fn key() -> Key {
    Key {
        party_id: "pty_1".into(),
        purpose: Purpose::Promotional,
        channel: Channel::Email,
        sender_id: "northwind".into(),
        market: Market::parse("DE").expect("a market"),
    }
}

fn proof_at(captured_at: Option<Timestamp>) -> Proof {
    Proof {
        regime_shown: Regime::OptIn,
        source: Code::parse("paper-form").expect("a code"),
        evidence: Some("scan 7".into()),
        text_version: Some(Code::parse("v3").expect("a code")),
        language: Some(Language::parse("de").expect("a language")),
        captured_at,
        effective_at: None,
    }
}

fn stated(captured_at: Timestamp) -> Option<proto::ConsentProof> {
    Some(proto::ConsentProof {
        regime_shown: Regime::OptIn.into(),
        source: "paper-form".into(),
        evidence: Some(Personal::text("scan 7")),
        text_version: "v3".into(),
        language: "de".into(),
        captured_at: Some(captured_at.to_proto()),
        effective_at: Some(captured_at.to_proto()),
    })
}

fn grant(captured_at: Option<Timestamp>, expires_at: Option<Timestamp>) -> Command {
    Command::Grant { key: key(), proof: proof_at(captured_at), expires_at }
}

fn withdraw(captured_at: Option<Timestamp>) -> Command {
    let reason = Code::parse("unsubscribe").expect("a code");
    Command::Withdraw { key: key(), proof: proof_at(captured_at), reason }
}

fn granted(at: Timestamp, expires_at: Option<Timestamp>) -> Event {
    Event::Granted(proto::ConsentGranted {
        key: Some(key().to_proto()),
        proof: stated(at),
        expires_at: expires_at.map(Timestamp::to_proto),
    })
}

fn denied(at: Timestamp) -> Event {
    Event::Denied(proto::ConsentDenied { key: Some(key().to_proto()), proof: stated(at) })
}

fn withdrawn(at: Timestamp) -> Event {
    Event::Withdrawn(proto::ConsentWithdrawn {
        key: Some(key().to_proto()),
        proof: stated(at),
        reason: "unsubscribe".into(),
    })
}

fn expired(granted_at: Timestamp, effective_at: Timestamp) -> Event {
    Event::Expired(proto::ConsentExpired {
        key: Some(key().to_proto()),
        granted_at: Some(granted_at.to_proto()),
        effective_at: Some(effective_at.to_proto()),
    })
}

fn verdict_of(events: &[Event], at: Timestamp, regime: Regime) -> Verdict {
    let terms = Terms { regime, has_pack: true, ..Terms::default() };
    verdict(&eventstore::fold::<Consent>(events).statements, at, &terms, false)
}

#[test]
fn a_statement_without_a_time_is_made_now_and_repeating_it_is_harmless() {
    given::<Consent>(vec![]).at(NOW).when(grant(None, None)).then(vec![granted(NOW, None)]);
    given::<Consent>(vec![granted(NOW, None)]).at(day(1)).when(grant(None, None)).then(vec![]);
    given::<Consent>(vec![granted(NOW, None)])
        .at(day(1))
        .when(grant(Some(day(1)), None))
        .then(vec![granted(day(1), None)]);
}

#[test]
fn withdrawing_twice_is_harmless_and_needs_no_grant() {
    given::<Consent>(vec![]).at(NOW).when(withdraw(None)).then(vec![withdrawn(NOW)]);
    given::<Consent>(vec![withdrawn(NOW)]).at(day(1)).when(withdraw(None)).then(vec![]);
    given::<Consent>(vec![granted(NOW, None), withdrawn(NOW), granted(day(1), None)])
        .at(day(2))
        .when(withdraw(None))
        .then(vec![withdrawn(day(2))]);
}

#[test]
fn a_grant_is_renewed_after_it_ran_out() {
    let again = Command::Grant { key: key(), proof: proof_at(None), expires_at: Some(day(9)) };
    given::<Consent>(vec![granted(NOW, Some(day(9)))]).at(day(1)).when(again.clone()).then(vec![]);
    given::<Consent>(vec![granted(NOW, Some(day(9)))])
        .at(day(10))
        .when(again)
        .refused(|it| *it == Refusal::ExpiresFirst);
}

#[test]
fn statements_from_the_future_are_refused() {
    let edge = Timestamp(NOW.0 + AHEAD_MAX.0);
    given::<Consent>(vec![]).at(NOW).when(grant(Some(edge), None)).then(vec![granted(edge, None)]);
    let beyond = Some(Timestamp(edge.0 + 1));
    for command in [
        grant(beyond, None),
        withdraw(beyond),
        Command::Deny { key: key(), proof: proof_at(beyond) },
    ] {
        given::<Consent>(vec![]).at(NOW).when(command).refused(|it| *it == Refusal::InFuture);
    }
}

#[test]
fn times_that_contradict_each_other_are_refused() {
    let early = Proof { effective_at: Some(day(-1)), ..proof_at(Some(NOW)) };
    given::<Consent>(vec![])
        .at(NOW)
        .when(Command::Deny { key: key(), proof: early })
        .refused(|it| *it == Refusal::BeforeCapture);
    given::<Consent>(vec![])
        .at(NOW)
        .when(grant(None, Some(NOW)))
        .refused(|it| *it == Refusal::ExpiresFirst);
    let textless = Proof { text_version: None, ..proof_at(None) };
    given::<Consent>(vec![])
        .at(NOW)
        .when(Command::Grant { key: key(), proof: textless, expires_at: None })
        .refused(|it| *it == Refusal::NoText);
}

#[test]
fn a_late_statement_is_kept_and_does_not_overrule_a_newer_one() {
    let known = vec![withdrawn(day(5))];
    given::<Consent>(known.clone())
        .at(day(6))
        .when(grant(Some(day(1)), None))
        .then(vec![granted(day(1), None)]);
    let both = [known, vec![granted(day(1), None)]].concat();
    assert_eq!(verdict_of(&both, day(6), Regime::OptIn), Verdict::Withdrawn);
    assert_eq!(verdict_of(&both, day(2), Regime::OptIn), Verdict::Granted);
}

#[test]
fn the_end_of_a_grant_is_noted_once_and_only_if_it_counted() {
    let expire = || Command::Expire { granted_at: NOW };
    let grant = granted(NOW, Some(day(9)));
    given::<Consent>(vec![grant.clone()]).at(day(8)).when(expire()).then(vec![]);
    given::<Consent>(vec![grant.clone()])
        .at(day(9))
        .when(expire())
        .then(vec![expired(NOW, day(9))]);
    given::<Consent>(vec![grant.clone(), expired(NOW, day(9))])
        .at(day(9))
        .when(expire())
        .then(vec![]);
    given::<Consent>(vec![grant.clone(), withdrawn(day(2))]).at(day(9)).when(expire()).then(vec![]);
    given::<Consent>(vec![grant, granted(day(3), None)]).at(day(9)).when(expire()).then(vec![]);
    given::<Consent>(vec![]).at(day(9)).when(expire()).refused(|it| *it == Refusal::NoGrant);
}

#[test]
fn each_regime_has_its_verdict() {
    use Regime::{NotRequired, OptIn, OptOut, Unspecified};
    let grant = granted(NOW, Some(day(9)));
    let rows: [(&[Event], i64, Regime, Verdict); 16] = [
        (&[], 1, OptIn, Verdict::NoRecord),
        (&[], 1, Unspecified, Verdict::NoRecord),
        (&[], 1, OptOut, Verdict::NoObjection),
        (&[], 1, NotRequired, Verdict::NotRequired),
        (std::slice::from_ref(&grant), 1, OptIn, Verdict::Granted),
        (std::slice::from_ref(&grant), 1, Unspecified, Verdict::Granted),
        (std::slice::from_ref(&grant), -1, OptIn, Verdict::NoRecord),
        (std::slice::from_ref(&grant), 9, OptIn, Verdict::Expired),
        (std::slice::from_ref(&grant), 9, OptOut, Verdict::NoObjection),
        (&[grant.clone(), expired(NOW, day(9))], 9, OptIn, Verdict::Expired),
        (&[denied(NOW)], 1, OptIn, Verdict::Denied),
        (&[denied(NOW)], 1, OptOut, Verdict::Denied),
        (&[withdrawn(NOW)], 1, OptOut, Verdict::Withdrawn),
        (&[withdrawn(NOW)], 1, NotRequired, Verdict::NotRequired),
        (&[withdrawn(NOW), granted(day(1), None)], 1, OptOut, Verdict::Granted),
        (&[withdrawn(day(2)), granted(NOW, None)], 1, OptIn, Verdict::Granted),
    ];
    for (events, at, regime, expected) in rows {
        let found = verdict_of(events, day(at), regime);
        assert_eq!(found, expected, "{events:?} on day {at} under {regime:?}");
        assert_eq!(found.allows(), found.detail().is_empty());
    }
}

#[test]
fn at_a_tie_the_more_restrictive_statement_counts() {
    let tie = [withdrawn(NOW), granted(NOW, None), denied(NOW)];
    assert_eq!(verdict_of(&tie, NOW, Regime::OptIn), Verdict::Withdrawn);
    let grants = [granted(NOW, None), granted(NOW, Some(day(1))), granted(NOW, Some(day(2)))];
    assert_eq!(verdict_of(&grants, day(1), Regime::OptIn), Verdict::Expired);
}

#[test]
fn every_part_of_the_key_makes_another_consent() {
    let keys = [
        key(),
        Key { party_id: "pty_2".into(), ..key() },
        Key { purpose: Purpose::Service, ..key() },
        Key { channel: Channel::Sms, ..key() },
        Key { sender_id: "southwind".into(), ..key() },
        Key { market: Market::parse("AT").expect("a market"), ..key() },
    ];
    let ids: std::collections::BTreeSet<_> = keys
        .iter()
        .flat_map(|key| ["acme", "umbrella"].map(|tenant| key.consent_id(tenant)))
        .collect();
    assert_eq!(ids.len(), 12);
    assert!(ids.iter().all(|id| id.starts_with("con_")));
}

/// Statements and ends of grants on a few days, so that ties happen.
fn any_event() -> impl Strategy<Value = Event> {
    let time = || (0..5_i64).prop_map(day);
    prop_oneof![
        (time(), prop::option::of(1..9_i64))
            .prop_map(|(at, days)| { granted(at, days.map(|days| Timestamp(at.0 + days * DAY))) }),
        time().prop_map(denied),
        time().prop_map(withdrawn),
        (time(), time()).prop_map(|(granted_at, at)| expired(granted_at, at)),
        any::<i32>().prop_map(|_| {
            let proof = Some(proto::ConsentProof {
                evidence: Some(Personal::Erased),
                ..Default::default()
            });
            Event::Granted(proto::ConsentGranted { proof, ..Default::default() })
        }),
    ]
}

fn any_command() -> impl Strategy<Value = Command> {
    let time = || prop::option::of((-3..1_i64).prop_map(day));
    prop_oneof![
        (time(), prop::option::of((1..5_i64).prop_map(day))).prop_map(|(at, end)| grant(at, end)),
        time().prop_map(withdraw),
        time().prop_map(|at| Command::Deny { key: key(), proof: proof_at(at) }),
        time().prop_map(|at| Command::Expire { granted_at: at.unwrap_or(NOW) }),
    ]
}

const REGIMES: [Regime; 4] =
    [Regime::Unspecified, Regime::OptIn, Regime::OptOut, Regime::NotRequired];

proptest! {
    #[test]
    fn evolve_never_panics_on_any_event_order(events in prop::collection::vec(any_event(), 0..12)) {
        let state = eventstore::fold::<Consent>(&events);
        let _ = Consent::decide(&state, Command::Expire { granted_at: NOW }, day(3));
    }

    #[test]
    fn repeating_a_granted_command_yields_no_event(
        commands in prop::collection::vec((any_command(), 0..4_i64), 1..10),
    ) {
        let mut state = State::default();
        let mut today = 0;
        for (command, days) in commands {
            today += days;
            let Ok(events) = Consent::decide(&state, command.clone(), day(today)) else { continue };
            state = events.iter().fold(state, Consent::evolve);
            prop_assert_eq!(Consent::decide(&state, command, day(today)), Ok(vec![]));
        }
    }

    #[test]
    fn the_order_of_arrival_changes_no_verdict(
        events in prop::collection::vec(any_event(), 0..8).prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle())),
        today in 0..10_i64,
    ) {
        for regime in REGIMES {
            prop_assert_eq!(verdict_of(&events.0, day(today), regime), verdict_of(&events.1, day(today), regime));
        }
    }

    #[test]
    fn without_a_grant_opt_in_allows_nothing(events in prop::collection::vec(any_event(), 0..8), today in 0..10_i64) {
        let none_granted: Vec<_> = events.into_iter().filter(|it| !matches!(it, Event::Granted(_))).collect();
        for regime in [Regime::OptIn, Regime::Unspecified] {
            prop_assert!(!verdict_of(&none_granted, day(today), regime).allows());
        }
    }

    #[test]
    fn what_opt_in_allows_every_regime_allows(events in prop::collection::vec(any_event(), 0..8), today in 0..10_i64) {
        if verdict_of(&events, day(today), Regime::OptIn).allows() {
            for regime in REGIMES {
                prop_assert!(verdict_of(&events, day(today), regime).allows());
            }
        }
    }

    #[test]
    fn an_objection_that_counts_stops_opt_out(events in prop::collection::vec(any_event(), 0..8), today in 0..10_i64) {
        let state = eventstore::fold::<Consent>(&events);
        let objected = state.counting(day(today)).is_some_and(|it| it.kind != Kind::Granted);
        let allowed = verdict_of(&events, day(today), Regime::OptOut).allows();
        prop_assert_eq!(allowed, !objected);
    }
}
