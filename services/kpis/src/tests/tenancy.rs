//! Nothing of one tenant is ever seen or touched with the token of another.

use super::*;

#[tokio::test]
async fn another_tenant_finds_nothing_and_changes_nothing() {
    let world = World::start().await;
    world.live(CALLS).await;
    world.did("pty_1", "Call Completed", day(0)).await;
    world.did("pty_1", "Order Completed", day(0)).await;
    world.read_all().await;
    let head = world.store().head().position;
    let stranger = world.harness.person(UMBRELLA, "eve", &["*"]);
    let mut metrics = MetricServiceClient::new(stranger.clone());
    let mut experiments = ExperimentServiceClient::new(stranger);

    macro_rules! not_found {
        ($client:ident.$method:ident, $request:expr) => {
            let refused = $client.$method($request).await.expect_err(stringify!($method));
            assert_eq!(refused.code(), Code::NotFound, stringify!($method));
        };
    }
    let (name, parent) = (|| metric_name("calls"), parent);
    let experiment = || format!("tenants/{ACME}/experiments/winback");
    not_found!(
        metrics.draft_metric,
        proto::DraftMetricRequest { parent: parent(), ..Default::default() }
    );
    not_found!(
        metrics.approve_metric,
        proto::ApproveMetricRequest { name: name(), ..Default::default() }
    );
    not_found!(
        metrics.activate_metric,
        proto::ActivateMetricRequest { name: name(), ..Default::default() }
    );
    not_found!(
        metrics.retire_metric,
        proto::RetireMetricRequest { name: name(), ..Default::default() }
    );
    not_found!(metrics.get_metric, proto::GetMetricRequest { name: name(), ..Default::default() });
    not_found!(
        metrics.list_metrics,
        proto::ListMetricsRequest { parent: parent(), ..Default::default() }
    );
    not_found!(metrics.query_figures, total("calls"));
    not_found!(
        metrics.list_figure_events,
        proto::ListFigureEventsRequest { name: name(), ..Default::default() }
    );
    not_found!(metrics.set_target, proto::SetTargetRequest { name: name(), ..Default::default() });
    not_found!(
        metrics.list_alerts,
        proto::ListAlertsRequest { parent: parent(), ..Default::default() }
    );
    let alert = format!("tenants/{ACME}/alerts/alt_1");
    not_found!(metrics.clear_alert, proto::ClearAlertRequest { name: alert, ..Default::default() });
    not_found!(
        experiments.start_experiment,
        proto::StartExperimentRequest { parent: parent(), ..Default::default() }
    );
    not_found!(
        experiments.close_experiment,
        proto::CloseExperimentRequest { name: experiment(), ..Default::default() }
    );
    not_found!(
        experiments.get_experiment,
        proto::GetExperimentRequest { name: experiment(), ..Default::default() }
    );
    not_found!(
        experiments.list_experiments,
        proto::ListExperimentsRequest { parent: parent(), ..Default::default() }
    );
    assert_eq!(world.store().head().position, head);

    // With its own name it sees its own: the built-in metrics, without figures.
    let own = |metric: &str| format!("tenants/{UMBRELLA}/metrics/{metric}");
    let orders =
        proto::QueryFiguresRequest { name: own("orders"), total: true, ..Default::default() };
    assert_eq!(metrics.query_figures(orders).await.expect("answered").into_inner().figures, []);
    let calls = proto::QueryFiguresRequest { name: own("calls"), ..Default::default() };
    assert_eq!(metrics.query_figures(calls).await.expect_err("unknown").code(), Code::NotFound);
    assert_eq!(world.total("orders").await.value, Some(1.0));
}
