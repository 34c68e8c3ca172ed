//! Callers who go on calling, whatever operators do: of every target, and through the gateway. They are gRPC's own library
//! with the settings for clients that we publish (`tests/clients/callers.py`).

use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rapport::targets::TARGETS;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::cluster::Cluster;
use crate::root;

/// Besides one caller of each target: `!` for those who tell what they repeat.
const MORE: [&str; 2] = ["profiles!", "gateway!"];

pub(super) struct Load {
    told: Arc<Mutex<Told>>,
    process: Child,
    reader: JoinSet<()>,
}

#[derive(Default)]
struct Told {
    /// How many calls of each caller were answered.
    answered: Vec<usize>,
    parties: Vec<String>,
    again: Vec<Value>,
    failed: Vec<Value>,
    /// Nobody calls any more.
    ended: bool,
}

impl Load {
    pub(super) fn start(cluster: &Cluster) -> Self {
        let places: Vec<_> = TARGETS.iter().map(|it| it.name).chain(MORE).collect();
        let told = Told { answered: vec![0; places.len()], ..Told::default() };
        let told = Arc::new(Mutex::new(told));
        let address = |place: &str| cluster.address(place.trim_end_matches('!'));
        let mut process = Command::new(support::python())
            .arg(root().join("tests/clients/callers.py"))
            .args([&root().join("proto").display().to_string(), &cluster.token()])
            .args(places.iter().map(|it| format!("{it}={}", address(it))))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let (noted, mut reader) = (told.clone(), JoinSet::new());
        reader.spawn(async move {
            while let Some(line) = lines.next_line().await.expect("a line") {
                lock(&noted).note(serde_json::from_str(&line).expect("as its first lines say"));
            }
            lock(&noted).ended = true;
        });
        Self { told, process, reader }
    }

    /// Waits until each caller was answered some more.
    pub(super) async fn goes_on(&self) {
        let wanted: Vec<_> = lock(&self.told).answered.iter().map(|it| it + 5).collect();
        let give_up = Instant::now() + Duration::from_secs(300);
        loop {
            {
                let told = lock(&self.told);
                assert!(told.failed.is_empty(), "{:#?}", told.failed);
                if told.answered.iter().zip(&wanted).all(|(now, wanted)| now >= wanted) {
                    return;
                }
                let slow = || format!("{:?} are answered, {wanted:?} are wanted", told.answered);
                assert!(Instant::now() < give_up && !told.ended, "{}", slow());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The calls so far that Rapport said to repeat. Of the others that were repeated the connection broke.
    pub(super) fn unavailable(&self) -> Vec<String> {
        let told = lock(&self.told);
        let refused = told.again.iter().filter(|it| it["reason"] != "");
        refused.map(Value::to_string).collect()
    }

    /// Ends; what was registered.
    pub(super) async fn end(mut self) -> Vec<String> {
        drop(self.process.stdin.take());
        self.reader.join_all().await;
        assert!(self.process.wait().await.expect("ended").success());
        let told = std::mem::take(&mut *lock(&self.told));
        assert!(told.failed.is_empty(), "{:#?}", told.failed);
        let calls: usize = told.answered.iter().sum();
        let (parties, again) = (told.parties.len(), &told.again);
        support::tell(&format!(
            "{calls} calls answered meanwhile, {parties} parties registered; repeated: {again:#?}"
        ));
        told.parties
    }
}

impl Told {
    /// Takes a line of a caller.
    fn note(&mut self, line: Value) {
        if !line["failed"].is_null() {
            self.failed.push(line);
        } else if !line["again"].is_null() {
            self.again.push(line);
        } else {
            let caller = line["caller"].as_u64().and_then(|it| usize::try_from(it).ok());
            *caller.and_then(|it| self.answered.get_mut(it)).expect("a caller") += 1;
            self.parties.extend(line["party"].as_str().map(str::to_owned));
        }
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
