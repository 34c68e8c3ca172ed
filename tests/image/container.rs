//! A container under runc.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::image::{Bundle, run};

/// Runs until it is stopped; killed when it is dropped.
pub(crate) struct Container {
    name: String,
    /// Where runc keeps what runs.
    state: String,
    log: PathBuf,
    child: Child,
}

impl Container {
    pub(crate) fn start(name: &str, bundle: &Bundle, state: &Path) -> Result<Self> {
        let (log, state) = (bundle.folder.join("log"), state.display().to_string());
        let to = fs::File::create(&log)?;
        let child = Command::new("runc")
            .args(["--root", &state, "run", "--bundle"])
            .arg(&bundle.folder)
            .arg(name)
            .stdin(Stdio::null())
            .stdout(to.try_clone()?)
            .stderr(to)
            .spawn()?;
        Ok(Self { name: name.to_owned(), state, log, child })
    }

    /// Waits until the probe inside says that it is ready.
    pub(crate) async fn healthy(&self) -> Result<()> {
        let mut told = String::new();
        for _ in 0..600 {
            match self.runc(&["exec", &self.name, "/rapport", "health"]) {
                Ok(_) => return Ok(()),
                Err(error) => told = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        bail!("{told}\n{}", self.said())
    }

    /// What the kernel tells of its first process.
    pub(crate) fn status(&self) -> Result<HashMap<String, String>> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let lines = text.lines().filter_map(|it| it.split_once(":\t"));
        Ok(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Whether the file system that it sees is mounted read-only.
    pub(crate) fn root_is_read_only(&self) -> Result<bool> {
        let text = fs::read_to_string(format!("/proc/{}/mounts", self.pid()?))?;
        let root = text.lines().find(|it| it.split(' ').nth(1) == Some("/"));
        let options = root.and_then(|it| it.split(' ').nth(3)).context("a root")?;
        Ok(options.split(',').any(|it| it == "ro"))
    }

    /// Asks it to stop, as a cluster does, and waits.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.runc(&["kill", &self.name, "TERM"])?;
        let ended = self.child.wait()?;
        ensure!(ended.success(), "it ended with {ended}\n{}", self.said());
        Ok(())
    }

    fn pid(&self) -> Result<u64> {
        let state: serde_json::Value = serde_json::from_str(&self.runc(&["state", &self.name])?)?;
        state["pid"].as_u64().context("a process")
    }

    fn runc(&self, arguments: &[&str]) -> Result<String> {
        run("runc", &[&["--root", &self.state][..], arguments].concat())
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // After an orderly stop there is nothing left to delete.
        let _ = self.runc(&["delete", "--force", &self.name]);
        let _ = self.child.wait();
    }
}
