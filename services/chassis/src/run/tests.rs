//! A whole process on real ports: start, probes, calls, drain.

use rapport_proto::eventlog::v1::GetHeadRequest;
use rapport_proto::eventlog::v1::event_log_service_client::EventLogServiceClient as Client;
use rapport_proto::simulation::v1::simulation_service_client::SimulationServiceClient;
use rapport_proto::simulation::v1::{SetTimeRequest, SettleRequest};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Told;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::service::Service;
use crate::settings::Reflection;
use crate::testing::embedded;

const QUIET: Target = Target {
    name: "profiles",
    schema: eventstore::Schema::default,
    reasons: &[],
    service: |_| Service::new(),
};

async fn started(settings: Settings) -> Process {
    let process = start(&[QUIET], settings, Shutdown::new()).await.expect("started");
    let ready = tokio::time::timeout(Duration::from_secs(120), process.readiness.ready()).await;
    if !process.readiness.missing().iter().any(|what| what == "simulated_time") {
        ready.expect("ready");
    }
    process
}

fn channel(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).expect("URL").connect_lazy()
}

fn with_token<T>(process: &Process, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let token = process.token.as_ref().expect("embedded").reveal();
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse().expect("ASCII"));
    request
}

fn head() -> GetHeadRequest {
    GetHeadRequest { source: "profiles".into() }
}

async fn get(process: &Process, path: &str) -> (u16, String) {
    let response = reqwest::get(format!("http://{}{path}", process.admin)).await.expect("answered");
    (response.status().as_u16(), response.text().await.expect("text"))
}

#[tokio::test]
async fn a_process_serves_probes_and_drains() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("folder");
    let process = started(embedded(&folder)).await;
    let reply = Client::new(channel(process.grpc))
        .get_head(with_token(&process, head()))
        .await
        .expect("answered");
    assert_eq!(reply.get_ref().position, 0);

    for address in [process.grpc, process.admin] {
        for name in ["", "readiness", "liveness", "profiles", "rapport.eventlog.v1.EventLogService"]
        {
            let request = HealthCheckRequest { service: name.into() };
            let reply = HealthClient::new(channel(address)).check(request).await.expect("told");
            assert_eq!(reply.get_ref().status(), Told::Serving, "{name} on {address}");
        }
    }
    assert_eq!(get(&process, "/livez").await, (200, "ok\n".into()));
    assert_eq!(get(&process, "/readyz").await, (200, "ok\n".into()));
    assert_eq!(get(&process, "/build-info").await.0, 200);
    let (_, metrics) = get(&process, "/metrics").await;
    assert!(metrics.contains("# HELP rpc_server_call_duration_seconds"), "{metrics}");
    let call = r#"rpc_method="rapport.eventlog.v1.EventLogService/GetHead""#;
    assert!(
        metrics
            .lines()
            .any(|line| line.contains(call) && line.contains(r#"rpc_response_status_code="OK""#))
    );
    process.stop().await.expect("stopped as asked");
}

#[tokio::test]
async fn the_log_level_changes_while_running() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("folder");
    let process = started(embedded(&folder)).await;
    let url = format!("http://{}/log-level", process.admin);
    let put = async |filter: &'static str| {
        reqwest::Client::new().put(&url).body(filter).send().await.expect("answered")
    };
    assert_eq!(put("loud").await.status(), 400);
    assert_eq!(put("warn").await.status(), 200);
    assert_eq!(put("info").await.status(), 200);
    process.stop().await.expect("stopped as asked");
}

#[tokio::test]
async fn reflection_lists_what_is_served_and_can_be_switched_off() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let list = async |process: &Process| {
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let asked = ServerReflectionRequest { message_request, ..Default::default() };
        let mut client = ServerReflectionClient::new(channel(process.grpc));
        let mut replies =
            client.server_reflection_info(tokio_stream::iter([asked])).await?.into_inner();
        match replies.message().await?.and_then(|reply| reply.message_response) {
            Some(MessageResponse::ListServicesResponse(list)) => {
                Ok(list.service.into_iter().map(|service| service.name).collect::<Vec<_>>())
            }
            other => panic!("{other:?}"),
        }
    };
    let folder = tempfile::tempdir().expect("folder");
    let process = started(embedded(&folder)).await;
    let names: Result<_, tonic::Status> = list(&process).await;
    assert!(names.expect("listed").contains(&"rapport.eventlog.v1.EventLogService".to_owned()));
    process.stop().await.expect("stopped as asked");

    let mut settings = embedded(&folder);
    settings.grpc.reflection = Reflection::Never;
    let process = started(settings).await;
    let refused = list(&process).await.expect_err("off");
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    process.stop().await.expect("stopped as asked");
}

