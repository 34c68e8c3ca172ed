//! Whatever the way, the same tables: event by event, from the log when a metric comes late, or from nothing.

use eventstore::consumer::reset;

use super::*;

/// Everything that figures are read from, as text, without what depends on when a series came.
async fn tables(world: &World) -> Vec<String> {
    let queries = [
        "SELECT tenant, series, source, position, role, element, event_id, at, bucket, dims, thing,
             value, currency, party_id FROM contribution ORDER BY 1, 2, 3, 4, 5, 6",
        "SELECT tenant, series, source, role, bucket, dims, currency, n, total, squares FROM cell
         ORDER BY 1, 2, 3, 4, 5, 6, 7",
        "SELECT tenant, party_id, kind FROM party ORDER BY 1, 2",
        "SELECT tenant, source, recorded_at FROM horizon ORDER BY 1, 2",
    ];
    let mut found = Vec::new();
    for query in queries {
        let rows = world.store().query(query, Vec::new()).await.expect("read");
        assert!(!rows.is_empty(), "{query}");
        found.push(format!("{rows:?}"));
    }
    found
}

async fn some_history(world: &World) {
    for number in 0..30 {
        let party = format!("pty_{}", number % 7);
        if number < 7 {
            world.register(&party, PartyKind::Pharmacist).await;
        }
        world.did(&party, "Call Completed", day(number % 5)).await;
        world.did(&party, "Order Completed", day(number)).await;
        world.answered(&party, i32::try_from(number % 11).expect("small"), day(number)).await;
        world.sent(&format!("tch_{number}"), &party, day(number)).await;
        if number % 10 == 9 {
            world.pass(DAY);
        }
    }
}

/// A metric that is in force before, and one that comes after the events; then everything from nothing.
async fn all_ways(world: &World) {
    world.live(CALLS).await;
    some_history(world).await;
    world.read_all().await;
    assert_eq!(world.total("calls").await.value, Some(30.0));

    world.live(&CALLS.replace("metric: calls", "metric: late-calls")).await;
    let late = world.until(total("late-calls"), |it| it.first().is_some_and(|it| it.n == 30)).await;
    let profiles = world.harness.deps("profiles").store.head().position;
    assert_eq!(late[0].positions["profiles"], profiles);
    world.did("pty_1", "Call Completed", day(2)).await;
    world.read_all().await;
    let days = |metric: &str| {
        let request =
            proto::QueryFiguresRequest { name: metric_name(metric), ..Default::default() };
        async move {
            let figures = world.ask(request).await;
            figures
                .into_iter()
                .map(|it| (it.bucket_start, it.value, it.positions))
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(days("late-calls").await, days("calls").await);

    let live = tables(world).await;
    let cache = crate::view::series::Cache::default();
    reset(world.store(), &crate::consumers::consumer(&cache)).await.expect("emptied");
    for _ in 0..6_000 {
        world.read_all().await;
        if world.total("late-calls").await.n == 31 && tables(world).await == live {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(tables(world).await, live);
    for view in world.store().views() {
        world.store().rebuild(view.as_ref()).await.expect("rebuilt");
    }
    assert_eq!(world.total("calls").await.value, Some(31.0));
    assert_eq!(tables(world).await, live);
}

#[tokio::test]
async fn figures_are_the_same_event_by_event_from_the_log_and_from_nothing() {
    let world = World::start().await;
    all_ways(&world).await;
    world.harness.stop().await;
}

#[tokio::test]
async fn on_postgresql_figures_are_the_same_event_by_event_from_the_log_and_from_nothing() {
    let server = eventstore::testing::Postgres::start();
    let keys = tempfile::tempdir().expect("a temporary folder");
    let world = World::on_postgres(&server, keys.path()).await;
    all_ways(&world).await;
    world.harness.stop().await;
}

#[tokio::test]
async fn an_event_that_comes_twice_counts_once() {
    use crate::view::outside::Outside;
    use eventstore::View as _;
    let world = World::start().await;
    some_history(&world).await;
    world.read_all().await;
    let before = tables(&world).await;
    let store = &world.harness.deps("profiles").store;
    let page = store.read(0, 500).await.expect("read");
    let events = store.recorded(page).await.expect("decoded");
    let outside = Outside::new(crate::view::series::Cache::default());
    let mut tx = world.store().database().begin().await.expect("begun");
    outside.apply(&mut tx, &events).await.expect("applied");
    tx.commit().await.expect("committed");
    assert_eq!(tables(&world).await, before);
}

#[tokio::test]
async fn a_version_that_is_replaced_leaves_nothing_behind() {
    let world = World::start().await;
    world.live(CALLS).await;
    some_history(&world).await;
    world.read_all().await;
    world.live(&CALLS.replace("'Call Completed'", "'Order Completed'")).await;
    let now = world.until(total("calls"), |it| it.first().is_some_and(|it| it.version == 2)).await;
    assert_eq!(now[0].version, 2);
    let query = "SELECT DISTINCT series FROM contribution WHERE series LIKE 'metric/calls/%'";
    for _ in 0..6_000 {
        let rows = world.store().query(query, Vec::new()).await.expect("read");
        let series: Vec<_> = rows.iter().map(|it| it.text(0).expect("a text")).collect();
        if series == ["metric/calls/2"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the first version is still there");
}
