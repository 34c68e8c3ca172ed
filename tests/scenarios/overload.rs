//! For a minute somebody asks for ten times what the platform can do. It does what it can, tells the rest when to come
//! again, needs no more memory than before, and is itself again at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::status::reason;
use rapport_proto::profiles::v1::RegisterPartyRequest;
use rapport_proto::types::PartyKind;
use support::{Client, Platform, Topology, Web, eventually};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::NODE;

const MINUTE: Duration = Duration::from_secs(60);
/// How long the rate that can be sustained is looked for.
const WARM: Duration = Duration::from_secs(5);
/// Few, so that ten times what they do is no more than this machine can ask for beside.
const IN_FLIGHT: usize = 2;
/// Who asks; each has a connection of its own.
const CLIENTS: usize = 8;
/// Calls at once that somebody waits for at most, all clients together.
const WAITING: usize = 1_000;
/// The share of what it can do that is done in any case. Who asks takes most of the processors here, so it is far below
/// what is seen; where refusals delay the work it is a few hundredths.
const LEAST: f64 = 0.1;
/// How long it may take to be itself again.
const RECOVERY: Duration = Duration::from_secs(30);
/// What the process may need at most, in KiB: far above what it needs, far below what a queue of the minute would take.
const MEMORY: u64 = 512 << 10;

/// What became of the calls.
#[derive(Default)]
struct Told {
    granted: Mutex<Vec<String>>,
    refused: AtomicU64,
    others: Mutex<Vec<String>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_refused_with_a_time_to_come_again_and_leaves_nothing_behind() {
    let mut platform = Platform::new(Topology::Distributed, NODE).await;
    platform.extra.push(format!("grpc.max_in_flight={IN_FLIGHT}"));
    platform.extra.push("telemetry.log_level=error".into());
    platform.start(None);
    let clients: Vec<_> = (0..CLIENTS).map(|_| platform.client("acme")).collect();
    let client = &clients[0];

    let began = Instant::now();
    let mut callers = JoinSet::new();
    for client in clients.iter().cycle().take(IN_FLIGHT) {
        let client = client.clone();
        callers.spawn(async move {
            let mut done = 0_u32;
            while began.elapsed() < WARM {
                register(&client).await.expect("it keeps up");
                done += 1;
            }
            done
        });
    }
    let done: u32 = callers.join_all().await.into_iter().sum();
    let rate = f64::from(done) / began.elapsed().as_secs_f64();
    let before = memory(&platform);

    let told = Arc::new(Told::default());
    let mut asked = 0_usize;
    let mut calls = JoinSet::new();
    let mut ticks = interval(Duration::from_secs_f64(0.1 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let began = Instant::now();
    while began.elapsed() < MINUTE {
        ticks.tick().await;
        let (client, told) = (clients[asked % CLIENTS].clone(), told.clone());
        asked += 1;
        calls.spawn(async move { told.note(register(&client).await) });
        while calls.try_join_next().is_some() {}
        if calls.len() >= WAITING {
            calls.join_next().await;
        }
    }
    let offered = asked as f64 / began.elapsed().as_secs_f64();
    let ended = Instant::now();
    calls.join_all().await;
    let told = Arc::into_inner(told).expect("nobody calls any more");
    let shed = metrics(&platform, "profiles").await;
    let shed = value(&shed, "rapport_shed_total{", "reason=\"in_flight\"").unwrap_or_default();

    // As soon as nobody asks for too much, everything is done and heard again.
    eventually("it serves again", async || register(client).await.is_ok()).await;
    let served = ended.elapsed();
    let position = platform.log_of("profiles").await.last().expect("events").0;
    eventually("the other process has heard of everything", async || {
        let metrics = metrics(&platform, "mirror").await;
        let read = value(&metrics, "rapport_consumer_position{", "source=\"profiles\"");
        read.is_some_and(|it| it >= position as f64)
    })
    .await;
    let heard = ended.elapsed();
    let after = memory(&platform);

    let granted = told.granted.into_inner().unwrap_or_else(PoisonError::into_inner);
    let others = told.others.into_inner().unwrap_or_else(PoisonError::into_inner);
    let refused = told.refused.into_inner();
    let share = granted.len() as f64 / (rate * MINUTE.as_secs_f64());
    support::tell(&format!(
        "sustained {rate:.0}/s, offered {offered:.0}/s; of {asked}: granted {}, refused {refused}, others {}; share of what it can do {share:.2}; \
         served again after {served:.1?}, heard by all after {heard:.1?}; peak memory {before} KiB, then {after} KiB",
        granted.len(),
        others.len(),
    ));
    assert!(others.is_empty(), "{:?}", others.first());
    assert!(share > LEAST, "it did {share:.3} of what it can do");
    assert!(offered > 9.5 * rate, "it was asked for {:.1} times what it can do", offered / rate);
    assert!(heard < RECOVERY, "it took {heard:?} to be itself again");
    assert!(after < MEMORY, "it needed {after} KiB");
    assert_eq!(shed as u64, refused, "every refusal is counted");

    // What was granted is there.
    let facts = platform.log_of("profiles").await;
    let known: std::collections::BTreeSet<_> =
        facts.iter().map(|(_, it)| it.stream.clone()).collect();
    for name in &granted {
        let id = name.rsplit('/').next().unwrap_or_default();
        assert!(known.contains(&format!("party/{id}")), "{name} is lost");
    }
    platform.stop();
}

impl Told {
    fn note(&self, answer: Result<String, Status>) {
        let status = match answer {
            Ok(name) => {
                self.granted.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                return;
            }
            Err(status) => status,
        };
        let retry = status.get_details_retry_info().and_then(|it| it.retry_delay);
        let typed = status.code() == Code::ResourceExhausted
            && reason(&status).as_deref() == Some("OVERLOADED")
            && retry.is_some_and(|it| !it.is_zero());
        if typed {
            self.refused.fetch_add(1, Ordering::Relaxed);
        } else {
            let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
            others.push(format!("{status:?}"));
        }
    }
}

async fn register(client: &Client) -> Result<String, Status> {
    let request = RegisterPartyRequest {
        parent: "tenants/acme".into(),
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        ..RegisterPartyRequest::default()
    };
    let answer = client.parties.clone().register_party(request).await?;
    Ok(answer.into_inner().party.unwrap_or_default().name)
}

/// The most memory that the process of `profiles` has needed so far, in KiB.
fn memory(platform: &Platform) -> u64 {
    platform.node("profiles").peak_memory()
}

async fn metrics(platform: &Platform, target: &str) -> String {
    let mut admin = Web::new(platform.node(target).admin.clone());
    admin.ask("GET", "/metrics", &[], &[]).await.expect("metrics").text()
}

/// The sum of the series of a metric with a label.
fn value(metrics: &str, metric: &str, label: &str) -> Option<f64> {
    let lines = metrics.lines().filter(|it| it.starts_with(metric) && it.contains(label));
    let values = lines.filter_map(|it| it.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.reduce(|all, it| all + it)
}
