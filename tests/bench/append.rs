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
    let mut writers = writers(&store, streams * UNIT / BATCH, false);
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

/// Writers that each append units over streams of their own: the same ones, or fresh ones every time.
pub(crate) fn writers(store: &Store, streams: usize, fresh: bool) -> Vec<Writer> {
    (0..WRITERS).map(|number| Writer::new(store.clone(), number, streams, fresh)).collect()
}

/// Appends full units, one after another.
pub(crate) struct Writer {
    store: Store,
    number: usize,
    streams: usize,
    fresh: bool,
    units: usize,
}

impl Writer {
    fn new(store: Store, number: usize, streams: usize, fresh: bool) -> Self {
        Self { store, number, streams, fresh, units: 0 }
    }
}

impl Client for Writer {
    async fn step(&mut self) -> Result<u64> {
        let each = UNIT / self.streams;
        let (first, version) =
            if self.fresh { (self.units * self.streams, 0) } else { (0, self.units * each) };
        let mut unit = self.store.unit(metadata(format!("writer-{}-{}", self.number, self.units)));
        for stream in first..first + self.streams {
            let id = party_id([self.number, stream]);
            let events = (0..each).map(|_| padded(PAYLOAD)).collect();
            unit.push::<Party>(&id, version as u64, &State::default(), events).await?;
        }
        self.units += 1;
        match self.store.append(unit.finish()?).await {
            Outcome::Committed { .. } => Ok(UNIT as u64),
            other => bail!("a unit of {UNIT} events: {other:?}"),
        }
    }
}
