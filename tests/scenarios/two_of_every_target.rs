//! Two processes of every target on PostgreSQL and nats-server, while each of them in turn is killed (SIGKILL), stopped
//! in order (SIGTERM) and paused (SIGSTOP, and SIGCONT half a minute later): every instance ends where it ends when
//! nobody is disturbed, no message leaves twice, what was acknowledged is there and answers the same again, and nothing
//! stays behind. How soon a new party's whole touch gets through after each disturbance is printed.

use std::iter;
use std::time::{Duration, Instant};

use eventstore::Ids;
use rapport::targets::TARGETS;
use support::{REPLICAS, Replicas, Topology, eventually};
use tokio_util::sync::CancellationToken;

use crate::stage::Stage;
use crate::stage::crowd::{self, Ends};
use crate::stage::intact::{Acknowledged, PROBE};

const PARTIES: usize = 40;
/// How long a replica is paused: longer than any lease, claim or time-out between replicas.
const PAUSE: Duration = Duration::from_secs(30);
/// Between two steps of the crowd.
const BREATH: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_twice_or_stuck() {
    let undisturbed = undisturbed().await;
    let mut stage = Stage::on_system_clock(Topology::Distributed, |_| ()).await;
    let parties = begin(&stage).await;
    stage.platform.stop();
    let mut replicas = Replicas::start(&stage.platform).await;
    stage.meet();
    println!("undisturbed: a touch after {:.1} s", stage.probe("first").await.as_secs_f64());

    let (mut acknowledged, stop) = (Acknowledged::default(), CancellationToken::new());
    let disturb = async {
        disturb(&stage, &mut replicas).await;
        stop.cancel();
    };
    let remote = &stage.remote;
    tokio::join!(disturb, walk(&stage, &parties, BREATH), acknowledged.gather(remote, &stop));
    crowd::settled(&stage, &parties).await;
    let ends = crowd::ends(&stage, &parties).await;
    crowd::assert_same(&stage, &undisturbed, &ends).await;
    acknowledged.check(remote).await;
    stage.is_intact().await;
    stage.finish().await;
    replicas.stop();
}

/// Where everybody ends in one process that nobody disturbs.
async fn undisturbed() -> Ends {
    let stage = Stage::on_system_clock(Topology::Embedded, |_| ()).await;
    let parties = begin(&stage).await;
    walk(&stage, &parties, Duration::ZERO).await;
    crowd::settled(&stage, &parties).await;
    let ends = crowd::ends(&stage, &parties).await;
    stage.finish().await;
    ends
}

async fn begin(stage: &Stage) -> Vec<String> {
    for journey in [crowd::JOURNEY, PROBE] {
        stage.cast.publish_journey(journey).await.expect("published");
    }
    crowd::assemble(stage, PARTIES).await
}

/// Everybody starts and orders.
async fn walk(stage: &Stage, parties: &[String], breath: Duration) {
    let ids = Ids::seeded(1);
    let (some, others) = parties.split_at(parties.len() / 2);
    for (one, other) in iter::zip(crowd::schedule(&ids, some), crowd::schedule(&ids, others)) {
        crowd::record(stage, &[one, other]).await;
        tokio::time::sleep(breath).await;
    }
}

/// While one replica of some targets is paused, each replica of the others is killed or stopped in order, and the other
/// way round.
async fn disturb(stage: &Stage, replicas: &mut Replicas) {
    let names: Vec<_> = TARGETS.iter().map(|it| it.name).collect();
    let (some, others) = names.split_at(names.len() / 2);
    for which in 0..REPLICAS {
        for (paused, ended) in [(some, others), (others, some)] {
            let began = Instant::now();
            paused.iter().for_each(|it| replicas.pause(it, which));
            told(stage, &format!("paused {which} of {}", paused.join(" "))).await;
            for target in ended {
                for again in 0..REPLICAS {
                    let name = format!("{} {again} of {target}", ["killed", "drained"][which]);
                    let end = async {
                        match which {
                            0 => replicas.kill(target, again).await,
                            _ => replicas.drain(target, again).await,
                        }
                    };
                    tokio::join!(end, told(stage, &name));
                }
            }
            tokio::time::sleep(PAUSE.saturating_sub(began.elapsed())).await;
            paused.iter().for_each(|it| replicas.resume(it, which));
            told(stage, &format!("resumed {which} of {}", paused.join(" "))).await;
            eventually("all are ready", async || replicas.are_ready()).await;
        }
    }
}

/// Tells how soon a touch gets through after a disturbance.
async fn told(stage: &Stage, what: &str) {
    let took = stage.probe(&what.replace(' ', "-")).await;
    println!("{what}: a touch after {:.1} s", took.as_secs_f64());
}
