//! The demo of eighteen months of orders, told to a sample of its customers: its report is the same in one process on
//! SQLite and in one process per target on PostgreSQL and nats-server, and also when every target is killed on the way.

use std::time::Duration;

use eventstore::{Ids, Timestamp};
use rapport::demo::orders::{Audience, Part, Report, Stage, tell};
use rapport::targets::TARGETS;
use support::{Platform, Topology};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use crate::NODE;
use crate::figures::oracle;

/// So much that everything happens that the report tells of.
const PART: Part = Part { share: 0.01, days: 150 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_is_the_same_in_every_topology() {
    let distributed = report(Topology::Distributed, Calm).await;
    assert_eq!(distributed.report, undisturbed().await.report);
    // How often a journey is woken depends on the moment: of what happens in two services at one instant it learns
    // at once or one after the other.
    let apart = distributed.events.abs_diff(undisturbed().await.events);
    assert!(apart * 100 <= distributed.events, "{apart} of {} events", distributed.events);
    let report: serde_json::Value = serde_json::from_str(&distributed.report).expect("JSON");
    for (pointer, what) in [
        ("/touches_by_verdict/sent", "letters left"),
        ("/touches_by_verdict/holdout", "some are held out"),
        ("/journey/ended/ordered", "some come back"),
        ("/feedback/nps/n", "some answer"),
    ] {
        assert!(
            report.pointer(pointer).is_some_and(|it| it.as_u64() > Some(0)),
            "{what}: {report:#}"
        );
    }
    assert_eq!(report["chains_intact"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_is_the_same_when_every_target_was_killed() {
    let seed = u64::from_be_bytes(Ids::system().bytes::<8>());
    println!("seed of the kills: {seed}");
    let disturbed = report(Topology::Distributed, |it| Killer::new(it, seed)).await;
    assert_eq!(disturbed.report, undisturbed().await.report, "seed {seed}");
}

/// What is reported, times aside, and how many events were written.
struct Told {
    report: String,
    events: u64,
}

/// What one process reports; told once.
async fn undisturbed() -> &'static Told {
    static TOLD: OnceCell<Told> = OnceCell::const_new();
    TOLD.get_or_init(|| report(Topology::Embedded, Calm)).await
}

/// Tells the story to a platform.
async fn report<A: Follower>(topology: Topology, follower: impl FnOnce(Platform) -> A) -> Told {
    let mut platform = Platform::whole(topology, NODE).await;
    let outbox = platform.folder().join("outbox").display().to_string();
    platform.extra.push("clock.mode=simulated".into());
    platform.extra.push(format!("delivery.outbox={outbox}"));
    platform.start(None);
    let mut stage = Stage {
        cast: platform.cast(),
        time: platform.time(),
        gateway: format!("http://{}", platform.node("gateway").grpc),
    };
    let mut follower = follower(platform);
    let report: Report = tell(&mut stage, PART, &mut follower).await.expect("a report");
    // Every figure is what DuckDB computes from what the story left on the log.
    let folder = tempfile::tempdir().expect("a folder");
    oracle::agreed(&stage.cast.author, folder.path()).await;
    follower.end().await.stop();
    let events = report.events;
    Told { report: serde_json::to_string_pretty(&report.timeless()).expect("JSON"), events }
}

/// An audience that has the platform.
trait Follower: Audience {
    async fn end(self) -> Platform;
}

/// Lets it run.
struct Calm(Platform);

impl Audience for Calm {
    async fn passed(&mut self, _: Timestamp, _: usize, _: usize) {}
}

impl Follower for Calm {
    async fn end(self) -> Platform {
        self.0
    }
}

/// Kills every target once, in an order and at moments by chance, and starts it again.
struct Killer {
    ids: Ids,
    /// Who is still to be killed.
    left: Vec<&'static str>,
    /// Has the platform while it kills.
    at_work: JoinHandle<Platform>,
}

impl Killer {
    /// A kill comes at most so long after a day began.
    const LATEST_MS: usize = 300;

    fn new(platform: Platform, seed: u64) -> Self {
        Self {
            ids: Ids::seeded(seed),
            left: TARGETS.iter().map(|it| it.name).collect(),
            at_work: tokio::task::spawn_blocking(move || platform),
        }
    }

    fn chance(&self, below: usize) -> usize {
        usize::from(u16::from_be_bytes(self.ids.bytes::<2>())) % below
    }

    /// The platform, once the last kill is over.
    async fn rest(&mut self) -> Platform {
        (&mut self.at_work).await.expect("a kill")
    }
}

impl Audience for Killer {
    /// Days go on while somebody is killed and comes back, but not beyond the next kill.
    async fn passed(&mut self, _: Timestamp, orders: usize, of: usize) {
        let killed = TARGETS.len() - self.left.len();
        let is_due = orders * (TARGETS.len() + 1) / of > killed;
        if !is_due {
            return;
        }
        let mut platform = self.rest().await;
        if self.left.is_empty() {
            self.at_work = tokio::task::spawn_blocking(move || platform);
            return;
        }
        let target = self.left.remove(self.chance(self.left.len()));
        let delay = Duration::from_millis(self.chance(Self::LATEST_MS) as u64);
        self.at_work = tokio::task::spawn_blocking(move || {
            std::thread::sleep(delay);
            platform.restart(target);
            platform
        });
    }
}

impl Follower for Killer {
    async fn end(mut self) -> Platform {
        assert_eq!(self.left, Vec::<&str>::new(), "every target was killed");
        self.rest().await
    }
}
