//! Everything of a process but its ports: stores opened, services built, layers around them. `run` puts it on the
//! network; tests call it in memory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use eventstore::{
    Clock, CommitOptions, Consumer, DatabaseOptions, Ids, Log, NatsLog, NatsOptions, Schema, Store,
    StoreOptions, Timestamp,
};
use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::auth::{self, Authenticator, DevelopmentToken, ServiceKeys, edges};
use crate::deps::Deps;
use crate::event_log::{EventLog, Healer};
use crate::layers::{Gate, Parts};
use crate::lifecycle::Shutdown;
use crate::methods::{self, Methods};
use crate::peers::{Directory, Forward};
use crate::readiness::Readiness;
use crate::root_key::{self, Kms};
use crate::service::{Service, Work};
use crate::settings::{ClockMode, Settings};
use crate::status::Reason;
use crate::telemetry;
use crate::tls::{self, Tls};

/// How often an idle database is asked whether it is there, and the log.
const PROBE: Duration = Duration::from_secs(1);
/// The target that passes calls on.
pub const GATEWAY: &str = "gateway";
const HOUSEKEEPING: Duration = Duration::from_secs(3600);

/// A row of the table of targets.
#[derive(Clone, Copy)]
pub struct Target {
    pub name: &'static str,
    /// Migrations and views of its store.
    pub schema: fn() -> Schema,
    /// What it refuses with, beside the chassis's own reasons; for the catalogue.
    pub reasons: &'static [Reason],
    pub service: fn(&Deps) -> Service,
}

