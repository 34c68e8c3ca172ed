//! Bulk append through the store, beside raw inserts of as many rows to a transaction.

use anyhow::{Result, bail};
use eventstore::{CommitOptions, Log, Outcome, Schema, Store};

use crate::Bench;
use crate::measure::{Client, drive, in_turn};
use crate::party::{Party, State, metadata, padded, party_id};
use crate::raw;
use crate::report::{Report, Row};
use crate::servers::open;

/// Bytes of a payload.
pub(crate) const PAYLOAD: usize = 400;
/// Events in a transaction, on both sides.
const BATCH: usize = 1_000;
/// Events in a unit: a command may have 256.
const UNIT: usize = 200;
/// Twice as many as fit a transaction: while one is written, the next one waits.
const WRITERS: usize = 2 * BATCH / UNIT;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for (id, streams) in [("append-10", 10), ("append-1000", 1_000)] {
        if bench.wants(id) {
            let what = format!(
                "bulk append of {PAYLOAD}-byte payloads to PostgreSQL, {BATCH} events on {streams} streams \
                 to a transaction; reference: raw multi-row INSERT into the same table and indexes"
            );
            report.add(measured(bench, id, what, streams).await?);
        }
    }
    Ok(())
}

async fn measured(bench: &Bench, id: &str, what: String, streams: usize) -> Result<Row> {
    let commit = CommitOptions { max_units: BATCH / UNIT, ..CommitOptions::default() };
    let url = bench.servers.postgres().database();
    let store = open("bench", &url, Schema::default(), Log::local(), commit).await?;
    let mut writers = writers(&store, streams * UNIT / BATCH);
    drive(&mut writers, bench.plan.time / 10).await?;
    let envelope = store.read(0, 1).await?.remove(0).envelope.to_vec();
    let raw = raw::database(&bench.servers, Schema::default()).await?;
    let mut bulk = vec![raw::Bulk::new(&raw, streams, BATCH, envelope).await?];
    let time = bench.plan.time;
    let compared = in_turn(
        bench.plan,
        async || drive(&mut writers, time).await,
        async || drive(&mut bulk, time).await,
    )
    .await?;
    store.close().await;
    Ok(Row::compared(id, what, &compared, 0.6))
}

/// Writers that each append units over streams of their own.
pub(crate) fn writers(store: &Store, streams: usize) -> Vec<Writer> {
    (0..WRITERS).map(|number| Writer::new(store.clone(), number, streams)).collect()
}

/// Appends full units, one after another.
pub(crate) struct Writer {
    store: Store,
    name: String,
    streams: Vec<String>,
    units: u64,
}

impl Writer {
    fn new(store: Store, number: usize, streams: usize) -> Self {
        let streams = (0..streams).map(|stream| party_id([number, stream])).collect();
        Self { store, name: format!("writer-{number}"), streams, units: 0 }
    }
}

impl Client for Writer {
    async fn step(&mut self) -> Result<u64> {
        let each = UNIT / self.streams.len();
        let mut unit = self.store.unit(metadata(format!("{}-{}", self.name, self.units)));
        for stream in &self.streams {
            let events = (0..each).map(|_| padded(PAYLOAD)).collect();
            let version = self.units * each as u64;
            unit.push::<Party>(stream, version, &State::default(), events).await?;
        }
        self.units += 1;
        match self.store.append(unit.finish()?).await {
            Outcome::Committed { .. } => Ok(UNIT as u64),
            other => bail!("a unit of {UNIT} events: {other:?}"),
        }
    }
}
