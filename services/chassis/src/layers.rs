//! What stands between a request and its handler, in process and on the network alike: one stack, inside the routes.
//!
//! tonic's own limits would not do: its timeout answers CANCELLED and ends at the response's headers, its concurrency
//! limit is per connection, and none of them see a call from a target in the same process.

mod body;
mod places;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use http::{HeaderMap, Request, Response};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt as _;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::auth::{Authenticator, Caller, Kind, edges, service::Verified};
use crate::call::{Call, Deadline};
use crate::edge::Inside;
use crate::lifecycle::panic_text;
use crate::methods::{Method, Methods};
use crate::rate::Rate;
use crate::status::{
    BRANDS_UNHEEDED, Code, DEADLINE_PASSED, MARKETS_UNHEEDED, METHOD_UNKNOWN, OVERLOADED, PANICKED,
    PERMISSION_MISSING, Problem, STOPPING, TENANT_TOO_FAST, TOO_MANY_STREAMS,
};
use crate::telemetry::propagation;
use crate::telemetry::rpc::{self, OTHER, server_span};

use body::{Limits, Record};
use places::{Place, Places};

/// Services that answer anybody: they tell nothing but what a port scan would.
pub(crate) const PUBLIC: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

/// The one public method that does not stream: a probe is answered however many streams are open.
const PROBE: &str = "/grpc.health.v1.Health/Check";

/// Everything the stack asks. One for the process: its limits are the process's.
#[derive(Debug)]
pub struct Gate {
    methods: Methods,
    served: BTreeSet<String>,
    authenticator: Arc<Authenticator>,
    places: Places,
    /// By tenant; nothing when people may call as often as they like.
    rate: Option<Rate<String>>,
    request_timeout: Duration,
    stopping: CancellationToken,
    aborting: CancellationToken,
    inside: Inside,
}

/// What a gate is made of.
#[derive(Debug)]
pub struct Parts {
    pub methods: Methods,
    /// The targets this process serves: the audiences of service tokens it accepts.
    pub served: BTreeSet<String>,
    pub authenticator: Arc<Authenticator>,
    pub max_in_flight: usize,
    pub max_streams: usize,
    /// Calls of people of one tenant; 0 for no limit.
    pub tenant_requests_per_second: u32,
    pub request_timeout: Duration,
    /// Cancelled when streams shall end.
    pub stopping: CancellationToken,
    /// Cancelled when calls shall end where they are.
    pub aborting: CancellationToken,
}

impl Gate {
    pub fn new(parts: Parts) -> Arc<Self> {
        let places = Places::new(parts.max_in_flight, parts.max_streams);
        let rate = parts.tenant_requests_per_second;
        Arc::new(Self {
            methods: parts.methods,
            served: parts.served,
            authenticator: parts.authenticator,
            places,
            rate: (rate > 0).then(|| Rate::new(rate)),
            request_timeout: parts.request_timeout,
            stopping: parts.stopping,
            aborting: parts.aborting,
            inside: Inside::here(),
        })
    }

    /// Puts the stack around routes. The result is routes again: served, or called by a peer in this process.
    pub fn guard(self: &Arc<Self>, routes: Routes) -> Routes {
        let guarded = Guarded { gate: self.clone(), routes: routes.prepare() };
        axum::Router::new().fallback_service(guarded).into()
    }

