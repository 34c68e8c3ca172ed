//! Follows one source for a consumer.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::checkpoint::{compare_and_set, read_written};
use super::pages::{Pending, Waiting};
use super::{Consumer, Handler, SourceReader, parking};
use crate::error::Error;
use crate::event::{Head, Recorded, Stored};
use crate::log::{Batch, Reader};
use crate::metrics;
use crate::sql::Tx;
use crate::store::Store;
use crate::time::Timestamp;
use crate::trace;

/// Events in one transaction of a consumer.
const BATCH: usize = 512;
/// How long events are waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long the place behind what was passed over stays unwritten, while nothing is handled.
const UNWRITTEN: Duration = Duration::from_secs(1);
/// How often the lag is looked at, and whether the checkpoint is where it was left.
const LOOK: Duration = Duration::from_secs(5);
/// Parked streams at which a consumer stops.
const MAX_STREAMS: u64 = 1_000;
/// Parked events at which a consumer stops.
const MAX_EVENTS: u64 = 100_000;
/// How often a deterministic failure is tried before its stream is parked.
pub(super) const TRIES: usize = 3;
/// Why an event is parked that follows a broken one.
pub(super) const QUEUED: &str = "queued behind an earlier event of its stream";

/// Tenant and stream of an event.
pub(super) type StreamName = (String, String);

pub(super) fn stream_name(event: &Recorded) -> StreamName {
    (event.envelope.tenant.clone(), event.envelope.stream.clone())
}

/// Events that are handled now, each with its bytes and where the checkpoint may go behind it.
pub(super) struct Page {
    pub(super) events: Vec<Recorded>,
    pub(super) waiting: Vec<Waiting>,
    /// Where the checkpoint goes behind all of them.
    pub(super) to: Head,
}

/// How a runner ended.
pub(super) struct Ended {
    /// Whether it came further.
    pub(super) moved: bool,
    /// Another replica is ahead, as one of two always is: no failure, and what it did is undone.
    pub(super) overtaken: bool,
    pub(super) result: Result<(), Error>,
}

/// Follows a source until told to stop, or until something fails.
pub(super) async fn run(
    store: &Store,
    consumer: &Consumer,
    source: &str,
    producer: &dyn SourceReader,
    stop: &CancellationToken,
) -> Ended {
    match Runner::start(store, consumer, source, producer).await {
        Ok(mut runner) => {
            let from = runner.reached.position;
            let result = runner.run(stop).await;
            let moved = runner.reached.position > from;
            Ended { moved, overtaken: runner.overtaken, result }
        }
        Err(error) => Ended { moved: false, overtaken: false, result: Err(error) },
    }
}

/// Its reader is not shared between threads, so whatever waits takes it alone.
pub(super) struct Runner<'a> {
    pub(super) store: &'a Store,
    pub(super) consumer: &'a Consumer,
    pub(super) source: &'a str,
    producer: &'a dyn SourceReader,
    reader: Reader,
    /// The checkpoint as it is written, and since when.
    pub(super) written: Head,
    written_at: Instant,
    /// Up to here everything is handled or passed over.
    pub(super) reached: Head,
    /// When the event there was recorded.
    reached_at: Timestamp,
    /// When the lag was last looked at.
    looked_at: Instant,
    pending: Pending,
    /// Whether anything is parked. Others that park something move the checkpoint, which is noticed.
    pub(super) parked: bool,
    overtaken: bool,
}

impl<'a> Runner<'a> {
    async fn start(
        store: &'a Store,
        consumer: &'a Consumer,
        source: &'a str,
        producer: &'a dyn SourceReader,
    ) -> Result<Self, Error> {
        let checkpoint = read_written(store, &consumer.name, source).await?;
        let mut reader = store.log().reader(source, checkpoint.position).await?;
        if matches!(consumer.handler, Handler::View(_)) {
            reader.gather_more();
        }
        let now = store.clock().now();
        let mut runner = Self {
            store,
            consumer,
            source,
            producer,
            reader,
            written: checkpoint,
            written_at: Instant::now(),
            reached: checkpoint,
            reached_at: now,
            looked_at: Instant::now(),
            pending: Pending::after(checkpoint, now),
            parked: false,
            overtaken: false,
        };
        runner.tell_reached();
        runner.count_parked().await?;
        Ok(runner)
    }

