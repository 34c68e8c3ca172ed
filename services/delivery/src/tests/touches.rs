use super::*;

fn list(page_size: i32, page_token: &str) -> proto::ListTouchesRequest {
    proto::ListTouchesRequest {
        parent: parent(),
        page_size,
        page_token: page_token.into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_touch() {
    let world = World::start().await;
    let request = proto::RequestTouchRequest { request_id: "request-1".into(), ..email() };
    let first = world.request(request.clone()).await;
    world.reaches(&first, State::Sent).await;
    assert_eq!(world.request(request.clone()).await, first);
    let other = proto::RequestTouchRequest { module: "other".into(), ..request };
    let refused = world.api().request_touch(other).await.expect_err("another body");
    assert_eq!(told(&refused).1, "REQUEST_ID_REUSED");
    assert_eq!(world.files().len(), 1);
    world.harness.stop().await;
}

#[tokio::test]
async fn touches_are_listed_newest_first_page_by_page() {
    let world = World::start().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(world.email(State::Sent).await.name);
    }
    ids.reverse();
    let first = world.api().list_touches(list(2, "")).await.expect("listed").into_inner();
    let second = list(2, &first.next_page_token);
    let second = world.api().list_touches(second).await.expect("listed").into_inner();
    let all: Vec<_> =
        first.touches.iter().chain(&second.touches).map(|it| it.name.clone()).collect();
    assert_eq!((all, second.next_page_token.as_str()), (ids, ""));
    let filter = |party_id: &str, state: State| proto::ListTouchesRequest {
        party_id: party_id.into(),
        state: state.into(),
        ..list(0, "")
    };
    for (party_id, state, count) in
        [(PARTY, State::Sent, 3), (PARTY, State::Failed, 0), ("pty_2", State::Sent, 0)]
    {
        let listed =
            world.api().list_touches(filter(party_id, state)).await.expect("listed").into_inner();
        assert_eq!(listed.touches.len(), count);
    }
    let changed =
        proto::ListTouchesRequest { party_id: PARTY.into(), ..list(2, &first.next_page_token) };
    let refused = world.api().list_touches(changed).await.expect_err("another list");
    assert_eq!(told(&refused).1, "PAGE_TOKEN_INVALID");
    world.harness.stop().await;
}

#[tokio::test]
async fn senders_are_described_anew_and_listed() {
    let world = World::start().await;
    let mut other = sender();
    other.sender.as_mut().expect("a sender").sender_id = "southwind".into();
    let first = world.api().register_sender(other.clone()).await.expect("registered").into_inner();
    let again = world.api().register_sender(other).await.expect("registered").into_inner();
    assert_eq!(first.sender, again.sender);
    let request = proto::ListSendersRequest { parent: parent(), ..Default::default() };
    let listed = world.api().list_senders(request).await.expect("listed").into_inner().senders;
    let ids: Vec<_> = listed.iter().map(|it| it.sender_id.as_str()).collect();
    assert_eq!(ids, ["northwind", "southwind"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_webhook_secret_belongs_to_tenant_and_contact_point() {
    let world = World::start().await;
    let secret = async |tenant: &str, id: &str| {
        let caller = world.harness.person(tenant, "ops", &["*"]);
        let request = proto::GetWebhookSecretRequest {
            parent: format!("tenants/{tenant}"),
            contact_point_id: id.into(),
        };
        let reply = DeliveryServiceClient::new(caller).get_webhook_secret(request).await;
        reply.expect("a secret").into_inner().secret
    };
    let first = secret(ACME, "cpt_1").await;
    assert!(first.starts_with("whsec_") && first.len() == 50, "{first}");
    assert_eq!(secret(ACME, "cpt_1").await, first);
    assert_ne!(secret(ACME, "cpt_2").await, first);
    assert_ne!(secret(UMBRELLA, "cpt_1").await, first);
    world.harness.stop().await;
}

#[tokio::test]
async fn another_tenant_finds_nothing() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    let stranger = || DeliveryServiceClient::new(world.harness.person(UMBRELLA, "eve", &["*"]));
    let get = proto::GetTouchRequest { name: touch.name.clone(), ..Default::default() };
    let refused = stranger().get_touch(get).await.expect_err("theirs");
    assert_eq!(refused.code(), Code::NotFound);
    let touch_id = touch.request.expect("what was asked for").touch_id;
    let own_name = format!("tenants/{UMBRELLA}/touches/{touch_id}");
    let get = proto::GetTouchRequest { name: own_name.clone(), ..Default::default() };
    assert_eq!(stranger().get_touch(get).await.expect_err("none").code(), Code::NotFound);
    let settle =
        proto::SettleTouchRequest { name: own_name, reason: "x".into(), ..Default::default() };
    assert_eq!(stranger().settle_touch(settle).await.expect_err("none").code(), Code::NotFound);
    let listed =
        proto::ListTouchesRequest { parent: format!("tenants/{UMBRELLA}"), ..Default::default() };
    assert!(stranger().list_touches(listed).await.expect("listed").into_inner().touches.is_empty());
    let refused = stranger().list_touches(list(0, "")).await.expect_err("theirs");
    assert_eq!(refused.code(), Code::NotFound);
    // A report about somebody else's touch finds none.
    let event = event("e-1", proto::ProviderEventKind::Delivered, &world.get(&touch_id).await);
    let request = proto::RecordProviderEventsRequest {
        parent: format!("tenants/{UMBRELLA}"),
        events: vec![event],
        ..Default::default()
    };
    let reply = stranger().record_provider_events(request).await.expect("taken in").into_inner();
    assert_eq!(reply.results[0].outcome, "unknown_touch");
    world.harness.stop().await;
}

#[tokio::test]
async fn what_a_method_needs_is_its_permission() {
    let world = World::start().await;
    let reader = world.harness.person(ACME, "reader", &["delivery.touches.read"]);
    let mut reader = DeliveryServiceClient::new(reader);
    assert!(reader.list_touches(list(0, "")).await.is_ok());
    let refused = reader.request_touch(email()).await.expect_err("may only read");
    assert_eq!(refused.code(), Code::PermissionDenied);
    world.harness.stop().await;
}
