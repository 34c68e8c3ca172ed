use rapport_proto::decisioning::v1::OutboundEffect as Effect;

use super::*;

#[tokio::test]
async fn a_pack_goes_from_draft_to_in_force_a_minute_later() {
    let world = World::start().await;
    assert_eq!(world.outbound(Audience::Hcp).await.detail, "no_pack");
    let version = world.draft_pack(GERMANY).await.expect("drafted");
    assert_eq!(version, 1);
    // 7 audiences × 6 channels × 7 classes, less RX for three channels of HCP and for PATIENT and PUBLIC, less SERVICE.
    assert_eq!(world.simulate_pack("DE").await.expect("simulated"), 294 - 3 - 12 - 12);
    world.approve_pack(world.bea(), "DE", 1).await.expect("approved");
    world.activate_pack("DE", 1).await.expect("activated");
    assert_eq!(world.outbound(Audience::Patient).await.detail, "no_pack");
    world.pass(60);
    let answer = world.outbound(Audience::Patient).await;
    assert_eq!(answer.effect(), Effect::Deny);
    assert_eq!((answer.pack.as_str(), answer.pack_version), ("DE", 1));
    assert_eq!((answer.rule.as_str(), answer.detail.as_str()), ("de-rx-public", ""));
    let answer = world.outbound(Audience::Hcp).await;
    assert_eq!((answer.effect(), answer.rule.as_str()), (Effect::Conditional, "de-rx-hcp"));
    assert_eq!(world.outbound(Audience::Payer).await.detail, "unmapped");
}

#[tokio::test]
async fn the_author_cannot_approve_and_nothing_unapproved_goes_live() {
    let world = World::start().await;
    world.draft_pack(GERMANY).await.expect("drafted");
    let early = world.approve_pack(world.bea(), "DE", 1).await.expect_err("not simulated");
    assert_eq!(told(&early), (Code::FailedPrecondition, "WRONG_STATE".into()));
    let unsigned = world.activate_pack("DE", 1).await.expect_err("not approved");
    assert_eq!(told(&unsigned), (Code::FailedPrecondition, "PACK_UNSIGNED".into()));
    world.simulate_pack("DE").await.expect("simulated");
    let own = world.approve_pack(world.ada(), "DE", 1).await.expect_err("the author");
    assert_eq!(told(&own), (Code::FailedPrecondition, "AUTHOR_MAY_NOT_APPROVE".into()));
    let request = proto::ApproveRulePackRequest {
        name: pack_name("DE"),
        version: 1,
        hash: "ab".repeat(32),
        ..Default::default()
    };
    let other = RulePackServiceClient::new(world.bea()).approve_rule_pack(request).await;
    let stale = other.expect_err("other bytes");
    assert_eq!(told(&stale), (Code::FailedPrecondition, "SIMULATION_STALE".into()));
    world.approve_pack(world.bea(), "DE", 1).await.expect("approved");
    let soon = proto::ActivateRulePackRequest {
        name: pack_name("DE"),
        version: 1,
        effective_time: time(START),
        ..Default::default()
    };
    let soon = world.packs().activate_rule_pack(soon).await.expect_err("at once");
    assert_eq!(told(&soon), (Code::InvalidArgument, "PACK_TOO_SOON".into()));
    world.activate_pack("DE", 1).await.expect("activated");
    let head = world.head();
    world.activate_pack("DE", 1).await.expect("already so");
    assert_eq!(world.head(), head);
}

#[tokio::test]
async fn a_pack_whose_own_test_fails_is_refused_with_what_it_answers() {
    let world = World::start().await;
    let yaml = GERMANY.replace("expect: DENY", "expect: ALLOW");
    world.draft_pack(&yaml).await.expect("drafted");
    let failed = world.simulate_pack("DE").await.expect_err("a test fails");
    assert_eq!(told(&failed), (Code::InvalidArgument, "PACK_INVALID".into()));
    assert_eq!(fields(&failed), ["pack.tests[0]"]);
    assert!(violations(&failed)[0].remedy.contains("DENY by de-rx-public"));
}

