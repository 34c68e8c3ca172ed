//! A real Prometheus reads a real run, and answers what every rule and every panel asks.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use eventstore::testing::free_port;
use serde_json::Value;

use super::{contract, panels, promql, rules, run};
use crate::{PROGRAM, read, root, tool};

/// What leaves a panel empty in one process, on the embedded log, with nothing wrong: a part of its question, and why.
const MAY_BE_EMPTY: &[(&str, &str)] = &[
    ("rapport_append_conflicts", "nobody writes the same stream at once"),
    ("rapport_certificate_expires", "it speaks in clear"),
    ("rapport_consumer_errors", "no consumer fails"),
    ("rapport_consumer_healed", "nothing is lost"),
    ("rapport_dead_lettered", "nothing is parked"),
    ("rapport_lease_held", "nothing is relayed"),
    ("rapport_log_connected", "the log is a view on the stores"),
    ("rapport_outbox", "nothing is relayed"),
    ("rapport_rpc_panics", "no handler panics"),
    ("rapport_shed", "it is not at its limit"),
    ("verdict=\"consent\"", "the story's physician agreed"),
    ("verdict=\"suppressed\"", "nobody is suppressed"),
    ("verdict!~", "nothing is stopped"),
    ("TouchFailed", "nothing fails"),
    ("InstanceGoalReached", "the story's journey has no goal"),
    ("InstancePaused", "nobody steers the journey"),
    (
        "rapport_decision_duration_seconds_count[5m])) > 0",
        "one decision: nothing grows between two readings",
    ),
    ("rapport_gate_verdicts_total[5m])) > 0", "one touch: nothing grows between two readings"),
];

/// A process; killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Running {
    Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"))
}

/// The body of the answer to a GET. By HTTP/1.0, so that it comes in one piece.
fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < give_up, "{what}");
        sleep(Duration::from_millis(200));
    }
}

/// The answer of Prometheus to a query: its series, or why there is none.
fn ask(prometheus: &str, expr: &str) -> Result<Vec<Value>, String> {
    let encoded: String = expr.bytes().map(|it| format!("%{it:02X}")).collect();
    let body = get(prometheus, &format!("/api/v1/query?query={encoded}")).ok_or("no answer")?;
    let answer: Value = serde_json::from_str(&body).map_err(|it| it.to_string())?;
    if answer["status"] != "success" {
        return Err(body);
    }
    Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
}

fn configuration(admin: &str, folder: &Path) -> std::path::PathBuf {
    let path = folder.join("prometheus.yml");
    let rules = root().join("charts/rapport/files/rules/*.yaml");
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
         rule_files: [{rules:?}]\n\
         scrape_configs:\n\
         \x20 - {{job_name: all, honor_labels: true, static_configs: [{{targets: [{admin:?}]}}]}}\n"
    );
    std::fs::write(&path, text).expect("a file");
    path
}

/// What is measured though `deploy/metrics.yaml` does not say so.
fn beyond_the_contract(scraped: &str) -> Vec<String> {
    let contract = contract::series();
    let mut offences = Vec::new();
    let samples = scraped.lines().filter(|it| !it.is_empty() && !it.starts_with('#'));
    // What runs, by the conventions of the exporter.
    for sample in samples.filter(|it| !it.starts_with("target_info{")) {
        let names = promql::names(sample.rsplit_once(' ').expect("a value").0);
        for metric in &names.metrics {
            let labels = contract.get(metric);
            let known =
                labels.is_some_and(|it| names.labels.iter().all(|label| it.contains(label)));
            if !known {
                offences.push(format!("not in the contract: {sample}"));
            }
        }
    }
    offences
}

#[test]
fn a_real_prometheus_answers_every_rule_and_every_panel() {
    let folder = tempfile::tempdir().expect("a folder");
    let [grpc, admin, prometheus] = std::array::from_fn(|_| format!("127.0.0.1:{}", free_port()));
    let rapport = || {
        let mut command = Command::new(PROGRAM);
        command.current_dir(folder.path());
        command
    };
    let settings = [format!("grpc.address={grpc}"), format!("admin.address={admin}")];
    let set = settings.iter().flat_map(|it| ["--set", it]);
    let _server = start(rapport().arg("serve").args(set));
    let configuration = configuration(&admin, folder.path());
    let _prometheus = start(
        tool("prometheus")
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("series").display()))
            .arg(format!("--web.listen-address={prometheus}")),
    );
    eventually("Prometheus reads the process", || {
        ask(&prometheus, "rapport_ready == 1").is_ok_and(|it| !it.is_empty())
    });

    let url = format!("http://{grpc}");
    for (arguments, expected) in [
        (&["demo", "chain"][..], 0),
        (&["smoke"], 0),
        (&["audit", "verify"], 0),
        (&["touch", "show", "tch_0", "--token", "forged"], 1),
        // Once more: what happens once does not grow between two readings.
        (&["smoke"], 0),
        (&["audit", "verify"], 0),
    ] {
        let (code, said) = run(rapport().args(arguments).args(["--url", &url]));
        assert_eq!(code, expected, "{arguments:?}: {said}");
        get(&grpc, "/v1/batch").expect("the gateway answers");
        // Another reading lies between.
        sleep(Duration::from_secs(2));
    }
    // Rates need two readings after the last call.
    sleep(Duration::from_secs(4));

    let scraped = get(&admin, "/metrics").expect("metrics");
    let file = folder.path().join("metrics");
    std::fs::write(&file, &scraped).expect("a file");
    let input = std::fs::File::open(&file).expect("the file");
    let (_, said) = run(tool("promtool").args(["check", "metrics"]).stdin(input));
    // The conventions of OpenTelemetry named this one.
    let odd: Vec<_> =
        said.lines().filter(|it| !it.starts_with("db_client_connection_count ")).collect();
    assert!(odd.is_empty(), "promtool check metrics: {odd:?}");

    let mut offences = beyond_the_contract(&scraped);
    for query in rules::queries() {
        if let Err(why) = ask(&prometheus, &query.expr) {
            offences.push(format!("{}: {why}", query.of));
        }
    }
    for query in panels() {
        let may = MAY_BE_EMPTY.iter().any(|it| query.expr.contains(it.0));
        match ask(&prometheus, &query.expr) {
            Err(why) => offences.push(format!("{}: {why}", query.of)),
            Ok(found) if found.is_empty() && !may => {
                offences.push(format!("{} is empty: {}", query.of, query.expr));
            }
            Ok(_) => {}
        }
    }
    for (part, why) in MAY_BE_EMPTY {
        let used = panels().iter().any(|it| it.expr.contains(part));
        assert!(used, "no panel asks {part}: {why}");
    }
    assert!(offences.is_empty(), "{}\n{}", offences.join("\n"), read(&configuration));

    let answer = get(&prometheus, "/api/v1/rules").expect("rules");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    let groups = answer["data"]["groups"].as_array().expect("groups");
    let loaded: Vec<_> = groups.iter().filter_map(|it| it["rules"].as_array()).flatten().collect();
    assert_eq!(loaded.len(), rules::queries().len());
    for rule in loaded {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
}