    /// The stack, outermost first.
    async fn answer(self: Arc<Self>, routes: Routes, request: Request<Body>) -> Response<Body> {
        let limits = Limits { deadline: None, stopping: self.stopping.clone() };
        if is_public(request.uri().path()) {
            return self.answer_anybody(routes, request, limits).await;
        }
        let method = self.methods.find(request.uri().path());
        let name = method.map_or(OTHER, |method| method.name);
        let asked = Deadline::asked(request.headers());
        // 1 Trace and metrics come first, so that they see every refusal below them.
        let span = server_span(name);
        let parent = propagation::extract(request.headers());
        if propagation::has_span(&parent) {
            // Fails without an OpenTelemetry layer only, and then nobody reads the trace.
            let _ = span.set_parent(parent);
        }
        let record = Record::new(name, Instant::now(), span.clone());
        // 2 A panic is this caller's INTERNAL and nobody else's business.
        // 3 The deadline covers everything inside, waiting included; a stream has only the one its caller asked for.
        let deadline = self.deadline(method, asked);
        let inside = self.admit(routes, request, method, deadline);
        let outcome = AssertUnwindSafe(self.in_time(deadline, inside))
            .catch_unwind()
            .instrument(span.clone())
            .await;
        let (response, place) = match outcome {
            Ok(Ok((response, place))) => (response, place),
            Ok(Err(problem)) => (span.in_scope(|| self.refuse(name, problem)), None),
            Err(panic) => span.in_scope(|| {
                tracing::error!(panic = panic_text(panic.as_ref()), "a handler panicked");
                rpc::PANICS.add(1, [name]);
                (Problem::of(PANICKED).into_status().into_http(), None)
            }),
        };
        body::observe(response, record, Limits { deadline, ..limits }, place)
    }

    /// A public service: no caller, and so no name in the metrics; but its streams are counted, and end with the
    /// process.
    async fn answer_anybody(
        &self,
        routes: Routes,
        request: Request<Body>,
        limits: Limits,
    ) -> Response<Body> {
        let streams = request.uri().path() != PROBE;
        match streams.then(|| self.places.public_stream()).transpose() {
            Ok(place) => body::bound(pass(routes, request).await, limits, place),
            Err(problem) => self.refuse(OTHER, problem),
        }
    }

    async fn admit(
        &self,
        routes: Routes,
        mut request: Request<Body>,
        method: Option<Method>,
        deadline: Option<Deadline>,
    ) -> Result<(Response<Body>, Option<Place>), Problem> {
        let (place, verified, method) = match self.check(request.headers(), method).await {
            Ok(passed) => passed,
            Err(problem) => {
                body::discard(request.into_body()).await;
                return Err(problem);
            }
        };
        // 8 The handler, with the caller and the deadline at hand.
        let call = Call::of_caller(&verified.caller, deadline);
        request.extensions_mut().insert(verified.caller);
        request.extensions_mut().insert(method);
        if let Some(deadline) = deadline {
            request.extensions_mut().insert(deadline);
        }
        let work = async move {
            let response = call.scope(pass(routes, request)).await;
            (response, place.map(Place::worked_off))
        };
        let (response, place) = self.inside.run(work).await;
        // What is worked on while it is read.
        let response =
            if method.streams { response.map(|it| self.inside.body(it)) } else { response };
        Ok((response, place))
    }

    /// What stands before the handler, and needs no more of the request than its headers.
    async fn check(
        &self,
        headers: &HeaderMap,
        method: Option<Method>,
    ) -> Result<(Option<Place>, Verified, Method), Problem> {
        // 4 Limits of the process, before authentication, which costs more than a refusal.
        let place = self.enter(method)?;
        // 5 Who calls: from here on, nothing is told to strangers, not even which methods exist.
        let verified = self.authenticator.authenticate(headers).await?;
        // 6 May they: by the contract's permission, or for a target by the call graph. Not listed is not allowed.
        let method = method.ok_or(Problem::of(METHOD_UNKNOWN))?;
        self.authorise(&verified, method)?;
        // 7 Not too often: one tenant's haste is no other tenant's wait.
        self.paced(&verified.caller)?;
        Ok((place, verified, method))
    }

    /// The answer, or the reason why nobody waits for it any longer.
    async fn in_time<T>(
        &self,
        deadline: Option<Deadline>,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let work = self.aborting.run_until_cancelled(work);
        let ended = match deadline {
            None => Ok(work.await),
            Some(Deadline(at)) => tokio::time::timeout_at(at, work).await,
        };
        match ended {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(Problem::of(STOPPING)),
            Err(_) => Err(Problem::of(DEADLINE_PASSED)),
        }
    }

