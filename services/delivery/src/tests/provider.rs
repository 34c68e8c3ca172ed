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
    let head = world.head().await;
    let other = proto::RecordProviderEventsRequest { request_id: "batch-0002".into(), ..request };
    assert_eq!(outcomes(&other).await, ["repeated", "repeated", "repeated", "unknown_touch"]);
    assert_eq!(world.head().await, head);
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
async fn who_clicks_an_old_link_after_a_new_consent_is_unsubscribed_again() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    // Each click has an id of its own.
    let mut clicks = 0;
    let mut click = || {
        clicks += 1;
        event(&format!("click-{clicks}"), Kind::Unsubscribed, &touch)
    };
    assert_eq!(world.report(click()).await, "recorded");
    let request = proto::RecordProviderEventsRequest {
        request_id: "click-0002".into(),
        ..provider_events(vec![click(), event("e-1", Kind::Opened, &touch)])
    };
    // A double click suppresses once, and a repeat of it is told the same.
    for _ in 0..2 {
        let told = world.api().record_provider_events(request.clone()).await.expect("taken in");
        let told: Vec<_> = told.into_inner().results.into_iter().map(|it| it.outcome).collect();
        assert_eq!(told, ["recorded", "recorded"]);
    }
    assert_eq!(world.suppressions().await.len(), 1);
    let consents = async |after: u64| {
        world.harness.clock.set(START.plus(Duration::from_secs(after)));
        let at = world.harness.clock.now();
        write::<Consent>(&world.store("profiles"), "con_1", granted(at)).await;
    };
    let released = async || world.suppressions().await.is_empty().then_some(());
    consents(60).await;
    until(released).await.expect("released");
    assert_eq!(world.report(click()).await, "recorded");
    assert_eq!(world.suppressions().await.len(), 1);
    assert_eq!(world.email(State::Skipped).await.reason, "suppressed");
    // A later click than a consent that nobody here has read of yet outlasts it.
    world.harness.clock.set(START.plus(Duration::from_secs(200)));
    assert_eq!(world.report(click()).await, "recorded");
    assert_eq!(
        world.suppressions().await[0].suppressed_at,
        time(START.plus(Duration::from_secs(200)))
    );
    world.harness.stop().await;
}

#[tokio::test]
async fn what_was_said_first_and_is_told_again_takes_back_no_consent_of_meanwhile() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    let after = |seconds: u64| START.plus(Duration::from_secs(seconds));
    let click = |id: &str, seconds: u64| proto::ProviderEvent {
        occur_time: time(after(seconds)),
        ..event(id, Kind::Unsubscribed, &touch)
    };
    world.harness.clock.set(after(10));
    for (id, seconds) in [("click-1", 0), ("click-2", 3)] {
        assert_eq!(world.report(click(id, seconds)).await, "recorded");
    }
    let consented = async |seconds: u64| {
        write::<Consent>(&world.store("profiles"), "con_1", granted(after(seconds))).await
    };
    // One that was captured between two clicks does not outlast the second.
    let position = consented(2).await;
    let read = proto::ListTouchesRequest {
        parent: parent(),
        min_positions: [("profiles".to_owned(), position)].into(),
        ..Default::default()
    };
    world.api().list_touches(read).await.expect("read");
    assert_eq!(world.suppressions().await[0].suppressed_at, time(after(3)));
    world.harness.clock.set(after(60));
    consented(60).await;
    let released = async || world.suppressions().await.is_empty().then_some(());
    until(released).await.expect("released");
    assert_eq!(world.report(click("click-2", 3)).await, "repeated");
    assert!(world.suppressions().await.is_empty());
    world.harness.stop().await;
}

#[tokio::test]
async fn several_reports_of_one_message_are_each_laid_to_it() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    let events = vec![
        bounce_of(&touch.provider_id),
        proto::ProviderEvent {
            provider_id: touch.provider_id.clone(),
            ..event("e-1", Kind::Delivered, &proto::Touch::default())
        },
    ];
    let told = world.api().record_provider_events(provider_events(events)).await.expect("taken in");
    let outcomes: Vec<_> = told.into_inner().results.into_iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, ["recorded"; 2]);
    assert_eq!(world.suppressions().await.len(), 1);
    world.harness.stop().await;
}

