//! A service as a value: routes and background work.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use eventstore::{Consumer, Store, TimerHandler};
use http::Request;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;

/// Work in the background; it returns when the token is cancelled.
pub type Work = Box<
    dyn FnOnce(
            CancellationToken,
        ) -> Pin<Box<dyn Future<Output = Result<(), eventstore::Error>> + Send>>
        + Send,
>;

/// What a target is made of; built by `service(&Deps)` of its crate.
pub struct Service {
    pub(crate) routes: Routes,
    /// Full names of the gRPC services in `routes`.
    pub(crate) rpcs: Vec<&'static str>,
    pub(crate) consumers: Vec<Consumer>,
    /// What it answers to plain HTTP.
    pub(crate) http: axum::Router,
    pub(crate) work: Vec<(&'static str, Work)>,
}

impl Default for Service {
    fn default() -> Self {
        Self::new()
    }
}

impl Service {
    pub fn new() -> Self {
        Self {
            routes: Routes::default(),
            rpcs: Vec::new(),
            consumers: Vec::new(),
            http: axum::Router::new(),
            work: Vec::new(),
        }
    }

    /// Serves a generated server; give it [`limited!`](crate::limited).
    #[must_use]
    pub fn serve<S>(mut self, server: S) -> Self
    where
        S: tower::Service<Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(server);
        self.rpcs.push(S::NAME);
        self
    }

    /// Answers plain HTTP beside gRPC, on the same port. Nothing stands around it but what it brings: callers are no
    /// callers of the platform, and it authenticates them itself.
    #[must_use]
    pub fn http(mut self, router: axum::Router) -> Self {
        self.http = self.http.merge(router);
        self
    }

    /// Reads other services' events; each of its sources is followed by a task of its own.
    #[must_use]
    pub fn consume(mut self, consumer: Consumer) -> Self {
        self.consumers.push(consumer);
        self
    }

    /// Handles the timers of its store as they fall due.
    #[must_use]
    pub fn timers(self, store: &Store, handler: impl TimerHandler) -> Self {
        let (store, handler) = (store.clone(), Arc::new(handler));
        self.work("timers", |stop| async move {
            eventstore::timers::run(store, handler, stop).await;
            Ok(())
        })
    }

    /// Runs something in the background while the process is ready: a worker. It watches the token, and calls other
    /// targets in the scope of a [`Call::of_tenant`](crate::Call::of_tenant).
    #[must_use]
    pub fn work<F>(
        mut self,
        name: &'static str,
        work: impl FnOnce(CancellationToken) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), eventstore::Error>> + Send + 'static,
    {
        self.work.push((name, Box::new(move |soft| Box::pin(work(soft)))));
        self
    }
}

/// Bounds a generated server's messages both ways; tonic bounds only what comes in.
///
/// ```text
/// chassis::limited!(PartyServiceServer::new(api), deps.max_message_bytes)
/// ```
#[macro_export]
macro_rules! limited {
    ($server:expr, $max_bytes:expr) => {{
        let max_bytes = $max_bytes;
        $server.max_decoding_message_size(max_bytes).max_encoding_message_size(max_bytes)
    }};
}
