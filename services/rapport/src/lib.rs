//! # One binary, many targets
//!
//! `rapport serve` runs every target of the table in [`targets`] in one process on embedded defaults;
//! `rapport serve --target=profiles --config rapport.toml` runs one, with the same code.
//!
//! Some commands work on the stores the settings name: check and print settings, migrate, follow and
//! export events, rebuild a view, verify a store, list parked events. The others ask a running platform
//! as any client does ([`remote`]): customers, decisions, content, journeys, touches, and a story to watch
//! ([`demo`]).

mod backup;
mod cli;
pub mod demo;
mod events;
mod health;
mod people;
pub mod reference;
pub mod remote;
mod smoke;
mod status;
mod stores;
mod table;
pub mod targets;

use std::process::ExitCode;

use chassis::lifecycle::Shutdown;
use chassis::run::Process;
use chassis::settings::Settings;
use clap::Parser as _;

/// Small values come and go all the time, on many threads. It stands in the library for the tests and the benchmarks,
/// which then allocate like the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the command that the process was started with.
pub async fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rapport: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the targets that settings name; tests start the very same thing.
pub async fn start(settings: Settings, shutdown: Shutdown) -> anyhow::Result<Process> {
    let targets = targets::select(&settings.targets)?;
    Ok(chassis::run::start(&targets, settings, shutdown).await?)
}

/// Where a server in embedded mode leaves its development token for commands on the same machine.
/// On other stores, which the demo may use, it is beside the key.
fn token_file(settings: &Settings) -> std::path::PathBuf {
    let beside = match settings.keys.kek_file.parent() {
        Some(folder) if !settings.is_embedded() => folder.to_owned(),
        _ => chassis::root_key::folder(settings),
    };
    beside.join("development.token")
}
