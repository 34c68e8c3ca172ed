//! The relay, from PostgreSQL to nats-server, beside a bare publish of the same bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::jetstream::{self, stream};
use eventstore::{CommitOptions, Log, Schema, Store, relay};
use prost::bytes::Bytes;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Bench;
use crate::append::{PAYLOAD, writers};
use crate::measure::{Client, in_turn, rate};
use crate::report::{Report, Row};
use crate::servers::{Servers, open};

/// Publishes on their way, on both sides.
const WINDOW: usize = 512;
const EVENTS: usize = 200_000;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    if !bench.wants("relay") {
        return Ok(());
    }
    let url = bench.servers.postgres().database();
    let events = bench.plan.volume(EVENTS) as u64;
    fill(&url, events).await?;
    let payloads = payloads(&url).await?;
    let compared = in_turn(
        bench.plan,
        async || relayed(&bench.servers, &url).await,
        async || published(&bench.servers, &payloads).await,
    )
    .await?;
    let what = format!(
        "relay of events with {PAYLOAD}-byte payloads from PostgreSQL to nats-server; reference: bare async-nats \
         publish of the same envelopes, acks awaited in a window of {WINDOW}"
    );
    report.add(Row::compared("relay", what, &compared, 0.4));
    Ok(())
}

/// Appends at least so many events, ten to a party; returns once they are there.
pub(crate) async fn fill(url: &str, events: u64) -> Result<()> {
    let store =
        open("bench", url, Schema::default(), Log::local(), CommitOptions::default()).await?;
    let mut writers = writers(&store, 20, true);
    while store.head().position < events {
        futures::future::try_join_all(writers.iter_mut().map(Client::step)).await?;
    }
    store.close().await;
    Ok(())
}

async fn payloads(url: &str) -> Result<Vec<Bytes>> {
    let store =
        open("bench", url, Schema::default(), Log::local(), CommitOptions::default()).await?;
    let mut payloads = Vec::new();
    loop {
        let page = store.read(payloads.len() as u64, 1_000).await?;
        if page.is_empty() {
            store.close().await;
            return Ok(payloads);
        }
        payloads.extend(page.into_iter().map(|it| it.envelope));
    }
}

/// Relays everything to a stream that is not there yet; events per second.
async fn relayed(servers: &Servers, url: &str) -> Result<f64> {
    let options = servers.fresh_log();
    let stream = format!("{}-bench", options.prefix);
    let log = Log::nats(options).await?;
    let store = open("bench", url, Schema::default(), log, CommitOptions::default()).await?;
    let events = store.head().position;
    let (stop, mut relay) = (CancellationToken::new(), JoinSet::new());
    let start = Instant::now();
    relay.spawn(relay::run(store.clone(), stop.clone()));
    until_published(&store, events).await?;
    let took = start.elapsed();
    stop.cancel();
    relay.join_all().await;
    store.close().await;
    context(servers).await?.delete_stream(stream).await?;
    Ok(rate(events, took))
}

async fn until_published(store: &Store, events: u64) -> Result<()> {
    while store.log().tail("bench").await?.is_none_or(|it| it.last < events) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn context(servers: &Servers) -> Result<jetstream::Context> {
    Ok(jetstream::new(async_nats::connect(servers.nats().url()).await?))
}

/// Publishes bytes to a fresh stream, and nothing else; events per second.
async fn published(servers: &Servers, payloads: &[Bytes]) -> Result<f64> {
    let context = context(servers).await?;
    let config = stream::Config {
        name: "bare".into(),
        subjects: vec!["bare.>".into()],
        ..stream::Config::default()
    };
    context.create_stream(config).await?;
    let start = Instant::now();
    let mut acks = VecDeque::new();
    for payload in payloads {
        if acks.len() >= WINDOW {
            acks.pop_front().context("a full window has a first")?.await?;
        }
        acks.push_back(
            context.publish("bare.party.party_moved", payload.clone()).await?.into_future(),
        );
    }
    for ack in acks {
        ack.await?;
    }
    let took = start.elapsed();
    context.delete_stream("bare").await?;
    Ok(rate(payloads.len() as u64, took))
}
