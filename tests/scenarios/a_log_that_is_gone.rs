//! The log's server dies: commands are still answered, what waits for the log grows for who watches, and leaves when the
//! server is back.

use std::cell::RefCell;
use std::time::Duration;

use rapport_proto::profiles::v1::RegisterPartyRequest;
use rapport_proto::types::PartyKind;
use support::{Platform, Topology, Web, eventually};

use crate::NODE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_it_is_seen_growing() {
    let mut platform = Platform::new(Topology::Distributed, NODE).await;
    platform.start(None);
    register(&platform).await;
    let age = "rapport_outbox_oldest_age_seconds{service=\"profiles\"}";
    let pending = "rapport_outbox_pending{service=\"profiles\"}";
    eventually("the log is reached, and nothing waits", async || {
        let all = metrics(&platform).await;
        value(&all, "rapport_log_connected") == Some(1.0) && value(&all, pending) == Some(0.0)
    })
    .await;

    platform.nats[0].kill();
    for _ in 0..3 {
        register(&platform).await;
    }
    let ages = RefCell::new(Vec::new());
    eventually("three events wait, longer and longer", async || {
        let all = metrics(&platform).await;
        let waits = value(&all, pending) == Some(3.0);
        let waits = waits && value(&all, "rapport_log_connected") == Some(0.0);
        let mut ages = ages.borrow_mut();
        ages.extend(value(&all, age).filter(|it| waits && *it > 0.0));
        ages.dedup();
        ages.len() >= 3
    })
    .await;
    assert!(ages.borrow().is_sorted(), "{ages:?}");

    platform.nats[0].launch();
    eventually("nothing waits any more", async || {
        let all = metrics(&platform).await;
        value(&all, "rapport_log_connected") == Some(1.0)
            && value(&all, pending) == Some(0.0)
            && value(&all, age) == Some(0.0)
    })
    .await;
    let log = platform.log().await.expect("there is one");
    let tail = log.tail("profiles").await.expect("told").expect("a history");
    assert_eq!(tail.last, register(&platform).await - 1, "everything is on the log");
    platform.stop();
}

/// Registers somebody; the position of that.
async fn register(platform: &Platform) -> u64 {
    let request = RegisterPartyRequest {
        parent: "tenants/acme".into(),
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        ..Default::default()
    };
    let registered = platform.client("acme").parties.register_party(request).await;
    registered.expect("registered").into_inner().position
}

async fn metrics(platform: &Platform) -> String {
    // Who asks more often than a process counts sees one value twice.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut admin = Web::new(platform.node("profiles").admin.clone());
    admin.ask("GET", "/metrics", &[], &[]).await.expect("metrics").text()
}

fn value(metrics: &str, series: &str) -> Option<f64> {
    let line = metrics.lines().find(|it| it.starts_with(series))?;
    line.rsplit_once(' ')?.1.parse().ok()
}
