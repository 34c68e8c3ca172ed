//! The relay: carries a store's events to the log, in order, exactly once each.
//!
//! A lease keeps the other replicas idle; safety is the expected sequence, so two relays with one
//! history are harmless. It compares the end of the stream with the head at start, at every renewal and
//! after every refusal.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::event::Stored;
use crate::failpoint;
use crate::lease::{self, Lease};
use crate::log::NatsLog;
use crate::metrics;
use crate::store::Store;
use crate::time::Timestamp;

const TTL: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(100);
const PAGE: usize = 2_000;

/// Relays until told to stop. On the embedded log there is nothing to relay.
pub async fn run(store: Store, stop: CancellationToken) {
    let holder = store.0.ids.random("relay");
    let log = store.log().clone();
    let Some(nats) = log.as_nats() else { return };
    // Position that the log is known to have; kept while turns fail.
    let mut sent = None;
    while !stop.is_cancelled() {
        let turn = tokio::select! {
            () = stop.cancelled() => break,
            turn = turn(&store, nats, &holder, &mut sent) => turn,
        };
        nats.relays(store.source(), false);
        metrics::LEASE_HELD.set(0.0, [store.source(), &lease_name(&store)]);
        if turn.is_ok() {
            // Others relay now.
            sent = None;
        }
        tell_waiting(&store, sent).await;
        let pause = match turn {
            Ok(()) => Duration::from_secs(1),
            Err(error) => {
                metrics::PUBLISH_FAILURES.add(1, [store.source()]);
                tracing::warn!(source = store.source(), error = error.chain(), "relay starts over");
                // What waiting does not mend is looked at less often.
                Duration::from_millis(if error.is_transient() { 200 } else { 5_000 })
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    nats.relays(store.source(), false);
    // The next holder need not wait; if this fails, the lease runs out.
    if let Err(error) = lease::release_held(store.database(), &lease_name(&store), &holder).await {
        tracing::debug!(source = store.source(), error = error.chain(), "lease not released");
    }
}

fn lease_name(store: &Store) -> String {
    format!("relay/{}", store.source())
}

/// Holds the lease and relays until it is lost or something fails.
async fn turn(
    store: &Store,
    nats: &NatsLog,
    holder: &str,
    sent: &mut Option<u64>,
) -> Result<(), Error> {
    let name = lease_name(store);
    let Some(mut lease) = lease::acquire(store.database(), &name, holder, TTL).await? else {
        return Ok(());
    };
    metrics::LEASE_HELD.set(1.0, [store.source(), &name]);
    failpoint::reach("holding_lease").await;
    nats.relays(store.source(), true);
    let mut pokes = nats.pokes(store.source()).await?;
    let sent = sent.insert(resync(store, nats).await?);
    let mut renewed = Instant::now();
    'relaying: loop {
        if renewed.elapsed() > TTL / 3 {
            match renew(store, &lease).await? {
                Some(it) => lease = it,
                None => return Ok(()),
            }
            renewed = Instant::now();
            *sent = resync(store, nats).await?;
        }
        let mut events = store.read(*sent, PAGE).await?;
        while let Some(last) = events.last().map(|it| it.position) {
            failpoint::reach("before_publish").await;
            tell(store, *sent, &events);
            let start = Instant::now();
            // While one page is on its way, the next one is read.
            let publish = nats.publish(store.source(), &events);
            let (published, next) = tokio::join!(publish, store.read(last, PAGE));
            published?;
            metrics::PUBLISH_DURATION.record(start.elapsed(), [store.source()]);
            *sent = last;
            events = next?;
            if renewed.elapsed() > TTL / 3 {
                continue 'relaying;
            }
        }
        tell(store, *sent, &[]);
        let mut head = store.watch();
        tokio::select! {
            () = async { drop(head.wait_for(|it| it.position > *sent).await) } => {}
            _ = pokes.next() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Tells what waits while nothing can be sent: that is when it matters. Who does not hold the lease knows of nothing.
async fn tell_waiting(store: &Store, sent: Option<u64>) {
    let Some(sent) = sent else { return tell(store, store.head().position, &[]) };
    if let Ok(events) = store.read(sent, 1).await {
        tell(store, sent, &events);
    }
}

/// Tells how much is not on the log yet, and for how long the first of it has been waiting.
fn tell(store: &Store, sent: u64, waiting: &[Stored]) {
    let recorded = waiting.first().and_then(|it| it.envelope().ok()?.recorded_at);
    let recorded = recorded.as_ref().and_then(Timestamp::from_proto);
    let age = recorded.map_or(Duration::ZERO, |it| store.clock().now().since(it));
    let pending = if waiting.is_empty() { 0 } else { store.head().position.saturating_sub(sent) };
    metrics::OUTBOX_PENDING.set_count(pending, [store.source()]);
    metrics::OUTBOX_OLDEST_AGE.set(age.as_secs_f64(), [store.source()]);
}

async fn renew(store: &Store, lease: &Lease) -> Result<Option<Lease>, Error> {
    lease::acquire(store.database(), &lease.name, &lease.holder, TTL).await
}

/// Makes sure that stream and store tell one history, and returns the position published so far.
async fn resync(store: &Store, nats: &NatsLog) -> Result<u64, Error> {
    nats.ensure_stream(store.source()).await?;
    store.compare_with_log().await?;
    let tail = store.log().tail(store.source()).await?;
    Ok(tail.map_or(0, |it| it.last))
}
