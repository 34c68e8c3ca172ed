//! How much the process takes on at once: calls and streams each have a bound of their own, so that long tails never
//! starve short calls, and strangers' streams never take the places of callers.

use std::sync::Arc;
use std::time::Duration;

use eventstore::metric::{Metric, UpDownCounter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::status::{OVERLOADED, Problem, Reason, TOO_MANY_STREAMS};
use crate::telemetry::rpc;

/// When to try again after being shed.
pub(super) const SHED_RETRY: Duration = Duration::from_millis(250);

/// The places of a process. Nobody queues for one: waiting calls would all be late.
#[derive(Debug)]
pub(super) struct Places {
    calls: Kind,
    streams: Kind,
    public_streams: Kind,
}

#[derive(Debug)]
struct Kind {
    free: Arc<Semaphore>,
    taken: &'static Metric<UpDownCounter, 0>,
    none_left: Reason,
}

/// A place taken, until this is dropped: when a call is worked off, or a stream's body has ended.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    taken: &'static Metric<UpDownCounter, 0>,
}

impl Places {
    pub(super) fn new(calls: usize, streams: usize) -> Self {
        rpc::IN_FLIGHT_LIMIT.set_count(calls as u64, []);
        rpc::STREAMS_LIMIT.set_count(streams as u64, []);
        let kind = |count, taken, none_left| Kind {
            free: Arc::new(Semaphore::new(count)),
            taken,
            none_left,
        };
        Self {
            calls: kind(calls, &rpc::IN_FLIGHT, OVERLOADED),
            streams: kind(streams, &rpc::STREAMS, TOO_MANY_STREAMS),
            public_streams: kind(streams, &rpc::STREAMS, TOO_MANY_STREAMS),
        }
    }

    pub(super) fn call(&self) -> Result<Place, Problem> {
        self.calls.take()
    }

    pub(super) fn stream(&self) -> Result<Place, Problem> {
        self.streams.take()
    }

    /// For a stream that needs no token.
    pub(super) fn public_stream(&self) -> Result<Place, Problem> {
        self.public_streams.take()
    }
}

impl Kind {
    fn take(&self) -> Result<Place, Problem> {
        let permit = self.free.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Problem::of(self.none_left).retry_after(SHED_RETRY))?;
        self.taken.add(1, []);
        Ok(Place { _permit: permit, taken: self.taken })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.add(-1, []);
    }
}
