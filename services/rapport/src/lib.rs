//! # One binary, many targets
//!
//! `rapport serve` runs every target of the table in [`targets`] in one process on embedded defaults;
//! `rapport serve --target=profiles --config rapport.toml` runs one, with the same code.
//!
//! The other commands work on the stores the settings name: check and print settings, migrate, follow
//! and export events, rebuild a view, verify a store, list parked events.

mod cli;
mod events;
mod health;
mod stores;
pub mod targets;

pub use cli::{Cli, run};

use chassis::lifecycle::Shutdown;
use chassis::run::Process;
use chassis::settings::Settings;

/// Starts the targets that settings name; tests start the very same thing.
pub async fn start(settings: Settings, shutdown: Shutdown) -> anyhow::Result<Process> {
    let targets = targets::select(&settings.targets)?;
    Ok(chassis::run::start(&targets, settings, shutdown).await?)
}
