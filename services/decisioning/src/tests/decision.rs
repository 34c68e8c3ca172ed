use super::*;

const PARTY: &str = "pty_00000000000000000000000000";

fn wish() -> proto::DecideRequest {
    proto::DecideRequest {
        parent: format!("tenants/{ACME}/parties/{PARTY}"),
        sender_id: "northwind".into(),
        request_id: "request-1".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn without_a_policy_nothing_is_decided() {
    let world = World::start().await;
    let refused = world.decisions().decide(wish()).await.expect_err("no policy");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "NO_LIVE_POLICY".into()));
    assert_eq!(world.head(), 0);
}

#[tokio::test]
async fn without_profiles_nothing_is_decided_and_nothing_recorded() {
    let world = World::start().await;
    world.policy(small_policy()).await;
    let head = world.head();
    let refused = world.decisions().decide(wish()).await.expect_err("no peer");
    assert_eq!(told(&refused), (Code::Unavailable, "PEER_UNAVAILABLE".into()));
    assert_eq!(world.head(), head);
}

#[tokio::test]
async fn what_was_never_decided_is_not_found() {
    let world = World::start().await;
    let name = format!("tenants/{ACME}/decisions/dec_00000000000000000000000000");
    let get = proto::GetDecisionRequest { name: name.clone(), ..Default::default() };
    assert_eq!(world.decisions().get_decision(get).await.expect_err("none").code(), Code::NotFound);
    let explain = proto::ExplainDecisionRequest { name };
    let none = world.decisions().explain_decision(explain).await.expect_err("none");
    assert_eq!(none.code(), Code::NotFound);
}