#[tokio::test]
async fn a_country_carries_the_archetypes_it_was_simulated_with() {
    const STRICT: &str = "
rule_pack: eu-strict
outbound:
  - {id: eu-rx-public, content_classes: [RX_PROMOTIONAL], audiences: [PATIENT, PUBLIC], channels: [ANY], effect: DENY}
";
    const FRANCE: &str = "
rule_pack: FR
inherits: eu-strict
";
    let world = World::start().await;
    world.draft_pack(FRANCE).await.expect("drafted");
    let absent = world.simulate_pack("FR").await.expect_err("no archetype");
    assert_eq!(fields(&absent), ["pack.inherits"]);
    world.pack("eu-strict", STRICT).await;
    world.simulate_pack("FR").await.expect("simulated");
    world.approve_pack(world.bea(), "FR", 1).await.expect("approved");
    world.pack("eu-strict", &STRICT.replace("PATIENT, PUBLIC", "PATIENT")).await;
    let stale = world.activate_pack("FR", 1).await.expect_err("the archetype changed");
    assert_eq!(told(&stale), (Code::FailedPrecondition, "SIMULATION_STALE".into()));
    world.simulate_pack("FR").await.expect("simulated again");
    let unsigned = world.activate_pack("FR", 1).await.expect_err("to be approved anew");
    assert_eq!(told(&unsigned).1, "PACK_UNSIGNED");
    world.approve_pack(world.bea(), "FR", 1).await.expect("approved again");
    world.activate_pack("FR", 1).await.expect("activated");
    world.pass(60);
    let ask = |audience| proto::CheckOutboundRequest { market: "FR".into(), ..question(audience) };
    let mut decisions = world.decisions();
    let patient = decisions.check_outbound(ask(Audience::Patient)).await.expect("answered");
    let patient = patient.into_inner();
    assert_eq!((patient.pack.as_str(), patient.pack_version), ("eu-strict", 2));
    assert_eq!(patient.rule, "eu-rx-public");
    // A later archetype changes no market by itself.
    world.pack("eu-strict", STRICT).await;
    let public = decisions.check_outbound(ask(Audience::Public)).await.expect("answered");
    assert_eq!(public.into_inner().detail, "unmapped");
}

#[tokio::test]
async fn archetypes_that_inherit_from_each_other_are_refused() {
    let world = World::start().await;
    world.pack("one", "rule_pack: one\n").await;
    world.pack("two", "rule_pack: two\ninherits: one\n").await;
    world.draft_pack("rule_pack: one\ninherits: two\n").await.expect("drafted");
    let cycle = world.simulate_pack("one").await.expect_err("a cycle");
    assert_eq!(fields(&cycle), ["pack.inherits"]);
    assert!(violations(&cycle)[0].remedy.contains("cycle"));
    for (below, above) in [("three", "two"), ("four", "three"), ("five", "four")] {
        let yaml = format!("rule_pack: {below}\ninherits: {above}\n");
        if below == "five" {
            world.pack(below, &yaml).await;
            world.draft_pack("rule_pack: six\ninherits: five\n").await.expect("drafted");
            assert!(world.simulate_pack("six").await.is_err(), "five in a row");
        } else {
            world.pack(below, &yaml).await;
        }
    }
}

#[tokio::test]
async fn a_retired_pack_leaves_its_market_without_rules() {
    let world = World::start().await;
    world.pack("DE", GERMANY).await;
    assert_eq!(world.outbound(Audience::Patient).await.rule, "de-rx-public");
    let retire = || proto::RetireRulePackRequest {
        name: pack_name("DE"),
        version: 1,
        reason: "error".into(),
        ..Default::default()
    };
    world.pass(1);
    world.packs().retire_rule_pack(retire()).await.expect("retired");
    assert_eq!(world.outbound(Audience::Patient).await.detail, "no_pack");
    world.packs().retire_rule_pack(retire()).await.expect("already so");
    // A question about the past still has its answer.
    let then = proto::CheckOutboundRequest {
        time: time(Timestamp(world.harness.clock.now().0 - 1)),
        ..question(Audience::Patient)
    };
    let answer = world.decisions().check_outbound(then).await.expect("answered").into_inner();
    assert_eq!(answer.rule, "de-rx-public");
}

