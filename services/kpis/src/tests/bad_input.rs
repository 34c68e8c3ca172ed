//! Every refusal names the field and what to do; nothing is stored.

use super::*;

#[tokio::test]
async fn documents_that_do_not_hold_are_refused_whole() {
    let world = World::start().await;
    let bad = CALLS
        .replace("event.name ==", "event.nam ==")
        .replace("bucket: DAY", "bucket: DAY\ntime_zone: Mars/Olympus");
    let refused = world.draft(&bad).await.expect_err("a rule and a zone");
    assert_eq!(told(&refused), (Code::InvalidArgument, "METRIC_INVALID".into()));
    assert_eq!(fields(&refused), ["metric.time_zone", "metric.filter"]);
    let refused = world.draft(&CALLS.replace("event.name ==", "event.nam ==")).await;
    let refused = refused.expect_err("a rule");
    assert_eq!(told(&refused).1, "RULE_INVALID");
    let remedy = &violations(&refused)[0].remedy;
    assert!(remedy.contains("did you mean `event.name`?"), "{remedy}");
    let refused = world.draft("metric: calls\nunits: COUNT\n").await.expect_err("no such field");
    assert_eq!(fields(&refused), ["yaml"]);
    let nothing = proto::DraftMetricRequest { parent: parent(), ..Default::default() };
    let refused = world.metrics().draft_metric(nothing).await.expect_err("nothing");
    assert_eq!(fields(&refused), ["metric"]);

    let definition = proto::draft_metric_request::Definition::Yaml(bad);
    let check = proto::DraftMetricRequest {
        parent: parent(),
        definition: Some(definition),
        validate_only: true,
        ..Default::default()
    };
    let found = world.metrics().draft_metric(check).await.expect("checked").into_inner();
    assert_eq!((found.findings.len(), found.version), (2, None));
    assert_eq!(world.store().head().position, 0);
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused() {
    let world = World::start().await;
    let ask = |change: &dyn Fn(&mut proto::QueryFiguresRequest)| {
        let mut request = total("nps");
        change(&mut request);
        let mut client = world.metrics();
        async move { fields(&client.query_figures(request).await.expect_err("refused")) }
    };
    assert_eq!(ask(&|it| it.name = metric_name("nothing")).await, ["name"]);
    assert_eq!(ask(&|it| it.group_by = vec!["colour".into()]).await, ["group_by[0]"]);
    let twice = || vec!["market".to_owned(), "market".to_owned()];
    assert_eq!(ask(&|it| it.group_by = twice()).await, ["group_by"]);
    let colour = || [("colour".to_owned(), "red".to_owned())].into();
    assert_eq!(ask(&|it| it.r#where = colour()).await, ["where.colour"]);
    let (from, until) = (Some(day(2).to_proto()), Some(day(1).to_proto()));
    assert_eq!(ask(&|it| (it.from, it.until) = (from, until)).await, ["until"]);
    let other = || [("delivery".to_owned(), 1)].into();
    assert_eq!(ask(&|it| it.min_positions = other()).await, ["min_positions"]);

    let ahead = proto::QueryFiguresRequest {
        min_positions: [("feedback".to_owned(), 9)].into(),
        ..total("nps")
    };
    let refused = world.metrics().query_figures(ahead).await.expect_err("not yet");
    assert_eq!(told(&refused).0, Code::Unavailable);
    let inside = proto::ListFigureEventsRequest {
        name: metric_name("nps"),
        bucket_start: Some(Timestamp(START.0 + 1).to_proto()),
        ..Default::default()
    };
    let refused = world.metrics().list_figure_events(inside).await.expect_err("no bucket");
    assert_eq!(fields(&refused), ["bucket_start"]);
}

#[tokio::test]
async fn targets_and_experiments_that_judge_nothing_are_refused() {
    let world = World::start().await;
    let set = |target| proto::SetTargetRequest {
        name: metric_name("orders"),
        target: Some(target),
        ..Default::default()
    };
    let nothing = proto::Target { target: "Floor".into(), ..Default::default() };
    let refused = world.metrics().set_target(set(nothing)).await.expect_err("nothing");
    assert_eq!(fields(&refused), ["target.target", "target"]);
    let wrong = proto::Target {
        target: "floor".into(),
        dimensions: [("colour".to_owned(), "red".to_owned())].into(),
        at_least: Some(f64::NAN),
        change_at_most: Some(-1.0),
        ..Default::default()
    };
    let refused = world.metrics().set_target(set(wrong)).await.expect_err("wrong");
    let expected = ["target.dimensions.colour", "target.at_least", "target.change_at_most"];
    assert_eq!(fields(&refused), expected);
    let remove = proto::SetTargetRequest {
        remove: true,
        ..set(proto::Target { target: "floor".into(), ..Default::default() })
    };
    let refused = world.metrics().set_target(remove).await.expect_err("not set");
    assert_eq!(told(&refused).0, Code::NotFound);

    let start = |experiment| proto::StartExperimentRequest {
        parent: parent(),
        experiment: Some(experiment),
        ..Default::default()
    };
    let refused = world.experiments().start_experiment(start(proto::Experiment::default())).await;
    let expected = [
        "experiment.experiment",
        "experiment.outcome",
        "experiment.holdout",
        "experiment.window",
        "experiment.control_share",
    ];
    assert_eq!(fields(&refused.expect_err("empty")), expected);
    let rule =
        proto::Experiment { value: "event.clear.revenue +".into(), ..experiments::holdout() };
    let refused = world.experiments().start_experiment(start(rule)).await.expect_err("a rule");
    assert_eq!(told(&refused).1, "RULE_INVALID");
    assert_eq!(world.store().head().position, 0);
}
