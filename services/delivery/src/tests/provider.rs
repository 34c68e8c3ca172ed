use rapport_proto::delivery::v1::ProviderEventKind as Kind;

use super::peers::{Consent, granted, write};
use super::*;

#[tokio::test]
async fn a_report_counts_once() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    let events = vec![
        event("e-1", Kind::Delivered, &touch),
        event("e-1", Kind::Delivered, &touch),
        event("e-2", Kind::Opened, &touch),
        proto::ProviderEvent { touch_id: "tch_none".into(), ..event("e-3", Kind::Opened, &touch) },
    ];
    let request = proto::RecordProviderEventsRequest {
        request_id: "batch-0001".into(),
        ..provider_events(events)
    };
    let outcomes = async |request: &proto::RecordProviderEventsRequest| {
        let reply = world.api().record_provider_events(request.clone()).await;
        let results = reply.expect("taken in").into_inner().results;
        results.into_iter().map(|it| it.outcome).collect::<Vec<_>>()
    };
    let first = outcomes(&request).await;
    assert_eq!(first, ["recorded", "repeated", "recorded", "unknown_touch"]);
    let head = world.store("delivery").head().position;
    let other = proto::RecordProviderEventsRequest { request_id: "batch-0002".into(), ..request };
    assert_eq!(outcomes(&other).await, ["repeated", "repeated", "repeated", "unknown_touch"]);
    assert_eq!(world.store("delivery").head().position, head);
    let touch_id = touch.request.expect("what was asked for").touch_id;
    let touch = world.get(&touch_id).await;
    assert_eq!((touch.delivered, touch.opens, touch.state()), (true, 1, State::Sent));
    world.harness.stop().await;
}

#[tokio::test]
async fn the_same_request_gets_the_same_answer() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    let request = proto::RecordProviderEventsRequest {
        request_id: "batch-0001".into(),
        ..provider_events(vec![event("e-1", Kind::Opened, &touch)])
    };
    let first = world.api().record_provider_events(request.clone()).await.expect("taken in");
    let again = world.api().record_provider_events(request).await.expect("taken in");
    assert_eq!(first.into_inner().results, again.into_inner().results);
    world.harness.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_requests_with_one_report_record_it_once() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    let reports = (0..8).map(|_| world.report(event("e-1", Kind::Opened, &touch)));
    let outcomes = futures::future::join_all(reports).await;
    assert_eq!(outcomes.iter().filter(|it| *it == "recorded").count(), 1, "{outcomes:?}");
    let touch_id = touch.request.expect("what was asked for").touch_id;
    assert_eq!(world.get(&touch_id).await.opens, 1);
    world.harness.stop().await;
}

#[tokio::test]
async fn an_unsubscription_holds_from_its_own_commit_until_a_later_consent() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    assert_eq!(world.report(event("e-1", Kind::Unsubscribed, &touch)).await, "recorded");
    let held = world.suppressions().await;
    assert_eq!(
        (held.len(), held[0].sender_id.as_str(), held[0].party_id.as_str()),
        (1, "northwind", PARTY)
    );
    let stopped = world.email(State::Skipped).await;
    assert_eq!(stopped.reason, "suppressed");
    assert_eq!(stopped.verdicts[1].proof_ids, [held[0].suppression_id.clone()]);

    let profiles = world.store("profiles");
    write::<Consent>(&profiles, "con_1", granted(START)).await;
    world.harness.clock.advance(Duration::from_secs(60));
    write::<Consent>(&profiles, "con_1", granted(START.plus(Duration::from_secs(60)))).await;
    let released = async || world.suppressions().await.is_empty().then_some(());
    until(released).await.expect("released");
    world.email(State::Sent).await;
    world.harness.stop().await;
}

#[tokio::test]
async fn an_unsubscribe_link_needs_no_id_and_cannot_be_guessed() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    let touch_id = touch.request.clone().expect("what was asked for").touch_id;
    let file =
        std::fs::read_to_string(world.outbox().join(format!("{touch_id}.eml"))).expect("a file");
    // A long header is folded.
    let unfolded = file.replace("\r\n ", "");
    let (_, link) = unfolded.split_once("https://northwind.example/u/").expect("a link");
    let (token, _) = link.split_once('>').expect("a token");
    let by_token = |token: &str| proto::ProviderEvent {
        touch_id: String::new(),
        unsubscribe_token: token.into(),
        ..event("click-1", Kind::Unsubscribed, &touch)
    };
    let forged = format!("{touch_id}.{}", "0".repeat(32));
    assert_eq!(world.report(by_token(&forged)).await, "unknown_touch");
    assert_eq!(world.report(by_token(token)).await, "recorded");
    assert_eq!(world.suppressions().await.len(), 1);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_dead_address_is_dead_for_everybody_who_has_it() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    let soft = event("e-1", Kind::Bounced, &touch);
    let hard = proto::ProviderEvent { hard: true, ..event("e-2", Kind::Bounced, &touch) };
    world.report(soft).await;
    assert!(world.suppressions().await.is_empty());
    world.report(hard).await;
    // Another party with another contact point of the same value.
    world.script.lock().recipient.contact_point_id = "cpt_2".into();
    world.script.lock().recipient.same_address = vec!["cpt_2".into(), "cpt_1".into()];
    let other =
        proto::RequestTouchRequest { parent: format!("tenants/{ACME}/parties/pty_2"), ..email() };
    let touch_id = world.request(other).await;
    let stopped = world.reaches(&touch_id, State::Skipped).await;
    assert_eq!(
        (stopped.reason.as_str(), stopped.verdicts[1].detail.as_str()),
        ("suppressed", "bounced")
    );
    // A person releases it.
    let release = proto::ReleaseRecipientRequest {
        name: format!("tenants/{ACME}/parties/{PARTY}"),
        reason: "corrected".into(),
        ..Default::default()
    };
    let left = world.api().release_recipient(release).await.expect("released").into_inner();
    assert!(left.suppressions.is_empty() && world.suppressions().await.is_empty());
    world.harness.stop().await;
}