#[tokio::test]
async fn a_browser_may_call_and_read_the_status() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("folder");
    let process = started(embedded(&folder)).await;
    let url = format!("http://{}/rapport.eventlog.v1.EventLogService/GetHead", process.grpc);
    let client = reqwest::Client::new();
    let preflight = client
        .request(reqwest::Method::OPTIONS, &url)
        .header("origin", "https://console.example.com")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-grpc-web")
        .send()
        .await
        .expect("answered");
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    let token = process.token.as_ref().expect("embedded").reveal();
    let mut body = vec![0, 0, 0, 0, 10, 10, 8];
    body.extend_from_slice(b"profiles");
    let called = client
        .post(&url)
        .header("origin", "https://console.example.com")
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .bearer_auth(token)
        .body(body)
        .send()
        .await
        .expect("answered");
    assert!(
        called.headers()["access-control-expose-headers"]
            .to_str()
            .expect("ASCII")
            .contains("grpc-status")
    );
    let bytes = called.bytes().await.expect("read");
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("grpc-status:0"), "{text:?}");
    process.stop().await.expect("stopped as asked");
}

#[tokio::test]
async fn a_driver_owns_simulated_time() {
    let folder = tempfile::tempdir().expect("folder");
    let mut settings = embedded(&folder);
    settings.clock.mode = ClockMode::Simulated;
    let process = start(&[QUIET], settings, Shutdown::new()).await.expect("started");
    let mut driver = SimulationServiceClient::new(channel(process.admin));
    let stranger = driver.settle(SettleRequest::default()).await.expect_err("no token");
    assert_eq!(stranger.code(), tonic::Code::Unauthenticated);
    assert!(process.readiness.missing().contains(&"simulated_time".to_owned()));
    let at = |seconds: i64| SetTimeRequest {
        time: Some(eventstore::Timestamp(seconds * 1_000_000).to_proto()),
    };
    driver.set_time(with_token(&process, at(100))).await.expect("told");
    tokio::time::timeout(Duration::from_secs(120), process.readiness.ready()).await.expect("ready");
    let back = driver.set_time(with_token(&process, at(99))).await.expect_err("never back");
    assert_eq!(back.code(), tonic::Code::InvalidArgument);
    let settled =
        driver.settle(with_token(&process, SettleRequest::default())).await.expect("settled");
    assert_eq!(settled.get_ref().heads["profiles"], 0);
    process.stop().await.expect("stopped as asked");
}

#[tokio::test]
async fn no_simulation_is_served_on_the_systems_clock() {
    let folder = tempfile::tempdir().expect("folder");
    let process = started(embedded(&folder)).await;
    let mut driver = SimulationServiceClient::new(channel(process.admin));
    let refused = driver
        .settle(with_token(&process, SettleRequest::default()))
        .await
        .expect_err("not served");
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    process.stop().await.expect("stopped as asked");
}

#[tokio::test]
async fn a_failing_background_task_stops_the_process_and_is_named() {
    const BROKEN: Target = Target {
        name: "profiles",
        schema: eventstore::Schema::default,
        reasons: &[],
        service: |_| {
            Service::new().work("timers", |_| async { Err(eventstore::Error::corrupt("torn")) })
        },
    };
    let folder = tempfile::tempdir().expect("folder");
    let process = start(&[BROKEN], embedded(&folder), Shutdown::new()).await.expect("started");
    let failure = process.stopped().await.expect_err("it failed");
    assert_eq!(failure.task, "profiles/timers");
    assert!(failure.why.contains("torn"), "{}", failure.why);
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let folder = tempfile::tempdir().expect("folder");
    let mut settings = embedded(&folder);
    settings.grpc.address = taken.local_addr().expect("bound");
    let refused = start(&[QUIET], settings.clone(), Shutdown::new()).await.err().expect("refused");
    assert_eq!(refused.to_string(), format!("listen on {}", settings.grpc.address));
    assert!(
        std::fs::read_dir(folder.path()).expect("folder").next().is_none(),
        "no database was touched"
    );
}

