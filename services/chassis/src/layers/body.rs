//! The response's body: where streams meet their deadline and the shutdown, and where a call's outcome is known.

use std::future::Future as _;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::body::Body;
use tracing::Span;

use crate::call::Deadline;
use crate::status::{
    DEADLINE_PASSED, PANICKED, Problem, STOPPING, code_in, ended_without_status, is_server_fault,
    with_details,
};
use crate::telemetry::rpc::{self, close_span};

use super::places::Place;

/// A refused request is read to this many bytes.
const DISCARDED: usize = 64 * 1024;
/// And for so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads what came with a request that is refused, if it is little. Bytes for which nobody waits count against the
/// connection, and after some thousand of them the HTTP library closes it, with every other call on it.
pub(super) async fn discard(mut body: Body) {
    let read = async {
        let mut left = DISCARDED;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Whoever sends more, or slowly, is refused all the same.
    let _ = tokio::time::timeout(PATIENCE, read).await;
}

/// What ends a body early.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) deadline: Option<Deadline>,
    pub(super) stopping: CancellationToken,
}

/// Notes a call's outcome once; a call nobody waited for ends as cancelled.
#[derive(Debug)]
pub(super) struct Record {
    method: &'static str,
    started: Instant,
    span: Span,
    done: bool,
}

impl Record {
    pub(super) fn new(method: &'static str, started: Instant, span: Span) -> Self {
        Self { method, started, span, done: false }
    }

    fn finish(&mut self, code: i32) {
        if !std::mem::replace(&mut self.done, true) {
            self.span.in_scope(|| rpc::answered(self.method, code, self.started.elapsed()));
            close_span(&self.span, code, is_server_fault(code));
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.finish(ended_without_status());
    }
}

/// Gives the response its details, and follows its body until its status is known.
pub(super) fn observe(
    response: Response<Body>,
    mut record: Record,
    limits: Limits,
    place: Option<Place>,
) -> Response<Body> {
    if code_in(response.headers()).is_none() {
        return watched(response, Some(record), limits, place);
    }
    let response = detailed(response, &record.span);
    record.finish(code_in(response.headers()).unwrap_or_else(ended_without_status));
    response
}

/// Lets a response of a public service end with the process.
pub(super) fn bound(
    response: Response<Body>,
    limits: Limits,
    place: Option<Place>,
) -> Response<Body> {
    if code_in(response.headers()).is_some() {
        return response;
    }
    watched(response, None, limits, place)
}

fn watched(
    response: Response<Body>,
    record: Option<Record>,
    limits: Limits,
    place: Option<Place>,
) -> Response<Body> {
    response.map(|inner| {
        Body::new(Watched { inner, record, limits, place, ended: false, sleep: None, stop: None })
    })
}

/// A response that is only a status, with details if it had none.
fn detailed(response: Response<Body>, span: &Span) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.details().is_empty() && status.code() != tonic::Code::Ok => {
            span.in_scope(|| with_details(status)).into_http()
        }
        _ => response,
    }
}

struct Watched {
    inner: Body,
    record: Option<Record>,
    limits: Limits,
    /// Free again before the last frame leaves: who has read the end may begin anew.
    place: Option<Place>,
    ended: bool,
    /// Made when the inner body first lets us wait: a unary answer never does.
    sleep: Option<Pin<Box<Sleep>>>,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

type Polled = Poll<Option<Result<Frame<Bytes>, Status>>>;

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let span = this.record.as_ref().map_or_else(Span::none, |record| record.span.clone());
        let _entered = span.enter();
        let inner = AssertUnwindSafe(|| http_body::Body::poll_frame(Pin::new(&mut this.inner), cx));
        match std::panic::catch_unwind(inner) {
            Err(panic) => {
                let panic = crate::lifecycle::panic_text(panic.as_ref()).to_owned();
                tracing::error!(panic, "a stream panicked");
                if let Some(record) = &this.record {
                    rpc::PANICS.add(1, [record.method]);
                }
                this.end(&Problem::of(PANICKED).into_status())
            }
            Ok(Poll::Pending) => this.poll_limits(cx),
            Ok(Poll::Ready(Some(Ok(frame)))) => this.pass(frame),
            Ok(Poll::Ready(Some(Err(status)))) => this.end(&with_details(status)),
            Ok(Poll::Ready(None)) => {
                this.finish(ended_without_status());
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl Watched {
    fn pass(&mut self, frame: Frame<Bytes>) -> Polled {
        let trailers = match frame.into_trailers() {
            Err(data) => return Poll::Ready(Some(Ok(data))),
            Ok(trailers) => trailers,
        };
        match Status::from_header_map(&trailers) {
            Some(status) if status.code() != tonic::Code::Ok => self.end(&with_details(status)),
            _ => {
                self.finish(code_in(&trailers).unwrap_or_else(ended_without_status));
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Polled {
        if let Some(Deadline(at)) = self.limits.deadline {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if sleep.as_mut().poll(cx).is_ready() {
                return self.end(&Problem::of(DEADLINE_PASSED).into_status());
            }
        }
        let stopping = &self.limits.stopping;
        let stop = self.stop.get_or_insert_with(|| Box::pin(stopping.clone().cancelled_owned()));
        if stop.as_mut().poll(cx).is_ready() {
            return self.end(&Problem::of(STOPPING).into_status());
        }
        Poll::Pending
    }

    /// Ends the stream with a status in its trailers.
    fn end(&mut self, status: &Status) -> Polled {
        let mut trailers = HeaderMap::new();
        if let Err(status) = status.add_header(&mut trailers) {
            self.finish(status.code() as i32);
            return Poll::Ready(Some(Err(status)));
        }
        self.finish(code_in(&trailers).unwrap_or_else(ended_without_status));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn finish(&mut self, code: i32) {
        self.ended = true;
        self.place = None;
        if let Some(record) = &mut self.record {
            record.finish(code);
        }
    }
}
