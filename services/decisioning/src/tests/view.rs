use super::*;

/// Everything the view's tables hold, as text.
async fn tables(world: &World) -> Vec<String> {
    let store = &world.harness.deps("decisioning").store;
    let queries = [
        "SELECT tenant, number FROM revision ORDER BY 1",
        "SELECT tenant, version, hash, document FROM live_policy ORDER BY 1",
        "SELECT tenant, rule_pack FROM pack ORDER BY 1, 2",
        "SELECT tenant, market, version, effective_at, retired_at, position, activated
         FROM pack_in_force ORDER BY 1, 2, 3",
        "SELECT tenant, holdout_id, started_at, ended_at, started FROM holdout ORDER BY 1, 2",
    ];
    let mut found = Vec::new();
    for query in queries {
        let rows = store.query(query, Vec::new()).await.expect("read");
        assert!(!rows.is_empty(), "{query}");
        found.push(format!("{rows:?}"));
    }
    found
}

#[tokio::test]
async fn a_rebuild_gives_the_same_tables() {
    let world = World::start().await;
    world.pack("eu-strict", "rule_pack: eu-strict\n").await;
    world.pack("DE", GERMANY).await;
    world.pack("DE", &GERMANY.replace("730d", "365d")).await;
    world.policy(small_policy()).await;
    let holdout = proto::HoldoutStarted {
        holdout_id: "q4".into(),
        salt: "s".into(),
        share: 0.1,
        content_classes: vec![ContentClass::RxPromotional.into()],
        period: "2026-Q4".into(),
    };
    let start = proto::StartHoldoutRequest {
        parent: parent(),
        holdout: Some(holdout),
        ..Default::default()
    };
    world.decisions().start_holdout(start).await.expect("started");
    let live = tables(&world).await;
    let store = &world.harness.deps("decisioning").store;
    store.rebuild(store.views()[0].as_ref()).await.expect("rebuilt");
    assert_eq!(tables(&world).await, live);
}