#[tokio::test]
async fn a_service_outside_the_contract_does_not_start() {
    #[derive(Clone)]
    struct Unlisted;
    impl tonic::server::NamedService for Unlisted {
        const NAME: &'static str = "rapport.profiles.v1.SecretService";
    }
    impl tower::Service<http::Request<tonic::body::Body>> for Unlisted {
        type Response = http::Response<tonic::body::Body>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;
        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Infallible>> {
            std::task::Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: http::Request<tonic::body::Body>) -> Self::Future {
            std::future::ready(Ok(http::Response::new(tonic::body::Body::empty())))
        }
    }
    const SECRET: Target = Target {
        name: "profiles",
        schema: eventstore::Schema::default,
        reasons: &[],
        service: |_| Service::new().serve(Unlisted),
    };
    let folder = tempfile::tempdir().expect("folder");
    let refused =
        start(&[SECRET], embedded(&folder), Shutdown::new()).await.err().expect("refused");
    assert!(refused.to_string().contains("rapport.profiles.v1.SecretService"), "{refused}");
}

/// A service whose only call waits until it is let go.
mod patient {
    use std::sync::Arc;

    use rapport_proto::simulation::v1::simulation_service_server::{
        SimulationService, SimulationServiceServer,
    };
    use rapport_proto::simulation::v1::{SetTimeResponse, SettleResponse};
    use tokio::sync::Notify;
    use tonic::{Request, Response, Status};

    use super::*;

    #[derive(Default)]
    pub(super) struct Gatekeeper {
        pub(super) entered: Notify,
        pub(super) release: Notify,
    }

    pub(super) static POLITE: std::sync::LazyLock<Arc<Gatekeeper>> =
        std::sync::LazyLock::new(Arc::default);
    pub(super) static STUCK: std::sync::LazyLock<Arc<Gatekeeper>> =
        std::sync::LazyLock::new(Arc::default);

    struct Patient(Arc<Gatekeeper>);

    #[tonic::async_trait]
    impl SimulationService for Patient {
        async fn set_time(
            &self,
            _: Request<SetTimeRequest>,
        ) -> Result<Response<SetTimeResponse>, Status> {
            self.0.entered.notify_one();
            self.0.release.notified().await;
            Ok(Response::new(SetTimeResponse::default()))
        }

        async fn settle(
            &self,
            _: Request<SettleRequest>,
        ) -> Result<Response<SettleResponse>, Status> {
            Ok(Response::new(SettleResponse::default()))
        }
    }

    fn service(keeper: &Arc<Gatekeeper>) -> Service {
        Service::new().serve(SimulationServiceServer::new(Patient(keeper.clone())))
    }

    pub(super) const POLITE_TARGET: Target = Target {
        name: "profiles",
        schema: eventstore::Schema::default,
        reasons: &[],
        service: |_| service(&POLITE),
    };
    pub(super) const STUCK_TARGET: Target = Target {
        name: "profiles",
        schema: eventstore::Schema::default,
        reasons: &[],
        service: |_| service(&STUCK),
    };
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "joined below")]
async fn a_call_under_way_finishes_and_no_new_one_begins_while_draining() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().expect("folder");
    let process = start(&[patient::POLITE_TARGET], embedded(&folder), Shutdown::new())
        .await
        .expect("started");
    let mut client = SimulationServiceClient::new(channel(process.grpc));
    let request = with_token(&process, SetTimeRequest::default());
    let under_way = tokio::spawn(async move { client.set_time(request).await });
    patient::POLITE.entered.notified().await;

    process.shutdown.advance();
    let grpc = process.grpc;
    let closed = async {
        while tokio::net::TcpStream::connect(grpc).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), closed).await.expect("the listener closes");
    let (code, told) = get(&process, "/readyz").await;
    assert_eq!(code, 503);
    assert!(told.contains("draining"), "{told}");
    patient::POLITE.release.notify_one();
    under_way.await.expect("joined").expect("answered");
    process.stopped().await.expect("stopped as asked");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "joined below")]
