//! The tracking API: batches of SDKs' messages over HTTP, until they are durable, beside what the store alone can append.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use eventstore::{CommitOptions, Log, Schema, Timestamp};
use futures::future::try_join_all;
use rapport_proto::profiles::v1::RegisterSourceRequest;
use rapport_proto::profiles::v1::source_service_client::SourceServiceClient;
use serde_json::{Value, json};
use support::Web;

use crate::Bench;
use crate::append;
use crate::measure::{Client, drive, in_turn};
use crate::report::{Report, Row};
use crate::servers::open;
use crate::site::{On, Site};

/// Messages of a batch.
const BATCH: usize = 100;
const CLIENTS: usize = 16;
const CUSTOMERS: usize = 1_000;
/// Events a second, on two cores with the client on the same machine.
const GOAL: f64 = 10_000.0;
const KEY: &str = "key-of-the-bench-shop";
/// Of its header.
const BASIC: &str = "Basic a2V5LW9mLXRoZS1iZW5jaC1zaG9wOg==";

/// As in production, what reads the log is in other processes. What `profiles` reads is missing, and said too often. The
/// clients share a key.
const SETTINGS: [&str; 3] = [
    "targets=profiles,gateway",
    "telemetry.log_level=error",
    "gateway.requests_per_second=1000000",
];

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for on in On::BOTH {
        let id = on.row("tracking");
        if bench.wants(&id) {
            report.add(Box::pin(measured(bench, &id, on)).await?);
        }
    }
    Ok(())
}

async fn measured(bench: &Bench, id: &str, on: On) -> Result<Row> {
    let site = Site::start(bench, on, &SETTINGS).await?;
    SourceServiceClient::new(site.connect())
        .register_source(RegisterSourceRequest {
            parent: Site::parent(),
            source_id: "bench".into(),
            owner: "bench".into(),
            write_key: KEY.into(),
            ..RegisterSourceRequest::default()
        })
        .await?;
    let customers = bench.plan.volume(CUSTOMERS).max(BATCH);
    let mut shops: Vec<_> =
        (0..CLIENTS).map(|number| Shop::new(&site, number, customers)).collect();
    identify(&mut shops, customers).await?;

    let url = match on {
        On::Sqlite => format!("sqlite://{}/reference.db", site.folder().display()),
        On::Postgres => bench.servers.postgres().database(),
    };
    let commit = CommitOptions::default();
    let store = open("bench", &url, Schema::default(), Log::local(), commit).await?;
    let mut writers = append::writers(&store, BATCH, true);
    let time = bench.plan.time;
    let compared = in_turn(
        bench.plan,
        async || drive(&mut shops, time).await,
        async || drive(&mut writers, time).await,
    )
    .await?;
    store.close().await;
    site.stop().await?;
    let what = format!(
        "events through the tracking API in batches of {BATCH} over HTTP, {CLIENTS} clients, {customers} customers \
         looked up by their ids, answered when durable, on {}, in one process with `profiles`; reference: bulk append \
         through the store alone, no views",
        on.told()
    );
    let row = Row::reported(id, what, compared.value, "events/s");
    Ok(row.beside(compared.reference).at_least(GOAL))
}

/// Lets the platform know the customers.
async fn identify(shops: &mut [Shop], customers: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    let lanes = shops.iter_mut().map(async |shop| {
        loop {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            if first >= customers {
                return anyhow::Ok(());
            }
            let item = |n: usize| {
                json!({
                    "type": "identify", "messageId": format!("identify-{n}"), "userId": format!("customer-{n}"),
                    "traits": {"kind": "PHARMACIST", "market": "US", "given_name": format!("Customer {n}")},
                })
            };
            let items: Vec<_> = (first..customers.min(first + BATCH)).map(item).collect();
            shop.post(&json!({"batch": items}).to_string()).await?;
        }
    });
    try_join_all(lanes).await.map(drop)
}

/// A shop's server with an SDK in it.
struct Shop {
    web: Web,
    number: usize,
    batches: usize,
    customers: usize,
}

impl Shop {
    fn new(site: &Site, number: usize, customers: usize) -> Self {
        let web = Web::new(site.server.address.to_string());
        Self { web, number, batches: 0, customers }
    }

    async fn post(&mut self, body: &str) -> Result<()> {
        let headers = [("authorization", BASIC), ("content-type", "application/json")];
        let answer = self.web.ask("POST", "/v1/batch", &headers, body.as_bytes()).await?;
        ensure!(answer.status() == 200, "{} {}", answer.start, answer.text());
        let told: Value = serde_json::from_slice(&answer.body)?;
        ensure!(told["rejected"] == json!([]), "{told}");
        Ok(())
    }
}

impl Client for Shop {
    async fn step(&mut self) -> Result<u64> {
        let (shop, batch, now) = (self.number, self.batches, Timestamp::real());
        self.batches += 1;
        // Written by hand: the client has the same cores as the platform.
        let item = |n: usize| {
            let customer = (shop * 61 + batch * BATCH + n) % self.customers;
            format!(
                r#"{{"timestamp":"{now}","type":"track","userId":"customer-{customer}","event":"Order Completed","properties":{{"order_id":"o-{shop}-{batch}-{n}","total":12.5,"currency":"USD"}},"context":{{"library":{{"name":"@segment/analytics-node","version":"3.1.0"}}}},"integrations":{{}},"_metadata":{{"nodeVersion":"20.20.2","jsRuntime":"node"}},"messageId":"node-next-{shop}-{batch}-{n}"}}"#
            )
        };
        let items: Vec<_> = (0..BATCH).map(item).collect();
        let body =
            format!(r#"{{"batch":[{}],"writeKey":"{KEY}","sentAt":"{now}"}}"#, items.join(","));
        self.post(&body).await?;
        Ok(BATCH as u64)
    }
}
