//! Two processes of every target on PostgreSQL and nats-server, while each of them in turn is killed (SIGKILL), stopped
//! in order (SIGTERM) and paused (SIGSTOP, and SIGCONT half a minute later): every instance ends where it ends when
//! nobody is disturbed, no message leaves twice, what was acknowledged is there and answers the same again, and nothing
//! stays behind. How soon a new party's whole touch gets through after each disturbance is printed.

use std::time::{Duration, Instant};

use rapport::targets::TARGETS;
use support::{REPLICAS, Replicas, Topology, eventually};
use tokio_util::sync::CancellationToken;

use crate::stage::Stage;
use crate::stage::crowd::{self, Ends};
use crate::stage::intact::{Acknowledged, PROBE};

const PARTIES: usize = 40;
/// Parties whose receiver takes half a minute, the first time.
const CALLED: usize = 5;
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
    stage.recovers("undisturbed", Instant::now()).await;

    let (mut acknowledged, stop) = (Acknowledged::default(), CancellationToken::new());
    let disturb = async {
        disturb(&stage, &mut replicas).await;
        stop.cancel();
    };
    let remote = &stage.remote;
    tokio::join!(
        disturb,
        crowd::walk(&stage, &parties, BREATH),
        acknowledged.gather(remote, &stop)
    );
    crowd::settled(&stage, &parties).await;
    let ends = crowd::ends(&stage, &parties).await;
    crowd::assert_same(&stage, &undisturbed, &ends).await;
    acknowledged.check(remote).await;
    stage.is_intact().await;
    stage.finish().await;
    replicas.stop();
}

/// A replica falls asleep while it waits for a receiver's answer. Another one gives its attempt up after two minutes and
/// asks again, under the same id; who wakes up then adds nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wakes_up_behind_a_call_sends_nothing_again() {
    let (mut stage, receiver, parties) = crowd::over_webhooks("/once", CALLED).await;
    stage.platform.stop();
    let mut replicas = Replicas::start(&stage.platform).await;
    stage.meet();
    // So it is the first one that calls.
    replicas.pause("delivery", 1);
    let (first, others) = parties.split_first().expect("parties");
    crowd::record(&stage, &[("Started", first)]).await;
    receiver.lines_at_least(1).await;
    replicas.resume("delivery", 1);
    replicas.pause("delivery", 0);
    crowd::walk(&stage, others, Duration::ZERO).await;
    crowd::record(&stage, &[("Ordered", first)]).await;
    eventually("the other one asks again", async || {
        crowd::calls(&receiver).values().any(|calls| *calls == 2)
    })
    .await;
    replicas.resume("delivery", 0);
    eventually("both are ready", async || replicas.are_ready()).await;
    crowd::settled(&stage, &parties).await;
    crowd::arrived(&stage, &parties, &receiver).await;
    stage.is_intact().await;
    stage.finish().await;
    replicas.stop();
}

/// Where everybody ends in one process that nobody disturbs.
async fn undisturbed() -> Ends {
    let stage = Stage::on_system_clock(Topology::Embedded, |_| ()).await;
    let parties = begin(&stage).await;
    crowd::walk(&stage, &parties, Duration::ZERO).await;
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

/// While one replica of some targets is paused, each replica of the others is killed or stopped in order, and the other
/// way round.
async fn disturb(stage: &Stage, replicas: &mut Replicas) {
    let names: Vec<_> = TARGETS.iter().map(|it| it.name).collect();
    let (some, others) = names.split_at(names.len() / 2);
    for which in 0..REPLICAS {
        for (paused, ended) in [(some, others), (others, some)] {
            let began = Instant::now();
            paused.iter().for_each(|it| replicas.pause(it, which));
            stage
                .recovers(&format!("paused {which} of {}", paused.join(" ")), Instant::now())
                .await;
            for target in ended {
                for again in 0..REPLICAS {
                    let name = format!("{} {again} of {target}", ["killed", "drained"][which]);
                    let end = async {
                        match which {
                            0 => replicas.kill(target, again).await,
                            _ => replicas.drain(target, again).await,
                        }
                    };
                    tokio::join!(end, stage.recovers(&name, Instant::now()));
                }
            }
            tokio::time::sleep(PAUSE.saturating_sub(began.elapsed())).await;
            paused.iter().for_each(|it| replicas.resume(it, which));
            stage
                .recovers(&format!("resumed {which} of {}", paused.join(" ")), Instant::now())
                .await;
            eventually("all are ready", async || replicas.are_ready()).await;
        }
    }
}
