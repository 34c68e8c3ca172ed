//! rotel, a collector that others wrote, between those who measure and the test that reads it.

use std::env;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio::net::TcpStream;

use crate::eventually;

/// A running collector; stopped when it is dropped.
pub struct Collector {
    process: Child,
    address: String,
}

impl Collector {
    /// Takes in what comes over OTLP, and hands on what it understood of it to another endpoint.
    pub async fn start(to: &str) -> Self {
        let [grpc, http] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        // It ends with the test, however that ends.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program())
            .arg("start")
            .args(["--otlp-grpc-endpoint", &grpc])
            .args(["--otlp-http-endpoint", &http])
            .args(["--exporter", "otlp"])
            .args(["--otlp-exporter-endpoint", to])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("rotel starts");
        let collector = Self { process, address: grpc };
        let listens = async || TcpStream::connect(&collector.address).await.is_ok();
        eventually("the collector listens", listens).await;
        collector
    }

    /// For `telemetry.otlp_endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may have ended already; waiting reaps it either way.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Where the variable says, or where tests/setup puts it.
#[expect(clippy::disallowed_methods, reason = "tests are told where programs are")]
fn program() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/rotel");
    let place = env::var_os("TEST_ROTEL").map_or(installed, PathBuf::from);
    assert!(place.is_file(), "{} is missing: run tests/setup, or set TEST_ROTEL", place.display());
    place
}
