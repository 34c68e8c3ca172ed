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

/// Answers to calls that nobody has read yet; those beyond hold the places of their calls. So memory is bounded by as many
/// answers, each of `grpc.max_message_bytes` at most.
pub(super) const UNREAD: usize = 1024;

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
    /// Places for what is worked off.
    unread: Option<Arc<Semaphore>>,
}

/// A place taken, until this is dropped: when the response's body has ended.
#[derive(Debug)]
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    taken: Option<&'static Metric<UpDownCounter, 0>>,
    unread: Option<Arc<Semaphore>>,
}

impl Place {
    /// The place of a call whose answer is all that is left of it: from now on others may be worked on.
    pub(super) fn worked_off(self) -> Self {
        let unread = self.unread.as_ref().and_then(|it| it.clone().try_acquire_owned().ok());
        match unread {
            Some(permit) => Self { _permit: permit, taken: None, unread: None },
            None => self,
        }
    }
}

impl Places {
    pub(super) fn new(calls: usize, streams: usize) -> Self {
        rpc::IN_FLIGHT_LIMIT.set_count(calls as u64, []);
        rpc::STREAMS_LIMIT.set_count(streams as u64, []);
        let kind = |count, taken, none_left| Kind {
            free: Arc::new(Semaphore::new(count)),
            taken,
            none_left,
            unread: None,
        };
        let unread = Some(Arc::new(Semaphore::new(UNREAD)));
        Self {
            calls: Kind { unread, ..kind(calls, &rpc::IN_FLIGHT, OVERLOADED) },
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
        Ok(Place { _permit: permit, taken: Some(self.taken), unread: self.unread.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(taken) = self.taken {
            taken.add(-1, []);
        }
    }
}
