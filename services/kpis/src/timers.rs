//! What falls due: a series reads the past, a bucket that closed is judged. The commit that handles a judgement deletes
//! its row; a series that has read the past states nothing, and its row goes when the handler returns.

use std::collections::BTreeMap;
use std::error::Error as StdError;

use eventstore::{AsOf, Error, ExecuteError, Metadata, Store, Timer, TimerHandler, Timestamp};
use futures::future::BoxFuture;
use rapport_proto::kpis::v1 as proto;

use crate::domain::metric::{Command, Metric, State};
use crate::past::{fill, sweep};
use crate::rollup::definition::{Definition, Series, series_of};
use crate::rollup::figure::{Cell, Dimension, Query};
use crate::rollup::judge::{Judged, Judgement, judge};
use crate::view::figure::{Read, late, read};
use crate::view::series::{Cache, live};
use crate::view::{FILL, JUDGE};

/// A bucket is judged so long after it closed: events are on their way. What comes later still is seen when the next
/// bucket closes, because the one before is judged once more.
pub(crate) const GRACE: i64 = 5 * 60 * 1_000_000;

/// Everything that falls due.
pub(crate) struct Due {
    pub(crate) cache: Cache,
}

impl TimerHandler for Due {
    fn fire<'a>(
        &'a self,
        store: &'a Store,
        timer: &'a Timer,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            match timer.kind.as_str() {
                FILL => self.catch_up(store, timer).await,
                JUDGE => self.judge(store, timer, meta).await,
                kind => Err(Error::corrupt(format!("no such timer: {kind} {}", timer.key.id))),
            }
        })
    }
}

impl Due {
    async fn catch_up(&self, store: &Store, timer: &Timer) -> Result<(), Error> {
        let tenant = &timer.key.tenant;
        fill(store, &self.cache, tenant, Some(&timer.stream)).await?;
        let Some(metric) = timer.stream.strip_prefix("metric/") else { return Ok(()) };
        let versions = store.load::<Metric>(tenant, metric, AsOf::Now).await?.state.versions;
        let live = versions.live().map(|it| it.0);
        let gone: Vec<String> = versions
            .iter()
            .filter(|(version, it)| Some(*version) != live && it.live_at.is_some())
            .map(|(version, _)| series_of(metric, version))
            .collect();
        sweep(store, tenant, &gone).await
    }

    async fn judge(&self, store: &Store, timer: &Timer, meta: Metadata) -> Result<(), Error> {
        let Some((_, target)) = timer.key.id.rsplit_once('/') else { return Ok(()) };
        let Some(metric) = timer.stream.strip_prefix("metric/") else { return Ok(()) };
        let tenant = meta.tenant.clone();
        let state = store.load::<Metric>(&tenant, metric, AsOf::Now).await?.state;
        let definition = live(&self.cache, store.database(), &tenant, metric).await?;
        let judged =
            judgements(store, &tenant, &state, target, definition.as_deref(), timer.key.due_at);
        let command = Command::Judge {
            tenant: tenant.clone(),
            metric: metric.to_owned(),
            judged: judged.await?,
        };
        done(store.execute::<Metric>(metric, &meta, command).await)
    }
}

fn done<S, R: StdError + 'static>(
    result: Result<eventstore::Executed<S>, ExecuteError<R>>,
) -> Result<(), Error> {
    match result {
        // Superseded: another replica fired it.
        Ok(_) | Err(ExecuteError::Superseded) => Ok(()),
        Err(ExecuteError::Store(error)) => Err(error),
        Err(error) => Err(Error::corrupt(format!("fire a timer: {error}"))),
    }
}

