//! Programs that take messages on, on a free port of this machine: an SMTP server and a receiver of webhooks.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Platform, eventually};

/// A running receiver; stopped when it is dropped.
pub struct Receiver {
    process: Child,
    pub port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    /// An SMTP server. What it does follows from the recipient; it says the recipient and the Message-ID.
    pub fn smtp() -> Self {
        Self::start("smtp.py", &[])
    }

    /// Makes an SMTP server the one that a platform, when it starts, hands its mail to.
    pub fn takes_mail_of(&self, platform: &mut Platform) {
        platform.extra.push("delivery.email=smtp".into());
        platform.extra.push("delivery.smtp_tls=none".into());
        platform.extra.push(format!("delivery.smtp_url=smtp://127.0.0.1:{}", self.port));
    }

    /// A receiver of webhooks over TLS which a platform, when it starts, trusts. What it answers follows from the path;
    /// it says the path and the id last.
    pub fn of_webhooks(platform: &mut Platform) -> Self {
        let file = platform.folder().join("receiver.crt");
        certificate(&file);
        platform.variables.push(("SSL_CERT_FILE", file.display().to_string()));
        platform.extra.push("delivery.webhook_private=true".into());
        Self::start("webhook.py", &["", &file.display().to_string()])
    }

    fn start(script: &str, arguments: &[&str]) -> Self {
        let scripts = root().join("services/delivery/src/tests/receivers");
        let mut process = Command::new(python())
            .arg(scripts.join(script))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut printed = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
        let port = printed.next().expect("a port").expect("text").parse().expect("a port");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        std::thread::spawn(move || {
            for line in printed.map_while(Result::ok) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Self { process, port, lines }
    }

    /// The lines of so many messages or more, as soon as they were read.
    pub async fn lines_at_least(&self, messages: usize) -> Vec<String> {
        let what = format!("the receiver tells of {messages} messages");
        eventually(&what, async || self.lines().len() >= messages).await;
        self.lines()
    }

    /// A line for each message it was given, as far as they were read.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // It may have ended already; waiting reaps it either way.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Writes a key and a certificate of 127.0.0.1 into a file, for a receiver and for those who are to trust it.
fn certificate(file: &Path) {
    let written = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=receiver", "-config", "/dev/null"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .arg("-keyout")
        .arg(file.with_extension("key"))
        .arg("-out")
        .arg(file)
        .output()
        .expect("openssl starts");
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
}

/// The Python of the tests: where the variable says, or where tests/setup puts it.
#[expect(clippy::disallowed_methods, reason = "tests are told where programs are")]
pub fn python() -> PathBuf {
    let installed = root().join(".tools/python/bin/python");
    let place = env::var_os("TEST_PYTHON").map_or(installed, PathBuf::from);
    assert!(place.is_file(), "{} is missing: run tests/setup", place.display());
    place
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
