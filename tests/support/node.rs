//! A child process of the platform.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A running node; killed when it is dropped.
pub struct Node {
    child: Child,
    /// Where gRPC listens.
    pub grpc: String,
    /// Where health and metrics are.
    pub admin: String,
    /// The development token; empty outside embedded mode.
    pub token: String,
    errors: Arc<Mutex<String>>,
}

impl Node {
    /// Starts the program with settings, in an environment with further variables.
    pub fn start(program: &str, settings: &[String], variables: &[(&str, String)]) -> Self {
        let mut command = Command::new(program);
        command.args(settings).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut child = command.spawn().expect("the node starts");
        let errors = collect(child.stderr.take().expect("piped"));
        let lines = collect(child.stdout.take().expect("piped"));
        let give_up = Instant::now() + Duration::from_secs(300);
        let text = loop {
            let text = lines.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if text.contains("started\n") {
                break text;
            }
            let ended = child.try_wait().expect("the node can be waited for");
            let said = errors.lock().unwrap_or_else(PoisonError::into_inner).clone();
            assert!(ended.is_none() && Instant::now() < give_up, "the node did not start: {said}");
            std::thread::sleep(Duration::from_millis(10));
        };
        let after = |prefix: &str| {
            text.lines().find_map(|it| it.strip_prefix(prefix)).unwrap_or_default().to_owned()
        };
        let (grpc, admin, token) =
            (after("grpc: "), after("admin: "), after("development token: "));
        Self { child, grpc, admin, token, errors }
    }

    /// What it wrote to standard error so far.
    pub fn said(&self) -> String {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it parked at its failpoint.
    pub fn parked(&self) -> bool {
        // A line of its own: what a slow migration is logged with has the word too.
        self.said().lines().any(|it| it.starts_with("parked "))
    }

    /// The most memory that it has needed so far, in KiB.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("Linux tells");
        let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|it| it.parse().ok()).expect("a number of KiB")
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        // It may have ended already; waiting reaps it either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop (SIGTERM) and waits; returns whether it ended well.
    pub fn stop(mut self) -> bool {
        self.signal("-TERM");
        self.child.wait().is_ok_and(|it| it.success())
    }

    /// Sends it a signal, for example `-STOP`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|it| it.success()), "kill {signal}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn collect(from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let shared = text.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut text = shared.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&line);
            text.push('\n');
        }
    });
    text
}