/// What there is to say of the bucket that closed, and of the one before it; nothing when the target is gone. Without a
/// definition in force nothing is computed, and the next look is a day later.
async fn judgements(
    store: &Store,
    tenant: &str,
    state: &State,
    target: &str,
    definition: Option<&Definition>,
    due_at: Timestamp,
) -> Result<Vec<proto::TargetJudged>, Error> {
    let Some(watched) = state.targets.get(target) else { return Ok(Vec::new()) };
    let idle = || proto::TargetJudged {
        target: target.to_owned(),
        bucket: Some(due_at.to_proto()),
        judge_at: Some(Timestamp(due_at.0 + 24 * 3_600 * 1_000_000).to_proto()),
        silent: true,
        ..proto::TargetJudged::default()
    };
    let Some(definition) = definition else { return Ok(vec![idle()]) };
    let series = &definition.series;
    let before = |at: Timestamp| series.bucket(Timestamp(at.0 - 1));
    let closed = before(Timestamp(due_at.0 - GRACE));
    let buckets = closed.and_then(|it| Some([before(before(it)?)?, before(it)?, it]));
    let Some([oldest, old, closed]) = buckets else { return Ok(vec![idle()]) };
    let only: Option<Vec<_>> = (watched.target.dimensions.iter())
        .map(|(name, value)| Some((Dimension::find(series, name)?, value.clone())))
        .collect();
    // A version without one of its dimensions has nothing of the kind.
    let Some(only) = only else { return Ok(vec![idle()]) };
    let until = series.bucket_end(closed);
    let query = Query { from: Some(oldest), until, only, ..Query::default() };
    followed(store, tenant, series, definition.hash).await?;
    let found = read(store, tenant, definition, &query).await?;
    let figures = [oldest, old, closed].map(|it| judged_of(&found, it));
    let told = |bucket: Timestamp, now: &Judged, earlier: &Judged, judge_at: Option<Timestamp>| {
        let judgement = judge(&watched.target, now, earlier);
        let cause = if let Judgement::Missed(cause) = judgement { cause } else { "" };
        proto::TargetJudged {
            target: target.to_owned(),
            bucket: Some(bucket.to_proto()),
            cause: cause.to_owned(),
            silent: judgement == Judgement::Silent,
            value: now.value,
            n: now.n,
            definition_hash: definition.hash.to_vec(),
            positions: found.positions.clone(),
            judge_at: judge_at.map(Timestamp::to_proto),
        }
    };
    let next = judge_at(definition, Timestamp(due_at.0 - GRACE));
    Ok(vec![
        told(old, &figures[1], &figures[0], next),
        told(closed, &figures[2], &figures[1], next),
    ])
}

/// Waits until a series has read what its sources hold by now; a figure of less would be judged for what is still to be
/// read. The bucket is over, so a source that is quiet holds all of it, and no clock is asked.
async fn followed(
    store: &Store,
    tenant: &str,
    series: &Series,
    hash: [u8; 32],
) -> Result<(), Error> {
    let mut ends = BTreeMap::new();
    for source in series.sources() {
        ends.insert(source.to_owned(), store.log().end(source).await?);
    }
    match late(store, tenant, series, hash, &ends).await? {
        None => Ok(()),
        Some((source, at)) => {
            let name = &series.name;
            Err(Error::unavailable(format!("{name} has read {source} up to {at} only")))
        }
    }
}

/// When the bucket that is open at an instant is judged.
pub(crate) fn judge_at(definition: &Definition, at: Timestamp) -> Option<Timestamp> {
    let series = &definition.series;
    let bucket = series.bucket(at)?;
    Some(Timestamp(series.bucket_end(bucket)?.0.saturating_add(GRACE)))
}

/// The figure of a bucket; of several currencies the one that most rests on.
fn judged_of(found: &Read, bucket: Timestamp) -> Judged {
    let of_bucket = |it: &(&Cell, _)| it.0.bucket == bucket;
    let figure = found.figures.iter().filter(of_bucket).max_by_key(|it| it.1.n);
    let Some((cell, number)) = figure else { return Judged::default() };
    if found.hidden.contains(cell) {
        return Judged { suppressed: true, ..Judged::default() };
    }
    Judged { value: number.value, n: number.n, suppressed: false }
}
