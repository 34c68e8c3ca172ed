//! Calls to other targets: in this process or over the network, one type, looked up at the first call.
//!
//! ```text
//! let mut profiles = PartyServiceClient::new(deps.peers.to("profiles"));
//! ```
//!
//! A [`Peer`] adds to each call what the callee's layer asks for: a service token for this one edge, the tenant and
//! the person of the [`Call`] we are in, what is left of its deadline, and the trace.

mod outcome;
mod remote;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt as _;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::auth::{ServiceKeys, service::Grant};
use crate::call::{Call, Deadline};
use crate::edge::Inside;
use crate::methods::{Method, Methods};
use crate::status::{DEADLINE_PASSED, PEER_UNAVAILABLE, Problem, chain, is_timeout};
use crate::telemetry::propagation;
use crate::telemetry::rpc::{OTHER, client_span};
use crate::tls::Tls;

use outcome::Outcome;
use remote::{Failed, Remote};

/// How long a call may take when the one it is made for has no deadline.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The other targets, as seen from one of them.
#[derive(Clone, Debug)]
pub struct Peers {
    from: &'static str,
    directory: Arc<Directory>,
}

/// Where every target is, and how calls to it are signed. One for the process.
#[derive(Debug)]
pub struct Directory {
    local: Mutex<HashMap<String, Routes>>,
    /// Ways to other targets, with the renewal of certificates they were made after.
    remote: Mutex<HashMap<String, (u64, Remote)>>,
    tls: Arc<Tls>,
    urls: BTreeMap<String, String>,
    keys: ServiceKeys,
    methods: Methods,
    /// Where connections live, whoever calls first.
    inside: Inside,
}

impl Directory {
    pub fn new(
        urls: BTreeMap<String, String>,
        keys: ServiceKeys,
        methods: Methods,
        tls: Arc<Tls>,
    ) -> Arc<Self> {
        Arc::new(Self {
            local: Mutex::default(),
            remote: Mutex::default(),
            tls,
            urls,
            keys,
            methods,
            inside: Inside::here(),
        })
    }

    /// Tells where a target of this process is: routes with the layers around them.
    pub fn serve(&self, target: &str, routes: Routes) {
        self.local.lock().unwrap_or_else(PoisonError::into_inner).insert(target.to_owned(), routes);
    }

    /// The directory as one target sees it.
    pub fn seen_from(self: &Arc<Self>, from: &'static str) -> Peers {
        Peers { from, directory: self.clone() }
    }

    /// The way to a target for calls that are not ours.
    pub(crate) fn forward(self: &Arc<Self>, target: &str) -> Forward {
        Forward { to: target.into(), directory: self.clone() }
    }

    fn transport(&self, target: &str) -> Result<Transport, Problem> {
        let local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(routes) = local.get(target) {
            return Ok(Transport::Local(routes.clone()));
        }
        let mut remote = self.remote.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.tls.generation();
        if let Some((_, known)) = remote.get(target).filter(|(made, _)| *made == generation) {
            return Ok(Transport::Remote(known.clone()));
        }
        let url = self
            .urls
            .get(target)
            .ok_or_else(|| unavailable(target, "no setting peers names it"))?;
        let entered = self.inside.enter();
        let made = Remote::at(url, &self.tls);
        drop(entered);
        let made = made.map_err(|error| unavailable(target, &chain(&error)))?;
        remote.insert(target.to_owned(), (generation, made.clone()));
        Ok(Transport::Remote(made))
    }

    async fn call(&self, target: &str, request: Request<Body>) -> Result<Response<Body>, Status> {
        let answered = match self.transport(target).map_err(Problem::into_status)? {
            Transport::Local(routes) => match routes.oneshot(request).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            },
            Transport::Remote(remote) => remote.call(request).await,
        };
        answered.map_err(|failed| match failed {
            Failed::Request(status) => status,
            // The channel reads the deadline we told the callee, and may give up a moment before we do.
            Failed::Connection(error) if is_timeout(&error) => {
                Problem::of(DEADLINE_PASSED).into_status()
            }
            Failed::Connection(error) => unavailable(target, &chain(&error)).into_status(),
        })
    }
}

