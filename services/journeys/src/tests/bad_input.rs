use super::*;

#[tokio::test]
async fn a_definition_that_cannot_be_walked_is_refused_with_its_places() {
    let world = World::start().await;
    let table = [
        (
            WELCOME.replace("next: hope", "next: nowhere"),
            "GRAPH_INVALID",
            "definition.nodes.rest.wait.next",
        ),
        (
            WELCOME.replace("timed_out: lapsed", "timed_out: ''"),
            "GRAPH_INVALID",
            "definition.nodes.hope.wait_event.timed_out",
        ),
        (WELCOME.replace("markets: [DE]", "market: [DE]"), "GRAPH_INVALID", "definition."),
        (WELCOME.replace("start: rest", "start: [rest"), "GRAPH_INVALID", "definition."),
        (
            WELCOME.replace("reentry: {after_exit: {gap: 1d}}\n", ""),
            "GRAPH_INVALID",
            "definition.reentry",
        ),
        (String::new(), "GRAPH_INVALID", "definition."),
    ];
    for (yaml, reason, field) in table {
        let status = world.client().draft_journey(draft(&yaml)).await.expect_err("refused");
        assert_eq!(told(&status), (Code::InvalidArgument, reason.into()), "{yaml}");
        assert!(fields(&status).iter().any(|it| it == field), "{field} in {:?}", fields(&status));
    }
    let none = proto::DraftJourneyRequest { definition: None, ..draft("") };
    let status = world.client().draft_journey(none).await.expect_err("refused");
    assert_eq!(fields(&status), ["definition"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_rule_is_told_with_node_column_and_line() {
    let world = World::start().await;
    let yaml = WELCOME.replace(
        "{exit: {outcome: ordered}}",
        "{branch: {cases: [{when: \"party.market = 'DE'\", next: lapsed}], else: lapsed}}",
    );
    let status = world.client().draft_journey(draft(&yaml)).await.expect_err("refused");
    let violation = &violations(&status)[0];
    assert_eq!(violation.field, "definition.nodes.done.branch.cases[0].when");
    assert!(violation.remedy.starts_with("rule_invalid: line 11: column "), "{}", violation.remedy);
    // A rule that would take for ever is bounded.
    let bomb = format!("{}true", "!(".repeat(2_000));
    let status = world
        .client()
        .draft_journey(draft(
            &WELCOME.replace("start:", &format!("exit_when: [\"{bomb}\"]\nstart:")),
        ))
        .await;
    assert_eq!(fields(&status.expect_err("refused")), ["definition.exit_when[0]"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn fields_that_break_a_rule_are_named() {
    let world = World::start().await;
    world.live(WELCOME).await;
    let mut client = world.client();
    let pause = proto::PauseJourneyRequest { name: welcome(), ..Default::default() };
    assert_eq!(
        fields(&client.pause_journey(pause).await.expect_err("refused")),
        ["timers", "reason"]
    );
    let drain = proto::DrainJourneyRequest {
        name: welcome(),
        reason: "free text".into(),
        ..Default::default()
    };
    assert_eq!(fields(&client.drain_journey(drain).await.expect_err("refused")), ["reason"]);
    let approve = proto::ApproveJourneyRequest {
        name: welcome(),
        version: 1,
        hash: "xyz".into(),
        ..Default::default()
    };
    assert_eq!(fields(&client.approve_journey(approve).await.expect_err("refused")), ["hash"]);
    let entry = proto::RequestEntryRequest {
        parent: welcome(),
        party_id: "a b".into(),
        ..Default::default()
    };
    assert_eq!(fields(&client.request_entry(entry).await.expect_err("refused")), ["party_id"]);
    let page =
        proto::ListInstancesRequest { parent: parent(), page_size: -1, ..Default::default() };
    assert_eq!(fields(&client.list_instances(page).await.expect_err("refused")), ["page_size"]);
    let retire = proto::RetireJourneyRequest {
        name: welcome(),
        version: 9,
        reason: "x".into(),
        ..Default::default()
    };
    assert_eq!(
        told(&client.retire_journey(retire).await.expect_err("refused")),
        (Code::NotFound, "NOT_FOUND".into())
    );
    let name = proto::GetInstanceRequest {
        name: format!("tenants/{ACME}/instances/ins_none"),
        ..Default::default()
    };
    assert_eq!(client.get_instance(name).await.expect_err("refused").code(), Code::NotFound);
    for name in
        ["", "journeys/welcome", "tenants/acme/journeys/..", "tenants/acme/segments/welcome"]
    {
        let request = proto::GetJourneyRequest { name: name.into(), ..Default::default() };
        assert_eq!(fields(&client.get_journey(request).await.expect_err("refused")), ["name"]);
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn entries_need_a_live_version_and_a_journey_entered_by_calls() {
    let world = World::start().await;
    world.draft(WELCOME).await;
    let entry = proto::RequestEntryRequest {
        parent: welcome(),
        party_id: "pty_1".into(),
        request_id: "entry-0001".into(),
        ..Default::default()
    };
    let reply = world.client().request_entry(entry.clone()).await.expect("answered").into_inner();
    assert_eq!((reply.refused.as_str(), reply.instance), ("not_live", None));
    let again = world.client().request_entry(entry.clone()).await.expect("answered").into_inner();
    assert_eq!((again.refused.as_str(), again.position), ("not_live", reply.position));
    let list = proto::ListEntryRefusalsRequest {
        parent: parent(),
        journey_id: "welcome".into(),
        ..Default::default()
    };
    let listed =
        world.client().list_entry_refusals(list).await.expect("listed").into_inner().refusals;
    let rules: Vec<_> =
        listed.iter().filter_map(|it| it.refusal.as_ref()).map(|it| it.rule.as_str()).collect();
    assert_eq!(rules, ["not_live"]);
    // Nobody is let in without facts.
    world.live(WELCOME).await;
    let other = proto::RequestEntryRequest { request_id: "entry-0002".into(), ..entry.clone() };
    let status = world.client().request_entry(other).await.expect_err("profiles is not there");
    assert_eq!(told(&status), (Code::Unavailable, "PEER_UNAVAILABLE".into()));
    world.live(&WELCOME.replace("{api: {}}", "{event: {event: Order Completed}}")).await;
    let third = proto::RequestEntryRequest { request_id: "entry-0003".into(), ..entry };
    let status = world.client().request_entry(third).await.expect_err("not by calls");
    assert_eq!(told(&status), (Code::FailedPrecondition, "ENTRY_REFUSED".into()));
    world.harness.stop().await;
}
