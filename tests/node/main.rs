//! The platform with one more target, as a process of its own: what the scenarios start, kill and ask.
//!
//! `node key=value…` takes settings as `--set` does, and prints what `rapport serve` prints first.

use std::process::ExitCode;

use anyhow::Context as _;
use chassis::deps::Deps;
use chassis::lifecycle::Shutdown;
use chassis::service::Service;
use chassis::settings::{Settings, Sources, WebhookBy};
use support::mirror;

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> anyhow::Result<()> {
    let flags = std::env::args().skip(1).collect();
    let settings = Settings::load(&Sources { flags, ..Sources::default() })?;
    let mut targets = rapport::targets::TARGETS.to_vec();
    targets.push(mirror::TARGET);
    if settings.delivery.webhook_private {
        let delivery = targets.iter_mut().find(|it| it.name == "delivery");
        delivery.context("delivery is a target")?.service = over_http;
    }
    targets.retain(|it| settings.targets.iter().any(|name| name == "all" || name == it.name));
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    let process = chassis::run::start(&targets, settings, shutdown).await?;
    println!("grpc: {}\nadmin: {}", process.grpc, process.admin);
    if let Some(token) = &process.token {
        println!("development token: {}", token.reveal());
    }
    println!("started");
    process.stopped().await?;
    Ok(())
}

/// While time is simulated, settings let no webhook leave the machine. The receivers of the scenarios are on it.
fn over_http(deps: &Deps) -> Service {
    let mut settings = (*deps.settings).clone();
    settings.delivery.webhook = WebhookBy::Http;
    delivery::service(&Deps { settings: settings.into(), ..deps.clone() })
}
