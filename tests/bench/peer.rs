//! The same aggregate in process, beside the crate `cqrs-es` with `postgres-es`.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use eventstore::{CommitOptions, Log, Store, Timestamp};
use serde_json::{Value, json};
use tokio::process::Command as Process;

use crate::Bench;
use crate::measure::{Client, Compared, drive, median};
use crate::party::{Command, Party, metadata, party_id, schema};
use crate::report::{Report, Row};
use crate::servers::open;

const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peer/Cargo.toml");
const RESULT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peer/result.json");
const TARGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/peer");
const CLIENTS: usize = 64;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    if !bench.wants("peer-create") && !bench.wants("peer-append") {
        return Ok(());
    }
    let text = fs::read_to_string(RESULT).context("no peer was recorded: run `make bench-peer`")?;
    let peer: Value = serde_json::from_str(&text)?;
    let url = bench.servers.postgres().database();
    let store = open("bench", &url, schema(), Log::local(), CommitOptions::default()).await?;
    let registered = Arc::new(AtomicUsize::new(0));
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|number| Caller {
            store: store.clone(),
            number,
            registered: registered.clone(),
            moves: None,
            done: 0,
        })
        .collect();
    let mut create = Vec::new();
    drive(&mut clients, bench.plan.time).await?;
    for _ in 0..bench.plan.repetitions {
        create.push(drive(&mut clients, bench.plan.time).await?);
    }
    let mut append = Vec::new();
    for client in &mut clients {
        client.moves = Some(client.done);
    }
    drive(&mut clients, bench.plan.time).await?;
    for _ in 0..bench.plan.repetitions {
        append.push(drive(&mut clients, bench.plan.time).await?);
    }
    store.close().await;
    for (id, shape, values) in [
        ("peer-create", "create + one event", create),
        ("peer-append", "load + one more event", append),
    ] {
        if bench.wants(id) {
            let reference =
                peer[&id["peer-".len()..]].as_f64().context("the peer's record is incomplete")?;
            let compared = Compared { value: median(values), reference };
            let what = format!(
                "in process, {CLIENTS} concurrent, durable, with a view row: {shape}; reference: {} (recorded {} on {})",
                text_of(&peer["peer"]),
                text_of(&peer["date"]),
                text_of(&peer["machine"]),
            );
            report.add(Row::compared(id, what, &compared, 3.0));
        }
    }
    Ok(())
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// Registers parties, then moves those it registered, one after another.
struct Caller {
    store: Store,
    number: usize,
    registered: Arc<AtomicUsize>,
    /// How many parties there are to move; `None` while it registers.
    moves: Option<usize>,
    done: usize,
}

impl Client for Caller {
    async fn step(&mut self) -> Result<u64> {
        const MARKETS: [&str; 2] = ["FR", "DE"];
        let (id, command) = match self.moves {
            None => (self.done, Command::Register),
            Some(parties) => {
                let step = self.done - parties;
                (step % parties, Command::Move(MARKETS[step / parties % 2]))
            }
        };
        let id = party_id([self.number, id]);
        let meta = metadata(format!("{}-{}", self.number, self.done));
        self.store.execute::<Party>(&id, &meta, command).await?;
        self.registered.fetch_add(1, Ordering::Relaxed);
        self.done += 1;
        Ok(1)
    }
}

/// Runs the peer's package on a fresh server with the same settings, and keeps its figures.
pub(crate) async fn record(bench: &Bench) -> Result<()> {
    let output = Process::new("cargo")
        .args(["run", "--release", "--manifest-path", PACKAGE, "--target-dir", TARGET, "--"])
        .arg(bench.servers.postgres().database())
        .arg(bench.plan.time.as_secs().to_string())
        .arg(bench.plan.repetitions.to_string())
        .stderr(std::process::Stdio::inherit())
        .output()
        .await?;
    ensure!(output.status.success(), "the peer ended with {}", output.status);
    let mut result: Value = serde_json::from_slice(&output.stdout)?;
    let version = bench.servers.postgres().psql("postgres", "SHOW server_version");
    result["machine"] = json!(format!("{}, PostgreSQL {version}", machine()));
    result["date"] = json!(Timestamp::real().to_string()[..10]);
    fs::write(Path::new(RESULT), serde_json::to_string_pretty(&result)? + "\n")?;
    println!("{result:#}");
    Ok(())
}

/// Processor and number of cores.
fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|it| it.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} × {}", model.map_or("unknown processor", |it| it.1))
}
