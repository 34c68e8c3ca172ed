use eventstore::testing::given;

use super::*;

const PERSON: Reader = Reader::Person { unseals: true, medical: true };
const COMMERCIAL: Reader = Reader::Person { unseals: true, medical: false };
const READERS: [Reader; 6] = [
    Reader::Screening,
    Reader::Safety,
    PERSON,
    COMMERCIAL,
    Reader::Person { unseals: false, medical: true },
    Reader::Person { unseals: false, medical: false },
];

fn received(medical: bool) -> Event {
    Event::Received(proto::TextReceived {
        text_id: "txt_1".into(),
        party_id: "pty_1".into(),
        text: Some(Personal::text("my skin burns")),
        received_at: Some(Timestamp(0).to_proto()),
        medical,
        ..Default::default()
    })
}

fn screening(clear: bool) -> Screening {
    Screening { clear, candidate_id: "saf_1".into(), ..Screening::default() }
}

/// What a text has been through.
fn after(medical: bool, commands: Vec<Command>) -> State {
    let first = Text::evolve(State::default(), &received(medical));
    commands.into_iter().fold(first, |state, command| {
        let events = Text::decide(&state, command, Timestamp(0)).expect("granted");
        assert!(!events.is_empty(), "something happens");
        events.iter().fold(state, Text::evolve)
    })
}

fn candidate() -> Vec<Command> {
    vec![Command::Screen(screening(false))]
}

fn escalate_to(level: u32) -> Command {
    Command::Escalate { level, candidate_id: "saf_1".into() }
}

fn hand_off() -> Command {
    Command::HandOff { receipt: "PV-7".into() }
}

fn dismiss(person: bool) -> Command {
    Command::Dismiss { reason: "no_event".into(), comment: "About the parcel.".into(), person }
}

fn readers_of(state: &State) -> Vec<Reader> {
    READERS.into_iter().filter(|it| state.open(*it).is_ok()).collect()
}

#[test]
fn only_the_screening_reads_what_is_unscreened() {
    for medical in [false, true] {
        let state = after(medical, vec![]);
        assert_eq!(readers_of(&state), [Reader::Screening]);
        assert_eq!(state.open(PERSON), Err(Withheld::Unscreened));
        assert_eq!(state.open(Reader::Safety), Err(Withheld::Unscreened));
    }
}

#[test]
fn only_safety_reads_a_candidate() {
    let state = after(false, candidate());
    assert_eq!(readers_of(&state), [Reader::Safety]);
    assert_eq!(state.open(PERSON), Err(Withheld::Candidate));
}

#[test]
fn what_is_clear_opens_to_those_who_may_unseal_and_medical_questions_to_medical_roles() {
    let clear = || vec![Command::Screen(screening(true))];
    let ordinary = after(false, clear());
    assert_eq!(readers_of(&ordinary), [PERSON, COMMERCIAL]);
    assert_eq!(ordinary.open(COMMERCIAL), Ok("my skin burns"));
    let medical = after(true, clear());
    assert_eq!(readers_of(&medical), [PERSON, Reader::Person { unseals: false, medical: true }]);
    assert_eq!(medical.open(COMMERCIAL), Err(Withheld::NotPermitted));
}

#[test]
fn a_receipt_or_the_word_of_a_person_ends_the_wait() {
    for command in [hand_off(), dismiss(true)] {
        let state = after(false, [candidate(), vec![command]].concat());
        assert_eq!(readers_of(&state), [Reader::Safety, PERSON, COMMERCIAL]);
    }
    let state = after(false, candidate());
    assert_eq!(Text::decide(&state, dismiss(false), Timestamp(0)), Err(Refusal::NotAPerson));
}

#[test]
fn the_text_of_an_erased_party_is_gone() {
    let gone =
        Event::Received(proto::TextReceived { text: Some(Personal::Erased), ..Default::default() });
    let state = Text::evolve(State::default(), &gone);
    let screened = Text::decide(&state, Command::Screen(screening(true)), Timestamp(0));
    let state = screened.expect("granted").iter().fold(state, Text::evolve);
    assert_eq!(state.open(PERSON), Err(Withheld::Erased));
}

