//! Group log faults: whatever happens to the stream, it ends up with the store's bytes at the store's
//! positions, and a consumer behind it has each event once and in order.

mod forks;
pub(crate) mod line;
mod restored;

use eventstore::testing::NatsServer;
use eventstore::{Clock, Error, Ids, Log, NatsOptions, Store};

use crate::on_both_servers;
use crate::rig::{POSTGRES, START, eventually, fill, log, open, options, schema, store_options};
use line::{
    Counter, Line, Load, On, Running, copy_folder, everything, grows_to, put_back, replies_hold,
    stream,
};

on_both_servers! {
    a_server_killed_under_load_loses_nothing
    deleted_storage_is_refilled
    a_deleted_stream_is_refilled_under_open_consumers
    a_lost_tail_is_published_again
    deleted_messages_are_healed_from_the_producer
    a_purge_is_healed_from_the_producer
    two_relays_at_once_publish_one_history
    many_sources_of_one_process_catch_up_together
    a_copied_store_that_relays_too_does_no_harm
}

async fn a_server_killed_under_load_loses_nothing(mut server: NatsServer, on: On) {
    let line = Line::start(&server, on).await;
    let load = Load::start(std::slice::from_ref(&line.store), "p", 4, 250);
    for position in [200, 800] {
        grows_to(&line.store, position).await;
        server.kill();
        grows_to(&line.store, position + 200).await;
        server.launch();
    }
    let replies = load.done().await;
    line.settles(&[]).await;
    replies_hold(&line.store, &replies).await;
}

async fn deleted_storage_is_refilled(mut server: NatsServer, on: On) {
    let line = Line::start(&server, on).await;
    let load = Load::start(std::slice::from_ref(&line.store), "p", 2, 200);
    eventually("the consumer reads", || async { line.counter.position().await > 100 }).await;
    server.kill();
    std::fs::remove_dir_all(server.storage()).unwrap();
    server.launch();
    load.done().await;
    line.settles(&[]).await;
}

async fn a_deleted_stream_is_refilled_under_open_consumers(server: NatsServer, on: On) {
    let line = Line::start(&server, on).await;
    let load = Load::start(std::slice::from_ref(&line.store), "p", 2, 200);
    for position in [100, 400] {
        eventually("the consumer reads", || async { line.counter.position().await > position })
            .await;
        let context = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
        context.delete_stream(format!("{}-profiles", line.nats.prefix)).await.unwrap();
    }
    load.done().await;
    line.settles(&[]).await;
}

async fn a_lost_tail_is_published_again(mut server: NatsServer, on: On) {
    let line = Line::start(&server, on).await;
    let older = line.folder.path().join("js");
    fill(&line.store, "a", 100).await;
    line.settles(&[]).await;
    server.kill();
    copy_folder(&server.storage(), &older);
    server.launch();
    fill(&line.store, "b", 100).await;
    line.settles(&[]).await;
    server.kill();
    put_back(&older, &server.storage());
    server.launch();
    fill(&line.store, "c", 20).await;
    line.settles(&[]).await;
    let late = Counter::start(&line.nats, line.folder.path(), &line.store).await;
    late.agrees(&line.store).await;
}

async fn deleted_messages_are_healed_from_the_producer(mut server: NatsServer, on: On) {
    let line = Line::start(&server, on).await;
    fill(&line.store, "a", 99).await;
    line.settles(&[]).await;
    let stream = line.stream().await;
    for position in [40, 41, 100] {
        assert!(stream.delete_message(position).await.unwrap());
    }
    let late = Counter::start(&line.nats, line.folder.path(), &line.store).await;
    late.agrees(&line.store).await;
    // The end of the stream is remembered, or forgotten and published again.
    server.kill();
    server.launch();
    fill(&line.store, "b", 20).await;
    line.settles(&[40, 41, 100]).await;
    late.agrees(&line.store).await;
}

async fn a_purge_is_healed_from_the_producer(server: NatsServer, on: On) {
    let line = Line::start(&server, on).await;
    // More than one page of healing.
    Load::start(std::slice::from_ref(&line.store), "p", 2, 300).done().await;
    line.settles(&[]).await;
    line.stream().await.purge().await.unwrap();
    let late = Counter::start(&line.nats, line.folder.path(), &line.store).await;
    late.agrees(&line.store).await;
    let purged: Vec<_> = (1..=line.store.head().position).collect();
    fill(&line.store, "b", 20).await;
    line.settles(&purged).await;
    late.agrees(&line.store).await;
}

/// A backlog of each, as after an outage: they share a connection, and none may wait for what another one holds.
async fn many_sources_of_one_process_catch_up_together(server: NatsServer, on: On) {
    let few = NatsOptions { in_flight: 16, ..options(&server.url()) };
    let (shared, folder) = (log(Some(&few)).await, tempfile::tempdir().unwrap());
    let clock = Clock::manual(START);
    let mut stores = Vec::new();
    for number in 0..8 {
        let source = format!("source{number}");
        let database = match on {
            On::Sqlite => format!("sqlite://{}/{source}.db", folder.path().display()),
            On::Postgres => POSTGRES.database(),
        };
        let options = store_options(&source, &database, shared.clone(), &clock);
        let store = Store::open(options, schema()).await.unwrap();
        fill(&store, "a", 100).await;
        stores.push(store);
    }
    let relays: Vec<_> = stores.iter().map(Running::relay).collect();
    for store in &stores {
        eventually("everything is on the log", || async {
            let tail = shared.tail(store.source()).await.unwrap();
            tail.is_some_and(|it| it.last == 101)
        })
        .await;
    }
    drop(relays);
}

