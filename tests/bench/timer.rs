//! Timers: many that are due at once, and how late those are that fall due one by one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use eventstore::{
    About, CommitOptions, Decider, Error, ExecuteError, Log, Metadata, Outcome, Recorded, Schema,
    Store, Timer, TimerHandler, TimerOp, Timestamp, Tx, View, timers,
};
use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _};
use rapport_proto::profiles::v1::membership_event::Event;
use rapport_proto::profiles::v1::{SegmentCrossingExpected, SegmentEntered};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Bench;
use crate::measure::{percentile, rate};
use crate::party::metadata;
use crate::report::{Report, Row};
use crate::servers::open;
use crate::site::On;

/// Timers that are due at once.
const DUE: usize = 100_000;
/// Timers set in a unit.
const UNIT: usize = 200;
const WRITERS: usize = 10;
/// Commands at the same time, on both sides.
const AT_ONCE: usize = 64;
/// Timers whose lateness is told, and how many are set in a second.
const SPREAD: usize = 1_000;
const PER_SECOND: u32 = 200;
const AHEAD: Duration = Duration::from_secs(2);
/// How long everything may take to fire.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for on in On::BOTH {
        let id = on.row("timers");
        if bench.wants(&id) {
            report.add(drained(bench, &id, on).await?);
        }
        let id = on.row("lateness");
        if bench.wants_some(&id) {
            late(bench, &id, on, report).await?;
        }
    }
    Ok(())
}

async fn drained(bench: &Bench, id: &str, on: On) -> Result<Row> {
    let (count, now) = (bench.plan.volume(DUE), Timestamp::real());
    let base = Base::open(bench, on).await?;
    base.set(count, now.plus(Duration::from_secs(36_000))).await?;
    let reference = base.command(count).await?;
    base.close().await;
    let base = Base::open(bench, on).await?;
    base.set(count, now).await?;
    let start = Instant::now();
    let firing = base.fire();
    let fired = firing.until(count).await?;
    let took = start.elapsed();
    firing.stop().await;
    base.close().await;
    let what = format!(
        "timers on {}, {count} due at once, each fires a command that appends one event; drained per second; \
         reference: the same commands without timers, {AT_ONCE} at a time",
        on.told()
    );
    Ok(Row::reported(id, what, rate(fired.len() as u64, took), "timers/s").beside(reference))
}

async fn late(bench: &Bench, id: &str, on: On, report: &mut Report) -> Result<()> {
    let count = bench.plan.volume(SPREAD);
    let base = Base::open(bench, on).await?;
    let firing = base.fire();
    let mut tick = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    let mut setting = JoinSet::new();
    for number in 0..count {
        tick.tick().await;
        let store = base.store.clone();
        setting.spawn(async move {
            let meta = metadata(format!("set-{number}"));
            let set = Command::Set(Timestamp::real().plus(AHEAD));
            store.execute::<Reminder>(&stream(number), &meta, set).await.map(drop)
        });
    }
    setting.join_all().await.into_iter().collect::<Result<Vec<()>, _>>()?;
    let mut millis = firing.until(count).await?;
    firing.stop().await;
    base.close().await;
    millis.sort_by(f64::total_cmp);
    let what = format!(
        "lateness of {count} timers of 2 s on {}, set {PER_SECOND} in a second: from when it was due until what it \
         fired is durable",
        on.told()
    );
    let (p50, p99) = (percentile(&millis, 50), percentile(&millis, 99));
    report.add(Row::reported(&format!("{id}-p50"), format!("{what}: median"), p50, "ms"));
    let row = Row::reported(&format!("{id}-p99"), format!("{what}: 99th percentile"), p99, "ms");
    report.add(row.below(28.0));
    Ok(())
}

fn stream(number: usize) -> String {
    format!("reminder-{number}")
}

/// A store of its own with the small aggregate.
struct Base {
    store: Store,
    _folder: TempDir,
}