#[test]
fn the_clock_of_a_candidate_runs_from_receipt() {
    let opened = given::<Text>([received(false)])
        .at(Timestamp(5 * HOUR))
        .when(Command::Screen(screening(false)))
        .events();
    let Event::Opened(opened) = &opened[1] else { panic!("a candidate") };
    assert_eq!(instant(opened.due_at.as_ref()), Some(Timestamp(24 * HOUR)));
}

#[test]
fn it_escalates_at_twelve_eighteen_and_twenty_four_hours() {
    let state = || after(false, candidate());
    for (level, hours) in [(1, 12), (2, 18), (3, 24)] {
        let at = Timestamp(hours * HOUR);
        let escalate = || escalate_to(level);
        assert_eq!(Text::decide(&state(), escalate(), Timestamp(at.0 - 1)), Ok(vec![]));
        let escalated = Text::decide(&state(), escalate(), at).expect("granted");
        assert_eq!(escalated.len(), 1);
        let state = escalated.iter().fold(state(), Text::evolve);
        assert_eq!(state.level, level);
        assert_eq!(Text::decide(&state, escalate(), at), Ok(vec![]), "once");
    }
    let handed = after(false, [candidate(), vec![hand_off()]].concat());
    let late = Text::decide(&handed, escalate_to(3), Timestamp(48 * HOUR));
    assert_eq!(late, Ok(vec![]), "safety has it");
}

#[test]
fn a_hand_off_says_whether_it_was_late() {
    let at = |at| {
        let events = Text::decide(&after(false, candidate()), hand_off(), Timestamp(at));
        let Ok([Event::HandedOff(it)]) = events.as_deref() else { panic!("handed off") };
        it.late
    };
    assert!(!at(24 * HOUR));
    assert!(at(24 * HOUR + 1));
}

#[test]
fn handing_off_twice_is_harmless_and_another_receipt_is_refused() {
    let state = after(false, [candidate(), vec![hand_off()]].concat());
    assert_eq!(Text::decide(&state, hand_off(), Timestamp(0)), Ok(vec![]));
    let other = Command::HandOff { receipt: "PV-8".into() };
    assert_eq!(
        Text::decide(&state, other, Timestamp(0)),
        Err(Refusal::WrongState(Status::HandedOff))
    );
    assert_eq!(
        Text::decide(&state, dismiss(true), Timestamp(0)),
        Err(Refusal::WrongState(Status::HandedOff))
    );
    let reconcile = || Command::Reconcile { case_number: "2026-1".into() };
    let both = after(false, [candidate(), vec![hand_off(), reconcile()]].concat());
    assert_eq!(both.status, Status::Reconciled);
    assert_eq!(Text::decide(&both, reconcile(), Timestamp(0)), Ok(vec![]));
}

#[test]
fn what_is_clear_is_no_candidate() {
    let clear = after(false, vec![Command::Screen(screening(true))]);
    for command in [hand_off(), dismiss(true), Command::Reconcile { case_number: "1".into() }] {
        assert_eq!(
            Text::decide(&clear, command, Timestamp(0)),
            Err(Refusal::WrongState(Status::Clear))
        );
    }
    let again = Text::decide(&clear, Command::Screen(screening(false)), Timestamp(0));
    assert_eq!(again, Ok(vec![]), "screened once");
}

#[test]
fn what_nobody_could_screen_is_a_candidate_when_half_of_its_time_is_gone() {
    let early = Text::decide(&after(false, vec![]), escalate_to(1), Timestamp(12 * HOUR - 1));
    assert_eq!(early, Ok(Vec::new()));
    let events = Text::decide(&after(false, vec![]), escalate_to(1), Timestamp(12 * HOUR));
    let events = events.expect("granted");
    assert!(matches!(&events[..], [Event::Opened(it), Event::Escalated(level)]
        if it.candidate_id == "saf_1" && level.candidate_id == "saf_1" && level.level == 1));
    let state = events.iter().fold(after(false, vec![]), Text::evolve);
    assert_eq!(readers_of(&state), [Reader::Safety]);
    assert_eq!((state.status, state.level), (Status::Candidate, 1));
    // The screening that comes late finds it taken.
    let late = Text::decide(&state, Command::Screen(screening(true)), Timestamp(13 * HOUR));
    assert_eq!(late, Ok(Vec::new()));
    let clear = after(false, vec![Command::Screen(screening(true))]);
    assert_eq!(Text::decide(&clear, escalate_to(1), Timestamp(48 * HOUR)), Ok(Vec::new()));
}
