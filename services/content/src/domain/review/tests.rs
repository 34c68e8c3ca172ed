use std::time::Duration;

use eventstore::testing::{Given, given};
use proptest::prelude::*;
use prost::Message as _;
use rapport_proto::content::v1 as proto;
use rapport_proto::content::v1::module_event::Event;

use super::*;
use crate::domain::module::{self, Module};

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

fn content(title: &str) -> proto::ModuleContent {
    proto::ModuleContent { title: title.into(), markets: vec!["DE".into()], ..Default::default() }
}

fn bytes(title: &str) -> Vec<u8> {
    content(title).encode_to_vec()
}

fn save(title: &str) -> Command {
    Command::Save { content: bytes(title), author: "author".into() }
}

fn submit(version: u32) -> Command {
    Command::Submit { version, markets: vec!["DE".into()], roles: roles(), packs: Vec::new() }
}

fn roles() -> Vec<ReviewRole> {
    vec![ReviewRole::Medical, ReviewRole::Legal]
}

fn opinion(version: u32, role: ReviewRole, signer: &str, title: &str) -> Opinion {
    let signature = Signature {
        signature_id: format!("sig_{signer}"),
        signer: signer.into(),
        signed_at: Some(NOW.to_proto()),
        content_hash: hash_of(&bytes(title)),
        ..Default::default()
    };
    Opinion { version, role, verdict: Verdict::Approve, comment: String::new(), signature }
}

fn approve(version: u32, role: ReviewRole, signer: &str, title: &str) -> Command {
    Command::Review(Box::new(opinion(version, role, signer, title)))
}

fn reject(version: u32, comment: &str) -> Command {
    let opinion = opinion(version, ReviewRole::Legal, "leo", "a");
    let comment = comment.to_owned();
    Command::Review(Box::new(Opinion { verdict: Verdict::Reject, comment, ..opinion }))
}

fn withdraw(version: u32) -> Command {
    Command::Withdraw { version, reason: "outdated".into(), cause: String::new() }
}

/// The events that commands lead to, one after another.
fn after(commands: impl IntoIterator<Item = Command>) -> Vec<Event> {
    let (mut state, mut events) = (Versions::default(), Vec::new());
    for command in commands {
        use eventstore::Decider as _;
        let next = Module::decide(&state, command, NOW).expect("granted");
        state = next.iter().fold(state, Module::evolve);
        events.extend(next);
    }
    events
}

fn when(commands: impl IntoIterator<Item = Command>) -> Given<Module> {
    given::<Module>(after(commands)).at(NOW)
}

fn reviewed(version: u32, title: &str) -> [Command; 3] {
    [
        submit(version),
        approve(version, ReviewRole::Medical, "mia", title),
        approve(version, ReviewRole::Legal, "leo", title),
    ]
}

fn approved() -> Vec<Command> {
    [save("a")].into_iter().chain(reviewed(1, "a")).collect()
}

fn stages(events: &[Event]) -> Vec<Stage> {
    eventstore::fold::<Module>(events).iter().map(|it| it.stage).collect()
}

#[test]
fn every_byte_makes_a_version_and_the_same_bytes_are_already_so() {
    when([save("a")]).when(save("a")).then(vec![]);
    let state = when([save("a")]).when(save("b")).state();
    let versions: Vec<_> = state.iter().map(|it| (it.number, it.hash.clone())).collect();
    assert_eq!(versions, [(1, hash_of(&bytes("a"))), (2, hash_of(&bytes("b")))]);
    // Only the newest version counts: an old text is written anew.
    assert_eq!(
        when([save("a"), save("b")]).when(save("a")).state().newest().expect("one").number,
        3
    );
    // What was withdrawn needs another review.
    assert_eq!(
        when([save("a"), withdraw(0)]).when(save("a")).state().newest().expect("one").number,
        2
    );
    when(approved()).when(save("a")).then(vec![]);
}