/// The process could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Auth(#[from] auth::Error),
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error(transparent)]
    RootKey(#[from] root_key::Error),
    #[error("connect to the log")]
    Log(#[source] eventstore::Error),
    #[error("open the store of {target}")]
    Store { target: &'static str, source: eventstore::Error },
    #[error(transparent)]
    Methods(#[from] methods::Error),
}

/// The parts that are arguments, so that time and chance can be the test's.
#[derive(Clone)]
pub struct Means {
    pub clock: Clock,
    pub ids: Ids,
    pub log: Log,
}

impl Means {
    /// What the settings ask for.
    pub async fn of(settings: &Settings) -> Result<Self, Error> {
        let clock = match settings.clock.mode {
            ClockMode::System => Clock::system(),
            ClockMode::Simulated => Clock::simulated(Timestamp::default()),
        };
        let log = if settings.log.is_local() {
            Log::local()
        } else {
            let account = settings.one_target().filter(|_| settings.log.accounts);
            let options = NatsOptions {
                credentials_file: settings.log.credentials_file.clone(),
                ca_file: settings.log.ca_file.clone(),
                inbox: inbox(settings),
                account: account.map(ToOwned::to_owned).unwrap_or_default(),
                prefix: settings.log.prefix.clone(),
                replicas: settings.log.replicas,
                in_flight: settings.log.in_flight,
                ..NatsOptions::new(&settings.log.url)
            };
            Log::nats(options).await.map_err(Error::Log)?
        };
        Ok(Self { clock, ids: Ids::system(), log })
    }
}

/// Where answers of the log arrive: what one target asked for shall reach no other.
fn inbox(settings: &Settings) -> String {
    settings.one_target().map_or_else(|| "_INBOX".to_owned(), |it| format!("_INBOX_{it}"))
}

/// A process without ports.
pub struct Assembly {
    /// Every RPC of every target, behind the layers.
    pub routes: Routes,
    /// Full names of the gRPC services in `routes`, with the target each belongs to; empty for those of all.
    pub rpcs: Vec<(&'static str, &'static str)>,
    pub deps: Vec<Deps>,
    pub gate: Arc<Gate>,
    pub authenticator: Arc<Authenticator>,
    /// To be printed once; `None` outside embedded mode.
    pub token: Option<DevelopmentToken>,
    pub(crate) tls: Arc<Tls>,
    /// For tests that speak as a target.
    pub service_keys: ServiceKeys,
    /// Services of targets that run elsewhere, with the way there: what a gateway passes on as it is.
    pub(crate) forwarded: Vec<(String, Forward)>,
    /// What the targets answer to plain HTTP.
    pub(crate) http: axum::Router,
    pub(crate) work: Vec<(String, Work)>,
    /// Each consumer with the means of the service it belongs to.
    pub consumers: Arc<[(Deps, Consumer)]>,
}

/// When calls end that have not ended by themselves.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// Streams end, and none begins.
    pub stopping: CancellationToken,
    /// Everything ends where it is.
    pub aborting: CancellationToken,
}

/// Opens, migrates, builds and checks; starts nothing but the stores' committers. `ends` says when calls
/// shall end.
pub async fn assemble(
    targets: &[Target],
    settings: &Settings,
    means: &Means,
    readiness: &Readiness,
    ends: Ends,
) -> Result<Assembly, Error> {
    let service_keys = service_keys(settings)?;
    let (authenticator, token) = Authenticator::new(settings, service_keys.clone())?;
    let authenticator = Arc::new(authenticator);
    let methods = Methods::of_contract()?;
    let (peers, tls) = (settings.peers.clone(), Tls::read(&settings.tls)?);
    let directory = Directory::new(peers, service_keys.clone(), methods.clone(), tls.clone());
    for target in targets {
        readiness.need(target.name, "store");
    }
    let deps = equip(targets, settings, means, &directory, &service_keys).await?;
    let built = build(targets, &deps, settings.grpc.max_message_bytes);
    for (rpc, _) in &built.rpcs {
        methods.check(rpc)?;
    }
    let forwarded = if targets.iter().any(|it| it.name == GATEWAY) {
        let elsewhere = |target: &str| targets.iter().all(|it| it.name != target);
        let services = methods.services(elsewhere);
        services.map(|(service, target)| (service, directory.forward(target))).collect()
    } else {
        Vec::new()
    };
    let gate = Gate::new(Parts {
        methods,
        served: targets.iter().map(|target| target.name.to_owned()).collect(),
        authenticator: authenticator.clone(),
        max_in_flight: settings.grpc.max_in_flight,
        max_streams: settings.grpc.max_streams,
        tenant_requests_per_second: settings.grpc.tenant_requests_per_second,
        request_timeout: settings.grpc.request_timeout(),
        stopping: ends.stopping,
        aborting: ends.aborting,
    });
    let routes = gate.guard(built.routes);
    for target in targets {
        directory.serve(target.name, routes.clone());
    }
    Ok(Assembly {
        routes,
        forwarded,
        rpcs: built.rpcs,
        deps,
        gate,
        authenticator,
        token,
        tls,
        service_keys,
        http: built.http,
        work: built.work,
        consumers: built.consumers.into(),
    })
}

/// Opens the store of each target and puts its means together.
async fn equip(
    targets: &[Target],
    settings: &Settings,
    means: &Means,
    directory: &Arc<Directory>,
    service_keys: &ServiceKeys,
) -> Result<Vec<Deps>, Error> {
    let kms = root_key::read_or_make(settings)?;
    let shared = Arc::new(settings.clone());
    let mut all = Vec::new();
    for target in targets {
        all.push(Deps {
            target: target.name,
            store: open(target, settings, means, Some(kms.clone()), Missing::Made).await?,
            log: means.log.clone(),
            clock: means.clock.clone(),
            ids: means.ids.clone(),
            peers: directory.seen_from(target.name),
            service_keys: service_keys.clone(),
            settings: shared.clone(),
            max_message_bytes: settings.grpc.max_message_bytes,
        });
    }
    Ok(all)
}

/// What the services of a process add up to.
struct Built {
    routes: Routes,
    rpcs: Vec<(&'static str, &'static str)>,
    http: axum::Router,
    work: Vec<(String, Work)>,
    consumers: Vec<(Deps, Consumer)>,
}

/// Builds every service, and the event log over all their stores.
fn build(targets: &[Target], all: &[Deps], max_message_bytes: usize) -> Built {
    let stores = all.iter().map(|deps| deps.store.clone());
    let log = EventLog::new(stores, max_message_bytes).server();
    let mut router = Routes::new(log).into_axum_router();
    let mut rpcs = vec![(edges::EVENT_LOG, "")];
    let (mut work, mut consumers, mut http) = (Vec::new(), Vec::new(), axum::Router::new());
    for (target, deps) in targets.iter().zip(all) {
        let service = (target.service)(deps);
        // The fallback for unknown paths is there already; a router that joins may bring none of its own.
        router = router.merge(service.routes.into_axum_router().reset_fallback());
        rpcs.extend(service.rpcs.into_iter().map(|rpc| (rpc, target.name)));
        let name = |(name, work)| (format!("{}/{name}", target.name), work);
        work.extend(service.work.into_iter().map(name));
        consumers.extend(service.consumers.into_iter().map(|consumer| (deps.clone(), consumer)));
        http = http.merge(service.http);
    }
    Built { routes: router.into(), rpcs, http, work, consumers }
}

/// Applies pending migrations and compares each store with the log, as a start would; grants the role that serves what
/// it needs, if there is one; then closes again.
pub async fn migrate(targets: &[Target], settings: &Settings) -> Result<(), Error> {
    let mut settings = settings.clone();
    settings.database.migrate = true;
    let settings = &settings;
    let means = Means::of(settings).await?;
    let kms = root_key::read_or_make(settings)?;
    for target in targets {
        let store = open(target, settings, &means, Some(kms.clone()), Missing::Made).await?;
        if let Some(role) = settings.database.runtime_role_for(target.name) {
            let granted = eventstore::roles::grant(store.database(), &role).await;
            granted.map_err(|source| Error::Store { target: target.name, source })?;
        }
        store.close().await;
    }
    Ok(())
}

/// Opens the store of one target for a command that looks at it: nothing is created or migrated, and a store that is
/// not there or not up to date is an error. What reads sealed bytes as they are needs no key of the deployment's.
pub async fn open_existing(
    target: &Target,
    settings: &Settings,
    means: &Means,
    kms: Option<Kms>,
) -> Result<Store, Error> {
    open(target, settings, means, kms, Missing::Refused).await
}

/// What becomes of a database or migration that is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// As the settings say.
    Made,
    Refused,
}

async fn open(
    target: &Target,
    settings: &Settings,
    means: &Means,
    kms: Option<Kms>,
    missing: Missing,
) -> Result<Store, Error> {
    let make = missing == Missing::Made;
    let options = StoreOptions {
        source: target.name.to_owned(),
        database: DatabaseOptions {
            max_connections: settings.database.max_connections,
            create: make,
            name: target.name.to_owned(),
            ..DatabaseOptions::new(settings.database.url_for(target.name))
        },
        migrate: make && settings.database.migrate,
        commit: CommitOptions {
            max_units: settings.commit.max_units,
            max_bytes: settings.commit.max_bytes,
            wait: Duration::from_micros(settings.commit.wait_us),
            ..CommitOptions::default()
        },
        kms,
        clock: means.clock.clone(),
        ids: means.ids.clone(),
        log: means.log.clone(),
    };
    let store = Store::open(options, (target.schema)()).await;
    store.map_err(|source| Error::Store { target: target.name, source })
}

fn service_keys(settings: &Settings) -> Result<ServiceKeys, Error> {
    Ok(ServiceKeys::read(&root_key::service_key(settings)?)?)
}

impl Assembly {
    /// Follows each store's health, the connection to the log, and with OIDC the issuer's keys.
    pub(crate) fn watch_health(
        &self,
        readiness: &Readiness,
        shutdown: &Shutdown,
        stop: &CancellationToken,
    ) {
        for deps in &self.deps {
            let follow = follow_store(deps.store.clone(), readiness.clone());
            spawn(shutdown, format!("{}/health", deps.target), until(stop.clone(), follow));
        }
        let remote = self.deps.first().map(|deps| deps.log.clone()).filter(Log::is_remote);
        if let Some(log) = remote {
            spawn(shutdown, "log/health".into(), until(stop.clone(), follow_log(log)));
        }
        if self.tls.is_used() {
            let look = self.tls.clone().keep_looking();
            spawn(shutdown, "certificates".into(), until(stop.clone(), look));
        }
        if let Some(verifier) = self.authenticator.oidc() {
            let readiness = readiness.clone();
            readiness.need("", "issuer_keys");
            let read = async move {
                verifier.keep_reading(|ok| readiness.set("", "issuer_keys", ok)).await
            };
            spawn(shutdown, "issuer_keys".into(), until(stop.clone(), read));
        }
    }

    /// Starts what runs in the background: relays and housekeeping, and once the time is known consumers with their
    /// healers and the services' work.
    pub(crate) fn start_work(
        &mut self,
        shutdown: &Shutdown,
        stop: &CancellationToken,
        told: &CancellationToken,
    ) {
        for deps in &self.deps {
            let store = deps.store.clone();
            if deps.log.is_remote() {
                spawn(
                    shutdown,
                    format!("{}/relay", deps.target),
                    eventstore::relay::run(store.clone(), stop.clone()),
                );
            }
            spawn(
                shutdown,
                format!("{}/housekeeping", deps.target),
                keep_house(store, stop.clone()),
            );
        }
        for (deps, consumer) in self.consumers.iter() {
            let healer = Arc::new(Healer::new(deps.peers.clone()));
            for source in consumer.sources.clone() {
                let name = format!("{}/{}/{source}", deps.target, consumer.name);
                let (store, consumer) = (deps.store.clone(), consumer.clone());
                let (healer, stop) = (healer.clone(), stop.clone());
                let known = is_known(told.clone(), stop.clone());
                spawn(shutdown, name, async move {
                    if known.await {
                        eventstore::consumer::run(store, consumer, source, healer, stop).await;
                    }
                });
            }
        }
        for (name, work) in std::mem::take(&mut self.work) {
            let (known, stop) = (is_known(told.clone(), stop.clone()), stop.clone());
            shutdown
                .spawn(name, async move { if known.await { work(stop).await } else { Ok(()) } });
        }
    }

    /// The means of one target.
    pub fn deps_of(&self, target: &str) -> Option<&Deps> {
        self.deps.iter().find(|deps| deps.target == target)
    }

    /// Heads of the sources of this process, by name.
    pub async fn heads(&self) -> Result<BTreeMap<String, u64>, eventstore::Error> {
        heads(&self.deps).await
    }
}

/// Waits until the time is known; `false` when the process stops before.
async fn is_known(told: CancellationToken, stop: CancellationToken) -> bool {
    stop.run_until_cancelled(told.cancelled_owned()).await.is_some()
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    stop.run_until_cancelled(work).await;
}

/// Follows the health of a store, and looks itself: an idle service shall notice too that its database is gone, and
/// that it is back.
async fn follow_store(store: Store, readiness: Readiness) {
    let mut health = store.health();
    loop {
        let ok = *health.borrow_and_update();
        readiness.set(store.source(), "store", ok);
        match tokio::time::timeout(PROBE, health.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            // The store notes by itself what came of it.
            Err(_) => drop(store.measure().await),
        }
    }
}

/// Shows whether the log can be reached. A target is ready without it, so this is the place to see it is gone.
async fn follow_log(log: Log) {
    loop {
        let stands = log.as_nats().is_some_and(NatsLog::is_connected);
        telemetry::LOG_CONNECTED.set(f64::from(u8::from(stands)), []);
        tokio::time::sleep(PROBE).await;
    }
}

/// Work that handles its own errors; only a panic ends the process.
fn spawn(shutdown: &Shutdown, name: String, work: impl Future<Output = ()> + Send + 'static) {
    shutdown.spawn(name, work.map(Ok::<_, Infallible>));
}

/// Forgets old request ids, hour by hour. The real clock drives it: what a retry may expect is real time.
async fn keep_house(store: Store, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(HOUSEKEEPING)).await.is_some() {
        match store.forget_requests().await {
            Ok(forgotten) => {
                tracing::debug!(source = store.source(), forgotten, "forgot old request ids")
            }
            Err(error) => {
                tracing::warn!(
                    source = store.source(),
                    error = error.chain(),
                    "old request ids were not forgotten"
                );
            }
        }
    }
}

pub(crate) async fn heads(deps: &[Deps]) -> Result<BTreeMap<String, u64>, eventstore::Error> {
    let mut heads = BTreeMap::new();
    for deps in deps {
        heads.insert(deps.target.to_owned(), deps.store.read_head().await?.position);
    }
    Ok(heads)
}
