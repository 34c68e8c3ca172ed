//! The demo of eighteen months of orders, told to a sample of its customers: its report is the same in one process on
//! SQLite and in one process per target on PostgreSQL and nats-server, and also when every target is killed on the way.

use std::collections::BTreeSet;
use std::time::Duration;

use eventstore::{Ids, Timestamp};
use rapport::demo::orders::{Audience, Report, Stage, tell};
use rapport::targets::TARGETS;
use support::{Platform, Topology};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

use crate::NODE;
use crate::figures::oracle;

/// Share of the customers: some dozens, so that everything happens that the report tells of.
const SHARE: f64 = 0.003;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_report_is_the_same_in_every_topology() {
    let distributed = report(Topology::Distributed, |it| Calm(it)).await;
    assert_eq!(distributed, *undisturbed().await);
    let report: serde_json::Value = serde_json::from_str(&distributed).expect("JSON");
    for (pointer, what) in [
        ("/touches_by_verdict/sent", "letters left"),
        ("/touches_by_verdict/holdout", "some are held out"),
        ("/touches_by_verdict/consent", "some did not agree"),
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
    assert_eq!(disturbed, *undisturbed().await, "seed {seed}");
}

/// The report of one process; made once.
async fn undisturbed() -> &'static String {
    static REPORT: OnceCell<String> = OnceCell::const_new();
    REPORT.get_or_init(|| report(Topology::Embedded, |it| Calm(it))).await
}

/// Tells the story to a platform; what is reported, times aside.
async fn report<A: Follower>(topology: Topology, follower: impl FnOnce(Platform) -> A) -> String {
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
    let report: Report = tell(&mut stage, SHARE, &mut follower).await.expect("a report");
    // Every figure is what DuckDB computes from what the story left on the log.
    let folder = tempfile::tempdir().expect("a folder");
    oracle::agreed(&stage.cast.author, folder.path()).await;
    follower.end().await.stop();
    serde_json::to_string_pretty(&report.timeless()).expect("JSON")
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

/// Kills one target after another while days pass, by chance when, and starts it again.
struct Killer {
    ids: Ids,
    /// Who is still to be killed in this round.
    next: Vec<&'static str>,
    killed: BTreeSet<&'static str>,
    days: u64,
    /// Has the platform while it kills.
    at_work: Option<JoinHandle<Platform>>,
}

impl Killer {
    /// A day of so many is one of a kill.
    const EVERY: u64 = 3;
    /// A kill comes at most so long after the day began.
    const LATEST_MS: u64 = 200;

    fn new(platform: Platform, seed: u64) -> Self {
        Self {
            ids: Ids::seeded(seed),
            next: Vec::new(),
            killed: BTreeSet::new(),
            days: 0,
            at_work: Some(tokio::spawn(async { platform })),
        }
    }

    fn chance(&self, below: u64) -> u64 {
        u64::from(u32::from_be_bytes(self.ids.bytes::<4>())) % below
    }
}

impl Audience for Killer {
    /// The next kill comes at any moment of the following days; a day does not end before the one before it is over.
    async fn passed(&mut self, _: Timestamp, _: usize, _: usize) {
        self.days += 1;
        if self.days % Self::EVERY > 0 {
            return;
        }
        let mut platform = match self.at_work.take() {
            Some(at_work) => at_work.await.expect("a kill"),
            None => return,
        };
        if self.next.is_empty() {
            self.next = TARGETS.iter().map(|it| it.name).collect();
        }
        let place = usize::try_from(self.chance(self.next.len() as u64)).expect("small");
        let target = self.next.remove(place);
        self.killed.insert(target);
        let delay = Duration::from_millis(self.chance(Self::LATEST_MS));
        self.at_work = Some(tokio::task::spawn_blocking(move || {
            std::thread::sleep(delay);
            platform.restart(target);
            platform
        }));
    }
}

impl Follower for Killer {
    async fn end(self) -> Platform {
        assert_eq!(self.killed.len(), TARGETS.len(), "every target was killed: {:?}", self.killed);
        self.at_work.expect("the platform").await.expect("a kill")
    }
}