#[test]
fn a_version_is_approved_when_every_role_has_approved() {
    let first =
        when([save("a"), submit(0)]).when(approve(1, ReviewRole::Medical, "mia", "a")).events();
    assert!(matches!(first.as_slice(), [Event::VerdictRecorded(_)]));
    let events = when([save("a"), submit(0), approve(1, ReviewRole::Medical, "mia", "a")])
        .when(approve(1, ReviewRole::Legal, "leo", "a"))
        .events();
    let [Event::VerdictRecorded(_), Event::Approved(approved)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(approved.content_hash, hash_of(&bytes("a")));
    assert_eq!(approved.signature_ids, ["sig_mia", "sig_leo"]);
    assert_eq!(approved.markets, ["DE"]);
}

#[test]
fn one_rejection_returns_a_version_and_the_same_bytes_may_come_again() {
    let rejected =
        || vec![save("a"), submit(1), approve(1, ReviewRole::Medical, "mia", "a"), reject(1, "no")];
    assert_eq!(stages(&after(rejected())), [Stage::ChangesRequested]);
    let again = when(rejected()).when(submit(1)).state();
    let version = again.get(1).expect("there");
    assert_eq!((version.stage, version.round), (Stage::InReview, 2));
    // A new round begins without verdicts: one approval is not enough.
    let mut second = rejected();
    second.extend([submit(1), approve(1, ReviewRole::Legal, "leo", "a")]);
    assert_eq!(stages(&after(second.clone())), [Stage::InReview]);
    second.push(approve(1, ReviewRole::Medical, "mia", "a"));
    assert_eq!(stages(&after(second)), [Stage::Approved]);
}

#[test]
fn a_newer_approved_version_supersedes_the_older_one() {
    let both: Vec<_> = approved().into_iter().chain([save("b")]).chain(reviewed(2, "b")).collect();
    assert_eq!(stages(&after(both.clone())), [Stage::Superseded, Stage::Approved]);
    // Withdrawing the newer one does not bring the older one back.
    let withdrawn: Vec<_> = both.into_iter().chain([withdraw(2)]).collect();
    assert_eq!(stages(&after(withdrawn)), [Stage::Superseded, Stage::Withdrawn]);
}

#[test]
fn a_version_that_is_approved_ahead_of_its_time_takes_over_when_its_time_comes() {
    let later = NOW.plus(HOUR);
    let usable_from = Some(later.to_proto());
    let future = proto::ModuleContent { usable_from, ..content("b") }.encode_to_vec();
    let save_future = Command::Save { content: future.clone(), author: "author".into() };
    let sign = |role, signer: &str| {
        let mut opinion = opinion(2, role, signer, "b");
        opinion.signature.content_hash = hash_of(&future);
        Command::Review(Box::new(opinion))
    };
    let commands: Vec<_> = approved()
        .into_iter()
        .chain([
            save_future,
            submit(2),
            sign(ReviewRole::Medical, "mia"),
            sign(ReviewRole::Legal, "leo"),
        ])
        .collect();
    let events = after(commands);
    assert_eq!(stages(&events), [Stage::Approved, Stage::Approved]);
    let take_over = || Command::TakeOver { version: 2 };
    given::<Module>(events.clone()).at(NOW).when(take_over()).then(vec![]);
    given::<Module>(events)
        .at(later)
        .when(take_over())
        .then(vec![Event::Superseded(proto::ModuleSuperseded { version: 1, by: 2 })]);
}

#[test]
fn a_version_expires_when_its_time_is_over_and_not_before() {
    let end = NOW.plus(HOUR);
    let timed =
        proto::ModuleContent { expires_at: Some(end.to_proto()), ..content("a") }.encode_to_vec();
    let sign = |role, signer: &str| {
        let mut opinion = opinion(1, role, signer, "a");
        opinion.signature.content_hash = hash_of(&timed);
        Command::Review(Box::new(opinion))
    };
    let save = Command::Save { content: timed.clone(), author: "author".into() };
    let draft = after([save.clone()]);
    let events =
        after([save, submit(1), sign(ReviewRole::Medical, "mia"), sign(ReviewRole::Legal, "leo")]);
    let expire = || Command::Expire { version: 1 };
    given::<Module>(events.clone()).at(NOW).when(expire()).then(vec![]);
    let expired = given::<Module>(events).at(end).when(expire());
    expired.then(vec![Event::Expired(proto::ModuleExpired { version: 1 })]);
    given::<Module>(draft.clone()).at(end).when(expire()).then(vec![]);
    given::<Module>(draft).at(end).when(submit(1)).refused(|it| *it == Refusal::TimeOver);
    when(approved()).when(expire()).then(vec![]);
    given::<Module>(vec![]).when(expire()).then(vec![]);
}

#[test]
fn withdrawing_stops_a_version_or_all_and_twice_is_harmless() {
    assert_eq!(stages(&after([save("a"), withdraw(1)])), [Stage::Withdrawn]);
    assert_eq!(
        stages(&after([save("a"), save("b"), withdraw(0)])),
        [Stage::Withdrawn, Stage::Withdrawn]
    );
    assert_eq!(
        stages(&after([save("a"), save("b"), withdraw(2)])),
        [Stage::Draft, Stage::Withdrawn]
    );
    when(approved().into_iter().chain([withdraw(0)])).when(withdraw(0)).then(vec![]);
    when(approved().into_iter().chain([withdraw(1)])).when(withdraw(1)).then(vec![]);
    when([]).when(withdraw(0)).refused(|it| *it == Refusal::Unknown);
    when([save("a")]).when(withdraw(2)).refused(|it| *it == Refusal::Unknown);
}

#[test]
fn a_verdict_is_refused_with_its_reason() {
    let in_review = || when([save("a"), submit(1)]);
    let mia = |role| approve(1, role, "mia", "a");
    in_review()
        .when(approve(1, ReviewRole::Medical, "author", "a"))
        .refused(|it| *it == Refusal::AuthorMayNotSign);
    in_review()
        .when(approve(1, ReviewRole::Medical, "mia", "b"))
        .refused(|it| *it == Refusal::HashMismatch);
    in_review().when(mia(ReviewRole::Regulatory)).refused(|it| *it == Refusal::RoleMissing);
    in_review().when(reject(1, " \n")).refused(|it| *it == Refusal::CommentRequired);
    in_review()
        .when(approve(2, ReviewRole::Medical, "mia", "a"))
        .refused(|it| *it == Refusal::Unknown);
    let signed = || when([save("a"), submit(1), mia(ReviewRole::Medical)]);
    signed().when(mia(ReviewRole::Legal)).refused(|it| *it == Refusal::AlreadySigned);
    signed().when(mia(ReviewRole::Medical)).refused(|it| *it == Refusal::AlreadySigned);
    signed()
        .when(approve(1, ReviewRole::Medical, "max", "a"))
        .refused(|it| *it == Refusal::AlreadySigned);
    // Nor in another round.
    let second = when([save("a"), submit(1), mia(ReviewRole::Medical), reject(1, "no"), submit(1)]);
    second.when(mia(ReviewRole::Legal)).refused(|it| *it == Refusal::AlreadySigned);
    for (before, stage) in [
        (vec![save("a")], Stage::Draft),
        (vec![save("a"), submit(1), reject(1, "no")], Stage::ChangesRequested),
        (approved(), Stage::Approved),
        (vec![save("a"), withdraw(1)], Stage::Withdrawn),
    ] {
        let wrong = |it: &Refusal| *it == Refusal::WrongStage { stage, needs: "in_review" };
        when(before).when(approve(1, ReviewRole::Medical, "max", "a")).refused(wrong);
    }
}

#[test]
fn only_drafts_and_returned_versions_can_be_submitted() {
    when([]).when(submit(0)).refused(|it| *it == Refusal::Unknown);
    when([save("a")]).when(submit(2)).refused(|it| *it == Refusal::Unknown);
    when([save("a"), submit(1)]).when(submit(1)).then(vec![]);
    let both: Vec<_> = approved().into_iter().chain([save("b")]).chain(reviewed(2, "b")).collect();
    for (before, version, stage) in [
        (approved(), 1, Stage::Approved),
        (vec![save("a"), withdraw(1)], 1, Stage::Withdrawn),
        (both, 1, Stage::Superseded),
    ] {
        when(before)
            .when(submit(version))
            .refused(|it| matches!(it, Refusal::WrongStage { stage: it, .. } if *it == stage));
    }
    let overtaken = || [save("a"), submit(1), save("b")].into_iter().chain(reviewed(2, "b"));
    when(overtaken())
        .when(approve(1, ReviewRole::Medical, "mia", "a"))
        .refused(|it| *it == Refusal::Overtaken { by: 2 });
    let draft: Vec<_> = [save("a"), save("b")].into_iter().chain(reviewed(2, "b")).collect();
    when(draft).when(submit(1)).refused(|it| *it == Refusal::Overtaken { by: 2 });
}

#[test]
fn forged_bytes_are_neither_signed_nor_intact() {
    let forge = |events: Vec<Event>| -> Vec<Event> {
        (events.into_iter())
            .map(|event| match event {
                Event::DraftSaved(it) => {
                    Event::DraftSaved(proto::ModuleDraftSaved { content: bytes("forged"), ..it })
                }
                other => other,
            })
            .collect()
    };
    let honest = eventstore::fold::<Module>(&after(approved()));
    assert!(honest.get(1).expect("there").is_intact());
    let forged = eventstore::fold::<Module>(&forge(after(approved())));
    assert!(!forged.get(1).expect("there").is_intact());
    let in_review = forge(after([save("a"), submit(1)]));
    for title in ["a", "forged"] {
        given::<Module>(in_review.clone())
            .when(approve(1, ReviewRole::Medical, "mia", title))
            .refused(|it| *it == Refusal::HashMismatch);
    }
    // An approval that nobody signed is none.
    let unsigned = [
        after([save("a"), submit(1)]),
        vec![Event::Approved(proto::ModuleApproved {
            version: 1,
            content_hash: hash_of(&bytes("a")),
            ..Default::default()
        })],
    ];
    assert!(!eventstore::fold::<Module>(&unsigned.concat()).get(1).expect("there").is_intact());
}

#[test]
fn a_claim_or_module_has_a_last_version() {
    let draft = Event::DraftSaved(proto::ModuleDraftSaved {
        version: MOST_VERSIONS,
        content: bytes("a"),
        ..Default::default()
    });
    given::<Module>(vec![draft]).when(save("b")).refused(|it| *it == Refusal::Full);
}

#[test]
fn time_per_stage_is_added_up_over_rounds() {
    let at = |hours: u32| NOW.plus(HOUR * hours);
    let (mut state, mut clock) = (Versions::default(), 0);
    let mut step = |hours: u32, command: Command| {
        clock += hours;
        let now = at(clock);
        let command = match command {
            Command::Review(mut it) => {
                it.signature.signed_at = Some(now.to_proto());
                Command::Review(it)
            }
            other => other,
        };
        use eventstore::Decider as _;
        let events = Module::decide(&state, command, now).expect("granted");
        state = events.iter().fold(std::mem::take(&mut state), Module::evolve);
        let times = state.get(1).expect("there").stage_times(at(clock + 1));
        times.into_iter().map(|it| (it.stage, it.seconds / 3_600, it.open)).collect::<Vec<_>>()
    };
    let row = |stage: &str, hours: u64, open: bool| (stage.to_owned(), hours, open);
    assert_eq!(step(0, save("a")), [row("draft", 1, true)]);
    let submitted = [
        row("draft", 2, false),
        row("in_review", 1, true),
        row("medical", 1, true),
        row("legal", 1, true),
    ];
    assert_eq!(step(2, submit(1)), submitted);
    step(3, approve(1, ReviewRole::Medical, "mia", "a"));
    let returned = step(1, reject(1, "no"));
    assert_eq!(
        returned[1..],
        [
            row("in_review", 4, false),
            row("changes_requested", 1, true),
            row("medical", 3, false),
            row("legal", 4, false),
        ]
    );
    step(10, submit(1));
    step(1, approve(1, ReviewRole::Legal, "leo", "a"));
    let done = step(1, approve(1, ReviewRole::Medical, "mia", "a"));
    assert_eq!(
        done,
        [
            row("draft", 2, false),
            row("in_review", 6, false),
            row("changes_requested", 10, false),
            row("medical", 5, false),
            row("legal", 5, false),
        ]
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    let version = 0..4_u32;
    prop_oneof![
        (version.clone(), any::<Vec<u8>>(), any::<i64>()).prop_map(
            |(version, content, seconds)| {
                let saved_at = Some(prost_types::Timestamp { seconds, nanos: -1 });
                Event::DraftSaved(proto::ModuleDraftSaved {
                    version,
                    content,
                    saved_at,
                    ..Default::default()
                })
            }
        ),
        (version.clone(), 0..5_i32).prop_map(|(version, role)| {
            Event::Submitted(proto::ModuleSubmitted {
                version,
                roles: vec![role],
                ..Default::default()
            })
        }),
        (version.clone(), 0..5_i32, 0..4_i32).prop_map(|(version, role, verdict)| {
            Event::VerdictRecorded(proto::ModuleVerdictRecorded {
                version,
                role,
                verdict,
                ..Default::default()
            })
        }),
        version.clone().prop_map(|version| {
            Event::ChangesRequested(proto::ModuleChangesRequested { version, role: 9 })
        }),
        version.clone().prop_map(|version| {
            Event::Approved(proto::ModuleApproved {
                version,
                content_hash: "x".into(),
                ..Default::default()
            })
        }),
        version
            .clone()
            .prop_map(|version| Event::Superseded(proto::ModuleSuperseded { version, by: 1 })),
        version.clone().prop_map(|version| Event::Withdrawn(proto::ModuleWithdrawn {
            version,
            ..Default::default()
        })),
        version.prop_map(|version| Event::Expired(proto::ModuleExpired { version })),
    ]
}

fn any_command() -> impl Strategy<Value = Command> {
    let signer = prop_oneof![Just("mia"), Just("leo"), Just("author")];
    let role = prop_oneof![Just(ReviewRole::Medical), Just(ReviewRole::Legal)];
    prop_oneof![
        prop_oneof![Just("a"), Just("b")].prop_map(save),
        (0..3_u32).prop_map(submit),
        (1..3_u32, role, signer, any::<bool>()).prop_map(|(version, role, signer, b)| {
            approve(version, role, signer, if b { "b" } else { "a" })
        }),
        (1..3_u32).prop_map(|version| reject(version, "no")),
        (0..3_u32).prop_map(withdraw),
        (1..3_u32).prop_map(|version| Command::Expire { version }),
    ]
}

proptest! {
    #[test]
    fn no_order_of_events_panics(events in prop::collection::vec(any_event(), 0..24)) {
        let state = eventstore::fold::<Module>(&events);
        for version in state.iter() {
            let _ = (version.stage_times(NOW), version.is_intact(), module::content_of(version));
        }
        use eventstore::Decider as _;
        let _ = Module::decide(&state, submit(0), NOW);
    }

    #[test]
    fn at_most_one_version_is_approved_and_it_is_intact(commands in prop::collection::vec(any_command(), 0..40)) {
        use eventstore::Decider as _;
        let mut state = Versions::default();
        for command in commands {
            let Ok(events) = Module::decide(&state, command, NOW) else { continue };
            state = events.iter().fold(state, Module::evolve);
            let approved: Vec<_> = state.approved().collect();
            prop_assert!(approved.len() <= 1);
            for version in approved {
                prop_assert!(version.is_intact());
                let signers: std::collections::BTreeSet<_> = version.in_round().map(|it| &it.signature.signer).collect();
                prop_assert_eq!(signers.len(), 2);
                prop_assert!(!signers.contains(&version.author));
            }
        }
    }
}
