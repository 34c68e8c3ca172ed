use eventstore::testing::given;
use proptest::prelude::*;
use rapport_proto::types::ContentClass;

use super::fact::{Fact, What};
use super::*;

const NOW: Timestamp = Timestamp(1_767_268_800_000_000);

fn requested(channel: Channel) -> Event {
    Event::Requested(request(channel))
}

fn request(channel: Channel) -> TouchRequested {
    TouchRequested {
        touch_id: "tch_1".into(),
        party_id: "pty_1".into(),
        channel: channel.into(),
        sender_id: "northwind".into(),
        expires_at: Some(NOW.plus(Duration::from_secs(3600)).to_proto()),
        ..Default::default()
    }
}

fn ready() -> TouchReady {
    TouchReady {
        verdicts: (1..=10)
            .map(|step| Verdict {
                step,
                outcome: VerdictOutcome::Pass.into(),
                ..Default::default()
            })
            .collect(),
        contact_point_id: "cpt_1".into(),
        content_class: ContentClass::RxPromotional.into(),
        market: "DE".into(),
        ..Default::default()
    }
}

fn hand_over(adapter: &'static str) -> Command {
    Command::HandOver { ready: ready(), adapter, gives_up_at: NOW.plus(Duration::from_secs(120)) }
}

fn sending() -> Vec<Event> {
    let attempted = TouchAttempted { attempt: 1, adapter: "smtp".into(), ..Default::default() };
    vec![requested(Channel::Email), Event::Ready(ready()), Event::Attempted(attempted)]
}

fn with(more: impl IntoIterator<Item = Event>) -> Vec<Event> {
    sending().into_iter().chain(more).collect()
}

fn report(what: What) -> Command {
    let source = ProviderFact {
        provider: "relay".into(),
        provider_event_id: "e-1".into(),
        occurred_at: Some(NOW.to_proto()),
    };
    Command::Observe(Fact { source, what })
}

fn skip() -> Command {
    Command::Skip {
        reason: "consent".into(),
        verdicts: Vec::new(),
        content: Vec::new(),
        market: "DE".into(),
    }
}

fn defer(market: &str) -> Command {
    Command::Defer {
        until: NOW,
        verdicts: Vec::new(),
        time_zone: String::new(),
        market: market.into(),
    }
}

fn types(events: &[Event]) -> Vec<&'static str> {
    use rapport_proto::EventSet as _;
    events.iter().map(|it| it.type_name().rsplit('.').next().unwrap_or_default()).collect()
}

#[test]
fn asking_twice_is_harmless_and_for_something_else_refused() {
    let ask = Command::Request(request(Channel::Email));
    given::<Touch>([]).at(NOW).when(ask.clone()).then([requested(Channel::Email)]);
    given::<Touch>([requested(Channel::Email)]).at(NOW).when(ask).then([]);
    given::<Touch>([requested(Channel::Sms)])
        .at(NOW)
        .when(Command::Request(request(Channel::Email)))
        .refused(|it| *it == Refusal::Exists);
}

#[test]
fn what_the_gate_stops_or_puts_off_is_about_a_market_too() {
    let told = |given_events: Vec<Event>, command: Command| {
        let state = given::<Touch>(given_events.clone()).at(NOW).when(command.clone()).state();
        let events = given::<Touch>(given_events).at(NOW).when(command).events();
        Touch::about("tch_1", &state, &events[0]).market
    };
    let asked = || vec![requested(Channel::Email)];
    assert_eq!(told(asked(), skip()), "DE");
    assert_eq!(told(asked(), defer("DE")), "DE");
    // A later run that asked nobody forgets nothing; one that asked again knows better.
    let again = |market: &str| {
        let put_off = given::<Touch>(asked()).at(NOW).when(defer("DE")).events();
        told(asked().into_iter().chain(put_off).collect(), defer(market))
    };
    assert_eq!((again("").as_str(), again("AT").as_str()), ("DE", "AT"));
}

#[test]
fn a_message_that_passed_has_eleven_verdicts_once_it_is_sent() {
    let handed =
        given::<Touch>([requested(Channel::Email)]).at(NOW).when(hand_over("file")).events();
    assert_eq!(types(&handed), ["TouchReady", "TouchAttempted"]);
    let sent =
        Command::Conclude { attempt: 1, outcome: Outcome::Sent { provider_id: "250 ok".into() } };
    let state = given::<Touch>(sending()).at(NOW).when(sent).state();
    assert_eq!(state.status, Status::Sent);
    assert_eq!(state.verdicts.len(), 11);
    assert!(state.verdicts.iter().all(|it| it.outcome() == VerdictOutcome::Pass));
    assert_eq!(
        (state.sent_at, state.verdicts[10].proof_ids.as_slice()),
        (Some(NOW), &["250 ok".to_owned()][..])
    );
}