    async fn run(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        loop {
            let read = tokio::select! {
                // Who starts next need not read again what was passed over.
                () = stop.cancelled() => return self.write().await,
                read = self.reader.next(BATCH, self.patience()) => read?,
            };
            match read {
                Batch::Idle => {}
                Batch::Events(events) => self.take(events).await?,
                Batch::Stalled { last } => self.heal(last).await?,
            }
            self.handle().await?;
            if self.patience().is_zero() {
                self.write().await?;
            }
            if self.looked_at.elapsed() > LOOK {
                self.looked_at = Instant::now();
                self.look().await?;
            }
        }
    }

    /// How long it may wait for events; not at all when the checkpoint is to be written.
    fn patience(&self) -> Duration {
        if self.written == self.reached {
            return PATIENCE;
        }
        UNWRITTEN.saturating_sub(self.written_at.elapsed())
    }

    /// Writes how far it came.
    async fn write(&mut self) -> Result<(), Error> {
        if self.written == self.reached {
            return Ok(());
        }
        let mut tx = self.store.database().begin_relaxed().await?;
        let (consumer, to) = (&self.consumer.name, self.reached);
        if compare_and_set(&mut tx, consumer, self.source, self.written, to).await? {
            tx.commit().await?;
            self.wrote(to);
            return Ok(());
        }
        tx.rollback().await?;
        self.written_at = Instant::now();
        self.compare().await
    }

    /// Another replica may have written the checkpoint; a person may have reset the consumer.
    async fn compare(&mut self) -> Result<(), Error> {
        let written = read_written(self.store, &self.consumer.name, self.source).await?;
        if written.position < self.written.position || written.position > self.reached.position {
            return Err(self.overtaken());
        }
        // The other one came no further than this one, which handled or passed over the same events.
        self.written = written;
        self.tell_reached();
        Ok(())
    }

    /// Notes a checkpoint that is written.
    pub(super) fn wrote(&mut self, to: Head) {
        (self.written, self.written_at) = (to, Instant::now());
        self.reached = to;
    }

    pub(super) fn tell_reached(&self) {
        let reached = &self.store.0.reached;
        reached.note(&self.consumer.name, self.source, self.written, self.reached);
    }

    /// Who reads what.
    fn labels(&self) -> [&str; 3] {
        [self.store.source(), &self.consumer.name, self.source]
    }

    /// Tells how far behind the consumer is: also when nothing moves, which is when it matters.
    async fn look(&mut self) -> Result<(), Error> {
        self.compare().await?;
        if self.parked {
            self.count_parked().await?;
        }
        let last = match self.store.log().store(self.source) {
            Some(producer) => producer.head().position,
            None => self.store.log().tail(self.source).await?.map_or(0, |it| it.last),
        };
        let lag = last.saturating_sub(self.reached.position);
        let behind = self.store.clock().now().since(self.reached_at);
        let age = if lag == 0 { Duration::ZERO } else { behind };
        metrics::CONSUMER_LAG.set_count(lag, self.labels());
        metrics::CONSUMER_LAG_TIME.set(age.as_secs_f64(), self.labels());
        Ok(())
    }

    /// Counts what is parked, and stops the consumer when it is too much.
    pub(super) async fn count_parked(&mut self) -> Result<(), Error> {
        let (streams, events) =
            parking::count(self.store, &self.consumer.name, self.source).await?;
        metrics::DEAD_LETTERS.set_count(events, self.labels());
        self.parked = events > 0;
        if streams > MAX_STREAMS || events > MAX_EVENTS {
            let what = format!("{} parked too much and stopped", self.consumer.name);
            return Err(Error::unavailable(what));
        }
        Ok(())
    }

    /// The streams of which something is parked.
    pub(super) async fn parked_streams(
        &mut self,
        tx: &mut Tx,
    ) -> Result<HashSet<StreamName>, Error> {
        match self.parked {
            true => parking::streams(tx, &self.consumer.name, self.source).await,
            false => Ok(HashSet::new()),
        }
    }