#[tokio::test]
async fn what_cannot_have_overtaken_its_message_is_not_asked_for_again() {
    let world = World::start().await;
    let touches = [world.email(State::Sent).await, world.email(State::Sent).await];
    let long_ago = START.minus(Duration::from_secs(15 * 60));
    let old = proto::ProviderEvent { occur_time: time(long_ago), ..bounce_of("nobody's") };
    assert_eq!(world.report(old).await, "unknown_touch");
    // Some providers give many messages one id.
    let mut tx = world.store("delivery").database().begin().await.expect("begun");
    tx.exec("UPDATE touch SET provider_id = 'ok'", Vec::new()).await.expect("written");
    tx.commit().await.expect("committed");
    assert_eq!(touches.map(|it| it.state()), [State::Sent; 2]);
    assert_eq!(world.report(bounce_of("ok")).await, "unknown_touch");
    assert_eq!(kept(&world).await.len(), 2);
    assert!(world.suppressions().await.is_empty());
    world.harness.stop().await;
}

#[tokio::test]
async fn what_came_too_early_counts_from_the_commit_that_notes_its_message() {
    let world = World::start().await;
    world.script.lock().down = "Render";
    let touch_id = world.request(email()).await;
    let message = format!("{touch_id}.eml");
    // More than one commit lays to it.
    let opened = (0..40).map(|number| proto::ProviderEvent {
        provider_id: message.clone(),
        ..event(&format!("e-{number}"), Kind::Opened, &proto::Touch::default())
    });
    let personal = "5.1.1 <ada@example.org> is unknown".to_owned();
    let bounced = proto::ProviderEvent { code: personal, ..bounce_of(&message) };
    for events in [vec![bounced], opened.collect()] {
        let early = provider_events(events);
        let told = world.api().record_provider_events(early).await.expect_err("early");
        assert_eq!(super::told(&told), (Code::Unavailable, "REPORT_TOO_EARLY".into()));
    }
    let all = kept(&world).await;
    assert_eq!((all.len(), all[0].code.as_str()), (41, "5.1.1"), "nobody is named");
    world.script.lock().down = "";
    world.reaches(&touch_id, State::Sent).await;
    // The provider says nothing again.
    let held = world.suppressions().await;
    assert_eq!((held.len(), held[0].touch_id.as_str()), (1, touch_id.as_str()));
    world.harness.clock.advance(crate::worker::GIVES_UP);
    until(async || kept(&world).await.is_empty().then_some(())).await.expect("laid");
    assert_eq!(world.get(&touch_id).await.opens, 40);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_token_of_what_was_never_sent_is_told_the_same_twice() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    let keys = world.store("delivery").keys().clone();
    let by_token = proto::ProviderEvent {
        touch_id: String::new(),
        unsubscribe_token: crate::token::mint(&keys, ACME, "tch_none"),
        ..event("click-1", Kind::Unsubscribed, &touch)
    };
    let request = proto::RecordProviderEventsRequest {
        request_id: "batch-0001".into(),
        ..provider_events(vec![by_token, event("e-1", Kind::Opened, &touch)])
    };
    for _ in 0..2 {
        let told = world.api().record_provider_events(request.clone()).await.expect("taken in");
        let told: Vec<_> = told.into_inner().results.into_iter().map(|it| it.outcome).collect();
        assert_eq!(told, ["unknown_touch", "recorded"]);
    }
    world.harness.stop().await;
}

/// Reports, as far as they were laid to no touch.
async fn kept(world: &World) -> Vec<proto::ReportKept> {
    let list = proto::ListReportsRequest { parent: parent(), page_size: 1, ..Default::default() };
    let (mut reports, mut page_token) = (Vec::new(), String::new());
    loop {
        let list = proto::ListReportsRequest { page_token, ..list.clone() };
        let page = world.api().list_reports(list).await.expect("listed").into_inner();
        reports.extend(page.reports);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return reports;
        }
    }
}

/// A hard bounce of a message.
fn bounce_of(message: &str) -> proto::ProviderEvent {
    proto::ProviderEvent {
        provider_id: message.into(),
        hard: true,
        code: "5.1.1".into(),
        ..event(&format!("bounce of {message}"), Kind::Bounced, &proto::Touch::default())
    }
}