#[test]
fn a_task_is_placed_at_once_and_goes_its_own_way() {
    let placed =
        given::<Touch>([requested(Channel::FieldTask)]).at(NOW).when(hand_over("task")).events();
    assert_eq!(types(&placed), ["TouchReady", "TouchAttempted", "TouchSent"]);
    let open: Vec<_> = [requested(Channel::FieldTask)].into_iter().chain(placed).collect();
    let accept = |by: &str| Command::Accept { by: by.into() };
    let accepted = given::<Touch>(open.clone()).at(NOW).when(accept("rep")).events();
    let taken: Vec<_> = open.iter().cloned().chain(accepted).collect();
    given::<Touch>(taken.clone()).at(NOW).when(accept("rep")).then([]);
    given::<Touch>(taken.clone())
        .at(NOW)
        .when(accept("other"))
        .refused(|it| *it == Refusal::WrongState);
    let done =
        Command::Complete { by: "rep".into(), outcome: "talked".into(), judged: Judged::default() };
    let state = given::<Touch>(taken.clone()).at(NOW).when(done.clone()).state();
    assert_eq!((state.status, state.reason.as_str()), (Status::Completed, "talked"));
    let dismissed = Command::Dismiss { by: "rep".into(), reason: DismissReason::NotRelevant };
    let state = given::<Touch>(open.clone()).at(NOW).when(dismissed).state();
    assert_eq!((state.status, state.reason.as_str()), (Status::Dismissed, "NOT_RELEVANT"));
    given::<Touch>(open.clone()).at(NOW).when(Command::Expire).then([]);
    let late = NOW.plus(Duration::from_secs(3600));
    let state = given::<Touch>(open).at(late).when(Command::Expire).state();
    assert_eq!(state.status, Status::Expired);
    given::<Touch>([requested(Channel::Email)])
        .at(NOW)
        .when(done)
        .refused(|it| *it == Refusal::WrongState);
}

#[test]
fn a_task_is_withdrawn_until_it_is_over() {
    let placed =
        given::<Touch>([requested(Channel::FieldTask)]).at(NOW).when(hand_over("task")).events();
    let open: Vec<_> = [requested(Channel::FieldTask)].into_iter().chain(placed).collect();
    let withdraw = || {
        Command::Withdraw(Withdrawal {
            reason: "content_withdrawn".into(),
            detail: "module/welcome".into(),
            verdicts: Vec::new(),
        })
    };
    let state = given::<Touch>(open.clone()).at(NOW).when(withdraw()).state();
    assert_eq!((state.status, state.reason.as_str()), (Status::Withdrawn, "content_withdrawn"));
    let by = || "rep".to_owned();
    for (command, accepted) in [
        (Command::Accept { by: by() }, Some(true)),
        (Command::Dismiss { by: by(), reason: DismissReason::NotRelevant }, None),
        (withdraw(), None),
    ] {
        let added = given::<Touch>(open.clone()).at(NOW).when(command).events();
        let then: Vec<_> = open.iter().cloned().chain(added).collect();
        let events = given::<Touch>(then).at(NOW).when(withdraw()).events();
        let told = events.first().map(|it| match it {
            Event::TaskWithdrawn(it) => it.accepted,
            other => panic!("{other:?}"),
        });
        assert_eq!(told, accepted);
    }
}

#[test]
fn an_unknown_outcome_is_settled_and_never_sent_again() {
    let lost =
        Command::Conclude { attempt: 1, outcome: Outcome::Unknown { code: "timeout".into() } };
    let events = given::<Touch>(sending()).at(NOW).when(lost).events();
    let counts = NOW.plus(COUNTS_AS_SENT).to_proto();
    assert_eq!(
        events,
        [Event::Unresolved(proto::TouchUnresolved {
            code: "timeout".into(),
            counts_as_sent_at: Some(counts)
        })]
    );
    let unknown = with(events);
    given::<Touch>(unknown.clone()).at(NOW).when(skip()).refused(|it| *it == Refusal::WrongState);
    given::<Touch>(unknown.clone())
        .at(NOW)
        .when(hand_over("smtp"))
        .refused(|it| *it == Refusal::WrongState);
    for (sent, status) in [(true, Status::Sent), (false, Status::Failed)] {
        let settle = Command::Resolve { by: "person", sent, reason: "asked".into() };
        let state = given::<Touch>(unknown.clone()).at(NOW).when(settle).state();
        assert_eq!((state.status, state.verdicts.len()), (status, 11));
    }
    let told = given::<Touch>(unknown).at(NOW).when(report(What::Delivered)).events();
    assert_eq!(types(&told), ["TouchResolved", "TouchDelivered"]);
}