impl Peers {
    /// The client's transport to a target. Nothing is looked up before the first call.
    pub fn to(&self, target: &str) -> Peer {
        Peer { from: self.from, to: target.into(), directory: self.directory.clone() }
    }
}

/// A transport for generated clients.
#[derive(Clone, Debug)]
pub struct Peer {
    from: &'static str,
    to: Arc<str>,
    directory: Arc<Directory>,
}

enum Transport {
    Local(Routes),
    Remote(Remote),
}

impl Peer {
    async fn call(self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        let method = self.directory.methods.find(request.uri().path());
        let name = method.map_or(OTHER, |method| method.name);
        let span = client_span(name, &self.to);
        let deadline = self.prepare(method, &mut request);
        propagation::inject(&span.context(), request.headers_mut());
        let mut outcome = Outcome {
            method: name,
            target: self.to.clone(),
            began: Instant::now(),
            span: span.clone(),
            noted: false,
        };
        match self.send(request, deadline).instrument(span.clone()).await {
            Ok(response) => Ok(outcome::follow(response, outcome)),
            Err(status) => {
                outcome.note(status.code() as i32);
                Err(status)
            }
        }
    }

    /// Adds token and deadline; a stream goes on as long as its caller does.
    fn prepare(&self, method: Option<Method>, request: &mut Request<Body>) -> Option<Deadline> {
        let call = Call::current();
        let streams = method.is_some_and(|method| method.streams);
        let longest =
            call.deadline.or_else(|| (!streams).then(|| Deadline::within(DEFAULT_TIMEOUT)));
        let asked = Deadline::asked(request.headers()).map(Deadline::within);
        let deadline = asked.into_iter().chain(longest).min();
        if let Some(deadline) = deadline {
            deadline.tell(request.headers_mut());
        }
        let grant = Grant {
            from: self.from,
            to: &self.to,
            tenant: &call.tenant,
            on_behalf_of: call.on_behalf_of.as_deref(),
        };
        let token = format!("Bearer {}", self.directory.keys.mint(grant));
        if let Ok(mut value) = HeaderValue::try_from(token) {
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        deadline
    }

    async fn send(
        &self,
        request: Request<Body>,
        deadline: Option<Deadline>,
    ) -> Result<Response<Body>, Status> {
        let sent = self.directory.call(&self.to, request);
        match deadline {
            None => sent.await,
            // A callee that cannot even say so in time is not waited for.
            Some(Deadline(at)) => tokio::time::timeout_at(at, sent)
                .await
                .unwrap_or_else(|_| Err(Problem::of(DEADLINE_PASSED).into_status())),
        }
    }
}

impl tower::Service<Request<Body>> for Peer {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().call(request))
    }
}

/// Passes a call on as it came: the caller's own token and metadata, the callee's own answer. Who may call what is the
/// callee's to say.
#[derive(Clone, Debug)]
pub struct Forward {
    to: Arc<str>,
    directory: Arc<Directory>,
}

impl Forward {
    async fn pass(self, request: Request<Body>) -> Response<Body> {
        let answered = self.directory.call(&self.to, request).await;
        answered.unwrap_or_else(Status::into_http)
    }
}

impl tower::Service<Request<axum::body::Body>> for Forward {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<axum::body::Body>) -> Self::Future {
        let pass = self.clone().pass(request.map(Body::new));
        Box::pin(async move { Ok(pass.await) })
    }
}

fn unavailable(target: &str, why: &str) -> Problem {
    tracing::warn!(peer = target, why, "a peer cannot be reached");
    Problem::of(PEER_UNAVAILABLE).with("target", target).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
