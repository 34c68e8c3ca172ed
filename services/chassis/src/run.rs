//! A process from start to stop: bind → migrate → build → ready → serve → drain.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::middleware::{self, Next};
use http::{HeaderName, HeaderValue, Method};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, ServiceExt as _};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer, ExposeHeaders};

use crate::admin::{Admin, Health};
use crate::assembly::{self, Assembly, Ends, Means, Target};
use crate::auth::DevelopmentToken;
use crate::deps::Deps;
use crate::edge::{Edge, Inside};
use crate::lifecycle::{Failure, Shutdown};
use crate::readiness::Readiness;
use crate::settings::{ClockMode, Faults, Grpc, Settings};
use crate::simulation::Simulation;
use crate::telemetry::{self, Telemetry};
use crate::tls::Tls;

const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the last probe may take to be answered.
const ADMIN_DRAIN: Duration = Duration::from_millis(100);
/// How long the last traces and metrics may take to leave.
const FLUSH: Duration = Duration::from_secs(3);
/// What a browser must be allowed to read: the trailers, or every error looks like OK, and when to come back.
const EXPOSED: [HeaderName; 4] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    HeaderName::from_static("retry-after"),
];

/// The process could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Settings(#[from] Faults),
    #[error("start telemetry")]
    Telemetry(#[from] telemetry::Error),
    #[error("listen on {address}")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("start the threads that serve")]
    Threads(#[source] std::io::Error),
    #[error(transparent)]
    Assembly(#[from] assembly::Error),
    #[error("asked to stop before it had started")]
    AskedToStop,
    #[error("set up reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A process that serves.
pub struct Process {
    /// Where gRPC listens; the real port when the settings said 0.
    pub grpc: SocketAddr,
    pub admin: SocketAddr,
    /// To be printed once; `None` outside embedded mode.
    pub token: Option<DevelopmentToken>,
    pub readiness: Readiness,
    pub shutdown: Shutdown,
    ended: JoinHandle<()>,
}

impl Process {
    /// Waits until the process has stopped; the failure that stopped it, if it was not asked to.
    pub async fn stopped(self) -> Result<(), Failure> {
        if let Err(error) = self.ended.await {
            self.shutdown.fail(Failure { task: "process".into(), why: format!("ended: {error}") });
        }
        self.shutdown.failure().map_or(Ok(()), Err)
    }

    /// Asks it to stop, and waits.
    pub async fn stop(self) -> Result<(), Failure> {
        self.shutdown.soft().cancel();
        self.stopped().await
    }
}

/// Starts a process. It serves when this returns, and turns ready when everything it needs is.
pub async fn start(
    targets: &[Target],
    settings: Settings,
    shutdown: Shutdown,
) -> Result<Process, Error> {
    settings.check()?;
    let telemetry = telemetry::start(&settings.telemetry, &service_name(targets))?;
    // Both ports first: a process that cannot have them shall not touch a database.
    let edge = Edge::start().map_err(Error::Threads)?;
    let bound = edge.spawn(bind(settings.grpc.address)).await;
    let (grpc, grpc_address) = bound.map_err(|it| Error::Threads(it.into()))??;
    let (admin, admin_address) = bind(settings.admin.address).await?;
    let (readiness, stops) = (Readiness::new(), Stops::default());
    readiness.need("", "start");

    // Probes are answered while stores migrate and compare themselves with the log, which may take long.
    let mut health = Health::new(targets.iter().map(|target| target.name)).await;
    let later = Later::default();
    let page = Admin {
        telemetry: telemetry.clone(),
        readiness: readiness.clone(),
        targets: targets.iter().map(|target| target.name).collect(),
    };
    let admin_routes = page.routes(&health, later.routes());
    let admin = listen(serve_admin(admin, admin_routes, stops.admin.clone()));
    let gone = stops.admin.clone().drop_guard();

    let means = Means::of(&settings).await?;
    let ends = Ends { stopping: stops.calls.clone(), aborting: shutdown.hard().clone() };
    let assembled = assembly::assemble(targets, &settings, &means, &readiness, ends);
    let assembled = shutdown.soft().run_until_cancelled(Box::pin(assembled)).await;
    let mut assembly = assembled.ok_or(Error::AskedToStop)??;
    for (rpc, target) in &assembly.rpcs {
        health.also(rpc, target).await;
    }
    // Who does not know what time it is must not record anything: no call is answered and no event read before.
    let told = CancellationToken::new();
    later.serve(simulation(&settings, &means, &assembly, &readiness, &told));
    let routes = public(&assembly, &health, settings.reflects())?;
    let calls = stops.calls.clone();
    let tls = assembly.tls.clone();
    let serve =
        serve_grpc(grpc, routes, settings.grpc.clone(), tls, (calls.clone(), shutdown.clone()));
    let known = told.clone();
    let grpc = edge.spawn(async move {
        if calls.run_until_cancelled(known.cancelled_owned()).await.is_some() {
            serve.await;
        }
    });
    assembly.watch_health(&readiness, &shutdown, &stops.work);
    assembly.start_work(&shutdown, &stops.work, &told);
    let (told, stop) = (health.follow(readiness.clone()), stops.work.clone());
    shutdown.spawn("health", async move {
        stop.run_until_cancelled(told).await;
        Ok::<_, Infallible>(())
    });
    readiness.set("", "start", true);
    tracing::info!(grpc = %grpc_address, admin = %admin_address, "serving");

    gone.disarm();
    let token = assembly.token.take();
    let ending = Ending {
        settings: settings.grpc,
        shutdown: shutdown.clone(),
        readiness: readiness.clone(),
        stops,
        listeners: Listeners { grpc, admin },
        edge,
        deps: assembly.deps,
        telemetry,
    };
    let ended = listen(ending.wind_down());
    Ok(Process { grpc: grpc_address, admin: admin_address, token, readiness, shutdown, ended })
}

/// Runs what ends in an order of its own, which a tracker does not have; `wind_down` waits for it.
#[expect(clippy::disallowed_methods, reason = "awaited by wind_down, and that by Process::stopped")]
fn listen(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(work)
}

/// Routes that are served before they are known: until then they answer as if nothing were there.
#[derive(Clone, Default)]
struct Later(Arc<OnceLock<Routes>>);

impl Later {
    fn serve(&self, routes: Routes) {
        // Only `start` knows this value, and it sets it once.
        let _ = self.0.set(routes);
    }

    fn routes(&self) -> Routes {
        let later = self.clone();
        let look_up = tower::service_fn(move |request: http::Request<axum::body::Body>| {
            let routes = later.0.get().cloned().unwrap_or_default();
            routes.oneshot(request)
        });
        axum::Router::new().fallback_service(look_up).into()
    }
}

/// `rapport-profiles` for one target, `rapport` for several.
fn service_name(targets: &[Target]) -> String {
    match targets {
        [target] => format!("rapport-{}", target.name),
        _ => "rapport".into(),
    }
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source| Error::Bind { address, source })
}

fn simulation(
    settings: &Settings,
    means: &Means,
    assembly: &Assembly,
    readiness: &Readiness,
    told: &CancellationToken,
) -> Routes {
    if settings.clock.mode == ClockMode::System {
        told.cancel();
        return Routes::default();
    }
    let simulation =
        Simulation::new(means.clock.clone(), assembly, readiness.clone(), told.clone());
    assembly.gate.guard(Routes::new(simulation.server()))
}

/// The guarded routes, and beside them what answers anybody.
fn public(assembly: &Assembly, health: &Health, reflection: bool) -> Result<Routes, Error> {
    let mut open = Routes::new(health.server());
    if reflection {
        let described = || {
            let builder = tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(rapport_proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
                .with_service_name("grpc.health.v1.Health");
            assembly.rpcs.iter().fold(builder, |builder, (rpc, _)| builder.with_service_name(*rpc))
        };
        open = open.add_service(described().build_v1()?).add_service(described().build_v1alpha()?);
    }
    let open = assembly.gate.guard(open);
    let guarded = assembly.routes.clone().into_axum_router();
    let public = crate::layers::PUBLIC.iter().fold(guarded, |all, service| {
        let path = format!("{service}{{*method}}");
        all.route_service(&path, open.clone())
    });
    let public = assembly.forwarded.iter().fold(public, |all, (service, way)| {
        all.route_service(&format!("/{service}/{{*method}}"), way.clone())
    });
    // gRPC-Web is an answer to browsers' gRPC calls only: any other HTTP/1.1 request would be a bad one to it.
    let grpc = GrpcWebLayer::new().layer(Routes::from(public));
    let inside = Inside::here();
    let http = assembly.http.clone().layer(middleware::from_fn(move |request, next: Next| {
        let inside = inside.clone();
        async move { inside.run(next.run(request)).await }
    }));
    Ok(http.fallback_service(grpc).into())
}

async fn serve_grpc(
    listener: TcpListener,
    routes: Routes,
    settings: Grpc,
    tls: Arc<Tls>,
    (stop, shutdown): (CancellationToken, Shutdown),
) {
    let server = Server::builder()
        .accept_http1(true)
        .max_connection_age(connection_age(&settings))
        .max_connection_age_grace(settings.shutdown_drain())
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(cors(&settings.web_origins))
        .add_routes(routes);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let stop = stop.cancelled_owned();
    let served = if tls.serves() {
        server.serve_with_incoming_shutdown(Box::pin(tls.incoming(incoming)), stop).await
    } else {
        server.serve_with_incoming_shutdown(incoming, stop).await
    };
    if let Err(error) = served {
        shutdown.fail(Failure {
            task: "grpc".into(),
            why: format!("failed: {}", crate::status::chain(&error)),
        });
    }
}

/// The admin port lives to the very end, so that a probe can read "draining" while we drain.
async fn serve_admin(listener: TcpListener, routes: Routes, stop: CancellationToken) {
    let served = Server::builder()
        .accept_http1(true)
        .add_routes(routes)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(error = %crate::status::chain(&error), "the admin port failed");
    }
}

/// Up to a tenth more, by chance: replicas started together shall not shed their connections together.
fn connection_age(settings: &Grpc) -> Duration {
    let [chance] = eventstore::Ids::system().bytes::<1>();
    let age = Duration::from_secs(settings.max_connection_age_s);
    age + age.mul_f64(f64::from(chance) / 2560.0)
}

fn cors(origins: &[String]) -> CorsLayer {
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(ExposeHeaders::list(EXPOSED))
        .max_age(Duration::from_secs(3600))
}

/// What is stopped when: calls and streams, then background work, then the admin port.
#[derive(Clone, Default)]
struct Stops {
    calls: CancellationToken,
    work: CancellationToken,
    admin: CancellationToken,
}

struct Listeners {
    grpc: JoinHandle<()>,
    admin: JoinHandle<()>,
}

/// Everything needed to stop in order.
struct Ending {
    settings: Grpc,
    shutdown: Shutdown,
    readiness: Readiness,
    stops: Stops,
    listeners: Listeners,
    edge: Edge,
    deps: Vec<Deps>,
    telemetry: Telemetry,
}

impl Ending {
    /// Waits for the wish to stop; then: not ready, wait for balancers to notice, accept nothing new, finish calls,
    /// finish background work, close stores, send the last telemetry. The hard stage skips what waits.
    async fn wind_down(self) {
        let Self { settings, shutdown, readiness, stops, listeners, edge, deps, telemetry } = self;
        shutdown.soft().cancelled().await;
        readiness.begin_draining();
        tracing::info!("draining");
        let notice = tokio::time::sleep(settings.shutdown_delay());
        shutdown.hard().run_until_cancelled(notice).await;
        stops.calls.cancel();
        let deadline = Instant::now() + settings.shutdown_drain();
        finish(listeners.grpc, deadline, shutdown.hard()).await;
        drop(edge);
        stops.work.cancel();
        shutdown.drain(deadline.saturating_duration_since(Instant::now())).await;
        for deps in &deps {
            deps.store.close().await;
        }
        stops.admin.cancel();
        finish(listeners.admin, Instant::now() + ADMIN_DRAIN, shutdown.hard()).await;
        tracing::info!("stopped");
        telemetry.flush(FLUSH).await;
    }
}

/// Waits for a listener to finish its calls, at most until the deadline or the hard stage.
async fn finish(mut listener: JoinHandle<()>, deadline: Instant, hard: &CancellationToken) {
    let finished = hard.run_until_cancelled(tokio::time::timeout_at(deadline, &mut listener)).await;
    if !matches!(finished, Some(Ok(_))) {
        listener.abort();
    }
}

#[cfg(test)]
mod tests;
