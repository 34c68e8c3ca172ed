//! A target in another process.
//!
//! A server takes leave of a connection whenever it likes: when it ends, and when the connection is old. A call that is put
//! on it at that moment is seen by nobody, and HTTP/2 says so (RFC 9113, 6.8 and 8.7). gRPC has such a call sent again
//! at once ("transparent retries" of its proposal A6); tonic leaves that to us.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Error};
use tower::ServiceExt as _;

use crate::status::is_unseen;
use crate::tls::Tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A callee that is frozen, or whose machine is gone, holds its connection and says nothing. Every call would wait for its
/// deadline, and the next one go the same way, although another replica answers: so it is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// One more for the next connection, which may be as old.
pub(super) const ATTEMPTS: usize = 3;
/// What is larger, or is not here after a while, is sent as it comes, and so once only.
pub(super) const HELD_BYTES: usize = 64 << 10;
pub(super) const HELD_FOR: Duration = Duration::from_secs(1);

/// The way there; connects when it is needed.
#[derive(Clone, Debug)]
pub(super) struct Remote(Channel);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// The request could not be read to its end.
    Request(Status),
    Connection(Error),
}

impl Remote {
    pub(super) fn at(url: &str, tls: &Tls) -> Result<Self, Error> {
        let mut endpoint = Endpoint::from_shared(url.to_owned())?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        if url.starts_with("https://") {
            endpoint = endpoint.tls_config(tls.client())?;
        }
        Ok(Self(endpoint.connect_lazy()))
    }

    pub(super) async fn call(self, request: Request<Body>) -> Result<Response<Body>, Failed> {
        let (parts, mut body) = request.into_parts();
        let (mut held, until) = (BytesMut::new(), Instant::now() + HELD_FOR);
        loop {
            match timeout_at(until, body.frame()).await {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    // A request has no trailers.
                    if let Ok(bytes) = frame.map_err(Failed::Request)?.into_data() {
                        held.extend_from_slice(&bytes);
                    }
                    if held.len() <= HELD_BYTES {
                        continue;
                    }
                }
                // The callee has to say how long it waits for the rest.
                Err(_) => {}
            }
            let body = followed_by(held.freeze(), body);
            return self.send(Request::from_parts(parts, body)).await;
        }
        let held = held.freeze();
        let mut attempt = 1;
        loop {
            let body = Body::new(Full::new(held.clone()));
            match self.clone().send(Request::from_parts(parts.clone(), body)).await {
                Err(Failed::Connection(error)) if attempt < ATTEMPTS && is_unseen(&error) => {
                    attempt += 1;
                    tracing::debug!(attempt, "nobody saw a call; it is sent again");
                }
                answered => return answered,
            }
        }
    }

    async fn send(self, request: Request<Body>) -> Result<Response<Body>, Failed> {
        self.0.oneshot(request).await.map_err(Failed::Connection)
    }
}

fn followed_by(first: Bytes, rest: Body) -> Body {
    let first = stream::iter([Ok(Frame::data(first))]);
    Body::new(StreamBody::new(first.chain(rest.into_stream())))
}
