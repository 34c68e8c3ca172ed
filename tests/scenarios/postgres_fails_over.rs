//! PostgreSQL under two processes of every target crashes and comes back, is replaced by its standby, and by another one
//! while its machine is silent: what was acknowledged is there, everything goes on, and how soon is printed. A standby
//! that lacks the last commits gets them from the log.

use std::time::{Duration, Instant};

use eventstore::testing::{Postgres, free_port};
use support::{Front, Ground, Replicas, eventually};
use tokio_util::sync::CancellationToken;

use crate::stage::Stage;
use crate::stage::crowd::{self, JOURNEY};
use crate::stage::intact::{Acknowledged, PROBE};

const PARTIES: usize = 16;
/// Between two steps of the crowd.
const BREATH: Duration = Duration::from_secs(2);
/// How long everything goes on between two faults.
const CALM: Duration = Duration::from_secs(5);

/// Where a store ends.
const END: &str = "SELECT position FROM head";

/// A platform whose database has one address, whichever server is behind it.
struct Scene {
    stage: Stage,
    replicas: Replicas,
    parties: Vec<String>,
    front: Front,
}

impl Scene {
    async fn open(primary: &Postgres) -> Self {
        let port = free_port();
        let front = Front::start(port).await;
        lead(&front, primary);
        let mut stage =
            Stage::on_ground(Ground { postgres: Some(port), ..Ground::default() }).await;
        for journey in [JOURNEY, PROBE] {
            stage.cast.publish_journey(journey).await.expect("published");
        }
        let parties = crowd::assemble(&stage, PARTIES).await;
        stage.platform.stop();
        let replicas = Replicas::start(&stage.platform).await;
        stage.meet();
        stage.recovers("undisturbed", Instant::now()).await;
        Self { stage, replicas, parties, front }
    }

    /// Checks that everybody came to an end, and everything else that holds after a fault.
    async fn close(mut self) {
        crowd::settled(&self.stage, &self.parties).await;
        for (party, (outcome, touches)) in crowd::ends(&self.stage, &self.parties).await {
            assert!(["done", "ordered"].contains(&&*outcome), "{party}: {outcome} {touches:?}");
        }
        self.stage.is_intact().await;
        self.stage.finish().await;
        self.replicas.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    let mut first = Postgres::start();
    let scene = Scene::open(&first).await;
    let stage = &scene.stage;
    let mut second = first.standby(first.port());
    first.wait_for_standby();
    let (mut acknowledged, stop) = (Acknowledged::default(), CancellationToken::new());
    let disturb = async {
        let since = Instant::now();
        first.stop_at_once();
        first.launch();
        stage.recovers("crashed and started", since).await;
        tokio::time::sleep(CALM).await;

        let since = Instant::now();
        first.stop_at_once();
        second.promote();
        lead(&scene.front, &second);
        stage.recovers("failed over", since).await;
        tokio::time::sleep(CALM).await;

        let third = second.standby(second.port());
        second.wait_for_standby();
        tokio::time::sleep(CALM).await;
        let since = Instant::now();
        scene.front.fall_silent();
        second.stop_at_once();
        third.promote();
        lead(&scene.front, &third);
        stage.recovers("failed over from a silent machine", since).await;
        tokio::time::sleep(CALM).await;
        stop.cancel();
        third
    };
    let remote = &stage.remote;
    let walk = crowd::walk(stage, &scene.parties, BREATH);
    let (_third, (), ()) = tokio::join!(disturb, walk, acknowledged.gather(remote, &stop));
    acknowledged.check(remote).await;
    scene.close().await;
}

/// The log has what the standby was not sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_lags_is_completed_from_the_log() {
    let mut primary = Postgres::start();
    let scene = Scene::open(&primary).await;
    let (stage, way) = (&scene.stage, free_port());
    let sent = Front::start(way).await;
    lead(&sent, &primary);
    let standby = primary.standby(way);
    let behind = "SELECT count(*) FROM pg_stat_replication";
    eventually("the standby follows", async || primary.psql("postgres", behind) == "1").await;

    // From here on it is sent nothing. The parties are known, so are their keys: those are not on the log.
    drop(sent);
    eventually("it is sent nothing", async || primary.psql("postgres", behind) == "0").await;
    crowd::walk(stage, &scene.parties, Duration::ZERO).await;
    stage.is_intact().await;
    let written = stage.positions().await;
    let there = standby.psql(&format!("{}_journeys", stage.platform.prefix()), END);
    let there: u64 = there.parse().expect("a position");
    let lost = written["journeys"] - there;
    assert!(lost > 0, "the standby lacks what was done since");

    let since = Instant::now();
    primary.stop_at_once();
    standby.promote();
    lead(&scene.front, &standby);
    eventually("every store has again what it lost", async || {
        let now = stage.positions().await;
        written.iter().all(|(target, position)| now[target] >= *position)
    })
    .await;
    let took = since.elapsed().as_secs_f64();
    support::tell(&format!(
        "{lost} events of journeys, and others, are back from the log after {took:.1} s"
    ));
    stage.recovers("failed over to a standby that lagged", since).await;
    scene.close().await;
}

fn lead(front: &Front, to: &Postgres) {
    front.lead_to(vec![format!("127.0.0.1:{}", to.port())]);
}
