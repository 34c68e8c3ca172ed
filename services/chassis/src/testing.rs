//! What tests of services and of the platform need: a service served in memory on SQLite, callers with real tokens,
//! a clock that moves when told, a local OIDC issuer, an OTLP receiver. Nothing here is a mock.

mod certificates;
mod oidc;
mod otlp;
mod signing;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use eventstore::{Clock, Ids, Log, Timestamp};
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt as _;

use crate::assembly::{Assembly, Ends, Means, Target, assemble};
use crate::auth::service::Grant;
use crate::auth::{Caller, Kind, Permissions};
use crate::deps::Deps;
use crate::lifecycle::Shutdown;
use crate::readiness::Readiness;
use crate::settings::Settings;

pub use certificates::Authority;
pub use oidc::{AUDIENCE, OidcIssuer, TokenSpec};
pub use otlp::{OtlpReceiver, ReceivedSpan};

/// The two tenants of every harness.
pub const TENANTS: [&str; 2] = ["acme", "umbrella"];

/// 2026-01-01T00:00:00Z: where a harness's clock stands until it is moved.
pub const START: Timestamp = Timestamp(1_767_225_600_000_000);

/// Targets in memory: their routes behind the real layers, their stores in a temporary folder.
pub struct Harness {
    pub clock: Clock,
    pub issuer: OidcIssuer,
    pub readiness: Readiness,
    pub assembly: Assembly,
    shutdown: Shutdown,
    stop: CancellationToken,
    _folder: TempDir,
}

impl Harness {
    /// Serves targets with embedded defaults, two tenants, and a clock that stands at [`START`].
    pub async fn start(targets: &[Target]) -> Self {
        Self::with(targets, |_| ()).await
    }

    /// The same with other settings.
    pub async fn with(targets: &[Target], change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let issuer = OidcIssuer::start().await;
        let mut settings = embedded(&folder);
        issuer.configure(&mut settings);
        change(&mut settings);
        settings.check().expect("the harness's settings are valid");
        let clock = Clock::manual(START);
        let means = Means { clock: clock.clone(), ids: Ids::system(), log: Log::local() };
        let readiness = Readiness::new();
        let (shutdown, stop) = (Shutdown::new(), CancellationToken::new());
        let ends = Ends { stopping: stop.clone(), aborting: shutdown.hard().clone() };
        let mut assembly =
            assemble(targets, &settings, &means, &readiness, ends).await.expect("assembled");
        assembly.watch_health(&readiness, &shutdown, &stop);
        let told = CancellationToken::new();
        told.cancel();
        assembly.start_work(&shutdown, &stop, &told);
        Self { clock, issuer, readiness, assembly, shutdown, stop, _folder: folder }
    }

    /// A client's transport for a person of a tenant with permissions: `PartyServiceClient::new(harness.person(…))`.
    pub fn person(&self, tenant: &str, subject: &str, permissions: &[&str]) -> Connection {
        self.with_token(&self.issuer.token(tenant, subject, permissions))
    }

    /// A person of the first tenant who may do everything.
    pub fn admin(&self) -> Connection {
        self.person(TENANTS[0], "admin", &["*"])
    }

    /// A target that calls another one, for a tenant.
    pub fn target(&self, from: &str, to: &str, tenant: &str) -> Connection {
        self.with_token(&self.assembly.service_keys.mint(Grant {
            from,
            to,
            tenant,
            on_behalf_of: None,
        }))
    }

    /// Any token, valid or not.
    pub fn with_token(&self, token: &str) -> Connection {
        Connection { routes: self.assembly.routes.clone(), token: Some(token.to_owned()) }
    }

    /// A stranger.
    pub fn without_token(&self) -> Connection {
        Connection { routes: self.assembly.routes.clone(), token: None }
    }

    /// The means of a target: its store, its clock, its peers.
    pub fn deps(&self, target: &str) -> &Deps {
        self.assembly.deps_of(target).expect("a target of this harness")
    }

    /// Stops background work and closes the stores.
    pub async fn stop(self) {
        self.stop.cancel();
        self.shutdown.drain(std::time::Duration::from_secs(10)).await;
        for deps in &self.assembly.deps {
            deps.store.close().await;
        }
    }
}

/// Embedded settings in a temporary folder, on free ports, with two tenants.
pub fn embedded(folder: &TempDir) -> Settings {
    let mut settings =
        Settings { tenants: TENANTS.map(str::to_owned).to_vec(), ..Settings::default() };
    settings.database.url = format!("sqlite://{}/{{service}}.db", folder.path().display());
    settings.delivery.outbox = folder.path().join("outbox");
    settings.grpc.address.set_port(0);
    settings.admin.address.set_port(0);
    settings
}

/// A verified caller, for tests below the layers.
pub fn caller(tenant: &str, subject: &str, permissions: &[&str]) -> Caller {
    Caller {
        tenant: tenant.to_owned(),
        subject: subject.to_owned(),
        kind: Kind::User,
        roles: Vec::new(),
        permissions: permissions.iter().copied().collect::<Permissions>(),
        markets: None,
        brands: None,
        on_behalf_of: None,
        authenticated_at: None,
    }
}

/// A transport that sends a token with every call, in memory.
#[derive(Clone)]
pub struct Connection {
    routes: Routes,
    token: Option<String>,
}

impl tower::Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(token) = &self.token {
            let value = HeaderValue::try_from(format!("Bearer {token}")).expect("a token is ASCII");
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Box::pin(self.routes.clone().oneshot(request))
    }
}
