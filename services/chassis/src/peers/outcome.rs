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
use crate::telemetry::rpc::{self, close_span};

/// Notes a call's outcome once; an answer nobody read to its end counts as cancelled.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) method: &'static str,
    pub(super) target: Arc<str>,
    pub(super) began: Instant,
    pub(super) span: Span,
    pub(super) noted: bool,
}

impl Outcome {
    pub(super) fn note(&mut self, code: i32) {
        if !std::mem::replace(&mut self.noted, true) {
            rpc::called(self.method, &self.target, code, self.began.elapsed());
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

    /// What the admin port shows after a call whose answer was read, or not, as told.
    async fn counted(
        method: &'static str,
        trailers: &[(&'static str, &'static str)],
        read: bool,
    ) -> String {
        let settings = crate::settings::Settings::default().telemetry;
        let telemetry = crate::telemetry::start(&settings, "test").expect("started");
        let outcome = Outcome {
            method,
            target: "profiles".into(),
            began: Instant::now(),
            span: Span::none(),
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
        let text = telemetry.metrics_text().expect("a text");
        let of_method = format!(r#"rpc_method="{method}""#);
        text.lines().filter(|it| it.contains(&of_method)).collect()
    }

    #[tokio::test]
    async fn an_answer_is_what_its_trailers_say() {
        for (method, status, code) in [
            ("test/Ok", "0", "OK"),
            ("test/Full", "8", "RESOURCE_EXHAUSTED"),
            ("test/Broken", "13", "INTERNAL"),
        ] {
            let text = counted(method, &[("grpc-status", status)], true).await;
            assert!(text.contains(&format!(r#"rpc_response_status_code="{code}""#)), "{text}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_was_not_read_to_its_status_is_cancelled() {
        let unread = counted("test/Unread", &[("grpc-status", "0")], false).await;
        for text in [unread, counted("test/Silent", &[], true).await] {
            assert!(text.contains(r#"rpc_response_status_code="CANCELLED""#), "{text}");
        }
    }
}
