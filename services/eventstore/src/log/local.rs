//! The embedded log: the event table *is* the log, a watch channel wakes its readers.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
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

/// A reader rests at most this long between two pages: what comes alone is read at once, what comes in numbers together.
const GATHER: Duration = Duration::from_millis(5);

/// Bytes of envelopes that are kept for other readers.
const RECENT_BYTES: usize = 4 << 20;

/// The last events that were committed here or read: most readers stand at the end, and need not read them again.
#[derive(Default)]
pub(crate) struct Recent(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Without a gap.
    events: VecDeque<Stored>,
    bytes: usize,
}

impl Recent {
    /// At most `max` events that follow a position; none if that is not known.
    fn after(&self, position: u64, max: usize) -> Vec<Stored> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = kept.events.front().map_or(0, |it| it.position);
        match usize::try_from((position + 1).wrapping_sub(first)) {
            Ok(skipped) if first > 0 => {
                kept.events.iter().skip(skipped).take(max).cloned().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Keeps events that are durable, oldest first and without a gap.
    pub(crate) fn keep(&self, events: &[Stored]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            let end = kept.events.back().map_or(0, |it| it.position);
            let known = kept.events.front().and_then(|first| {
                let index = usize::try_from(event.position.checked_sub(first.position)?).ok()?;
                kept.events.get(index)
            });
            match known {
                Some(known) if known.chain == event.chain => continue,
                None if event.position <= end => continue,
                None if event.position == end + 1 => {}
                // There is a gap, or what had been committed is gone and something else stands there.
                _ => *kept = Kept::default(),
            }
            kept.bytes += event.envelope.len();
            kept.events.push_back(event.clone());
        }
        while kept.bytes > RECENT_BYTES {
            let Some(oldest) = kept.events.pop_front() else { return };
            kept.bytes -= oldest.envelope.len();
        }
    }
}

/// Reads a store of this process.
pub struct Reader {
    log: Log,
    source: String,
    position: u64,
    /// When the last page was read.
    read_at: Instant,
    /// It rests so many times as long as it was busy with the last page.
    rests: u32,
}

impl Reader {
    pub(super) fn new(log: &Log, source: &str, after: u64) -> Self {
        Self {
            log: log.clone(),
            source: source.to_owned(),
            position: after,
            read_at: Instant::now(),
            rests: 1,
        }
    }

    pub(super) async fn next(&mut self, max: usize, patience: Duration) -> Result<Batch, Error> {
        let now = Instant::now();
        let rested = now + ((now - self.read_at) * self.rests).min(GATHER);
        let store = store(&self.log, &self.source)?;
        let mut head = store.watch();
        let more = head.wait_for(|it| it.position > self.position);
        if tokio::time::timeout(patience, more).await.is_err() {
            return Ok(Batch::Idle);
        }
        tokio::time::sleep_until(rested.into()).await;
        self.read_at = Instant::now();
        let mut events = store.0.recent.after(self.position, max);
        if events.is_empty() {
            events = store.read(self.position, max).await?;
            store.0.recent.keep(&events);
        }
        let Some(last) = events.last() else { return Ok(Batch::Idle) };
        self.position = last.position;
        Ok(Batch::Events(events))
    }

    pub(super) fn gather_more(&mut self) {
        self.rests = 4;
    }

    pub(super) fn skip_to(&mut self, position: u64) {
        self.position = self.position.max(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];

    fn event(position: u64, bytes: usize) -> Stored {
        Stored { position, chain: [0; 32], envelope: vec![0; bytes].into(), hop: String::new() }
    }

    fn positions(recent: &Recent, after: u64, max: usize) -> Vec<u64> {
        recent.after(after, max).iter().map(|it| it.position).collect()
    }

    #[test]
    fn what_one_reader_read_the_next_one_need_not() {
        let recent = Recent::default();
        assert_eq!(positions(&recent, 0, 10), NONE);
        recent.keep(&[event(5, 1), event(6, 1), event(7, 1)]);
        assert_eq!(positions(&recent, 4, 10), [5, 6, 7]);
        assert_eq!(positions(&recent, 5, 1), [6]);
        assert_eq!(positions(&recent, 7, 10), NONE, "that is the end");
        assert_eq!(positions(&recent, 3, 10), NONE, "what is before is not known");
        recent.keep(&[event(7, 1), event(8, 1)]);
        assert_eq!(positions(&recent, 4, 10), [5, 6, 7, 8]);
        recent.keep(&[event(11, 1)]);
        assert_eq!(positions(&recent, 4, 10), NONE, "there is no gap in what is kept");
        assert_eq!(positions(&recent, 10, 10), [11]);
        let other = Stored { chain: [1; 32], ..event(11, 1) };
        recent.keep(&[event(11, 1), event(12, 1)]);
        recent.keep(std::slice::from_ref(&other));
        assert_eq!(recent.after(10, 10), [other], "of two histories only the later one counts");
    }

    #[test]
    fn only_the_last_events_are_kept() {
        let recent = Recent::default();
        recent.keep(&[event(1, RECENT_BYTES), event(2, 10), event(3, 10)]);
        assert_eq!(positions(&recent, 0, 10), NONE);
        assert_eq!(positions(&recent, 1, 10), [2, 3]);
    }
}
