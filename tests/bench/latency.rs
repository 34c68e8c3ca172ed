//! From the commit until a consumer in another process has the event.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use eventstore::consumer::{self, Consumer, Handler};
use eventstore::{
    CommitOptions, Error, Log, NatsOptions, Outcome, Recorded, Schema, SourceReader, Store, Stored,
    Timestamp, Tx, View, relay,
};
use futures::future::BoxFuture;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::Bench;
use crate::measure::percentile;
use crate::party::{Party, State, metadata, padded, party_id, schema};
use crate::report::{Report, Row};
use crate::servers::open;

const PER_SECOND: u64 = 1_000;
const SECONDS: usize = 30;
/// Events at the start that do not count.
const WARM_UP: u64 = 1_000;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    if !bench.wants("latency-p50") && !bench.wants("latency-p99") {
        return Ok(());
    }
    let options = bench.servers.fresh_log();
    let postgres = bench.servers.postgres();
    let log = Log::nats(options.clone()).await?;
    let store =
        open("bench", &postgres.database(), schema(), log, CommitOptions::default()).await?;
    let (stop, mut relay) = (CancellationToken::new(), JoinSet::new());
    relay.spawn(relay::run(store.clone(), stop.clone()));
    let mut other = Other::start(&postgres.database(), &options).await?;
    let count = WARM_UP + bench.plan.volume(SECONDS) as u64 * PER_SECOND;
    let committed = commit_evenly(&store, count).await?;
    let seen = other.seen(count).await?;
    stop.cancel();
    relay.join_all().await;
    store.close().await;
    let mut millis: Vec<f64> = committed
        .iter()
        .filter(|(position, _)| **position > WARM_UP)
        .filter_map(|(position, at)| Some(seen.get(position)?.since(*at).as_secs_f64() * 1_000.0))
        .collect();
    millis.sort_by(f64::total_cmp);
    let what = format!(
        "commit → a consumer in another process has the event, at {PER_SECOND} events/s over PostgreSQL and nats-server"
    );
    let (p50, p99) = (percentile(&millis, 50), percentile(&millis, 99));
    report.add(Row::reported("latency-p50", format!("{what}: median"), p50, "ms"));
    report.add(
        Row::reported("latency-p99", format!("{what}: 99th percentile"), p99, "ms").below(50.0),
    );
    Ok(())
}

/// Commits single events at an even rate; when each was known to be durable, by position.
async fn commit_evenly(store: &Store, count: u64) -> Result<HashMap<u64, Timestamp>> {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / u32::try_from(PER_SECOND)?);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut commits = JoinSet::new();
    for number in 0..count {
        tick.tick().await;
        let store = store.clone();
        commits.spawn(async move {
            let mut unit = store.unit(metadata(format!("even-{number}")));
            let id = party_id([7, usize::try_from(number)?]);
            unit.push::<Party>(&id, 0, &State::default(), vec![padded(400)]).await?;
            match store.append(unit.finish()?).await {
                Outcome::Committed { position } => Ok((position, Timestamp::real())),
                other => bail!("event {number}: {other:?}"),
            }
        });
    }
    commits.join_all().await.into_iter().collect()
}

/// The other process.
struct Other {
    child: Child,
    lines: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl Other {
    async fn start(database: &str, log: &NatsOptions) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["consume", database, &log.url, &log.prefix])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    /// Waits until it has seen so many events, and asks it when it saw each.
    async fn seen(&mut self, count: u64) -> Result<HashMap<u64, Timestamp>> {
        let mut seen = HashMap::new();
        while (seen.len() as u64) < count {
            let line =
                tokio::time::timeout(Duration::from_secs(60), self.lines.next_line()).await??;
            let line = line.context("the consumer ended early")?;
            let (position, at) = line.split_once(' ').context("a position and an instant")?;
            seen.insert(position.parse()?, Timestamp(at.parse()?));
        }
        // It ends with its standard input.
        drop(self.child.stdin.take());
        self.child.wait().await?;
        Ok(seen)
    }
}

/// What the other process does: consumes, and prints a line per event until its standard input ends.
pub(crate) async fn consume(database: &str, url: &str, prefix: &str) -> Result<()> {
    let options = NatsOptions { prefix: prefix.to_owned(), ..NatsOptions::new(url) };
    let log = Log::nats(options).await?;
    let store = open("other", database, Schema::default(), log, CommitOptions::default()).await?;
    let seen = Arc::new(Seen::default());
    let consumer = Consumer {
        name: "seen".into(),
        sources: vec!["bench".into()],
        handler: Handler::View(seen.clone()),
    };
    let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
    let source = "bench".to_owned();
    running.spawn(consumer::run(store, consumer, source, Arc::new(Nobody), stop.clone()));
    let (mut input, mut nothing) = (tokio::io::stdin(), [0]);
    let mut told = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            _ = input.read(&mut nothing) => break,
            _ = told.tick() => seen.tell(),
        }
    }
    stop.cancel();
    running.join_all().await;
    Ok(())
}

/// Notes when each event came.
#[derive(Default)]
struct Seen(Mutex<Vec<(u64, Timestamp)>>);

impl Seen {
    fn tell(&self) {
        use std::fmt::Write as _;
        let seen = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut text = String::new();
        for (position, at) in seen {
            let _ = writeln!(text, "{position} {}", at.0);
        }
        print!("{text}");
    }
}

impl View for Seen {
    fn name(&self) -> &'static str {
        "seen"
    }

    fn tables(&self) -> &'static [&'static str] {
        &[]
    }

    fn apply<'a>(
        &'a self,
        _: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        let now = Timestamp::real();
        let seen = events.iter().map(|it| (it.position, now));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
        Box::pin(async { Ok(()) })
    }
}

/// A producer that need not be asked: nothing is lost here.
struct Nobody;

impl SourceReader for Nobody {
    fn read<'a>(
        &'a self,
        _: &'a str,
        _: u64,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<Stored>, Error>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
