//! A real Prometheus that reads some processes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use eventstore::testing::free_port;
use serde_json::Value;

use crate::{root, tool};

/// A process; killed when it is dropped.
pub(super) struct Running(Child);

impl Running {
    pub(super) fn start(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What is read: a process of a target.
pub(super) struct Scraped {
    /// What the chart's ServiceMonitor calls the job: the component.
    pub job: &'static str,
    /// Its admin port.
    pub admin: String,
}

pub(super) struct Prometheus {
    address: String,
    _running: Running,
}

impl Prometheus {
    /// Starts it on these processes, with the chart's rules.
    pub(super) fn start(folder: &Path, scraped: &[Scraped]) -> Self {
        let configuration = folder.join("prometheus.yml");
        std::fs::write(&configuration, configured(scraped)).expect("a file");
        let address = format!("127.0.0.1:{}", free_port());
        let running = Running::start(
            tool("prometheus")
                .arg(format!("--config.file={}", configuration.display()))
                .arg(format!("--storage.tsdb.path={}", folder.join("series").display()))
                .arg(format!("--web.listen-address={address}")),
        );
        Self { address, _running: running }
    }

    /// The answer to a query: its series, or why there is none.
    pub(super) fn ask(&self, expr: &str) -> Result<Vec<Value>, String> {
        let answer = self.get(&format!("/api/v1/query?query={}", encoded(expr)))?;
        Ok(answer["result"].as_array().cloned().unwrap_or_default())
    }

    /// The values of a label over the series of a metric, as Grafana asks for them.
    pub(super) fn label_values(&self, metric: &str, label: &str) -> Result<Vec<String>, String> {
        let path = format!("/api/v1/label/{label}/values?match[]={}", encoded(metric));
        let answer = self.get(&path)?;
        let values = answer.as_array().into_iter().flatten();
        Ok(values.filter_map(|it| it.as_str().map(ToOwned::to_owned)).collect())
    }

    /// The data of an answer, or the answer that says what is wrong.
    pub(super) fn get(&self, path: &str) -> Result<Value, String> {
        let body = get(&self.address, path).ok_or("no answer")?;
        let mut answer: Value = serde_json::from_str(&body).map_err(|it| it.to_string())?;
        if answer["status"] != "success" {
            return Err(body);
        }
        Ok(answer["data"].take())
    }
}

/// Labels are those that the operator of Prometheus gives by a ServiceMonitor of the chart: `service` is the Service's name
/// where a metric has no such label of its own.
fn configured(scraped: &[Scraped]) -> String {
    let rules = root().join("charts/rapport/files/rules/*.yaml");
    let mut text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: [{rules:?}]\n\
         scrape_configs:\n"
    );
    for (number, Scraped { job, admin }) in scraped.iter().enumerate() {
        let labels = format!("job: {job}, service: r-rapport-{job}, container: rapport");
        text += &format!(
            "  - {{job_name: p{number}, honor_labels: true, static_configs: [{{targets: [{admin:?}], labels: {{{labels}}}}}]}}\n"
        );
    }
    text
}

fn encoded(text: &str) -> String {
    text.bytes().map(|it| format!("%{it:02X}")).collect()
}

/// The body of the answer to a GET. By HTTP/1.0, so that it comes in one piece.
pub(super) fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}