async fn a_second_wish_aborts_what_does_not_finish() {
    let folder = tempfile::tempdir().expect("folder");
    let process =
        start(&[patient::STUCK_TARGET], embedded(&folder), Shutdown::new()).await.expect("started");
    let mut client = SimulationServiceClient::new(channel(process.grpc));
    let request = with_token(&process, SetTimeRequest::default());
    let stuck = tokio::spawn(async move { client.set_time(request).await });
    patient::STUCK.entered.notified().await;
    process.shutdown.advance();
    process.shutdown.advance();
    tokio::time::timeout(Duration::from_secs(120), process.stopped())
        .await
        .expect("not after the whole drain time")
        .expect("stopped as asked");
    stuck.await.expect("joined").expect_err("aborted");
}

/// PostgreSQL, NATS and OIDC, as in production, on this machine.
#[tokio::test(flavor = "multi_thread")]
async fn in_production_mode_health_follows_the_database_and_a_person_needs_a_token_of_the_issuer() {
    use crate::status::reason;
    use crate::testing::OidcIssuer;
    let folder = tempfile::tempdir().expect("folder");
    let mut postgres = eventstore::testing::Postgres::start();
    postgres.psql("postgres", "CREATE DATABASE profiles");
    let mut nats = eventstore::testing::NatsServer::start();
    let issuer = OidcIssuer::start().await;
    let mut settings = embedded(&folder);
    settings.database.url = postgres.url("{service}");
    settings.log.url = nats.url();
    issuer.configure(&mut settings);
    settings.auth.service_key_file = folder.path().join("service.key");
    settings.keys.kek_file = folder.path().join("kek");
    std::fs::write(&settings.auth.service_key_file, "k".repeat(32)).expect("written");
    std::fs::write(&settings.keys.kek_file, format!("{}=", "A".repeat(43))).expect("written");

    let process = started(settings).await;
    assert!(process.token.is_none(), "no development token outside embedded mode");
    let mut client = Client::new(channel(process.grpc));
    let mut call = async |token: &str| {
        let mut request = tonic::Request::new(head());
        let bearer = format!("Bearer {token}").parse().expect("ASCII");
        request.metadata_mut().insert("authorization", bearer);
        client.get_head(request).await.map_err(|status| reason(&status).unwrap_or_default())
    };
    let ada = issuer.token("acme", "ada", &["eventlog.heads.read"]);
    call(&ada).await.expect("answered");
    let foreign = OidcIssuer::start().await.token("acme", "ada", &["*"]);
    assert_eq!(call(&foreign).await.expect_err("foreign"), "TOKEN_INVALID");

    log_is_connected(&process, true).await;
    nats.kill();
    log_is_connected(&process, false).await;
    assert_eq!(process.readiness.missing(), Vec::<String>::new(), "it answers without the log");
    call(&ada).await.expect("answered");
    nats.launch();
    log_is_connected(&process, true).await;

    postgres.stop_at_once();
    let gone = eventually(&process, |missing| missing.contains(&"profiles/store".to_owned())).await;
    assert_eq!(gone, ["profiles/store"]);
    assert_eq!(call(&ada).await.expect_err("no database"), "STORE_UNAVAILABLE");
    postgres.launch();
    eventually(&process, <[String]>::is_empty).await;
    call(&ada).await.expect("answered again");
    process.stop().await.expect("stopped as asked");
}

/// Waits until the admin port tells whether the log is connected.
async fn log_is_connected(process: &Process, expected: bool) {
    let told = if expected { " 1" } else { " 0" };
    let reached = async {
        loop {
            let (_, metrics) = get(process, "/metrics").await;
            let mut lines = metrics.lines().filter(|it| it.starts_with("rapport_log_connected"));
            if lines.any(|line| line.ends_with(told)) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached).await.expect("told in time");
}

async fn eventually(process: &Process, reached: impl Fn(&[String]) -> bool) -> Vec<String> {
    let mut changes = process.readiness.watch();
    let wait = async {
        while changes.changed().await {
            let missing = process.readiness.missing();
            if reached(&missing) {
                return missing;
            }
        }
        process.readiness.missing()
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("in time")
}

#[tokio::test]
async fn a_process_that_is_asked_to_stop_before_it_started_does_not_start() {
    let folder = tempfile::tempdir().expect("folder");
    let shutdown = Shutdown::new();
    shutdown.advance();
    let refused = start(&[QUIET], embedded(&folder), shutdown).await.err().expect("refused");
    assert!(matches!(refused, Error::AskedToStop));
}
