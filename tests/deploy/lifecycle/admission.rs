//! What is let in: objects as the schemas of Kubernetes say, and pods of the restricted profile that can be run here.

use std::process::Stdio;

use axum::http::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::api::Refusal;
use crate::chart::helm::NEWEST;
use crate::chart::objects::{called, items, workloads};
use crate::chart::pods::restricted;
use crate::root;

/// Reads an object a line, and answers each with what its schema has against it.
const CHECK: &str = r#"
import functools, json, sys
from kubernetes_validate import utils
utils.schema_contents = functools.cache(utils.schema_contents)
for line in sys.stdin:
    try:
        utils.validate(json.loads(line), sys.argv[1], strict=True)
        told = ""
    except utils.ValidationError as error:
        told = ".".join(str(it) for it in error.path) + ": " + error.message
    except Exception as error:
        told = repr(error)
    print(json.dumps(told), flush=True)
"#;

pub(super) struct Admission(Mutex<Checker>);

struct Checker {
    _process: Child,
    ask: ChildStdin,
    told: Lines<BufReader<ChildStdout>>,
}

impl Admission {
    pub(super) fn start() -> Self {
        let python = root().join(".tools/manifests/bin/python");
        let mut process = Command::new(python)
            .args(["-c", CHECK, NEWEST])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("run tests/setup");
        let ask = process.stdin.take().expect("piped");
        let told = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self(Mutex::new(Checker { _process: process, ask, told }))
    }

    pub(super) async fn admit(&self, object: &Value) -> Result<(), Refusal> {
        let called = called(object);
        let told = self.0.lock().await.check(object).await;
        if !told.is_empty() {
            let message = format!("{called} is invalid: {told}");
            return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message));
        }
        for workload in workloads(std::slice::from_ref(object)) {
            let mut offences = restricted(&workload);
            offences.extend(unknown_here(workload.spec).map(str::to_owned));
            if !offences.is_empty() {
                let message = format!("{called} is forbidden: it {}", offences.join(", "));
                return Err(Refusal::new(StatusCode::FORBIDDEN, "Forbidden", message));
            }
        }
        Ok(())
    }
}

/// What is valid, and not run here.
fn unknown_here(spec: &Value) -> Option<&'static str> {
    let container = &spec["containers"][0];
    let probes = ["startupProbe", "readinessProbe", "livenessProbe"].map(|it| &container[it]);
    let alone = items(&spec["containers"]).len() == 1 && spec["initContainers"].is_null();
    let asked = probes.iter().all(|it| it.is_null() || it["grpc"].is_object());
    match (alone, asked) {
        (false, _) => Some("has not one container alone, which is all that is run here"),
        (_, false) => Some("has a probe that is not gRPC, which is all that is asked here"),
        _ => None,
    }
}

impl Checker {
    async fn check(&mut self, object: &Value) -> String {
        self.ask.write_all(format!("{object}\n").as_bytes()).await.expect("it reads");
        let line = self.told.next_line().await.expect("it answers").expect("it goes on");
        serde_json::from_str(&line).expect("a text")
    }
}
