//! `profiles` is killed (SIGKILL) while it records what the tracking API was sent: nobody was told "stored" of what is not,
//! and what is sent again is stored once.

use std::collections::BTreeSet;

use rapport_proto::types::clear;
use serde_json::{Value, json};
use support::{Topology, Web, eventually};

use crate::tracking_api::shop::{KEY, Shop, basic};

/// Messages of a batch.
const BATCH: usize = 20;
/// Batches on their way at once.
const LANES: usize = 4;
/// Batches at most.
const BATCHES: usize = 200;

macro_rules! killed_at {
    ($($name:ident: $point:literal, $topology:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            survives($point, Topology::$topology).await;
        }
    )*};
}

killed_at! {
    before_the_commit: "before_commit:4", Embedded;
    before_the_commit_distributed: "before_commit:4", Distributed;
    between_commit_and_answer: "after_commit:4", Embedded;
    between_commit_and_answer_distributed: "after_commit:4", Distributed;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_of_a_customer_is_finished_by_who_says_it_again() {
    // A message is two commits, its record and the customer's attributes: one of the points is between them.
    for point in ["after_commit:8", "after_commit:9"] {
        let mut shop = Shop::open(Topology::Embedded, &[], Some(point)).await;
        shop.customer("ada").await;
        let identify = |n: usize| json!({"messageId": format!("m-{n}"), "userId": "ada", "traits": {"tier": format!("tier-{n}")}});
        let mut web = Web::new(shop.platform.node("gateway").grpc.clone());
        let sending = async {
            for number in 0..BATCHES {
                let (key, body) = (basic(KEY), identify(number).to_string());
                let headers = [("authorization", &*key)];
                let answer = web.ask("POST", "/v1/identify", &headers, body.as_bytes()).await;
                match answer.as_ref().map(support::Message::status) {
                    Ok(200) => {}
                    Ok(503) | Err(_) => return number,
                    Ok(other) => panic!("{other}"),
                }
            }
            panic!("the process never parked");
        };
        let killing = async {
            eventually("the process parks", async || shop.platform.parked()).await;
            shop.platform.restart("profiles");
        };
        let (number, ()) = futures::join!(sending, killing);
        let mut shop = Shop::of(shop.platform);
        let tier = Some(clear::Value::Code(format!("tier-{number}")));
        // What was said before is said again too: it sets nothing back.
        for number in [number, number.saturating_sub(1)] {
            let answer = shop.post("/v1/identify", &identify(number)).await;
            assert_eq!(answer.status(), 200, "{}", answer.text());
            let party = shop.lookup("user-id", "ada").await.expect("registered");
            assert_eq!(party.attributes["tier"].value, tier, "{point}");
        }
        assert!(shop.log().await.recorded.values().all(|it| *it == 1));
        shop.platform.stop();
    }
}

fn batch(number: usize) -> Value {
    let item = |n: usize| json!({"type": "track", "messageId": format!("m-{number}-{n}"), "anonymousId": "v-1", "event": "Viewed"});
    json!({"batch": (0..BATCH).map(item).collect::<Vec<_>>()})
}

async fn survives(point: &str, topology: Topology) {
    let mut shop = Shop::open(topology, &[], Some(point)).await;
    let stored = send_until_killed(&mut shop).await;
    assert!(!stored.is_empty(), "nothing was acknowledged that could be lost");
    let mut shop = Shop::of(shop.platform);
    let log = shop.log().await;
    for number in &stored {
        let item = |n: usize| format!("m-{number}-{n}");
        assert!((0..BATCH).all(|n| log.recorded.contains_key(&item(n))), "{number} was lost");
    }
    // Whoever did not hear "stored" sends the same again; so does who heard it.
    let sent: BTreeSet<_> = stored.iter().copied().chain(0..LANES * 2).collect();
    for number in &sent {
        let answer = shop.post("/v1/batch", &batch(*number)).await;
        assert_eq!(answer.json()["rejected"], json!([]), "{}", answer.text());
    }
    let log = shop.log().await;
    assert!(log.recorded.values().all(|it| *it == 1), "{:?}", log.recorded);
    assert!(sent.iter().all(|it| log.recorded.contains_key(&format!("m-{it}-0"))));
    assert_eq!(log.refused, []);
    shop.platform.stop();
}

/// Sends batches until the node that runs `profiles` parks, kills it and starts it again; returns those of which the
/// sender was told that they are stored.
async fn send_until_killed(shop: &mut Shop) -> Vec<usize> {
    let address = shop.platform.node("gateway").grpc.clone();
    let lanes = (0..LANES).map(|lane| {
        let mut web = Web::new(address.clone());
        async move {
            let (mut stored, key) = (Vec::new(), basic(KEY));
            for number in (lane..BATCHES).step_by(LANES) {
                let headers = [("authorization", &*key)];
                let body = batch(number).to_string();
                let answer = web.ask("POST", "/v1/batch", &headers, body.as_bytes()).await;
                match answer.as_ref().map(support::Message::status) {
                    Ok(200) => stored.push(number),
                    // The gateway lives and says so, or it was killed too.
                    Ok(503) => {
                        let told = answer.expect("an answer");
                        assert_eq!(told.header("retry-after"), Some("1"));
                        return stored;
                    }
                    Ok(other) => panic!("{other}"),
                    Err(_) => return stored,
                }
            }
            panic!("the process never parked");
        }
    });
    let sending = futures::future::join_all(lanes);
    let killing = async {
        eventually("the process parks", async || shop.platform.parked()).await;
        shop.platform.restart("profiles");
    };
    let (stored, ()) = futures::join!(sending, killing);
    stored.concat()
}
