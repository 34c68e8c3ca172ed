use super::*;

const AT: Timestamp = Timestamp(1_000_000);

fn after(commands: &[Command]) -> (State, Vec<Event>) {
    let mut state = State::default();
    let mut all = Vec::new();
    for command in commands {
        let events = Journey::decide(&state, command.clone(), AT).expect("granted");
        state = events.iter().fold(state, Journey::evolve);
        all.extend(events);
    }
    (state, all)
}

fn draft(hash: u8) -> Command {
    let journey = Box::new(proto::Journey { journey: "win-back".into(), ..Default::default() });
    Command::Draft { journey, hash: [hash; 32], actor: "ada".into() }
}

fn check(version: u32) -> Command {
    Command::Check { version, positions: BTreeMap::new() }
}

fn approve(version: u32) -> Command {
    Command::Approve { version, hash: None, comment: String::new(), actor: "grace".into() }
}

fn pause(version: u32, timers: TimerMode) -> Command {
    Command::Pause { version, timers, reason: "incident".into() }
}

fn live(version: u32, hash: u8) -> Vec<Command> {
    vec![draft(hash), check(version), approve(version), Command::Publish { version }]
}

fn refused(commands: &[Command], command: Command) -> Refusal {
    Journey::decide(&after(commands).0, command, AT).expect_err("refused")
}

#[test]
fn a_version_goes_from_draft_to_live() {
    let (state, _) = after(&live(1, 1));
    assert_eq!((state.entering(), state.live()), (Some(1), Some(1)));
    let info = state.info(1).expect("a version");
    assert_eq!(info.state(), VersionState::Live);
    assert_eq!((info.author.as_str(), info.approver.as_str()), ("ada", "grace"));
    assert_eq!(info.live_time, Some(AT.to_proto()));
}

#[test]
fn publishing_drains_the_version_before() {
    let commands = [live(1, 1), live(2, 2)].concat();
    let (state, events) = after(&commands);
    assert_eq!(state.entering(), Some(2));
    assert_eq!(state.info(1).map(|it| it.state()), Some(VersionState::Draining));
    assert_eq!(state.info(1).and_then(|it| it.retire_time), None);
    let [.., Event::Draining(draining), Event::Activated(activated)] = events.as_slice() else {
        panic!("drained, then activated");
    };
    assert_eq!((draining.version, activated.version), (1, 2));
}

#[test]
fn a_pause_lets_nobody_in_until_it_ends() {
    let paused = [live(1, 1), vec![pause(1, TimerMode::Freeze)]].concat();
    let (state, _) = after(&paused);
    assert_eq!((state.entering(), state.live()), (None, Some(1)));
    assert_eq!(state.info(1).map(|it| it.state()), Some(VersionState::Paused));
    assert_eq!(state.meant(0, |it| it.paused.is_some()), 1);
    let resumed = [paused, vec![Command::Resume { version: 1 }]].concat();
    assert_eq!(after(&resumed).0.entering(), Some(1));
}

#[test]
fn saying_it_again_changes_nothing() {
    let commands = [live(1, 1), vec![pause(1, TimerMode::Run)]].concat();
    let (state, _) = after(&commands);
    let again = [draft(1), pause(1, TimerMode::Run)];
    for command in again {
        assert_eq!(Journey::decide(&state, command, AT), Ok(Vec::new()));
    }
    let retired =
        [live(1, 1), vec![Command::Retire { version: 1, reason: "over".into() }]].concat();
    let (state, _) = after(&retired);
    let again = Command::Retire { version: 1, reason: "over".into() };
    assert_eq!(Journey::decide(&state, again, AT), Ok(Vec::new()));
    assert_eq!(state.info(1).map(|it| it.state()), Some(VersionState::Retired));
}

#[test]
fn a_paused_version_drains_when_another_goes_live() {
    let commands = [live(1, 1), vec![pause(1, TimerMode::Run)], live(2, 2)].concat();
    let (state, _) = after(&commands);
    assert_eq!(state.info(1).map(|it| it.state()), Some(VersionState::Paused));
    let resumed = [commands, vec![Command::Resume { version: 1 }]].concat();
    let (state, _) = after(&resumed);
    assert_eq!(state.info(1).map(|it| it.state()), Some(VersionState::Draining));
    assert_eq!(state.entering(), Some(2));
}

#[test]
fn what_may_not_happen_is_refused_with_its_reason() {
    let drafted = vec![draft(1)];
    let checked = vec![draft(1), check(1)];
    assert_eq!(refused(&drafted, Command::Publish { version: 1 }), Refusal::NotApproved(1));
    assert_eq!(refused(&drafted, Command::Publish { version: 9 }), Refusal::Unknown);
    assert_eq!(refused(&live(1, 1), Command::Publish { version: 1 }), Refusal::AlreadyLive(1));
    let own =
        Command::Approve { version: 1, hash: None, comment: String::new(), actor: "ada".into() };
    assert_eq!(
        refused(&checked, own),
        Refusal::Version(version::Refusal::AuthorMayNotApprove { version: 1 })
    );
    let other = Command::Approve {
        version: 1,
        hash: Some(vec![9; 32]),
        comment: String::new(),
        actor: "grace".into(),
    };
    assert_eq!(
        refused(&checked, other),
        Refusal::Version(version::Refusal::CheckStale { version: 1 })
    );
    assert_eq!(
        refused(&drafted, pause(1, TimerMode::Run)),
        Refusal::WrongState { version: 1, state: "DRAFT", needs: "LIVE" }
    );
    let paused = [live(1, 1), vec![pause(1, TimerMode::Run)]].concat();
    assert_eq!(
        refused(&paused, pause(1, TimerMode::Freeze)),
        Refusal::WrongState { version: 1, state: "PAUSED", needs: "LIVE or DRAINING" }
    );
    let retired =
        [live(1, 1), vec![Command::Retire { version: 1, reason: "over".into() }]].concat();
    for command in
        [Command::Resume { version: 1 }, Command::Drain { version: 1, reason: "x".into() }]
    {
        assert!(matches!(refused(&retired, command), Refusal::WrongState { state: "RETIRED", .. }));
    }
}
