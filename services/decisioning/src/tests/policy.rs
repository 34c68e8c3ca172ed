use super::*;

#[tokio::test]
async fn a_policy_goes_from_draft_to_live() {
    let world = World::start().await;
    assert_eq!(world.policy(small_policy()).await, 1);
    let get = || proto::GetPolicyRequest { name: policy_name(), ..Default::default() };
    let reply = world.policies().get_policy(get()).await.expect("found").into_inner();
    assert_eq!(reply.policy, Some(small_policy()));
    let version = reply.version.expect("a version");
    assert_eq!((version.author.as_str(), version.approver.as_str()), ("ada", "bea"));
    let retire = proto::RetirePolicyRequest {
        name: policy_name(),
        version: 1,
        reason: "error".into(),
        ..Default::default()
    };
    world.policies().retire_policy(retire).await.expect("retired");
    let answer = world.outbound(Audience::Hcp).await;
    assert_eq!(answer.policy_version, 0);
}

#[tokio::test]
async fn a_policy_needs_a_simulation_and_a_second_person() {
    let world = World::start().await;
    world.draft_policy(small_policy()).await.expect("drafted");
    let approve = |hash: String| proto::ApprovePolicyRequest {
        name: policy_name(),
        version: 1,
        hash,
        ..Default::default()
    };
    let mut bea = PolicyServiceClient::new(world.bea());
    let early = bea.approve_policy(approve(String::new())).await.expect_err("not simulated");
    assert_eq!(told(&early).1, "WRONG_STATE");
    let simulate = proto::SimulatePolicyRequest { name: policy_name(), ..Default::default() };
    let found = world.policies().simulate_policy(simulate).await.expect("simulated").into_inner();
    assert_eq!(found.summary.expect("a summary").decisions, 0);
    let own = world.policies().approve_policy(approve(String::new())).await;
    assert_eq!(told(&own.expect_err("the author")).1, "AUTHOR_MAY_NOT_APPROVE");
    let stale = bea.approve_policy(approve("00".repeat(32))).await.expect_err("other bytes");
    assert_eq!(told(&stale).1, "SIMULATION_STALE");
    let activate =
        proto::ActivatePolicyRequest { name: policy_name(), version: 1, ..Default::default() };
    let unsigned = world.policies().activate_policy(activate).await.expect_err("not approved");
    assert_eq!(told(&unsigned).1, "WRONG_STATE");
    let hash = found.version.expect("a version").hash;
    bea.approve_policy(approve(hash)).await.expect("approved");
}

#[tokio::test]
async fn a_lever_whose_time_is_over_is_refused_when_it_is_drafted() {
    let world = World::start().await;
    let lever = |until| proto::Lever {
        lever: "push".into(),
        group: "win-back".into(),
        weight: 10.0,
        owner: "brand lead".into(),
        reason: "launch".into(),
        until: time(until),
        ..Default::default()
    };
    let with = |until| proto::Policy { levers: vec![lever(until)], ..small_policy() };
    let refused = world.draft_policy(with(START)).await.expect_err("over");
    assert_eq!(told(&refused), (Code::InvalidArgument, "LEVER_EXPIRED".into()));
    assert_eq!(fields(&refused), ["policy.levers[0].until"]);
    world.draft_policy(with(Timestamp(START.0 + 1))).await.expect("drafted");
}

#[tokio::test]
async fn checking_only_returns_findings_and_saves_nothing() {
    let world = World::start().await;
    let mut policy = small_policy();
    policy.actions[0].eligibility = "party.kin == 'HCP'".into();
    policy.actions[0].group = "other".into();
    let request = proto::DraftPolicyRequest {
        parent: parent(),
        definition: Some(proto::draft_policy_request::Definition::Policy(policy)),
        validate_only: true,
        ..Default::default()
    };
    let reply = world.policies().draft_policy(request).await.expect("checked").into_inner();
    let found: Vec<_> =
        reply.findings.iter().map(|it| (it.place.as_str(), it.code.as_str(), it.column)).collect();
    assert_eq!(
        found,
        [("actions[0].group", "dangling", 0), ("actions[0].eligibility", "rule_invalid", 1)]
    );
    assert_eq!(world.head(), 0);
}