    fn deadline(&self, method: Option<Method>, asked: Option<Duration>) -> Option<Deadline> {
        let streams = method.is_some_and(|method| method.streams);
        let longest = (!streams).then_some(self.request_timeout);
        let allowed = match (asked, longest) {
            (Some(asked), Some(longest)) => Some(asked.min(longest)),
            (asked, longest) => asked.or(longest),
        };
        allowed.map(Deadline::within)
    }

    fn enter(&self, method: Option<Method>) -> Result<Option<Place>, Problem> {
        if method.is_some_and(|method| method.streams) {
            // A stream may outlast the call it was made for, so it needs a place in any case.
            return match self.stopping.is_cancelled() {
                true => Err(Problem::of(STOPPING)),
                false => self.places.stream().map(Some),
            };
        }
        // A call made for one that has a place needs none of its own: shed now, both would have been in vain.
        if Call::current().holds_place {
            return Ok(None);
        }
        self.places.call().map(Some)
    }

    fn authorise(&self, verified: &Verified, method: Method) -> Result<(), Problem> {
        let caller = &verified.caller;
        let allowed = match caller.kind {
            Kind::Service => self.is_edge(caller, verified.audience.as_deref(), method),
            Kind::User | Kind::Development => caller.permissions.allow(method.permission),
        };
        if !allowed {
            return Err(Problem::of(PERMISSION_MISSING).with("permission", method.permission));
        }
        // Who is confined may not call what would show the rest.
        let unheeded = if caller.markets.is_some() && !method.by_market {
            MARKETS_UNHEEDED
        } else if caller.brands.is_some() && !method.by_brand {
            BRANDS_UNHEEDED
        } else {
            return Ok(());
        };
        Err(Problem::of(unheeded).with("method", method.name))
    }

    /// People are counted where they enter; what targets ask of each other follows from that.
    fn paced(&self, caller: &Caller) -> Result<(), Problem> {
        let Some(rate) = self.rate.as_ref().filter(|_| caller.kind != Kind::Service) else {
            return Ok(());
        };
        let taken = rate.take(caller.tenant.clone(), Instant::now());
        taken.map_err(|after| Problem::of(TENANT_TOO_FAST).retry_after(after))
    }

    /// A service token is good for one callee, for the edges of the call graph, and without a tenant for healing only.
    fn is_edge(&self, caller: &Caller, audience: Option<&str>, method: Method) -> bool {
        let Some((from, audience)) = caller.target().zip(audience) else {
            return false;
        };
        let meant_here = match method.target {
            Some(target) => target == audience,
            None => self.served.contains(audience),
        };
        let for_a_tenant = !caller.tenant.is_empty() || method.target.is_none();
        meant_here && for_a_tenant && edges::allows(from, method.name)
    }

    fn refuse(&self, name: &'static str, problem: Problem) -> Response<Body> {
        match problem.reason.code {
            Code::ResourceExhausted if problem.reason == OVERLOADED => {
                rpc::SHED.add(1, ["in_flight", name])
            }
            Code::ResourceExhausted if problem.reason == TOO_MANY_STREAMS => {
                rpc::SHED.add(1, ["streams", name])
            }
            Code::ResourceExhausted if problem.reason == TENANT_TOO_FAST => {
                rpc::SHED.add(1, ["tenant_rate", name])
            }
            Code::Unauthenticated | Code::PermissionDenied => {
                rpc::REJECTIONS.add(1, [problem.reason.name, name])
            }
            _ => {}
        }
        problem.into_status().into_http()
    }
}

fn is_public(path: &str) -> bool {
    PUBLIC.iter().any(|service| path.starts_with(service))
}

async fn pass(routes: Routes, request: Request<Body>) -> Response<Body> {
    match routes.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

#[derive(Clone, Debug)]
struct Guarded {
    gate: Arc<Gate>,
    routes: Routes,
}

impl<B> tower::Service<Request<B>> for Guarded
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.gate.clone().answer(self.routes.clone(), request.map(Body::new));
        Box::pin(answer.map(Ok))
    }
}

#[cfg(test)]
mod tests;