#[test]
fn a_report_never_moves_what_was_sent() {
    let sent = with([sent("smtp", "1".into(), NOW)]);
    for what in [
        What::Delivered,
        What::Bounced { hard: true, code: "550".into() },
        What::Complained,
        What::Unsubscribed,
    ] {
        let state = given::<Touch>(sent.clone()).at(NOW).when(report(what)).state();
        assert_eq!(state.status, Status::Sent);
    }
    given::<Touch>([requested(Channel::Email)])
        .at(NOW)
        .when(report(What::Delivered))
        .refused(|it| *it == Refusal::NotSent);
}

#[test]
fn an_unsubscription_says_whose_and_for_what() {
    let events = given::<Touch>(with([sent("smtp", String::new(), NOW)]))
        .at(NOW)
        .when(report(What::Unsubscribed))
        .events();
    let [Event::Unsubscribed(it)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (it.party_id.as_str(), it.purpose(), it.channel()),
        ("pty_1", Purpose::Promotional, Channel::Email)
    );
    assert_eq!((it.sender_id.as_str(), it.market.as_str()), ("northwind", "DE"));
}

#[test]
fn machines_are_told_from_people() {
    let long_ago = NOW.minus(Duration::from_secs(60));
    let sent_then = |at| with([sent("smtp", String::new(), at)]);
    let click = |agent: &str, machine| {
        report(What::Clicked { user_agent: agent.into(), machine, link_id: "1".into() })
    };
    let open = |agent: &str| report(What::Opened { user_agent: agent.into(), machine: false });
    let human = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
    let cases = [
        (click(human, false), long_ago, false),
        (click(human, true), long_ago, true),
        (click(human, false), NOW.minus(Duration::from_secs(4)), true),
        (click("Barracuda Sentinel (EE)", false), long_ago, true),
        (open(human), NOW, false),
        (open("Mozilla/5.0"), long_ago, true),
        (
            open(
                "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            ),
            long_ago,
            true,
        ),
    ];
    for (command, at, machine) in cases {
        let state = given::<Touch>(sent_then(at)).at(NOW).when(command.clone()).state();
        assert_eq!(state.machine_events == 1, machine, "{command:?}");
        assert_eq!(state.opens + state.clicks == 1, !machine);
    }
}

#[test]
fn what_may_have_arrived_is_never_skipped_or_failed() {
    let again = |in_doubt| Command::Conclude {
        attempt: 1,
        outcome: Outcome::Again { at: NOW, code: "timeout".into(), in_doubt },
    };
    let sure = with(given::<Touch>(sending()).at(NOW).when(again(false)).events());
    assert_eq!(types(&given::<Touch>(sure).at(NOW).when(skip()).events()), ["TouchSkipped"]);
    let doubt = with(given::<Touch>(sending()).at(NOW).when(again(true)).events());
    assert_eq!(
        types(&given::<Touch>(doubt.clone()).at(NOW).when(skip()).events()),
        ["TouchUnresolved"]
    );
    let attempted = TouchAttempted { attempt: 2, adapter: "webhook".into(), ..Default::default() };
    let second: Vec<_> =
        doubt.into_iter().chain([Event::Ready(ready()), Event::Attempted(attempted)]).collect();
    let refused =
        Command::Conclude { attempt: 2, outcome: Outcome::Refused { code: "410".into() } };
    assert_eq!(types(&given::<Touch>(second).at(NOW).when(refused).events()), ["TouchUnresolved"]);
    // Somebody opened it while the answer was lost.
    let opened = with(given::<Touch>(sending()).at(NOW).when(report(What::Delivered)).events());
    let lost =
        Command::Conclude { attempt: 1, outcome: Outcome::Unknown { code: "timeout".into() } };
    assert_eq!(types(&given::<Touch>(opened).at(NOW).when(lost).events()), ["TouchSent"]);
}

#[test]
fn what_may_have_left_keeps_all_by_which_it_left() {
    let doubt = Command::Conclude {
        attempt: 1,
        outcome: Outcome::Again { at: NOW, code: "timeout".into(), in_doubt: true },
    };
    let mut events = with(given::<Touch>(sending()).at(NOW).when(doubt).events());
    let failed = Verdict {
        step: GateStep::QuietHours.into(),
        outcome: VerdictOutcome::Fail.into(),
        ..Default::default()
    };
    let put_off = Command::Defer {
        until: NOW,
        verdicts: vec![failed],
        time_zone: String::new(),
        market: "DE".into(),
    };
    // Its party has moved since.
    let Event::Ready(ready) = &mut events[1] else { panic!("{events:?}") };
    ready.market = "US".into();
    ready.reserved = vec![proto::Reservation::default()];
    let counts = Command::Resolve { by: "elapsed", sent: true, reason: String::new() };
    // The repeat falls into quiet hours, and is stopped in the morning: a day later it counts as sent.
    for command in [put_off, skip(), counts] {
        let added = given::<Touch>(events.clone()).at(NOW).when(command).events();
        assert_eq!(added.len(), 1);
        events.extend(added);
    }
    let state = events.iter().fold(State::default(), Touch::evolve);
    assert_eq!((state.status, state.verdicts.len()), (Status::Sent, 11));
    let all_passed = state.verdicts.iter().all(|it| it.outcome() == VerdictOutcome::Pass);
    assert!(all_passed, "{:#?}", state.verdicts);
    assert_eq!((state.ready.market.as_str(), state.ready.reserved.len()), ("US", 1));
}

#[test]
fn what_may_have_arrived_is_repeated_to_the_same_place_only() {
    let doubt = Command::Conclude {
        attempt: 1,
        outcome: Outcome::Again { at: NOW, code: "timeout".into(), in_doubt: true },
    };
    let doubt = with(given::<Touch>(sending()).at(NOW).when(doubt).events());
    let decided = |command: Command| {
        types(&given::<Touch>(doubt.clone()).at(NOW).when(command).events()).join(" ")
    };
    assert!(decided(hand_over("smtp")).contains("TouchAttempted"));
    assert_eq!(decided(hand_over("webhook")), "TouchUnresolved", "another adapter");
    let elsewhere = TouchReady { contact_point_id: "cpt_2".into(), ..ready() };
    let elsewhere = Command::HandOver { ready: elsewhere, adapter: "smtp", gives_up_at: NOW };
    assert_eq!(decided(elsewhere), "TouchUnresolved", "another address");
}

#[test]
fn an_outcome_of_another_attempt_is_nothing() {
    let late = Command::Conclude { attempt: 0, outcome: Outcome::Unknown { code: "x".into() } };
    given::<Touch>(sending()).at(NOW).when(late).then([]);
    // One that comes after the attempt was given up still tells.
    let given_up = with([unresolved("restarted", NOW)]);
    let sent = Command::Conclude { attempt: 1, outcome: Outcome::Sent { provider_id: "7".into() } };
    let told = given::<Touch>(given_up).at(NOW).when(sent).events();
    assert!(
        matches!(&told[..], [Event::Resolved(it)] if it.sent && it.adapter == "smtp"),
        "{told:?}"
    );
}

fn any_command() -> impl Strategy<Value = Command> {
    let outcome = prop_oneof![
        Just(Outcome::Sent { provider_id: "p".into() }),
        Just(Outcome::Refused { code: "550".into() }),
        any::<bool>().prop_map(|in_doubt| Outcome::Again { at: NOW, code: "451".into(), in_doubt }),
        Just(Outcome::Unknown { code: "timeout".into() }),
    ];
    prop_oneof![
        Just(skip()),
        Just(defer("DE")),
        Just(hand_over("smtp")),
        (1_u32..4, outcome).prop_map(|(attempt, outcome)| Command::Conclude { attempt, outcome }),
        any::<bool>().prop_map(|sent| Command::Resolve { by: "person", sent, reason: "r".into() }),
        Just(report(What::Delivered)),
        Just(report(What::Complained)),
        Just(Command::Accept { by: "rep".into() }),
        Just(Command::Complete {
            by: "rep".into(),
            outcome: String::new(),
            judged: Judged::default()
        }),
        Just(Command::Withdraw(Withdrawal {
            reason: "consent".into(),
            detail: String::new(),
            verdicts: Vec::new()
        })),
        Just(Command::Expire),
    ]
}

proptest! {
    /// In any order of commands: what ended stays ended, attempts are counted one by one, a message that left has
    /// eleven verdicts, and one that may have left is never skipped.
    #[test]
    fn no_order_of_commands_breaks_a_touch(task in any::<bool>(), commands in proptest::collection::vec(any_command(), 0..24)) {
        let channel = if task { Channel::FieldTask } else { Channel::Email };
        let mut state = Touch::evolve(State::default(), &requested(channel));
        let mut in_doubt = false;
        for command in commands {
            let Ok(events) = Touch::decide(&state, command, NOW) else { continue };
            for event in events {
                let before = state.clone();
                state = Touch::evolve(state, &event);
                let ended = matches!(before.status, Status::Sent | Status::Failed | Status::Skipped | Status::Completed | Status::Dismissed | Status::Expired);
                prop_assert!(!ended || state.status == before.status);
                prop_assert!(state.attempts <= before.attempts + 1);
                in_doubt |= state.in_doubt || state.status == Status::Unknown;
                prop_assert!(!(in_doubt && state.status == Status::Skipped));
                if matches!(state.status, Status::Sent | Status::Open) {
                    prop_assert_eq!(state.verdicts.len(), 11);
                }
            }
        }
    }
}
