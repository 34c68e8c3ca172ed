use super::*;

/// Past the grace after midnight.
const TEN_MINUTES: i64 = 10 * 60 * 1_000_000;

fn set(target: proto::Target) -> proto::SetTargetRequest {
    proto::SetTargetRequest {
        name: metric_name("portal-visits"),
        target: Some(target),
        ..Default::default()
    }
}

/// At least two visits a day.
fn floor() -> proto::Target {
    proto::Target {
        target: "floor".into(),
        at_least: Some(2.0),
        n_at_least: 1,
        owner: "ada".into(),
        ..Default::default()
    }
}

impl World {
    async fn alerts(&self, cleared: bool) -> Vec<proto::Alert> {
        let list = proto::ListAlertsRequest { parent: parent(), cleared, ..Default::default() };
        self.metrics().list_alerts(list).await.expect("listed").into_inner().alerts
    }

    async fn alerts_when(&self, what: impl Fn(&[proto::Alert]) -> bool) -> Vec<proto::Alert> {
        let mut alerts = Vec::new();
        for _ in 0..6_000 {
            alerts = self.alerts(true).await;
            if what(&alerts) {
                return alerts;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{alerts:?}")
    }

    /// Visits of a day, and then the day ends and is judged.
    async fn a_day(&self, number: i64, visits: usize) {
        for visit in 0..visits {
            self.did(&format!("pty_{visit}"), "Portal Visited", day(number)).await;
        }
        self.read_all().await;
        self.pass(DAY);
    }
}

fn causes(alerts: &[proto::Alert]) -> Vec<(String, String)> {
    let cause = |it: &proto::Alert| it.raised.clone().unwrap_or_default().cause;
    alerts.iter().map(|it| (cause(it), it.clear_cause.clone())).collect()
}

#[tokio::test]
async fn a_closed_day_that_misses_its_target_raises_an_alert_until_one_meets_it() {
    let world = World::start().await;
    world.metrics().set_target(set(floor())).await.expect("set");
    let get = proto::GetMetricRequest { name: metric_name("portal-visits"), ..Default::default() };
    let known = world.metrics().get_metric(get).await.expect("found").into_inner();
    assert_eq!(known.targets, [floor()]);
    world.pass(TEN_MINUTES);

    world.a_day(0, 1).await;
    let alerts = world.alerts_when(|it| it.len() == 1).await;
    assert_eq!(causes(&alerts), [("below".into(), String::new())]);
    let raised = alerts[0].raised.clone().expect("raised");
    assert_eq!((raised.value, raised.n), (Some(1.0), 1));
    assert_eq!(raised.bucket, Some(day(0).to_proto()));
    assert_eq!(raised.definition_hash.len(), 32);
    assert!(raised.alert_id.starts_with("alt_") && raised.positions["profiles"] == 2);

    world.a_day(1, 3).await;
    let alerts = world.alerts_when(|it| it[0].clear_time.is_some()).await;
    assert_eq!(causes(&alerts), [("below".into(), "met".into())]);

    world.a_day(2, 0).await;
    let alerts = world.alerts_when(|it| it.len() == 2).await;
    assert_eq!(causes(&alerts)[0], ("missing_data".into(), String::new()));
    assert_eq!(world.alerts(false).await.len(), 1);
    let clear = proto::ClearAlertRequest { name: alerts[0].name.clone(), ..Default::default() };
    let cleared = world.metrics().clear_alert(clear.clone()).await.expect("cleared").into_inner();
    assert_eq!(cleared.alert.expect("an alert").clear_cause, "by_hand");
    world.metrics().clear_alert(clear).await.expect("already so");
    assert_eq!(world.alerts(false).await, []);
}

#[tokio::test]
async fn a_day_that_changed_too_much_and_a_day_above_raise_alerts_too() {
    let world = World::start().await;
    let band = proto::Target {
        target: "band".into(),
        at_most: Some(9.0),
        change_at_most: Some(0.5),
        ..Default::default()
    };
    world.metrics().set_target(set(band)).await.expect("set");
    world.pass(TEN_MINUTES);
    world.a_day(0, 4).await;
    world.a_day(1, 8).await;
    let alerts = world.alerts_when(|it| it.len() == 1).await;
    assert_eq!(causes(&alerts), [("changed".into(), String::new())]);
    let raised = alerts[0].raised.clone().expect("raised");
    assert_eq!((raised.value, raised.bucket), (Some(8.0), Some(day(1).to_proto())));
    world.a_day(2, 8).await;
    world.alerts_when(|it| it[0].clear_time.is_some()).await;
    world.a_day(3, 10).await;
    let alerts = world.alerts_when(|it| it.len() == 2).await;
    let expected = [("above".into(), String::new()), ("changed".into(), "met".into())];
    assert_eq!(causes(&alerts), expected);
}

#[tokio::test]
async fn what_this_service_records_can_be_measured_too() {
    let world = World::start().await;
    let raised = "metric: alerts-raised
description: Alerts that were raised, by cause.
unit: COUNT
source: kpis
event: rapport.kpis.v1.AlertRaised
measure: {count: true}
dimensions: {cause: event.cause}
bucket: DAY
";
    world.live(raised).await;
    world.metrics().set_target(set(floor())).await.expect("set");
    world.pass(TEN_MINUTES);
    world.a_day(0, 1).await;
    let by =
        proto::QueryFiguresRequest { group_by: vec!["cause".into()], ..total("alerts-raised") };
    let figures = world.until(by, |it| !it.is_empty()).await;
    assert_eq!((figures[0].dimensions["cause"].as_str(), figures[0].value), ("below", Some(1.0)));
    assert!(figures[0].positions["kpis"] > 0);
}

#[tokio::test]
async fn late_events_change_what_was_said_of_the_day_before() {
    let world = World::start().await;
    world.metrics().set_target(set(floor())).await.expect("set");
    world.pass(TEN_MINUTES);
    world.a_day(0, 1).await;
    world.alerts_when(|it| it.len() == 1).await;
    world.did("pty_9", "Portal Visited", day(0)).await;
    world.a_day(1, 1).await;
    // The first day is met after all, the second is not: one alert ends and another begins.
    let alerts = world.alerts_when(|it| it.len() == 2).await;
    let expected = [("below".into(), String::new()), ("below".into(), "met".into())];
    assert_eq!(causes(&alerts), expected);
}

#[tokio::test]
async fn a_target_that_is_removed_is_judged_no_more() {
    let world = World::start().await;
    world.metrics().set_target(set(floor())).await.expect("set");
    world.pass(TEN_MINUTES);
    world.a_day(0, 1).await;
    world.alerts_when(|it| it.len() == 1).await;
    let remove = proto::SetTargetRequest { remove: true, ..set(floor()) };
    world.metrics().set_target(remove).await.expect("removed");
    let alerts = world.alerts_when(|it| it[0].clear_time.is_some()).await;
    assert_eq!(causes(&alerts), [("below".into(), "target_changed".into())]);
    assert_eq!(world.store().next_due().await.expect("read"), None);
}

#[tokio::test]
async fn a_day_of_which_nothing_can_be_told_leaves_an_alert_as_it_is() {
    let world = World::start().await;
    let floor = proto::Target { n_at_least: 0, ..floor() };
    world.metrics().set_target(set(floor)).await.expect("set");
    world.pass(TEN_MINUTES);
    world.a_day(0, 1).await;
    world.alerts_when(|it| it.len() == 1).await;
    // A day without visits, and one of three patients.
    let days_judged = async |count: usize| {
        let judged = async || {
            let events = world.store().read(0, 500).await.expect("read");
            let of = |it: &&eventstore::Stored| {
                it.envelope().is_ok_and(|it| it.r#type.ends_with(".TargetJudged"))
            };
            events.iter().filter(of).count()
        };
        for _ in 0..LOOKS {
            if judged().await >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{count} days are never judged");
    };
    days_judged(1).await;
    world.a_day(1, 0).await;
    days_judged(2).await;
    for number in 0..3 {
        let party = format!("pty_patient_{number}");
        world.register(&party, PartyKind::Patient).await;
        world.did(&party, "Portal Visited", day(2)).await;
    }
    world.read_all().await;
    world.pass(DAY);
    days_judged(3).await;
    assert_eq!(causes(&world.alerts(true).await), [("below".into(), String::new())]);
}

/// Does not read what others say.
const DEAF: Target =
    Target { service: |deps| crate::deaf(deps, &crate::view::series::Cache::default()), ..TARGET };

#[tokio::test]
async fn what_was_not_read_yet_is_not_judged() {
    let world = World::of(DEAF, |_| ()).await;
    world.metrics().set_target(set(floor())).await.expect("set");
    for number in 0..3 {
        world.did(&format!("pty_{number}"), "Portal Visited", day(0)).await;
    }
    world.pass(DAY + TEN_MINUTES);
    // The timer fires, and is tried again.
    for _ in 0..LOOKS {
        if world.store().firings().1 > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(world.store().firings().1 > 0);
    assert_eq!(world.alerts(true).await, []);

    let stop = tokio_util::sync::CancellationToken::new();
    let peers = world.harness.deps("kpis").peers.clone();
    let reader = std::sync::Arc::new(chassis::event_log::Healer::new(peers));
    let following = SOURCES.map(|of| {
        let consumer = crate::consumers::consumer(&crate::view::series::Cache::default());
        let (store, reader) = (world.store().clone(), reader.clone());
        eventstore::consumer::run(store, consumer, of.to_owned(), reader, stop.clone())
    });
    let judged = async || {
        let events = world.store().read(0, 500).await.expect("read");
        let types = events.iter().map(|it| it.envelope().expect("an envelope").r#type);
        types.filter(|it| it.ends_with(".TargetJudged")).count()
    };
    let looking = async {
        for _ in 0..LOOKS {
            if judged().await > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.cancel();
    };
    futures::join!(futures::future::join_all(following), looking);
    assert_eq!(judged().await, 1);
    assert_eq!(world.alerts(true).await, [], "three visits are enough");
}
