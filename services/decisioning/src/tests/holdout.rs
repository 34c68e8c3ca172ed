use super::*;

fn holdout(id: &str) -> proto::HoldoutStarted {
    proto::HoldoutStarted {
        holdout_id: id.into(),
        salt: "salt".into(),
        share: 0.5,
        content_classes: vec![ContentClass::RxPromotional.into()],
        period: "2026-Q4".into(),
    }
}

fn start(holdout: proto::HoldoutStarted) -> proto::StartHoldoutRequest {
    proto::StartHoldoutRequest { parent: parent(), holdout: Some(holdout), ..Default::default() }
}

#[tokio::test]
async fn a_party_is_on_one_side_of_a_holdout_until_it_ends() {
    let world = World::start().await;
    world.decisions().start_holdout(start(holdout("q4"))).await.expect("started");
    let ask = |party: usize| proto::CheckOutboundRequest {
        party_id: format!("pty_{party}"),
        ..question(Audience::Hcp)
    };
    let mut sides = Vec::new();
    for party in 0..40 {
        let answer = world.decisions().check_outbound(ask(party)).await.expect("answered");
        let answer = answer.into_inner();
        assert_eq!(answer.holdout_id, "q4");
        let expected = crate::domain::holdout::arm(&holdout("q4"), &format!("pty_{party}"));
        assert_eq!(answer.arm(), expected);
        sides.push(answer.arm());
    }
    assert!(sides.contains(&proto::Arm::HeldOut) && sides.contains(&proto::Arm::Treated));
    let service =
        proto::CheckOutboundRequest { content_class: ContentClass::Service.into(), ..ask(1) };
    let answer = world.decisions().check_outbound(service).await.expect("answered").into_inner();
    assert_eq!((answer.holdout_id.as_str(), answer.arm()), ("", proto::Arm::Unspecified));

    world.pass(5);
    let end = || proto::EndHoldoutRequest {
        name: format!("tenants/{ACME}/holdouts/q4"),
        reason: "over".into(),
        ..Default::default()
    };
    let ended = world.decisions().end_holdout(end()).await.expect("ended").into_inner();
    assert!(ended.holdout.expect("a holdout").end_time.is_some());
    let answer = world.decisions().check_outbound(ask(1)).await.expect("answered").into_inner();
    assert_eq!(answer.holdout_id, "");
    world.decisions().end_holdout(end()).await.expect("already so");
}

#[tokio::test]
async fn holdouts_are_listed_by_id_in_pages() {
    let world = World::start().await;
    for id in ["one", "two", "three"] {
        world.decisions().start_holdout(start(holdout(id))).await.expect("started");
    }
    let other = proto::HoldoutStarted { share: 0.1, ..holdout("one") };
    let taken = world.decisions().start_holdout(start(other)).await.expect_err("another share");
    assert_eq!(told(&taken), (Code::AlreadyExists, "HOLDOUT_EXISTS".into()));
    let list =
        |page_token| proto::ListHoldoutsRequest { parent: parent(), page_size: 2, page_token };
    let first = world.decisions().list_holdouts(list(String::new())).await.expect("a page");
    let first = first.into_inner();
    let last = world.decisions().list_holdouts(list(first.next_page_token)).await;
    let last = last.expect("a page").into_inner();
    let names: Vec<_> =
        first.holdouts.iter().chain(&last.holdouts).map(|it| it.name.as_str()).collect();
    let expected = ["one", "three", "two"].map(|it| format!("tenants/{ACME}/holdouts/{it}"));
    assert_eq!(names, expected);
    assert_eq!(last.next_page_token, "");
}
