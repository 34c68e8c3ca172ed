//! A process killed at any point loses nothing it acknowledged and does nothing twice.
//!
//! Each test parks the process at a named point, kills it (SIGKILL), starts it again, and checks: each
//! acknowledged command is there exactly once, a retry with the same request id returns the first
//! reply, the views equal a rebuild from zero, a consumer in another store has every event once, and the
//! stream holds the store's bytes at every position.

use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use rapport_proto::profiles::v1::{Identifier, RegisterPartyRequest, RegisterPartyResponse};
use rapport_proto::types::PartyKind;
use support::{Client, Platform, Topology, eventually, mirror};

use crate::NODE;

/// Commands sent, four at a time.
const COMMANDS: usize = 24;

macro_rules! crash_at {
    ($($name:ident: $point:literal, $topology:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            survives($point, Topology::$topology).await;
        }
    )*};
}

crash_at! {
    before_begin_embedded: "before_begin:3", Embedded;
    before_begin_distributed: "before_begin:3", Distributed;
    before_head_update_embedded: "before_head:3", Embedded;
    before_head_update_distributed: "before_head:3", Distributed;
    before_commit_embedded: "before_commit:3", Embedded;
    before_commit_distributed: "before_commit:3", Distributed;
    between_commit_and_reply_embedded: "after_commit:3", Embedded;
    between_commit_and_reply_distributed: "after_commit:3", Distributed;
    between_commit_and_publish: "before_publish:2", Distributed;
    mid_publish: "mid_publish:7", Distributed;
    after_publish: "after_publish:2", Distributed;
    inside_a_consumer_before_its_commit_embedded: "consumer_before_commit:2", Embedded;
    inside_a_consumer_before_its_commit_distributed: "consumer_before_commit:2", Distributed;
    inside_a_consumer_after_its_commit_embedded: "consumer_after_commit:2", Embedded;
    inside_a_consumer_after_its_commit_distributed: "consumer_after_commit:2", Distributed;
    while_holding_a_lease: "holding_lease:1", Distributed;
}

async fn survives(point: &str, topology: Topology) {
    let mut platform = Platform::new(topology, NODE).await;
    platform.start(Some(point));
    // A point reached for the first time may stop the process before its first reply.
    let replies = usize::from(!point.ends_with(":1"));
    let acknowledged = send_until_parked(&platform, replies).await;
    assert!(platform.parked(), "{point} was never reached");
    assert!(acknowledged.len() >= replies, "nothing was acknowledged that could be lost");
    platform.kill();

    platform.start(None);
    let client = platform.client("acme");
    for number in 0..COMMANDS {
        let reply = register(&client, number).await.expect("a retry is granted");
        if let Some(first) = acknowledged.iter().find(|it| it.0 == number) {
            assert_eq!(first.1, reply, "the retry of {number} got another reply");
        }
    }
    let store = platform.store("mirror").await;
    let head = platform.store("profiles").await.read_head().await.expect("a head");
    eventually("the consumer has everything", async || {
        let checkpoint =
            eventstore::consumer::read_checkpoint(&store, mirror::CONSUMER, "profiles").await;
        checkpoint.is_ok_and(|it| it == head)
    })
    .await;
    platform.stop();
    check(&platform).await;
}

/// Sends every command until the process parks; returns what was acknowledged until then, so many at least.
async fn send_until_parked(
    platform: &Platform,
    replies: usize,
) -> Vec<(usize, RegisterPartyResponse)> {
    let client = platform.client("acme");
    let acknowledged = Mutex::new(Vec::new());
    let sending = join_all((0..4).map(|lane| {
        let (client, acknowledged) = (client.clone(), &acknowledged);
        async move {
            for number in (lane..COMMANDS).step_by(4) {
                let Ok(reply) = register(&client, number).await else { return };
                acknowledged.lock().expect("nobody panics with it").push((number, reply));
            }
        }
    }));
    let parked = eventually("the process parks", async || platform.parked());
    // A point outside the write path lets every command through; one inside it holds them all up.
    tokio::pin!(sending, parked);
    tokio::select! {
        _ = &mut sending => parked.await,
        () = &mut parked => {
            // Replies may be on their way.
            let rest = async {
                let told = || acknowledged.lock().expect("nobody panics with it").len();
                eventually("a reply arrives", async || told() >= replies).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            };
            tokio::select! { _ = &mut sending => {}, () = rest => {} }
        }
    }
    std::mem::take(&mut *acknowledged.lock().expect("nobody panics with it"))
}

async fn register(client: &Client, number: usize) -> Result<RegisterPartyResponse, tonic::Status> {
    let request = RegisterPartyRequest {
        parent: "tenants/acme".into(),
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        identifiers: vec![Identifier {
            system: "crm".into(),
            value: format!("crm-{number}"),
            ..Identifier::default()
        }],
        request_id: format!("register-{number:04}"),
        ..RegisterPartyRequest::default()
    };
    client.parties.clone().register_party(request).await.map(tonic::Response::into_inner)
}

/// What must hold after every crash.
async fn check(platform: &Platform) {
    let store = platform.store("profiles").await;
    let head = store.verify().await.expect("readable").expect("no fault");
    assert_eq!(head.position, 2 * COMMANDS as u64, "two events a command, once each");
    let events = store.read(0, 1_000).await.expect("readable");

    let before = dump(&store).await;
    for view in store.views() {
        store.rebuild(&**view).await.expect("rebuilt");
    }
    assert_eq!(dump(&store).await, before, "the views equal a rebuild from zero");
    assert!(before.iter().any(|it| !it.1.is_empty()));

    let mirror = platform.store("mirror").await;
    let rows = mirror
        .query("SELECT position, event_id FROM effect ORDER BY position", vec![])
        .await
        .expect("readable");
    let effects: Vec<_> = rows.iter().map(|it| it.count(0).expect("a position")).collect();
    assert_eq!(effects, (1..=head.position).collect::<Vec<_>>(), "each event once");

    if let Some(log) = platform.log().await {
        let logged = log.read("profiles", 0, 1_000).await.expect("readable");
        assert_eq!(logged.len(), events.len(), "the log has what the store has");
        assert!(logged == events, "the log tells another history than the store");
    }
}

/// Every row of every view.
async fn dump(store: &eventstore::Store) -> Vec<(&'static str, Vec<String>)> {
    let mut tables = Vec::new();
    for table in store.views().iter().flat_map(|it| it.tables()) {
        let sql: &'static str = Box::leak(format!("SELECT * FROM {table}").into_boxed_str());
        let rows = store.query(sql, vec![]).await.expect("a table");
        let mut rows: Vec<_> = rows.iter().map(|it| format!("{it:?}")).collect();
        rows.sort();
        tables.push((*table, rows));
    }
    tables
}