#[tokio::test]
async fn a_report_that_overtakes_its_message_is_asked_for_again_and_counts_once() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    // The file outbox names a message by its file: the next touch's is known before it is sent.
    world.script.lock().down = "Render";
    let touch_id = world.request(email()).await;
    let request = proto::RecordProviderEventsRequest {
        request_id: "batch-0001".into(),
        ..provider_events(vec![
            bounce_of(&format!("{touch_id}.eml")),
            event("e-1", Kind::Opened, &touch),
        ])
    };
    for _ in 0..2 {
        let told = world.api().record_provider_events(request.clone()).await.expect_err("early");
        assert_eq!(super::told(&told), (Code::Unavailable, "REPORT_TOO_EARLY".into()));
        // Nobody waits for it: the others are recorded, and this one is kept.
        let opened = touch.request.clone().expect("what was asked for").touch_id;
        assert_eq!(world.get(&opened).await.opens, 1);
        let kept = kept(&world).await;
        assert_eq!((kept.len(), kept[0].kind.as_str(), kept[0].hard), (1, "bounced", true));
        assert_eq!(kept[0].provider_id, format!("{touch_id}.eml"));
    }
    world.script.lock().down = "";
    world.reaches(&touch_id, State::Sent).await;
    // The provider sends the same again.
    for _ in 0..2 {
        let told = world.api().record_provider_events(request.clone()).await.expect("taken in");
        let told = told.into_inner().results;
        assert_eq!((told[0].outcome.as_str(), told[0].touch_id.as_str()), ("repeated", &*touch_id));
        assert_eq!(told[1].outcome, "repeated");
    }
    assert_eq!((world.suppressions().await.len(), kept(&world).await), (1, Vec::new()));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_report_that_never_finds_its_touch_stays_listed() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    for message in ["nobody's", "nobody's either"] {
        let early = provider_events(vec![bounce_of(message)]);
        let told = world.api().record_provider_events(early).await.expect_err("early");
        assert_eq!(told.code(), Code::Unavailable);
    }
    // What names a touch itself, which must exist before anything is sent, is not asked for again.
    let none =
        proto::ProviderEvent { touch_id: "tch_none".into(), ..event("e-1", Kind::Opened, &touch) };
    assert_eq!(world.report(none).await, "unknown_touch");
    world.harness.clock.advance(Duration::from_secs(15 * 60));
    let head = world.head().await;
    assert_eq!(world.report(bounce_of("nobody's")).await, "unknown_touch");
    assert_eq!(world.head().await, head, "it is kept once");
    let named: Vec<_> =
        kept(&world).await.into_iter().map(|it| it.provider_id + &it.touch_id).collect();
    assert_eq!(named, ["nobody's", "nobody's either", "tch_none"]);
    // Another tenant sees nothing of it.
    let list =
        proto::ListReportsRequest { parent: format!("tenants/{UMBRELLA}"), ..Default::default() };
    let refused = world.api().list_reports(list).await.expect_err("of another tenant");
    assert_eq!(refused.code(), Code::NotFound);
    world.harness.stop().await;
}

#[tokio::test]
async fn one_report_that_cannot_be_used_refuses_no_other() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    let both =
        proto::ProviderEvent { provider_id: "7".into(), ..event("e-1", Kind::Opened, &touch) };
    let events = vec![
        both,
        event("e-2", Kind::Opened, &touch),
        event(&"x".repeat(201), Kind::Opened, &touch),
        event("e-3", Kind::Unsubscribed, &touch),
    ];
    let request = proto::RecordProviderEventsRequest {
        request_id: "batch-0001".into(),
        ..provider_events(events)
    };
    for _ in 0..2 {
        let told = world.api().record_provider_events(request.clone()).await.expect("taken in");
        let told = told.into_inner().results;
        let outcomes: Vec<_> = told.iter().map(|it| it.outcome.as_str()).collect();
        assert_eq!(outcomes, ["refused", "recorded", "refused", "recorded"]);
        let fields = [told[0].field.as_str(), told[2].field.as_str()];
        assert_eq!(fields, ["events[0].touch_id", "events[2].provider_event_id"]);
        assert!(!told[0].remedy.is_empty() && told[1].field.is_empty());
    }
    assert_eq!(world.suppressions().await.len(), 1);
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
