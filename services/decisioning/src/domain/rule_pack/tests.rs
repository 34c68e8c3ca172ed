use authored::version::Refusal as Life;
use eventstore::testing::{Given, given};

use super::*;

const HASH: [u8; 32] = [1; 32];
const NOW: Timestamp = Timestamp(1_000_000_000);
const COUNTS: Timestamp = Timestamp(NOW.0 + AHEAD);

fn by(who: &str) -> Step {
    Step { by: who.into(), at: NOW }
}

fn germany() -> proto::RulePack {
    proto::RulePack { rule_pack: "DE".into(), ..Default::default() }
}

/// A version of the archetype that Germany inherits from.
fn strict(version: u32) -> proto::Inherited {
    proto::Inherited { pack: "eu-strict".into(), version, ..Default::default() }
}

fn draft(hash: [u8; 32]) -> Command {
    Command::Draft { by: by("ada"), pack: Box::new(germany()), hash }
}

fn simulate(archetype: u32) -> Command {
    let inherited = names_of(&[strict(archetype)]);
    Command::Simulate { by: by("ada"), version: 1, tests: 2, unmapped: 3, inherited }
}

fn approve(who: &str) -> Command {
    Command::Approve { by: by(who), version: 1, hash: None, comment: String::new() }
}

fn activate(archetype: u32, effective_at: Timestamp) -> Command {
    Command::Activate {
        by: by("ada"),
        version: 1,
        effective_at,
        inherited: vec![strict(archetype)],
    }
}

fn retire() -> Command {
    Command::Retire { by: by("ada"), version: 1, reason: "law".into() }
}

fn world(commands: impl IntoIterator<Item = Command>) -> Given<RulePack> {
    let (mut state, mut events) = (State::default(), Vec::new());
    for command in commands {
        let decided = RulePack::decide(&state, command, NOW).expect("granted");
        state = decided.iter().fold(state, RulePack::evolve);
        events.extend(decided);
    }
    given::<RulePack>(events).at(NOW)
}

fn approved() -> [Command; 3] {
    [draft(HASH), simulate(1), approve("bea")]
}

#[test]
fn saving_makes_a_version_unless_the_newest_has_these_bytes() {
    let drafted = |version, hash: [u8; 32]| {
        Event::Drafted(proto::RulePackDrafted {
            version,
            pack: Some(germany()),
            hash: hash.to_vec(),
            step: by("ada").to_proto(),
        })
    };
    world([]).when(draft(HASH)).then([drafted(1, HASH)]);
    world([draft(HASH)]).when(draft(HASH)).then([]);
    world([draft(HASH)]).when(draft([2; 32])).then([drafted(2, [2; 32])]);
}

#[test]
fn a_simulation_notes_the_archetypes_it_was_made_with() {
    let state = world([draft(HASH)]).when(simulate(1)).state();
    assert_eq!(state.simulated_with[&1], names_of(&[strict(1)]));
    assert_eq!(state.unmapped[&1], 3);
}

#[test]
fn what_was_approved_is_simulated_anew_only_when_an_archetype_changed() {
    world(approved()).when(simulate(1)).refused(|it| {
        matches!(it, Refusal::Life(Life::WrongState { needs: "DRAFT or CHECKED", .. }))
    });
    // Its approval was of something else: it is to be approved anew.
    let again = approved().into_iter().chain([simulate(2)]);
    world(again.clone())
        .when(activate(2, COUNTS))
        .refused(|it| *it == Refusal::Unsigned { version: 1 });
    let again = again.chain([approve("bea")]);
    assert_eq!(world(again).when(activate(2, COUNTS)).events().len(), 1);
}

