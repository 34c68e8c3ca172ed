//! This binary again, in a process of its own: a server, or a consumer.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use chassis::lifecycle::Shutdown;
use chassis::settings::{Settings, Sources};
use clap::Subcommand;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::latency;

#[derive(Subcommand)]
pub(crate) enum Role {
    /// Serves every target until standard input ends; prints where.
    #[command(hide = true)]
    Serve { settings: Vec<String> },
    /// Consumes events until standard input ends; prints when each came.
    #[command(hide = true)]
    Consume { database: String, url: String, prefix: String },
}

pub(crate) async fn play(role: Role) -> Result<()> {
    match role {
        Role::Serve { settings } => serve(settings).await,
        Role::Consume { database, url, prefix } => latency::consume(&database, &url, &prefix).await,
    }
}

async fn serve(flags: Vec<String>) -> Result<()> {
    let settings = Settings::load(&Sources { flags, ..Sources::default() })?;
    let process = rapport::start(settings, Shutdown::new()).await?;
    println!("{} {}", process.grpc, process.admin);
    std::io::stdout().flush()?;
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    process.stop().await?;
    Ok(())
}

/// A server in a process of its own; it ends when this is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Where health, metrics and a simulated clock are.
    pub(crate) admin: SocketAddr,
    child: Child,
}

impl Server {
    pub(crate) async fn start(settings: &[String]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .args(settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let line = line.context("the server did not start")?;
        let (address, admin) = line.split_once(' ').context("two addresses")?;
        Ok(Self { address: address.parse()?, admin: admin.parse()?, child })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> Result<u32> {
        self.child.id().context("the server ended")
    }

    /// Asks it to stop, and waits.
    pub(crate) async fn stop(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        self.child.wait().await?;
        Ok(())
    }
}