/// A lease that is taken away again and again: its holder publishes on until it renews.
async fn two_relays_at_once_publish_one_history(server: NatsServer, on: On) {
    let line = Line::start(&server, on).await;
    let other = line.replica().await;
    let zombie = Running::relay(&other);
    let load = Load::start(&[line.store.clone(), other.clone()], "p", 4, 250);
    for position in (100..1_900).step_by(300) {
        let committed = || async { line.store.read_head().await.unwrap().position >= position };
        eventually("the load goes on", committed).await;
        line.store.database().exec("DELETE FROM lease", vec![]).await.unwrap();
    }
    load.done().await;
    line.settles(&[]).await;
    zombie.stop().await;
}

/// The copy has the same history and leases of its own: nothing keeps its relay from publishing.
async fn a_copied_store_that_relays_too_does_no_harm(server: NatsServer, on: On) {
    let mut line = Line::start(&server, on).await;
    Load::start(std::slice::from_ref(&line.store), "p", 4, 250).done().await;
    line.close().await;
    let history = everything(&line.reopen(&line.database.clone()).await.unwrap()).await;
    let url = line.database.clone();
    let reopened = line.reopen(&url).await.unwrap();
    reopened.close().await;
    let copy = line.copy_database().await;
    // Both fill an empty stream.
    let context = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    context.delete_stream(format!("{}-profiles", line.nats.prefix)).await.unwrap();
    let twin = line.reopen(&copy).await.unwrap();
    let zombie = Running::relay(&twin);
    line.go_on(&url).await.unwrap();
    line.settles(&[]).await;
    // What only one of them appends reaches the other through the log.
    fill(&line.store, "only", 50).await;
    line.settles(&[]).await;
    let head = line.store.head();
    let imported = || async { twin.read_head().await.unwrap() == head };
    eventually("the copy imports what the log has", imported).await;
    assert_eq!(everything(&twin).await, everything(&line.store).await);
    assert_eq!(everything(&twin).await[..history.len()], history);
    zombie.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_stopped_leaves_its_lease_to_the_next() {
    let server = NatsServer::start();
    let mut line = Line::start(&server, On::Sqlite).await;
    let expires = || async {
        let lease = "SELECT expires_at FROM lease WHERE name = 'relay/profiles'";
        line.store.query(lease, vec![]).await.unwrap().first().map(|it| it.int(0).unwrap())
    };
    eventually("the relay has its lease", || async { expires().await.is_some() }).await;
    let relay = line.relay.take().unwrap();
    relay.stop().await;
    assert_eq!(expires().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_three_node_stream_survives_its_leader() {
    let mut servers = NatsServer::cluster();
    let urls: Vec<_> = servers.iter().map(NatsServer::url).collect();
    let nats = NatsOptions { replicas: 3, ..options(&urls.join(",")) };
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", folder.path().join("store.db").display());
    let ready = || async {
        let log = Log::nats(nats.clone()).await;
        match log {
            Ok(log) => log.tail("profiles").await.is_ok(),
            Err(_) => false,
        }
    };
    eventually("the cluster has a leader", ready).await;
    let line = Line::over(nats, On::Sqlite, database, folder).await;
    let load = Load::start(std::slice::from_ref(&line.store), "p", 4, 400);
    eventually("the consumer reads", || async { line.counter.position().await > 300 }).await;
    let leader = stream(&line.nats).await.cached_info().cluster.clone().unwrap().leader.unwrap();
    let node: usize = leader.trim_start_matches("node-").parse().unwrap();
    servers[node].kill();
    let replies = load.done().await;
    line.settles(&[]).await;
    servers[node].launch();
    fill(&line.store, "after", 20).await;
    line.settles(&[]).await;
    replies_hold(&line.store, &replies).await;
}

#[tokio::test]
async fn a_server_that_takes_only_small_messages_is_refused() {
    let server = NatsServer::configured("max_payload: 262144");
    let error = Log::nats(options(&server.url())).await.err().unwrap();
    assert!(error.to_string().contains("max_payload is 262144"), "{error}");
}

#[tokio::test]
async fn a_log_that_cannot_be_reached_is_a_reason_not_to_start() {
    let mut server = NatsServer::start();
    let nats = options(&server.url());
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}", folder.path().join("store.db").display());
    let reached = log(Some(&nats)).await;
    server.kill();
    let clock = Clock::manual(START);
    let error = open(&database, reached, &clock, Ids::system()).await.err().unwrap();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert!(matches!(Log::nats(nats).await.err().unwrap(), Error::Unavailable { .. }));
}
