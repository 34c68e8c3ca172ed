//! A series that comes later than events reads their past from the log, source by source, and is then handed to the
//! consumer.
//!
//! kpis keeps no copy of the log: it would be the largest table of the deployment, to save a read that happens once for
//! each version of a metric and takes as long as a rebuild. The past is read page by page with a position of its own,
//! each page in the transaction that moves it, so a crash loses nothing and adds nothing twice. The last page is written
//! under the lock of the consumer's checkpoint: what the consumer has handled was read, what comes is the consumer's.

use std::collections::HashMap;
use std::time::Duration;

use eventstore::{Error, Recorded, Row, Store, Tx, values};
use tokio_util::sync::CancellationToken;

use crate::view::outside::{CONSUMER, add, follow, followed, forget, is_known};
use crate::view::series::{Cache, Fed};

/// Events read at once.
const PAGE: usize = 512;
/// Pause before the past is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How a step went.
enum Step {
    /// The consumer feeds it from here.
    Done,
    /// Up to here is done; go on behind it.
    At(u64),
}

/// Reads what series of a tenant have missed; all of them, or those of one stream, `metric/<id>` or `experiment/<id>`.
pub(crate) async fn fill(
    store: &Store,
    cache: &Cache,
    tenant: &str,
    stream: Option<&str>,
) -> Result<(), Error> {
    let followed = followed_by(store, tenant).await?;
    for fed in cache.now(store.database(), tenant).await? {
        let name = &fed.series().name;
        let asked = stream.is_none_or(|it| {
            name.strip_prefix(it).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if !asked {
            continue;
        }
        for source in fed.series().sources() {
            let name = (source.to_owned(), name.clone());
            if followed.get(&name) != Some(&fed.hash) {
                fill_one(store, tenant, source, &fed).await?;
            }
        }
    }
    Ok(())
}

/// What the consumer feeds already: source and series, by the hash of the document.
async fn followed_by(
    store: &Store,
    tenant: &str,
) -> Result<HashMap<(String, String), [u8; 32]>, Error> {
    let rows = store
        .query("SELECT source, series, hash FROM followed WHERE tenant = $1", values![tenant])
        .await?;
    let read = |row: &Row| Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), row.hash(2)?));
    rows.iter().map(read).collect()
}

async fn fill_one(store: &Store, tenant: &str, source: &str, fed: &Fed) -> Result<(), Error> {
    let mut page: Vec<Recorded> = Vec::new();
    loop {
        match step(store, tenant, source, fed, &page).await? {
            Step::Done => return Ok(()),
            Step::At(position) => page = read(store, source, position).await?,
        }
    }
}

/// Adds a page that follows on what was read, or begins.
async fn step(
    store: &Store,
    tenant: &str,
    source: &str,
    fed: &Fed,
    page: &[Recorded],
) -> Result<Step, Error> {
    let series = fed.series();
    let mut tx = store.database().begin().await?;
    let checkpoint = lock(&mut tx, source).await?;
    if followed(&mut tx, tenant, source).await?.get(&series.name) == Some(&fed.hash) {
        return Ok(Step::Done);
    }
    let read = backlog(&mut tx, tenant, source, &series.name).await?;
    let mut at = match read {
        // Nothing of the tenant was ever handled: the consumer feeds everything that is in force when something is.
        None if !is_known(&mut tx, tenant, source).await? => return Ok(Step::Done),
        None => {
            forget(&mut tx, (tenant, source), &series.name).await?;
            0
        }
        Some(position) => position,
    };
    let follows = page.first().is_some_and(|it| it.position == at + 1);
    if read.is_some() && follows {
        let new: Vec<&Recorded> = page.iter().filter(|it| it.position <= checkpoint).collect();
        at = new.last().map_or(at, |it| it.position);
        let own: Vec<&Recorded> =
            new.into_iter().filter(|it| it.envelope.tenant == tenant).collect();
        add(&mut tx, tenant, source, &[fed], &own).await?;
    }
    let done = at >= checkpoint;
    if done {
        follow(&mut tx, tenant, source, fed).await?;
        tx.exec(
            "DELETE FROM backlog WHERE tenant = $1 AND source = $2 AND series = $3",
            values![tenant, source, &series.name],
        )
        .await?;
    } else {
        tx.insert_many(
            "INSERT INTO backlog (tenant, source, series, position)",
            vec![values![tenant, source, &series.name, at]],
            "ON CONFLICT (tenant, source, series) DO UPDATE SET position = excluded.position",
        )
        .await?;
    }
    tx.commit().await?;
    Ok(if done { Step::Done } else { Step::At(at) })
}

/// Keeps the consumer where it stands in a source until the transaction ends; where that is.
async fn lock(tx: &mut Tx, source: &str) -> Result<u64, Error> {
    let rows = tx
        .query(
            "UPDATE checkpoint SET position = position WHERE consumer = $1 AND source = $2
             RETURNING position",
            values![CONSUMER, source],
        )
        .await?;
    rows.first().map_or(Ok(0), |row| row.count(0))
}

async fn backlog(
    tx: &mut Tx,
    tenant: &str,
    source: &str,
    series: &str,
) -> Result<Option<u64>, Error> {
    let rows = tx
        .query(
            "SELECT position FROM backlog WHERE tenant = $1 AND source = $2 AND series = $3",
            values![tenant, source, series],
        )
        .await?;
    rows.first().map(|row| row.count(0)).transpose()
}

async fn read(store: &Store, source: &str, after: u64) -> Result<Vec<Recorded>, Error> {
    let page = store.log().read(source, after, PAGE).await?;
    if page.first().is_none_or(|it| it.position != after + 1) {
        let what = format!("the log of {source} does not show what follows position {after}");
        return Err(Error::unavailable(what));
    }
    store.recorded(page).await
}

/// Forgets what versions of a metric added that are no longer in force.
pub(crate) async fn sweep(store: &Store, tenant: &str, gone: &[String]) -> Result<(), Error> {
    let rows = store
        .query(
            "SELECT source, series FROM followed WHERE tenant = $1
             UNION SELECT source, series FROM backlog WHERE tenant = $1",
            values![tenant],
        )
        .await?;
    for row in &rows {
        let (source, series) = (row.text(0)?, row.text(1)?);
        if gone.iter().any(|it| it == series) {
            let mut tx = store.database().begin().await?;
            forget(&mut tx, (tenant, source), series).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}

/// At start: what a new release brought along, and what was interrupted, reads the past. Tries again until it has.
pub(crate) async fn catch_up(
    store: Store,
    cache: Cache,
    tenants: Vec<String>,
    stop: CancellationToken,
) -> Result<(), Error> {
    for tenant in &tenants {
        while let Err(error) = fill(&store, &cache, tenant, None).await {
            tracing::warn!(tenant, error = error.chain(), "a series cannot read the past yet");
            if !error.is_transient() {
                break;
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }
    stop.cancelled().await;
    Ok(())
}