#[tokio::test]
async fn packs_are_read_listed_and_covered() {
    let world = World::start().await;
    world.pack("DE", GERMANY).await;
    world.draft_pack("rule_pack: eu-strict\n").await.expect("drafted");
    world.draft_pack("rule_pack: AT\n").await.expect("drafted");
    let get = proto::GetRulePackRequest { name: pack_name("DE"), ..Default::default() };
    let reply = world.packs().get_rule_pack(get).await.expect("found").into_inner();
    assert_eq!(reply.pack.expect("a pack").outbound.len(), 3);
    let version = reply.version.expect("a version");
    assert_eq!((version.author.as_str(), version.approver.as_str()), ("ada", "bea"));
    assert!(version.live_time.is_some());

    let list = |page_token: String| proto::ListRulePacksRequest {
        parent: parent(),
        page_size: 2,
        page_token,
    };
    let first = world.packs().list_rule_packs(list(String::new())).await.expect("a page");
    let first = first.into_inner();
    let ids: Vec<_> = first.packs.iter().map(|it| (it.pack.as_str(), it.live_version)).collect();
    assert_eq!(ids, [("AT", 0), ("DE", 1)]);
    let last = world.packs().list_rule_packs(list(first.next_page_token)).await.expect("a page");
    let last = last.into_inner();
    assert_eq!((last.packs.len(), last.next_page_token.as_str()), (1, ""));

    let report = proto::ReportCoverageRequest { parent: parent(), markets: Vec::new() };
    let report = world.packs().report_coverage(report).await.expect("a report").into_inner();
    assert_eq!((report.lines.len(), report.unmapped), (294, 294 - 27));
    let both =
        proto::ReportCoverageRequest { parent: parent(), markets: vec!["DE".into(), "FR".into()] };
    let both = world.packs().report_coverage(both).await.expect("a report").into_inner();
    assert_eq!((both.lines.len(), both.unmapped), (588, 588 - 27));
}

#[tokio::test]
async fn the_same_document_again_changes_nothing() {
    let world = World::start().await;
    assert_eq!(world.draft_pack(GERMANY).await.expect("drafted"), 1);
    let head = world.head();
    assert_eq!(world.draft_pack(GERMANY).await.expect("already so"), 1);
    assert_eq!(world.head(), head);
    assert_eq!(world.draft_pack(&GERMANY.replace("730d", "365d")).await.expect("drafted"), 2);
}

#[tokio::test]
async fn a_version_retired_before_its_instant_leaves_no_earlier_one_in_force_after_it() {
    let world = World::start().await;
    world.pack("DE", GERMANY).await;
    let version = world.draft_pack(&GERMANY.replace("730d", "365d")).await.expect("drafted");
    world.simulate_pack("DE").await.expect("simulated");
    world.approve_pack(world.bea(), "DE", version).await.expect("approved");
    world.activate_pack("DE", version).await.expect("activated");
    let retire = |version| proto::RetireRulePackRequest {
        name: pack_name("DE"),
        version,
        reason: "error".into(),
        ..Default::default()
    };
    world.packs().retire_rule_pack(retire(version)).await.expect("retired");
    assert_eq!(world.outbound(Audience::Patient).await.pack_version, 1);
    world.pass(60);
    assert_eq!(world.outbound(Audience::Patient).await.detail, "no_pack");
}

#[tokio::test]
async fn the_version_in_force_is_retired_at_once_although_a_later_one_is_announced() {
    let world = World::start().await;
    world.pack("DE", GERMANY).await;
    let version = world.draft_pack(&GERMANY.replace("730d", "365d")).await.expect("drafted");
    world.simulate_pack("DE").await.expect("simulated");
    world.approve_pack(world.bea(), "DE", version).await.expect("approved");
    world.activate_pack("DE", version).await.expect("activated");
    assert_eq!(world.outbound(Audience::Patient).await.pack_version, 1);
    let retire = proto::RetireRulePackRequest {
        name: pack_name("DE"),
        version: 1,
        reason: "error".into(),
        ..Default::default()
    };
    world.packs().retire_rule_pack(retire).await.expect("retired");
    assert_eq!(world.outbound(Audience::Patient).await.detail, "no_pack");
    world.pass(60);
    assert_eq!(world.outbound(Audience::Patient).await.pack_version, 2);
}