impl Base {
    async fn open(bench: &Bench, on: On) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let url = match on {
            On::Sqlite => format!("sqlite://{}", folder.path().join("store.db").display()),
            On::Postgres => bench.servers.postgres().database(),
        };
        let schema = Schema { views: vec![Box::new(Reminders)], ..Schema::default() };
        let store = open("bench", &url, schema, Log::local(), CommitOptions::default()).await?;
        Ok(Self { store, _folder: folder })
    }

    /// Sets so many timers for one instant, each in a stream of its own.
    async fn set(&self, count: usize, due_at: Timestamp) -> Result<()> {
        let numbers: Vec<usize> = (0..count).collect();
        let units = numbers.chunks(UNIT).map(|part| self.set_some(part, due_at));
        futures::stream::iter(units).buffer_unordered(WRITERS).try_collect().await
    }

    async fn set_some(&self, numbers: &[usize], due_at: Timestamp) -> Result<()> {
        let first = numbers.first().context("a part has a first")?;
        let mut unit = self.store.unit(metadata(format!("set-from-{first}")));
        for number in numbers {
            let events = vec![expected(due_at)];
            unit.push::<Reminder>(&stream(*number), 0, &(), events).await?;
        }
        match self.store.append(unit.finish()?).await {
            Outcome::Committed { .. } => Ok(()),
            other => bail!("a unit of {} events: {other:?}", numbers.len()),
        }
    }

    /// What the timers would fire, without them; per second.
    async fn command(&self, count: usize) -> Result<f64> {
        let start = Instant::now();
        let commands = (0..count).map(async |number| {
            let meta = metadata(format!("command-{number}"));
            self.store.execute::<Reminder>(&stream(number), &meta, Command::Fire).await.map(drop)
        });
        let running = futures::stream::iter(commands).buffer_unordered(AT_ONCE);
        running.try_for_each(async |()| Ok(())).await?;
        Ok(rate(count as u64, start.elapsed()))
    }

    /// Fires what is due from now on.
    fn fire(&self) -> Firing {
        let (fires, stop) = (Arc::new(Fires::default()), CancellationToken::new());
        let mut running = JoinSet::new();
        running.spawn(timers::run(self.store.clone(), fires.clone(), stop.clone()));
        Firing { fires, stop, running }
    }

    async fn close(self) {
        self.store.close().await;
    }
}

struct Firing {
    fires: Arc<Fires>,
    stop: CancellationToken,
    running: JoinSet<()>,
}

impl Firing {
    /// Waits until so many have fired; how late each was, in milliseconds.
    async fn until(&self, count: usize) -> Result<Vec<f64>> {
        let give_up = Instant::now() + PATIENCE;
        while self.fires.count.load(Ordering::Acquire) < count as u64 {
            if Instant::now() > give_up {
                bail!("{count} timers did not fire within {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(self.fires.millis.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn stop(self) {
        self.stop.cancel();
        self.running.join_all().await;
    }
}

/// Carries the command of a timer out and notes how late it was.
#[derive(Default)]
struct Fires {
    count: AtomicU64,
    millis: Mutex<Vec<f64>>,
}

impl TimerHandler for Fires {
    fn fire<'a>(
        &'a self,
        store: &'a Store,
        timer: &'a Timer,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let id = timer.stream.split_once('/').map_or("", |it| it.1);
            match store.execute::<Reminder>(id, &meta, Command::Fire).await {
                Ok(_) => {
                    let late = Timestamp::real().since(timer.key.due_at).as_secs_f64() * 1_000.0;
                    self.millis.lock().unwrap_or_else(PoisonError::into_inner).push(late);
                    self.count.fetch_add(1, Ordering::Release);
                    Ok(())
                }
                Err(ExecuteError::Superseded) => Ok(()),
                Err(error) => Err(Error::unavailable(error.to_string())),
            }
        })
    }
}

/// The smallest aggregate with a timer: a membership that is looked at when it is time.
enum Reminder {}

#[derive(Clone)]
enum Command {
    Set(Timestamp),
    Fire,
}

#[derive(Debug, thiserror::Error)]
enum Refusal {}

fn expected(due_at: Timestamp) -> Event {
    let due_at = Some(due_at.to_proto());
    Event::CrossingExpected(SegmentCrossingExpected { due_at, ..Default::default() })
}

impl Decider for Reminder {
    const AGGREGATE: &'static str = "membership";
    type Command = Command;
    type State = ();
    type Event = Event;
    type Refusal = Refusal;

    fn decide((): &(), command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        Ok(vec![match command {
            Command::Set(due_at) => expected(due_at),
            Command::Fire => {
                let crossed_at = Some(at.to_proto());
                Event::Entered(SegmentEntered { crossed_at, ..Default::default() })
            }
        }])
    }

    fn evolve((): (), _: &Event) {}

    fn about(_: &str, (): &(), _: &Event) -> About {
        About::default()
    }
}

/// States the timers.
struct Reminders;

impl View for Reminders {
    fn name(&self) -> &'static str {
        "reminders"
    }

    fn tables(&self) -> &'static [&'static str] {
        &[]
    }

    fn apply<'a>(&'a self, _: &'a mut Tx, _: &'a [Recorded]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn timers(&self, event: &Recorded) -> Result<Vec<TimerOp>, Error> {
        let Some(Event::CrossingExpected(it)) = event.decode()? else { return Ok(Vec::new()) };
        let due_at = it.due_at.as_ref().and_then(Timestamp::from_proto);
        Ok(vec![TimerOp::Set {
            id: event.id().to_owned(),
            kind: "bench.reminder",
            stream: event.envelope.stream.clone(),
            due_at: due_at.ok_or_else(|| Error::corrupt("a reminder without an instant"))?,
        }])
    }
}
