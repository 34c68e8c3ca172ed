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
    while !stop.is_cancelled() {
        let turn = tokio::select! {
            () = stop.cancelled() => break,
            turn = turn(&store, nats, &holder) => turn,
        };
        nats.relays(store.source(), false);
        let pause = match turn {
            Ok(()) => Duration::from_secs(1),
            Err(error) => {
                metrics::publish_failed(store.source());
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
async fn turn(store: &Store, nats: &NatsLog, holder: &str) -> Result<(), Error> {
    let name = lease_name(store);
    let Some(mut lease) = lease::acquire(store.database(), &name, holder, TTL).await? else {
        return Ok(());
    };
    failpoint::reach("holding_lease").await;
    nats.relays(store.source(), true);
    let mut pokes = nats.pokes(store.source()).await?;
    let mut sent = resync(store, nats).await?;
    let mut renewed = Instant::now();
    'relaying: loop {
        if renewed.elapsed() > TTL / 3 {
            match renew(store, &lease).await? {
                Some(it) => lease = it,
                None => return Ok(()),
            }
            renewed = Instant::now();
            sent = resync(store, nats).await?;
        }
        let mut events = store.read(sent, PAGE).await?;
        while let Some(last) = events.last().map(|it| it.position) {
            failpoint::reach("before_publish").await;
            metrics::outbox_age(store.source(), age_of_first(store, &events));
            let start = Instant::now();
            // While one page is on its way, the next one is read.
            let publish = nats.publish(store.source(), &events);
            let (published, next) = tokio::join!(publish, store.read(last, PAGE));
            published?;
            (events, sent) = (next?, last);
            metrics::published(store.source(), start.elapsed(), store.head().position, sent);
            if renewed.elapsed() > TTL / 3 {
                continue 'relaying;
            }
        }
        metrics::published(store.source(), Duration::ZERO, sent, sent);
        metrics::outbox_age(store.source(), Duration::ZERO);
        let mut head = store.watch();
        tokio::select! {
            () = async { drop(head.wait_for(|it| it.position > sent).await) } => {}
            _ = pokes.next() => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// How long the oldest event of a page has been waiting.
fn age_of_first(store: &Store, events: &[Stored]) -> Duration {
    let recorded = events.first().and_then(|it| it.envelope().ok()?.recorded_at);
    let recorded = recorded.as_ref().and_then(Timestamp::from_proto);
    recorded.map_or(Duration::ZERO, |it| store.clock().now().since(it))
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
