//! The embedded log: the event table *is* the log, a watch channel wakes its readers.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::event::Stored;
use crate::log::{Batch, Log};
use crate::store::Store;

pub(super) async fn read(
    log: &Log,
    source: &str,
    after: u64,
    limit: usize,
) -> Result<Vec<Stored>, Error> {
    store(log, source)?.read(after, limit).await
}

fn store(log: &Log, source: &str) -> Result<Store, Error> {
    log.store(source)
        .ok_or_else(|| Error::unavailable(format!("no store of {source} runs in this process")))
}

/// At least this long between two pages: what comes alone is read at once, what comes in numbers together.
const GATHER: Duration = Duration::from_millis(5);

/// Reads a store of this process.
pub struct Reader {
    log: Log,
    source: String,
    position: u64,
    /// When the last page was read.
    read_at: Option<Instant>,
}

impl Reader {
    pub(super) fn new(log: &Log, source: &str, after: u64) -> Self {
        Self { log: log.clone(), source: source.to_owned(), position: after, read_at: None }
    }

    pub(super) async fn next(&mut self, max: usize, patience: Duration) -> Result<Batch, Error> {
        let store = store(&self.log, &self.source)?;
        let mut head = store.watch();
        let more = head.wait_for(|it| it.position > self.position);
        if tokio::time::timeout(patience, more).await.is_err() {
            return Ok(Batch::Idle);
        }
        if let Some(early) = self.read_at.and_then(|it| GATHER.checked_sub(it.elapsed())) {
            tokio::time::sleep(early).await;
        }
        self.read_at = Some(Instant::now());
        let events = store.read(self.position, max).await?;
        let Some(last) = events.last() else { return Ok(Batch::Idle) };
        self.position = last.position;
        Ok(Batch::Events(events))
    }

    pub(super) fn skip_to(&mut self, position: u64) {
        self.position = self.position.max(position);
    }
}
