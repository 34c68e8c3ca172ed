//! Three nats-servers hold every stream. Each in turn is killed, falls silent and comes back, then all of them are killed
//! at once: what was acknowledged is there, every stream is its store, and how soon a touch gets through is printed.

use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, ServerAddr, jetstream};
use eventstore::imported_api;
use eventstore::testing::NatsServer;
use rapport::targets::TARGETS;
use support::{Ground, Platform, TESTER, eventually};
use tokio_util::sync::CancellationToken;

use crate::stage::Stage;
use crate::stage::crowd::{self, JOURNEY};
use crate::stage::intact::{Acknowledged, PROBE};

const PARTIES: usize = 16;
/// Between two steps of the crowd.
const BREATH: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    let mut stage = Stage::on_ground(Ground { cluster: true, ..Ground::default() }).await;
    for journey in [JOURNEY, PROBE] {
        stage.cast.publish_journey(journey).await.expect("published");
    }
    let parties = crowd::assemble(&stage, PARTIES).await;
    stage.recovers("undisturbed", Instant::now()).await;
    let client = client(&stage.platform).await;
    whole(&stage.platform, &client).await;

    let mut nodes = std::mem::take(&mut stage.platform.nats);
    let (mut acknowledged, stop) = (Acknowledged::default(), CancellationToken::new());
    let disturb = async {
        for (which, node) in nodes.iter_mut().enumerate() {
            let since = Instant::now();
            node.kill();
            stage.recovers(&format!("killed node {which}"), since).await;
            node.launch();
            whole(&stage.platform, &client).await;
        }
        for (which, node) in nodes.iter_mut().enumerate() {
            let since = Instant::now();
            node.pause();
            stage.recovers(&format!("paused node {which}"), since).await;
            node.resume();
            whole(&stage.platform, &client).await;
        }
        let since = Instant::now();
        nodes.iter_mut().for_each(NatsServer::kill);
        nodes.iter_mut().for_each(NatsServer::launch);
        stage.recovers("killed all nodes", since).await;
        whole(&stage.platform, &client).await;
        stop.cancel();
    };
    let (remote, walk) = (&stage.remote, crowd::walk(&stage, &parties, BREATH));
    tokio::join!(disturb, walk, acknowledged.gather(remote, &stop));
    acknowledged.check(remote).await;
    crowd::settled(&stage, &parties).await;
    for (party, (outcome, touches)) in crowd::ends(&stage, &parties).await {
        assert!(["done", "ordered"].contains(&&*outcome), "{party}: {outcome} {touches:?}");
    }
    stage.platform.nats = nodes;
    stage.is_intact().await;
    stage.finish().await;
}

/// A client of every node.
async fn client(platform: &Platform) -> Client {
    let nodes = platform.nats.iter().map(|it| it.url().parse().expect("a URL"));
    let (user, password, _) = platform.nats_user(TESTER);
    let options = ConnectOptions::with_user_and_password(user, password);
    let options = options.custom_inbox_prefix(format!("_INBOX_{TESTER}"));
    let ping = Duration::from_secs(3);
    let client = options.ping_interval(ping).connect(nodes.collect::<Vec<ServerAddr>>()).await;
    client.expect("a node answers")
}

/// Waits until every stream is whole on every node: the next one may fail.
async fn whole(platform: &Platform, client: &Client) {
    for target in TARGETS {
        let name = format!("{}-{}", platform.prefix(), target.name);
        let api = imported_api(platform.prefix(), target.name);
        let context = jetstream::with_prefix(client.clone(), &api);
        eventually("every node has the stream", async || {
            let Ok(stream) = context.get_stream(&name).await else { return false };
            let Some(cluster) = stream.cached_info().cluster.clone() else { return false };
            let others = cluster.replicas.iter().filter(|it| it.current && !it.offline).count();
            cluster.leader.is_some() && others == 2
        })
        .await;
    }
}
