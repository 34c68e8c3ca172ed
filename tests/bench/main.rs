//! # How fast it is
//!
//! `make bench` measures each row beside its reference, where it has one, in turn, in one run on one machine, takes
//! medians, prints a table and writes `target/bench.json`.
//!
//! ```text
//! cargo run --release -p rapport-tests --features bench --bin bench -- --quick --only append,decide-sqlite
//! ```
//!
//! Servers are real and private: PostgreSQL and nats-server on free ports in temporary folders, Rapport
//! itself in a process of its own (this binary, run again with a role). The peer of `peer-*` is another
//! package, `tests/peer`, so that what it depends on never enters the workspace; `--record-peer` runs it
//! and keeps its figures in `tests/peer/result.json`.

mod append;
mod child;
mod decide;
mod demo;
mod gate;
mod grpc;
mod journey;
mod kpis;
mod latency;
mod measure;
mod memory;
mod party;
mod peer;
mod raw;
mod rebuild;
mod relay;
mod report;
mod rule;
mod segment;
mod servers;
mod site;
mod timer;
mod tracking;
mod world;

use anyhow::Result;
use clap::Parser;

use measure::Plan;
use report::Report;
use servers::Servers;

/// Measures Rapport beside its references.
#[derive(Parser)]
struct Arguments {
    /// Only rows with these ids, or whose ids start with them and a hyphen.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Few, short repetitions: to look, not to quote.
    #[arg(long)]
    quick: bool,
    /// Hardly anything: to see that every row works.
    #[arg(long)]
    small: bool,
    /// Run the peer's package and keep its figures.
    #[arg(long)]
    record_peer: bool,
    #[command(subcommand)]
    role: Option<child::Role>,
}

/// What every row needs.
struct Bench {
    only: Vec<String>,
    plan: Plan,
    servers: Servers,
}

impl Bench {
    /// Whether a row is wanted.
    fn wants(&self, id: &str) -> bool {
        let starts =
            |it: &String| id == it || id.strip_prefix(it).is_some_and(|it| it.starts_with('-'));
        self.only.is_empty() || self.only.iter().any(starts)
    }

    /// Whether a row, or one that is measured with it, is wanted.
    fn wants_some(&self, id: &str) -> bool {
        let part = |it: &String| it.strip_prefix(id).is_some_and(|it| it.starts_with('-'));
        self.wants(id) || self.only.iter().any(part)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(role) = arguments.role {
        return child::play(role).await;
    }
    let plan = match (arguments.small, arguments.quick) {
        (true, _) => Plan::small(),
        (false, true) => Plan::quick(),
        (false, false) => Plan::full(),
    };
    let bench = Bench { only: arguments.only, plan, servers: Servers::default() };
    if arguments.record_peer {
        return peer::record(&bench).await;
    }
    let mut report = Report::default();
    append::run(&bench, &mut report).await?;
    grpc::run(&bench, &mut report).await?;
    peer::run(&bench, &mut report).await?;
    relay::run(&bench, &mut report).await?;
    rebuild::run(&bench, &mut report).await?;
    latency::run(&bench, &mut report).await?;
    memory::run(&bench, &mut report).await?;
    rule::run(&bench, &mut report).await?;
    timer::run(&bench, &mut report).await?;
    segment::run(&bench, &mut report).await?;
    decide::run(&bench, &mut report).await?;
    journey::run(&bench, &mut report).await?;
    gate::run(&bench, &mut report).await?;
    kpis::run(&bench, &mut report).await?;
    tracking::run(&bench, &mut report).await?;
    demo::run(&bench, &mut report).await?;
    report.finish()
}