#[test]
fn a_pack_counts_a_minute_ahead_with_the_archetypes_it_was_simulated_with() {
    let activated = Event::Activated(proto::RulePackActivated {
        market: "DE".into(),
        version: 1,
        hash: HASH.to_vec(),
        document: Some(germany()),
        inherited: vec![strict(1)],
        effective_at: Some(COUNTS.to_proto()),
        step: by("ada").to_proto(),
    });
    world(approved()).when(activate(1, COUNTS)).then([activated]);
    let soon = Timestamp(COUNTS.0 - 1);
    world(approved()).when(activate(1, soon)).refused(|it| *it == Refusal::TooSoon);
    let changed = Refusal::ArchetypeChanged { version: 1 };
    world(approved()).when(activate(2, COUNTS)).refused(|it| *it == changed);
}

#[test]
fn only_what_somebody_else_approved_comes_into_force() {
    let own = Refusal::Life(Life::AuthorMayNotApprove { version: 1 });
    world([draft(HASH), simulate(1)]).when(approve("ada")).refused(|it| *it == own);
    for before in [vec![draft(HASH)], vec![draft(HASH), simulate(1)]] {
        let unsigned = Refusal::Unsigned { version: 1 };
        world(before).when(activate(1, COUNTS)).refused(|it| *it == unsigned);
    }
    let unknown = Refusal::Life(Life::UnknownVersion { version: 1 });
    world([]).when(activate(1, COUNTS)).refused(|it| *it == unknown);
}

#[test]
fn each_step_taken_twice_is_harmless() {
    world(approved()).when(approve("bea")).then([]);
    let live = approved().into_iter().chain([activate(1, COUNTS)]);
    world(live.clone()).when(activate(1, COUNTS)).then([]);
    let retired = live.chain([retire()]);
    world(retired.clone()).when(retire()).then([]);
    world(retired)
        .when(activate(1, COUNTS))
        .refused(|it| matches!(it, Refusal::Life(Life::WrongState { needs: "APPROVED", .. })));
    world(approved())
        .when(retire())
        .refused(|it| matches!(it, Refusal::Life(Life::WrongState { needs: "LIVE", .. })));
}

#[test]
fn a_country_s_facts_are_of_its_market_and_an_archetype_s_of_none() {
    let event = Event::Retired(proto::RulePackRetired::default());
    for (id, market) in [("DE", "DE"), ("eu-strict", "")] {
        assert_eq!(RulePack::about(id, &State::default(), &event).market, market);
    }
}

#[test]
fn a_version_that_counts_until_the_next_does_can_be_retired_whatever_is_listed() {
    let later = Timestamp(COUNTS.0 + AHEAD);
    let activated = |version, effective_at: Timestamp| {
        Event::Activated(proto::RulePackActivated {
            version,
            effective_at: Some(effective_at.to_proto()),
            step: by("ada").to_proto(),
            ..Default::default()
        })
    };
    let drafted = |version| {
        Event::Drafted(proto::RulePackDrafted {
            version,
            pack: Some(germany()),
            hash: vec![u8::try_from(version).expect("small"); 32],
            step: by("ada").to_proto(),
        })
    };
    let both = || [drafted(1), drafted(2), activated(1, COUNTS), activated(2, later)];
    let retire = |version| Command::Retire { by: by("ada"), version, reason: "law".into() };
    let retired = |version| {
        let (reason, step) = ("law".into(), by("ada").to_proto());
        Event::Retired(proto::RulePackRetired { version, reason, step })
    };
    let meanwhile = || given::<RulePack>(both()).at(COUNTS);
    meanwhile().when(retire(1)).then([retired(1)]);
    meanwhile().when(retire(2)).then([retired(2)]);
    let again = both().into_iter().chain([retired(1)]);
    given::<RulePack>(again).at(COUNTS).when(retire(1)).then([]);
    // Retired before its instant, it still replaces the first at that instant.
    let before = || both().into_iter().chain([retired(2)]);
    given::<RulePack>(before()).at(COUNTS).when(retire(1)).then([retired(1)]);
    given::<RulePack>(before()).at(later).when(retire(1)).then([]);
    given::<RulePack>(both()).at(later).when(retire(1)).then([]);
}
