use authored::version::{Refusal as Life, State as Standing};
use eventstore::testing::{Given, given};

use super::*;

const HASH: [u8; 32] = [1; 32];

fn by(who: &str) -> Step {
    Step { by: who.into(), at: Timestamp(7) }
}

fn document(description: &str) -> proto::Policy {
    let group = proto::ActionGroup {
        group: "win-back".into(),
        description: description.into(),
        ..Default::default()
    };
    proto::Policy { policy: DEFAULT.into(), groups: vec![group], ..Default::default() }
}

fn draft(description: &str, hash: [u8; 32]) -> Command {
    Command::Draft { by: by("ada"), policy: Box::new(document(description)), hash }
}

fn simulate(version: u32) -> Command {
    Command::Simulate { by: by("ada"), version, summary: Box::default() }
}

fn approve(who: &str, version: u32, hash: Option<[u8; 32]>) -> Command {
    Command::Approve { by: by(who), version, hash, comment: "fine".into() }
}

fn activate(version: u32) -> Command {
    Command::Activate { by: by("ada"), version }
}

fn retire(version: u32) -> Command {
    Command::Retire { by: by("ada"), version, reason: "error".into() }
}

/// What commands led to, one after another.
fn after(commands: impl IntoIterator<Item = Command>) -> Vec<Event> {
    let (mut state, mut events) = (State::default(), Vec::new());
    for command in commands {
        let decided = Policy::decide(&state, command, Timestamp(7)).expect("granted");
        state = decided.iter().fold(state, Policy::evolve);
        events.extend(decided);
    }
    events
}

fn world(commands: impl IntoIterator<Item = Command>) -> Given<Policy> {
    given::<Policy>(after(commands))
}

fn live() -> [Command; 4] {
    [draft("a", HASH), simulate(1), approve("bea", 1, None), activate(1)]
}

#[test]
fn saving_makes_a_version_unless_the_newest_has_these_bytes() {
    let drafted = |version, description: &str, hash: [u8; 32]| {
        Event::Drafted(proto::PolicyVersionDrafted {
            version,
            policy: Some(document(description)),
            hash: hash.to_vec(),
            step: by("ada").to_proto(),
        })
    };
    world([]).when(draft("a", HASH)).then([drafted(1, "a", HASH)]);
    world([draft("a", HASH)]).when(draft("a", HASH)).then([]);
    world([draft("a", HASH)]).when(draft("b", [2; 32])).then([drafted(2, "b", [2; 32])]);
    // What was retired may be saved anew.
    let retired = live().into_iter().chain([retire(1)]);
    world(retired).when(draft("a", HASH)).then([drafted(2, "a", HASH)]);
}

#[test]
fn a_simulation_is_of_the_bytes_that_were_saved() {
    let simulated = |version| {
        Event::Simulated(proto::PolicyVersionSimulated {
            version,
            hash: HASH.to_vec(),
            summary: Some(proto::SimulationSummary::default()),
            step: by("ada").to_proto(),
        })
    };
    world([draft("a", HASH)]).when(simulate(1)).then([simulated(1)]);
    world([draft("a", HASH), simulate(1)]).when(simulate(1)).then([simulated(1)]);
    let none = Refusal::Life(Life::UnknownVersion { version: 2 });
    world([draft("a", HASH)]).when(simulate(2)).refused(|it| *it == none);
    world(live())
        .when(simulate(1))
        .refused(|it| matches!(it, Refusal::Life(Life::WrongState { state: Standing::Live, .. })));
}

#[test]
fn somebody_else_approves_what_was_simulated() {
    let simulated = || world([draft("a", HASH), simulate(1)]);
    let approved = Event::Approved(proto::PolicyVersionApproved {
        version: 1,
        hash: HASH.to_vec(),
        comment: "fine".into(),
        step: by("bea").to_proto(),
    });
    simulated().when(approve("bea", 1, None)).then([approved.clone()]);
    simulated().when(approve("bea", 1, Some(HASH))).then([approved]);
    let own = Refusal::Life(Life::AuthorMayNotApprove { version: 1 });
    simulated().when(approve("ada", 1, None)).refused(|it| *it == own);
    let stale = Refusal::Life(Life::CheckStale { version: 1 });
    simulated().when(approve("bea", 1, Some([9; 32]))).refused(|it| *it == stale);
    world([draft("a", HASH)])
        .when(approve("bea", 1, None))
        .refused(|it| matches!(it, Refusal::Life(Life::WrongState { state: Standing::Draft, .. })));
}

#[test]
fn approving_activating_and_retiring_twice_are_harmless() {
    let approved = [draft("a", HASH), simulate(1), approve("bea", 1, None)];
    world(approved.clone()).when(approve("bea", 1, None)).then([]);
    world(approved).when(approve("cyn", 1, None)).refused(|it| {
        matches!(it, Refusal::Life(Life::WrongState { state: Standing::Approved, .. }))
    });
    world(live()).when(activate(1)).then([]);
    world(live().into_iter().chain([retire(1)])).when(retire(1)).then([]);
}

#[test]
fn what_goes_live_carries_its_document_and_ends_what_was_live() {
    let second = [draft("b", [2; 32]), simulate(2), approve("bea", 2, None)];
    let activated = Event::Activated(proto::PolicyVersionActivated {
        version: 2,
        policy: Some(document("b")),
        hash: vec![2; 32],
        step: by("ada").to_proto(),
    });
    let before = live().into_iter().chain(second);
    let state = world(before).when(activate(2)).then([activated]).state();
    assert_eq!(state.versions.live().map(|it| it.0), Some(2));
    assert_eq!(state.versions.get(1).map(|it| it.state), Some(Standing::Retired));
}

#[test]
fn only_what_was_approved_goes_live_and_only_what_is_live_is_retired() {
    for before in [vec![draft("a", HASH)], vec![draft("a", HASH), simulate(1)]] {
        world(before.clone())
            .when(activate(1))
            .refused(|it| matches!(it, Refusal::Life(Life::WrongState { needs: "APPROVED", .. })));
        world(before)
            .when(retire(1))
            .refused(|it| matches!(it, Refusal::Life(Life::WrongState { needs: "LIVE", .. })));
    }
    let state = world(live()).when(retire(1)).state();
    assert_eq!(state.versions.live(), None);
}
