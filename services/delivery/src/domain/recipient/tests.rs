use std::time::Duration;

use eventstore::testing::given;

use super::*;

const NOW: Timestamp = Timestamp(1_767_268_800_000_000);

fn suppressed(cause: SuppressionCause, id: &str) -> RecipientSuppressed {
    RecipientSuppressed {
        suppression_id: id.into(),
        cause: cause.into(),
        party_id: "pty_1".into(),
        channel: Channel::Email.into(),
        contact_point_id: "cpt_1".into(),
        sender_id: if cause == SuppressionCause::Unsubscribed {
            "northwind".into()
        } else {
            String::new()
        },
        purpose: match cause {
            SuppressionCause::Unsubscribed => Purpose::Promotional.into(),
            _ => Purpose::Unspecified.into(),
        },
        suppressed_at: Some(NOW.to_proto()),
        ..Default::default()
    }
}

fn all() -> Vec<Event> {
    vec![
        Event::Suppressed(suppressed(SuppressionCause::Unsubscribed, "unsubscribed/tch_1")),
        Event::Suppressed(suppressed(SuppressionCause::Complained, "complained/tch_2")),
        Event::Suppressed(suppressed(SuppressionCause::Bounced, "bounced/tch_3")),
    ]
}

fn grant(captured_at: Timestamp) -> Consented {
    Consented {
        consent_id: "con_1".into(),
        purpose: Purpose::Promotional,
        channel: Channel::Email,
        sender_id: "northwind".into(),
        captured_at,
    }
}

fn left(events: Vec<Event>, command: Command) -> Vec<String> {
    given::<Recipient>(events).at(NOW).when(command).state().suppressions.into_keys().collect()
}

#[test]
fn suppressing_twice_is_harmless() {
    let again = suppressed(SuppressionCause::Bounced, "bounced/tch_3");
    given::<Recipient>(all()).at(NOW).when(Command::Suppress(again)).then([]);
}

#[test]
fn what_is_said_again_later_outlasts_a_consent_of_before() {
    let said = |after: u64| RecipientSuppressed {
        suppressed_at: Some(NOW.plus(Duration::from_secs(after)).to_proto()),
        ..suppressed(SuppressionCause::Unsubscribed, "unsubscribed/tch_1")
    };
    let consented = || Command::Consented(grant(NOW.plus(Duration::from_secs(30))));
    // One that is told late says nothing about what came after it.
    given::<Recipient>(all()).at(NOW).when(Command::Suppress(said(0))).then([]);
    let again = Command::Suppress(said(60));
    given::<Recipient>(all()).at(NOW).when(again.clone()).then([Event::Suppressed(said(60))]);
    // The consent of meanwhile is read of afterwards, or before.
    let mut later = all();
    later.push(Event::Suppressed(said(60)));
    given::<Recipient>(later).at(NOW).when(consented()).then([]);
    let mut released = all();
    released.extend(given::<Recipient>(all()).at(NOW).when(consented()).events());
    given::<Recipient>(released).at(NOW).when(again).then([Event::Suppressed(said(60))]);
}

#[test]
fn a_consent_captured_later_releases_what_was_said_before_it() {
    let later = Timestamp(NOW.0 + 1);
    let kept = ["bounced/tch_3", "complained/tch_2"];
    assert_eq!(
        left(all(), Command::Consented(grant(later))),
        kept,
        "nobody's form lifts a complaint"
    );
    // What was captured at the same instant or before says nothing about what came after it.
    for captured_at in [NOW, Timestamp(NOW.0 - 1)] {
        given::<Recipient>(all()).at(NOW).when(Command::Consented(grant(captured_at))).then([]);
    }
    let other = Consented { channel: Channel::Sms, ..grant(later) };
    given::<Recipient>(all()).at(NOW).when(Command::Consented(other)).then([]);
    for other in [
        Consented { purpose: Purpose::Service, ..grant(later) },
        Consented { sender_id: "another".into(), ..grant(later) },
    ] {
        given::<Recipient>(all()).at(NOW).when(Command::Consented(other)).then([]);
    }
}

#[test]
fn a_person_releases_what_is_named_or_all() {
    let release = |ids: &[&str]| Command::Release {
        suppression_ids: ids.iter().map(|it| (*it).to_owned()).collect(),
        reason: "called".into(),
    };
    assert_eq!(
        left(all(), release(&["bounced/tch_3"])),
        ["complained/tch_2", "unsubscribed/tch_1"]
    );
    assert_eq!(left(all(), release(&[])), Vec::<String>::new());
    given::<Recipient>([]).at(NOW).when(release(&[])).then([]);
    given::<Recipient>(all()).at(NOW).when(release(&["x/y"])).refused(|it| *it == Refusal::Unknown);
}
