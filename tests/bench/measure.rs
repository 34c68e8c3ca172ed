//! Repetitions, medians, and clients that work for a while.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How long something that is measured may take to come to its end.
pub(crate) const LONGEST: Duration = Duration::from_secs(1_800);

/// How long and how often.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Repetitions that count; one more, before them, warms up.
    pub(crate) repetitions: usize,
    /// Length of a repetition that works for a while.
    pub(crate) time: Duration,
    /// Full volumes are divided by this.
    divisor: usize,
}

impl Plan {
    pub(crate) fn full() -> Self {
        Self { repetitions: 7, time: Duration::from_secs(3), divisor: 1 }
    }

    pub(crate) fn quick() -> Self {
        Self { repetitions: 3, time: Duration::from_secs(1), divisor: 10 }
    }

    pub(crate) fn small() -> Self {
        Self { repetitions: 1, time: Duration::from_millis(300), divisor: 100 }
    }

    /// A volume, smaller when it has to be quick.
    pub(crate) fn volume(&self, full: usize) -> usize {
        (full / self.divisor).max(1)
    }
}

/// A figure and its reference.
pub(crate) struct Compared {
    pub(crate) value: f64,
    pub(crate) reference: f64,
}

/// Measures ours and the reference in turn, so that a slow minute hits both; medians.
pub(crate) async fn in_turn(
    plan: Plan,
    mut ours: impl AsyncFnMut() -> Result<f64>,
    mut reference: impl AsyncFnMut() -> Result<f64>,
) -> Result<Compared> {
    ours().await?;
    reference().await?;
    let (mut values, mut references) = (Vec::new(), Vec::new());
    for _ in 0..plan.repetitions {
        references.push(reference().await?);
        values.push(ours().await?);
    }
    Ok(Compared { value: median(values), reference: median(references) })
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A value of sorted ones: 50 for the median, 99 for what one in a hundred exceeds.
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

/// One figure, without a reference; median.
pub(crate) async fn alone(plan: Plan, mut ours: impl AsyncFnMut() -> Result<f64>) -> Result<f64> {
    ours().await?;
    let mut values = Vec::new();
    for _ in 0..plan.repetitions {
        values.push(ours().await?);
    }
    Ok(median(values))
}

/// Somebody who does one thing after another.
pub(crate) trait Client: Send + 'static {
    /// Does one thing; returns how many events it made durable.
    fn step(&mut self) -> impl Future<Output = Result<u64>> + Send;
}

/// Lets all clients work for a while, each on its own; events per second.
pub(crate) async fn drive<C: Client>(clients: &mut Vec<C>, time: Duration) -> Result<f64> {
    let start = Instant::now();
    let until = start + time;
    let mut working = JoinSet::new();
    for mut client in clients.drain(..) {
        working.spawn(async move {
            let mut done = 0;
            while Instant::now() < until {
                done += client.step().await?;
            }
            anyhow::Ok((client, done))
        });
    }
    let mut total = 0;
    while let Some(ended) = working.join_next().await {
        let (client, done) = ended.context("a client panicked")??;
        clients.push(client);
        total += done;
    }
    Ok(rate(total, start.elapsed()))
}

/// Lets clients do things at an even rate, whether or not those before are done; how long each took, in milliseconds
/// from the instant at which it should have begun, sorted.
pub(crate) async fn evenly<C: Client + Clone>(
    clients: &[C],
    per_second: f64,
    time: Duration,
) -> Result<Vec<f64>> {
    let mut tick = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second.max(1.0)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let until = tokio::time::Instant::now() + time;
    let mut working = JoinSet::new();
    for client in clients.iter().cycle() {
        let due = tick.tick().await;
        if due > until {
            break;
        }
        let mut client = client.clone();
        working.spawn(async move {
            client.step().await?;
            anyhow::Ok(due.elapsed().as_secs_f64() * 1_000.0)
        });
    }
    let mut millis = Vec::new();
    while let Some(ended) = working.join_next().await {
        millis.push(ended.context("a client panicked")??);
    }
    millis.sort_by(f64::total_cmp);
    Ok(millis)
}

/// Things per second.
#[expect(clippy::cast_precision_loss, reason = "nobody counts that far")]
pub(crate) fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
