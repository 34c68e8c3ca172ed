//! The SDKs that shops have, changed in nothing but the host, send through a proxy that refuses, delays and resets
//! connections: every message is stored exactly once.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use flate2::read::GzDecoder;
use serde_json::Value;
use support::{Fate, Message, Proxy, Topology};
use tokio::process::Command;

use crate::tracking_api::shop::{KEY, Shop};

const MESSAGES: usize = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_node() {
    stores_once(Topology::Embedded, node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_node_distributed() {
    stores_once(Topology::Distributed, node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_python() {
    stores_once(Topology::Embedded, python).await;
}

async fn stores_once(topology: Topology, sdk: fn(&str) -> Command) {
    let shop = Shop::open(topology, &[], None).await;
    let proxy = Proxy::start(&shop.platform.node("gateway").grpc, first_message).await;
    let output = sdk(&format!("http://{}", proxy.address))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the SDK starts");
    let (printed, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{complained}", output.status);
    let sent: BTreeSet<_> = printed.lines().map(str::to_owned).collect();
    assert_eq!(sent.len(), MESSAGES, "{complained}");

    let log = shop.log().await;
    assert_eq!(log.recorded.keys().cloned().collect::<BTreeSet<_>>(), sent);
    assert!(log.recorded.values().all(|it| *it == 1), "{:?}", log.recorded);
    assert_eq!(log.refused, [], "a repeat is no conflict");
    let met = proxy.met();
    println!("what happened to requests: {met:?}");
    for fate in [Fate::Refused, Fate::Slowed, Fate::LostRequest, Fate::LostAnswer, Fate::Delayed] {
        assert!(met.get(&fate).is_some_and(|it| *it > 1), "{fate:?} of {met:?}");
    }
    let party = shop.lookup("user-id", "c-0").await.expect("identified by the SDK");
    assert!(shop.did(&party.party_id).await.contains(&"Order Completed".to_owned()));
    let mut platform = shop.platform;
    platform.stop();
}

/// What a batch is known by, whatever else changes when it is sent again.
fn first_message(request: &Message) -> String {
    let body: Value = match request.header("content-encoding") {
        Some("gzip") => serde_json::from_reader(GzDecoder::new(&*request.body)),
        _ => serde_json::from_slice(&request.body),
    }
    .expect("JSON");
    body["batch"][0]["messageId"].as_str().expect("a message with an id").to_owned()
}

fn node(host: &str) -> Command {
    let mut node = Command::new(tool("TEST_NODE", "bin/node"));
    node.arg(root().join("tests/clients/tracking.mjs")).arg(root().join(".tools/tracking"));
    node.args([host, KEY, &MESSAGES.to_string()]);
    node
}

fn python(host: &str) -> Command {
    let mut python = Command::new(tool("TEST_PYTHON", "python/bin/python"));
    python.arg(root().join("tests/clients/tracking.py"));
    python.args([host, KEY, &MESSAGES.to_string()]);
    python
}

/// Where the variable says, or where tests/setup puts it.
#[expect(clippy::disallowed_methods, reason = "tests are told where programs are")]
fn tool(variable: &str, installed: &str) -> PathBuf {
    let place = env::var_os(variable).map(PathBuf::from);
    let place = place.unwrap_or_else(|| root().join(".tools").join(installed));
    assert!(place.is_file(), "{} is missing: run tests/setup, or set {variable}", place.display());
    place
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the crate stands in it")
}