    /// Takes events in order; what does not follow is asked from the producer.
    async fn take(&mut self, events: Vec<Stored>) -> Result<(), Error> {
        for event in events {
            let end = self.pending.end();
            if event.position <= end.position {
                continue;
            }
            if event.follows(end.position, &end.chain) {
                self.follow(event)?;
            } else {
                self.heal(event.position).await?;
            }
        }
        Ok(())
    }

    fn follow(&mut self, event: Stored) -> Result<(), Error> {
        let handler = &self.consumer.handler;
        self.pending.push(event, |type_name| handler.reads(type_name))
    }

    /// Reads from the producer up to a position. What it tells must follow the chain too.
    async fn heal(&mut self, to: u64) -> Result<(), Error> {
        while self.pending.end().position < to {
            let end = self.pending.end();
            let events = self.producer.read(self.source, end.position, BATCH).await?;
            if events.is_empty() {
                let what = format!("{} has nothing after {}", self.source, end.position);
                return Err(Error::unavailable(what));
            }
            metrics::CONSUMER_HEALED.add(events.len() as u64, self.labels());
            tracing::warn!(
                consumer = self.consumer.name,
                source = self.source,
                from = end.position + 1,
                events = events.len(),
                "healed a gap from the producer"
            );
            for event in events {
                let end = self.pending.end();
                if !event.follows(end.position, &end.chain) {
                    return Err(Error::corrupt(format!(
                        "{} at position {} does not follow the chain this consumer has read",
                        self.source, event.position
                    )));
                }
                self.follow(event)?;
            }
            // Page by page: a consumer may have a whole history to heal.
            self.handle().await?;
        }
        self.reader.skip_to(self.pending.end().position);
        Ok(())
    }

    /// Handles what has been read up to the last end of a unit.
    async fn handle(&mut self) -> Result<(), Error> {
        let waiting = self.pending.take_whole();
        let (to, recorded_at) = self.pending.whole();
        if self.reached == to {
            return Ok(());
        }
        if !waiting.is_empty() {
            let stored = waiting.iter().map(|it| it.stored.clone()).collect();
            let events = self.store.recorded(stored).await?;
            let began = Instant::now();
            self.handle_page(Page { events, waiting, to }).await?;
            metrics::PAGE_DURATION.record(began.elapsed(), self.labels());
        }
        (self.reached, self.reached_at) = (to, recorded_at);
        self.tell_reached();
        metrics::CONSUMER_POSITION.set_count(to.position, self.labels());
        Ok(())
    }

    async fn handle_page(&mut self, page: Page) -> Result<(), Error> {
        let system = self.store.log().system();
        let now = self.store.clock().now();
        let span = |it| trace::process_span(system, &self.consumer.name, it, now);
        let spans: Vec<_> = page.events.iter().map(span).collect();
        match self.consumer.handler.clone() {
            Handler::View(view) => self.apply(&*view, &page).await?,
            Handler::Reactor(reactor) => self.react(&*reactor, &page).await?,
        }
        spans.into_iter().for_each(|it| it.end(true));
        Ok(())
    }

    pub(super) fn tell_parked(&self, event: &Recorded, why: &Error) {
        let [service, consumer, source] = self.labels();
        metrics::DEAD_LETTERED.add(1, [service, consumer, source, why.kind()]);
        tracing::error!(
            consumer = self.consumer.name,
            source = self.source,
            position = event.position,
            event = event.envelope.r#type,
            error = why.chain(),
            "parked a stream: `rapport parked list` shows it"
        );
    }

    pub(super) async fn park(
        &mut self,
        tx: &mut Tx,
        event: &Recorded,
        stored: &Stored,
        reason: &str,
    ) -> Result<(), Error> {
        parking::insert(tx, &self.consumer.name, self.source, event, stored, reason).await
    }

    /// Compare-and-set: a checkpoint that is elsewhere means that another owner is ahead.
    pub(super) async fn move_to(&mut self, tx: &mut Tx, to: Head) -> Result<(), Error> {
        let name = &self.consumer.name;
        match compare_and_set(tx, name, self.source, self.written, to).await? {
            true => Ok(()),
            false => Err(self.overtaken()),
        }
    }

    pub(super) fn overtaken(&mut self) -> Error {
        self.overtaken = true;
        Error::unavailable(format!("another replica of {} is ahead", self.consumer.name))
    }
}
