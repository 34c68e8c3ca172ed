use rapport_proto::delivery::v1::ProviderEventKind as Kind;

use super::*;

fn hostile() -> Vec<String> {
    vec![
        "a\0b".into(),
        "a\r\nBcc: x@y.z".into(),
        "a\u{202e}b".into(),
        "a/../b".into(),
        "'; DROP TABLE touch; --".into(),
        "x".repeat(1 << 20),
    ]
}

#[tokio::test]
async fn hostile_strings_are_refused_in_every_field_of_a_request() {
    let world = World::start().await;
    type Put = fn(&mut proto::RequestTouchRequest, String);
    let places: [(&str, Put); 6] = [
        ("parent", |it, text| it.parent = text),
        ("module", |it, text| it.module = text),
        ("sender_id", |it, text| it.sender_id = text),
        ("decision_id", |it, text| it.decision_id = text),
        ("slots", |it, text| it.slots = [(text, "x".to_owned())].into()),
        ("min_positions", |it, text| it.min_positions = [(text, 1)].into()),
    ];
    for (field, put) in places {
        for text in hostile() {
            let mut request = email();
            put(&mut request, text);
            let refused = world.api().request_touch(request).await.expect_err(field);
            assert_eq!(
                (refused.code(), fields(&refused)),
                (Code::InvalidArgument, vec![field.to_owned()])
            );
        }
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn what_a_touch_needs_is_named() {
    let world = World::start().await;
    let cases: Vec<(proto::RequestTouchRequest, &str, &str)> = vec![
        (proto::RequestTouchRequest { channel: 0, ..email() }, "FIELD_INVALID", "channel"),
        (proto::RequestTouchRequest { channel: 99, ..email() }, "FIELD_INVALID", "channel"),
        (
            proto::RequestTouchRequest { sender_id: "nobody".into(), ..email() },
            "SENDER_UNKNOWN",
            "sender_id",
        ),
        (
            proto::RequestTouchRequest { expire_time: time(START), ..email() },
            "FIELD_INVALID",
            "expire_time",
        ),
        (
            proto::RequestTouchRequest {
                expire_time: time(START.plus(Duration::from_secs(400 * 86_400))),
                ..email()
            },
            "FIELD_INVALID",
            "expire_time",
        ),
        (
            proto::RequestTouchRequest {
                slots: (0..101).map(|it| (format!("s{it}"), String::new())).collect(),
                ..email()
            },
            "FIELD_INVALID",
            "slots",
        ),
    ];
    for (request, reason, field) in cases {
        let refused = world.api().request_touch(request).await.expect_err(field);
        assert_eq!((told(&refused).1.as_str(), fields(&refused)), (reason, vec![field.to_owned()]));
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_position_that_nobody_has_reached_is_told_and_not_waited_for() {
    let world = World::start().await;
    let at = |source: &str, position| proto::RequestTouchRequest {
        min_positions: [(source.to_owned(), position)].into(),
        ..email()
    };
    for source in ["profiles", "content", "decisioning", "journeys", "delivery"] {
        let refused = world.api().request_touch(at(source, u64::MAX)).await.expect_err(source);
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec!["min_positions".to_owned()])
        );
        // It is possible, and may be on its way.
        let beyond = world.store(source).head().position + 1;
        let refused = world.api().request_touch(at(source, beyond)).await.expect_err(source);
        assert_eq!(told(&refused), (Code::Unavailable, "BEHIND".into()), "{source}");
    }
    let listed = proto::ListTouchesRequest { parent: parent(), ..Default::default() };
    let listed = world.api().list_touches(listed).await.expect("listed").into_inner().touches;
    assert!(listed.is_empty(), "nothing waits for it");
    let reached = world.head().await;
    let touch_id = world.request(at("delivery", reached)).await;
    world.reaches(&touch_id, State::Sent).await;
    world.harness.stop().await;
}

#[tokio::test]
async fn a_sender_cannot_smuggle_headers_in() {
    let world = World::start().await;
    type Put = fn(&mut proto::Sender, String);
    let places: [(&str, Put); 4] = [
        ("sender.from_address", |it, text| it.from_address = text),
        ("sender.from_name", |it, text| it.from_name = text),
        ("sender.unsubscribe_url", |it, text| it.unsubscribe_url = text),
        ("sender.legal_entity", |it, text| it.legal_entity = text),
    ];
    for (field, put) in places {
        for text in ["a@b.example\r\nBcc: x@y.z".to_owned(), "x".repeat(1 << 20)] {
            let mut request = sender();
            put(request.sender.as_mut().expect("a sender"), text);
            let refused = world.api().register_sender(request).await.expect_err(field);
            assert!(fields(&refused).iter().all(|it| it == field), "{:?}", fields(&refused));
            assert_eq!(refused.code(), Code::InvalidArgument);
        }
    }
    let refused = proto::RegisterSenderRequest { sender: None, ..sender() };
    let refused = world.api().register_sender(refused).await.expect_err("no sender");
    assert_eq!(fields(&refused), ["sender"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_report_says_what_happened_and_to_what() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    let good = || event("e-1", Kind::Opened, &touch);
    let cases = [
        (proto::ProviderEvent { kind: 0, ..good() }, "events[0].kind"),
        (proto::ProviderEvent { provider: String::new(), ..good() }, "events[0].provider"),
        (
            proto::ProviderEvent { provider_event_id: String::new(), ..good() },
            "events[0].provider_event_id",
        ),
        (proto::ProviderEvent { touch_id: String::new(), ..good() }, "events[0].touch_id"),
        (proto::ProviderEvent { provider_id: "x".into(), ..good() }, "events[0].touch_id"),
        (proto::ProviderEvent { user_agent: "a\r\nb".into(), ..good() }, "events[0].user_agent"),
    ];
    for (event, field) in cases {
        let request = provider_events(vec![event]);
        let refused = world.api().record_provider_events(request).await.expect_err(field);
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec![field.to_owned()])
        );
    }
    for events in [Vec::new(), vec![good(); 101]] {
        let refused = world
            .api()
            .record_provider_events(provider_events(events))
            .await
            .expect_err("how many");
        assert_eq!(fields(&refused), ["events"]);
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn a_touch_in_another_state_says_so() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    let settle = |name: &str, sent| proto::SettleTouchRequest {
        name: name.into(),
        sent,
        reason: "found-out".into(),
        ..Default::default()
    };
    let refused =
        world.api().settle_touch(settle(&touch.name, false)).await.expect_err("it was sent");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "WRONG_STATE".into()));
    assert!(world.api().settle_touch(settle(&touch.name, true)).await.is_ok(), "already so");
    let refused =
        world.api().settle_touch(settle(&touch_name("tch_none"), true)).await.expect_err("none");
    assert_eq!((refused.code(), fields(&refused)), (Code::NotFound, vec!["name".to_owned()]));
    let accept = proto::AcceptTaskRequest { name: touch.name, ..Default::default() };
    let refused = world.api().accept_task(accept).await.expect_err("no task");
    assert_eq!(told(&refused).1, "WRONG_STATE");
    let list = proto::ListTasksRequest {
        parent: parent(),
        state: State::Sent.into(),
        ..Default::default()
    };
    assert_eq!(
        fields(&world.api().list_tasks(list).await.expect_err("no state of a task")),
        ["state"]
    );
    world.harness.stop().await;
}
