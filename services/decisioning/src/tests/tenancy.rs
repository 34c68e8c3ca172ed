//! Nothing of one tenant is ever seen or touched with the token of another.

use super::*;

#[tokio::test]
async fn another_tenant_finds_nothing_and_changes_nothing() {
    let world = World::start().await;
    world.pack("DE", GERMANY).await;
    world.policy(small_policy()).await;
    let head = world.head();
    let stranger = world.harness.person(UMBRELLA, "eve", &["*"]);
    let mut packs = RulePackServiceClient::new(stranger.clone());
    let mut policies = PolicyServiceClient::new(stranger.clone());
    let mut decisions = DecisionServiceClient::new(stranger);

    macro_rules! not_found {
        ($client:ident.$method:ident, $request:expr) => {
            let refused = $client.$method($request).await.expect_err(stringify!($method));
            assert_eq!(refused.code(), Code::NotFound, stringify!($method));
        };
    }
    let name = || pack_name("DE");
    let version = 1;
    let reason = || "error".to_owned();
    let decision = || format!("tenants/{ACME}/decisions/dec_1");
    let party = || format!("tenants/{ACME}/parties/pty_1");
    not_found!(
        packs.draft_rule_pack,
        proto::DraftRulePackRequest { parent: parent(), ..Default::default() }
    );
    not_found!(
        packs.simulate_rule_pack,
        proto::SimulateRulePackRequest { name: name(), ..Default::default() }
    );
    not_found!(
        packs.approve_rule_pack,
        proto::ApproveRulePackRequest { name: name(), version, ..Default::default() }
    );
    not_found!(
        packs.activate_rule_pack,
        proto::ActivateRulePackRequest { name: name(), version, ..Default::default() }
    );
    not_found!(
        packs.retire_rule_pack,
        proto::RetireRulePackRequest {
            name: name(),
            version,
            reason: reason(),
            ..Default::default()
        }
    );
    not_found!(
        packs.get_rule_pack,
        proto::GetRulePackRequest { name: name(), ..Default::default() }
    );
    not_found!(
        packs.list_rule_packs,
        proto::ListRulePacksRequest { parent: parent(), ..Default::default() }
    );
    not_found!(
        packs.report_coverage,
        proto::ReportCoverageRequest { parent: parent(), ..Default::default() }
    );
    not_found!(
        policies.draft_policy,
        proto::DraftPolicyRequest { parent: parent(), ..Default::default() }
    );
    not_found!(
        policies.simulate_policy,
        proto::SimulatePolicyRequest { name: policy_name(), ..Default::default() }
    );
    not_found!(
        policies.approve_policy,
        proto::ApprovePolicyRequest { name: policy_name(), version, ..Default::default() }
    );
    not_found!(
        policies.activate_policy,
        proto::ActivatePolicyRequest { name: policy_name(), version, ..Default::default() }
    );
    not_found!(
        policies.retire_policy,
        proto::RetirePolicyRequest {
            name: policy_name(),
            version,
            reason: reason(),
            ..Default::default()
        }
    );
    not_found!(
        policies.get_policy,
        proto::GetPolicyRequest { name: policy_name(), ..Default::default() }
    );
    not_found!(decisions.decide, proto::DecideRequest { parent: party(), ..Default::default() });
    not_found!(
        decisions.get_decision,
        proto::GetDecisionRequest { name: decision(), ..Default::default() }
    );
    not_found!(
        decisions.list_decisions,
        proto::ListDecisionsRequest { parent: party(), ..Default::default() }
    );
    not_found!(decisions.explain_decision, proto::ExplainDecisionRequest { name: decision() });
    not_found!(decisions.check_outbound, question(Audience::Hcp));
    not_found!(
        decisions.start_holdout,
        proto::StartHoldoutRequest { parent: parent(), ..Default::default() }
    );
    not_found!(
        decisions.end_holdout,
        proto::EndHoldoutRequest {
            name: format!("tenants/{ACME}/holdouts/q4"),
            ..Default::default()
        }
    );
    not_found!(
        decisions.list_holdouts,
        proto::ListHoldoutsRequest { parent: parent(), ..Default::default() }
    );
    assert_eq!(world.head(), head);

    // With its own name it sees its own, which is nothing.
    let own = proto::CheckOutboundRequest {
        parent: format!("tenants/{UMBRELLA}"),
        ..question(Audience::Patient)
    };
    let answer = decisions.check_outbound(own).await.expect("answered").into_inner();
    assert_eq!((answer.detail.as_str(), answer.policy_version), ("no_pack", 0));
}
