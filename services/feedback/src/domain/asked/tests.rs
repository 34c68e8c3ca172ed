use eventstore::testing::given;
use proptest::prelude::*;

use super::super::HOUR;
use super::*;

const GAPS: Gaps = Gaps { family: 90 * 24 * HOUR, global: 14 * 24 * HOUR };

fn ask(invitation_id: &str, family: &str) -> Command {
    Command::Ask {
        party_id: "pty_1".into(),
        invitation_id: invitation_id.into(),
        family: family.into(),
        gaps: GAPS,
    }
}

fn asked(invitation_id: &str, family: &str, days: i64) -> Event {
    Event::Asked(proto::PartyAsked {
        party_id: "pty_1".into(),
        invitation_id: invitation_id.into(),
        family: family.into(),
        asked_at: Some(day(days).to_proto()),
    })
}

fn day(days: i64) -> Timestamp {
    Timestamp(days * 24 * HOUR)
}

#[test]
fn a_family_waits_for_its_own_cooldown() {
    let given = || given::<Asked>([asked("inv_1", "nps", 0)]);
    given()
        .at(day(89))
        .when(ask("inv_2", "nps"))
        .refused(|held| *held == Held { reason: "cooldown_family", next_allowed_at: day(90) });
    given().at(day(90)).when(ask("inv_2", "nps")).then([asked("inv_2", "nps", 90)]);
    given().at(day(14)).when(ask("inv_2", "ces")).then([asked("inv_2", "ces", 14)]);
}

#[test]
fn all_families_share_the_global_cooldown() {
    given::<Asked>([asked("inv_1", "nps", 0)])
        .at(day(13))
        .when(ask("inv_2", "ces"))
        .refused(|held| *held == Held { reason: "cooldown_global", next_allowed_at: day(14) });
    // Both hold: the first is told, and when both allow it.
    let events = [asked("inv_1", "nps", 0), asked("inv_2", "ces", 85)];
    given::<Asked>(events)
        .at(day(86))
        .when(ask("inv_3", "nps"))
        .refused(|held| *held == Held { reason: "cooldown_family", next_allowed_at: day(99) });
}

#[test]
fn what_was_not_sent_no_longer_counts() {
    let released = || {
        Event::NotAsked(proto::PartyNotAsked {
            party_id: "pty_1".into(),
            invitation_id: "inv_1".into(),
        })
    };
    let release = || Command::Release { invitation_id: "inv_1".into() };
    given::<Asked>([asked("inv_1", "nps", 0)]).when(release()).then([released()]);
    given::<Asked>([asked("inv_1", "nps", 0), released()])
        .at(day(1))
        .when(ask("inv_2", "nps"))
        .then([asked("inv_2", "nps", 1)]);
    given::<Asked>([asked("inv_1", "nps", 0), released()]).when(release()).then([]);
}

#[test]
fn asking_again_for_the_same_invitation_is_harmless() {
    given::<Asked>([asked("inv_1", "nps", 0)]).when(ask("inv_1", "nps")).then([]);
}

proptest! {
    /// However often a party is asked for, two invitations that count keep their distance.
    #[test]
    fn invitations_keep_their_distance(
        wishes in prop::collection::vec((0_i64..40, 0_usize..3), 1..60),
    ) {
        let (mut state, mut now) = (State::default(), 0);
        let mut issued: Vec<(usize, i64)> = Vec::new();
        for (number, (later, family)) in wishes.into_iter().enumerate() {
            now += later;
            let wish = ask(&format!("inv_{number}"), &format!("family-{family}"));
            match Asked::decide(&state, wish, day(now)) {
                Ok(events) => {
                    state = events.iter().fold(state, Asked::evolve);
                    prop_assert!(issued.iter().all(|(_, at)| now - at >= 14));
                    prop_assert!(issued.iter().all(|(of, at)| *of != family || now - at >= 90));
                    issued.push((family, now));
                }
                Err(held) => {
                    prop_assert!(held.next_allowed_at > day(now));
                    let again = ask("inv_later", &format!("family-{family}"));
                    let later = Asked::decide(&state, again.clone(), held.next_allowed_at);
                    prop_assert!(later.is_ok());
                    let early = Timestamp(held.next_allowed_at.0 - 1);
                    prop_assert!(Asked::decide(&state, again, early).is_err());
                }
            }
        }
    }
}
