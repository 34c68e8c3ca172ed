//! How a call to a peer ended: told by the response's headers, or by the trailers after its body.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tracing::Span;

use crate::status::{code_in, ended_without_status};
use crate::telemetry::rpc::{Instruments, close_span};

/// Notes a call's outcome once; an answer nobody read to its end counts as cancelled.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) method: &'static str,
    pub(super) target: Arc<str>,
    pub(super) began: Instant,
    pub(super) span: Span,
    pub(super) instruments: Instruments,
    pub(super) noted: bool,
}

impl Outcome {
    pub(super) fn note(&mut self, code: i32) {
        if !std::mem::replace(&mut self.noted, true) {
            self.instruments.called(self.method, &self.target, code, self.began.elapsed());
            close_span(&self.span, code, code != 0);
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.note(ended_without_status());
    }
}

/// Follows a response until its status is known.
pub(super) fn follow(response: Response<Body>, mut outcome: Outcome) -> Response<Body> {
    match code_in(response.headers()) {
        Some(code) => {
            outcome.note(code);
            response
        }
        None => response.map(|inner| Body::new(Followed { inner, outcome })),
    }
}

struct Followed {
    inner: Body,
    outcome: Outcome,
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.outcome.note(code_in(trailers).unwrap_or_else(ended_without_status));
                }
            }
            Some(Err(status)) => self.outcome.note(status.code() as i32),
            None => self.outcome.note(ended_without_status()),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream;
    use http::HeaderMap;
    use http_body_util::{BodyExt as _, StreamBody};
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;

    /// Codes counted for calls whose answers were read, or not, as told.
    async fn counted(trailers: &[(&'static str, &'static str)], read: bool) -> String {
        let registry = prometheus::Registry::new();
        let reader = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader.expect("built")).build();
        let outcome = Outcome {
            method: "service/Method",
            target: "profiles".into(),
            began: Instant::now(),
            span: Span::none(),
            instruments: Instruments::new(&provider.meter("test")),
            noted: false,
        };
        let headers = trailers.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), http::HeaderValue::from_static(value))
        });
        let frames = [
            Ok::<_, Status>(Frame::data(Bytes::from_static(b"part of an answer"))),
            Ok(Frame::trailers(headers.collect::<HeaderMap>())),
        ];
        let body = Body::new(StreamBody::new(stream::iter(frames)));
        let response = follow(Response::new(body), outcome);
        if read {
            response.into_body().collect().await.expect("read");
        } else {
            drop(response);
        }
        prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("encoded")
    }

    #[tokio::test]
    async fn an_answer_is_what_its_trailers_say() {
        for (status, code) in [("0", "OK"), ("8", "RESOURCE_EXHAUSTED"), ("13", "INTERNAL")] {
            let text = counted(&[("grpc-status", status)], true).await;
            assert!(text.contains(&format!(r#"rpc_response_status_code="{code}""#)), "{text}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_was_not_read_to_its_status_is_cancelled() {
        for text in [counted(&[("grpc-status", "0")], false).await, counted(&[], true).await] {
            assert!(text.contains(r#"rpc_response_status_code="CANCELLED""#), "{text}");
        }
    }
}
