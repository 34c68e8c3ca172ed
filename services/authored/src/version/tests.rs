use proptest::prelude::*;

use super::*;

const HASH: [u8; 32] = [1; 32];

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

/// Version 1, taken through the steps up to a state.
fn upto(state: State) -> Versions {
    let mut versions = Versions::default();
    versions.drafted(1, "ada", HASH, at(0));
    if state == State::Draft {
        return versions;
    }
    versions.checked(1, HASH, at(10));
    if state == State::Checked {
        return versions;
    }
    versions.approved(1, "bea", at(30));
    if state == State::Approved {
        return versions;
    }
    versions.activated(1, at(70));
    if state == State::Retired {
        versions.retired(1, at(150));
    }
    versions
}

const ALL: [State; 5] =
    [State::Draft, State::Checked, State::Approved, State::Live, State::Retired];

#[test]
fn each_step_begins_in_its_states_only() {
    use State::{Approved, Checked, Draft, Live};
    for state in ALL {
        let versions = upto(state);
        let allowed = |may: Result<&Entry, Refusal>, states: &[State]| {
            assert_eq!(may.is_ok(), states.contains(&state), "{state}");
        };
        allowed(versions.may_check(1), &[Draft, Checked]);
        allowed(versions.may_approve(1, "bea", None), &[Checked]);
        allowed(versions.may_activate(1), &[Approved]);
        allowed(versions.may_activate_unapproved(1), &[Draft, Checked, Approved]);
        allowed(versions.may_retire(1), &[Live]);
        assert_eq!(versions.may_check(2), Err(Refusal::UnknownVersion { version: 2 }));
    }
}

#[test]
fn a_refusal_says_where_the_version_stands_and_where_it_has_to() {
    let refusal = upto(State::Draft).may_activate(1).expect_err("it is a draft");
    assert_eq!(refusal.to_string(), "version 1 is DRAFT; it needs to be APPROVED");
}

#[test]
fn the_author_does_not_approve() {
    let versions = upto(State::Checked);
    assert_eq!(
        versions.may_approve(1, "ada", None),
        Err(Refusal::AuthorMayNotApprove { version: 1 })
    );
    assert!(versions.may_approve(1, "bea", None).is_ok());
}

#[test]
fn only_what_was_checked_is_approved() {
    let mut versions = upto(State::Checked);
    assert!(versions.may_approve(1, "bea", Some(&HASH)).is_ok());
    let stale = Err(Refusal::CheckStale { version: 1 });
    assert_eq!(versions.may_approve(1, "bea", Some(&[2; 32])), stale);
    assert_eq!(versions.may_approve(1, "bea", Some(&[])), stale);
    versions.checked(1, [2; 32], at(11));
    assert_eq!(versions.may_approve(1, "bea", None), stale);
    versions.checked(1, HASH, at(12));
    assert!(versions.may_approve(1, "bea", None).is_ok());
}

#[test]
fn saving_the_newest_bytes_again_is_already_so() {
    let mut versions = upto(State::Draft);
    assert_eq!(versions.draft(&HASH), Draft::AlreadySo(1));
    assert_eq!(versions.draft(&[2; 32]), Draft::New(2));
    versions.drafted(2, "ada", [2; 32], at(1));
    assert_eq!(versions.draft(&HASH), Draft::New(3), "going back is a new version");
    assert_eq!(upto(State::Live).draft(&HASH), Draft::AlreadySo(1));
    assert_eq!(upto(State::Retired).draft(&HASH), Draft::New(2));
}

#[test]
fn a_version_that_goes_live_retires_the_one_before() {
    let mut versions = upto(State::Live);
    versions.drafted(2, "ada", [2; 32], at(80));
    versions.activated(2, at(90));
    assert_eq!(versions.live().map(|it| it.0), Some(2));
    let before = versions.get(1).expect("it was saved");
    assert_eq!((before.state, before.retired_at), (State::Retired, Some(at(90))));
    versions.retired(2, at(100));
    assert_eq!(versions.live(), None);
}

#[test]
fn request_to_live_is_a_subtraction() {
    let seconds = |it| Some(Duration::from_secs(it));
    assert_eq!(
        upto(State::Live).times(1),
        Some(Stages {
            to_check: seconds(10),
            to_approve: seconds(20),
            to_live: seconds(40),
            request_to_live: seconds(70),
        })
    );
    assert_eq!(upto(State::Draft).times(1), Some(Stages::default()));
    assert_eq!(upto(State::Draft).times(9), None);
}

#[test]
fn the_api_shows_what_is_known() {
    let info = upto(State::Retired).info(1).expect("it was saved");
    assert_eq!(info.state(), VersionState::Retired);
    assert_eq!(info.hash, "01".repeat(32));
    assert_eq!((info.author.as_str(), info.approver.as_str()), ("ada", "bea"));
    assert_eq!(info.retire_time, Some(at(150).to_proto()));
    assert_eq!(upto(State::Draft).info(1).and_then(|it| it.check_time), None);
}

proptest! {
    #[test]
    fn however_people_try_one_is_live_and_nobody_approved_his_own(
        tries in prop::collection::vec((0_u8..5, 1_u32..5, 0_u8..3), 0..60),
    ) {
        let mut versions = Versions::default();
        for (now, (step, version, person)) in (0_i64..).zip(tries) {
            let (person, now) = (format!("p{person}"), at(now));
            match step {
                0 => if let Draft::New(number) = versions.draft(&[person.len() as u8; 32]) {
                    versions.drafted(number, &person, [number as u8; 32], now);
                },
                1 => if let Ok(hash) = versions.may_check(version).map(|it| it.hash) {
                    versions.checked(version, hash, now);
                },
                2 => if versions.may_approve(version, &person, None).is_ok() {
                    versions.approved(version, &person, now);
                },
                3 => if versions.may_activate(version).is_ok() {
                    versions.activated(version, now);
                },
                _ => if versions.may_retire(version).is_ok() {
                    versions.retired(version, now);
                },
            }
            let live: Vec<_> =
                versions.iter().filter(|(_, it)| it.state == State::Live).map(|it| it.0).collect();
            prop_assert_eq!(live.first().copied(), versions.live().map(|it| it.0));
            prop_assert!(live.len() <= 1);
            for (_, entry) in versions.iter() {
                prop_assert_ne!(Some(&entry.author), entry.approved_by.as_ref());
                prop_assert!(entry.live_at.is_none() || entry.approved_by.is_some());
            }
        }
    }
}
