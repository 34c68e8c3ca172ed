use super::*;

#[tokio::test]
async fn a_metric_is_drafted_approved_by_another_and_in_force_until_it_is_retired() {
    let world = World::start().await;
    let draft = world.draft(CALLS).await.expect("drafted");
    let version = draft.version.expect("a version");
    assert_eq!((version.version, version.author.as_str()), (1, "ada"));
    let again = world.draft(CALLS).await.expect("already so");
    assert_eq!(again.version.expect("a version").version, 1);

    let name = || metric_name("calls");
    let approve = || proto::ApproveMetricRequest { name: name(), version: 1, ..Default::default() };
    let refused = world.metrics().approve_metric(approve()).await.expect_err("the author");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "AUTHOR_MAY_NOT_APPROVE".into()));
    let activate =
        || proto::ActivateMetricRequest { name: name(), version: 1, ..Default::default() };
    let refused = world.metrics().activate_metric(activate()).await.expect_err("not approved");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "WRONG_STATE".into()));
    let stale = proto::ApproveMetricRequest { hash: "0".repeat(64), ..approve() };
    let refused = world.second().approve_metric(stale).await.expect_err("another hash");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "HASH_MISMATCH".into()));
    let refused = world.metrics().query_figures(total("calls")).await.expect_err("not live");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "NOT_LIVE".into()));

    world.second().approve_metric(approve()).await.expect("approved");
    world.metrics().activate_metric(activate()).await.expect("live");
    let live = world.metrics().activate_metric(activate()).await.expect("already so").into_inner();
    assert!(live.version.expect("a version").live_time.is_some());
    assert_eq!(world.ask(total("calls")).await, []);
    let get = proto::GetMetricRequest { name: name(), ..Default::default() };
    let found = world.metrics().get_metric(get).await.expect("found").into_inner();
    assert_eq!(found.metric.expect("a metric").metric, "calls");
    assert_eq!(found.versions.len(), 1);

    let retire = || proto::RetireMetricRequest {
        name: name(),
        version: 1,
        reason: "over".into(),
        ..Default::default()
    };
    world.metrics().retire_metric(retire()).await.expect("retired");
    world.metrics().retire_metric(retire()).await.expect("already so");
    let refused = world.metrics().query_figures(total("calls")).await.expect_err("not live");
    assert_eq!(told(&refused), (Code::FailedPrecondition, "NOT_LIVE".into()));
}

#[tokio::test]
async fn built_in_metrics_are_in_force_for_everybody_and_are_listed() {
    let world = World::start().await;
    world.live(CALLS).await;
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let list = proto::ListMetricsRequest { parent: parent(), page_size: 10, page_token };
        let page = world.metrics().list_metrics(list).await.expect("a page").into_inner();
        listed.extend(page.metrics);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let built_in = listed.iter().filter(|it| it.built_in).count();
    assert_eq!((listed.len(), built_in), (29, 28));
    assert!(listed.is_sorted_by(|a, b| a.metric < b.metric));
    let own = listed.iter().find(|it| it.metric == "calls").expect("listed");
    assert_eq!(own.description, "Interactions called Call Completed.");
    let get = proto::GetMetricRequest { name: metric_name("nps"), ..Default::default() };
    let nps = world.metrics().get_metric(get).await.expect("found").into_inner();
    let version = nps.version.expect("a version");
    assert_eq!((version.version, version.approver.as_str()), (1, "platform"));
}

#[tokio::test]
async fn what_came_with_the_platform_is_not_drafted() {
    let world = World::start().await;
    let refused = world.draft(&CALLS.replace("metric: calls", "metric: nps")).await;
    let expected = (Code::FailedPrecondition, "BUILT_IN".to_owned());
    assert_eq!(told(&refused.expect_err("built in")), expected);
    let retire = proto::RetireMetricRequest {
        name: metric_name("nps"),
        version: 1,
        reason: "over".into(),
        ..Default::default()
    };
    let refused = world.metrics().retire_metric(retire).await.expect_err("built in");
    assert_eq!(told(&refused), expected);
}
