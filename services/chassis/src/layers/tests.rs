//! The stack around a service that misbehaves on demand, in process and over the network.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use rapport_proto::eventlog::v1::event_log_service_client::EventLogServiceClient as Client;
use rapport_proto::eventlog::v1::event_log_service_server::{
    EventLogService, EventLogServiceServer,
};
use rapport_proto::eventlog::v1::{
    GetHeadRequest, GetHeadResponse, LoggedEvent, ReadEventsRequest, ReadEventsResponse,
    TailEventsRequest, TailEventsResponse,
};
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Channel};

use super::places::{SHED_RETRY, UNREAD};
use super::*;
use crate::auth::{ServiceKeys, service::Grant};
use crate::settings::Settings;
use crate::status::{reason, retry_delay};

/// The source's name says what to do.
#[derive(Clone, Default)]
struct Moody {
    entered: Arc<Notify>,
    release: Arc<Notify>,
}

type Tail = futures::stream::BoxStream<'static, Result<TailEventsResponse, Status>>;

#[tonic::async_trait]
impl EventLogService for Moody {
    async fn read_events(
        &self,
        request: Request<ReadEventsRequest>,
    ) -> Result<Response<ReadEventsResponse>, Status> {
        let caller = Caller::of(&request)?.clone();
        match request.get_ref().source.as_str() {
            "panic" => panic!("out of luck"),
            "sleep" => std::future::pending().await,
            "hold" => {
                self.entered.notify_one();
                self.release.notified().await;
            }
            "leak" => return Err(Status::internal("password is hunter2")),
            "large" => {
                let event = LoggedEvent { envelope: vec![0; 5 << 20], ..LoggedEvent::default() };
                return Ok(Response::new(ReadEventsResponse {
                    events: vec![event],
                    ..Default::default()
                }));
            }
            _ => {}
        }
        assert_eq!(Call::current().tenant, caller.tenant);
        assert!(request.extensions().get::<Deadline>().is_some());
        Ok(Response::new(ReadEventsResponse { next_after_position: 7, ..Default::default() }))
    }

    type TailEventsStream = Tail;

    async fn tail_events(
        &self,
        request: Request<TailEventsRequest>,
    ) -> Result<Response<Tail>, Status> {
        let first = futures::stream::iter([Ok(TailEventsResponse::default())]);
        let panics = request.get_ref().source == "panic";
        let mut polled = 0;
        let then = futures::stream::poll_fn(move |cx| {
            // The first wait lets what is buffered go out; the panic comes after it.
            polled += 1;
            assert!(!panics || polled < 2, "out of luck");
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        Ok(Response::new(first.chain(then).boxed()))
    }

    async fn get_head(
        &self,
        _: Request<GetHeadRequest>,
    ) -> Result<Response<GetHeadResponse>, Status> {
        Ok(Response::new(Default::default()))
    }
}

struct Fixture {
    moody: Moody,
    services: ServiceKeys,
    token: String,
    stopping: CancellationToken,
    gate: Arc<Gate>,
    routes: Routes,
}

fn fixture(max_in_flight: usize) -> Fixture {
    fixture_with(max_in_flight, Duration::from_secs(120))
}

fn fixture_with(max_in_flight: usize, request_timeout: Duration) -> Fixture {
    fixture_of(max_in_flight, request_timeout, 0)
}

fn fixture_of(max_in_flight: usize, request_timeout: Duration, per_second: u32) -> Fixture {
    let services = ServiceKeys::generate();
    let (authenticator, token) =
        Authenticator::new(&Settings::default(), services.clone()).expect("embedded");
    let stopping = CancellationToken::new();
    let gate = Gate::new(Parts {
        methods: Methods::of_contract().expect("decodes"),
        served: ["profiles".to_owned()].into(),
        authenticator: Arc::new(authenticator),
        max_in_flight,
        max_streams: 2,
        tenant_requests_per_second: per_second,
        request_timeout,
        stopping: stopping.clone(),
        aborting: CancellationToken::new(),
    });
    let moody = Moody::default();
    let server = EventLogServiceServer::new(moody.clone()).max_encoding_message_size(4 << 20);
    let routes = gate.guard(Routes::new(server));
    let token = token.expect("development").reveal().to_owned();
    Fixture { moody, services, token, stopping, gate, routes }
}

impl Fixture {
    /// The same routes over a real connection.
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    async fn channel(&self) -> Channel {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = tonic::transport::Server::builder().add_routes(self.routes.clone());
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Channel::from_shared(format!("http://{address}")).expect("URL").connect_lazy()
    }

    fn request<T>(&self, message: T) -> Request<T> {
        with_token(message, &self.token)
    }

    fn read(&self, source: &str) -> Request<ReadEventsRequest> {
        self.request(ReadEventsRequest { source: source.into(), ..Default::default() })
    }
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse().expect("ASCII"));
    request
}

/// Runs the same claims in process and over the network.
macro_rules! both_ways {
    ($fixture:ident, $client:ident => $claims:expr) => {
        let mut $client = Client::new($fixture.routes.clone());
        $claims;
        let mut $client = Client::new($fixture.channel().await);
        $claims;
    };
}

fn told(status: &Status) -> (tonic::Code, String) {
    (status.code(), reason(status).unwrap_or_default())
}

#[tokio::test]
async fn a_good_call_reaches_its_handler_with_caller_and_deadline() {
    let fixture = fixture(8);
    both_ways!(fixture, client => {
        let reply = client.read_events(fixture.read("")).await.expect("answered");
        assert_eq!(reply.get_ref().next_after_position, 7);
    });
}

#[tokio::test]
async fn the_servers_limit_and_the_callers_deadline_are_both_kept() {
    let fixture = fixture_with(8, Duration::from_millis(300));
    both_ways!(fixture, client => {
        let status = client.read_events(fixture.read("sleep")).await.expect_err("too slow");
        assert_eq!(told(&status), (tonic::Code::DeadlineExceeded, "DEADLINE_PASSED".into()));
    });
    // A client that times itself out would answer for the server: this one only tells the server.
    let mut client = Client::new(fixture.routes.clone());
    let mut request = fixture.read("sleep");
    request.metadata_mut().insert("grpc-timeout", "5m".parse().expect("ASCII"));
    let status = client.read_events(request).await.expect_err("too slow");
    assert_eq!(told(&status), (tonic::Code::DeadlineExceeded, "DEADLINE_PASSED".into()));
}

#[tokio::test]
async fn a_stream_ends_at_its_callers_deadline_and_not_at_the_unary_limit() {
    let fixture = fixture_with(8, Duration::from_millis(300));
    let mut client = Client::new(fixture.routes.clone());
    let mut request = fixture.request(TailEventsRequest::default());
    request.metadata_mut().insert("grpc-timeout", "5S".parse().expect("ASCII"));
    let began = tokio::time::Instant::now();
    let mut stream = client.tail_events(request).await.expect("begun").into_inner();
    assert!(stream.message().await.expect("first").is_some());
    let status = stream.message().await.expect_err("deadline");
    assert_eq!(told(&status), (tonic::Code::DeadlineExceeded, "DEADLINE_PASSED".into()));
    assert!(began.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn a_panic_is_internal_for_its_caller_and_nobody_else() {
    let fixture = fixture(8);
    both_ways!(fixture, client => {
        let status = client.read_events(fixture.read("panic")).await.expect_err("panicked");
        assert_eq!(told(&status), (tonic::Code::Internal, "PANICKED".into()));
        assert!(client.read_events(fixture.read("")).await.is_ok());
        let panic = TailEventsRequest { source: "panic".into(), ..Default::default() };
        let mut stream = client.tail_events(fixture.request(panic)).await.expect("begun").into_inner();
        assert!(stream.message().await.expect("first").is_some());
        let status = stream.message().await.expect_err("panicked");
        assert_eq!(told(&status), (tonic::Code::Internal, "PANICKED".into()));
    });
}

#[tokio::test]
async fn people_of_a_tenant_wait_when_they_are_too_fast_and_targets_do_not() {
    let fixture = fixture_of(8, Duration::from_secs(120), 1);
    both_ways!(fixture, client => {
        // A machine that stands still for a second lets another one through.
        let mut status = None;
        for _ in 0..100 {
            status = client.read_events(fixture.read("")).await.err();
            if status.is_some() {
                break;
            }
        }
        let status = status.expect("too fast");
        assert_eq!(told(&status), (tonic::Code::ResourceExhausted, "TENANT_TOO_FAST".into()));
        let after = retry_delay(&status).expect("a time to retry");
        assert!(after > Duration::ZERO && after <= Duration::from_secs(1), "{after:?}");
        let grant = Grant { from: "kpis", to: "profiles", tenant: "default", on_behalf_of: None };
        let token = fixture.services.mint(grant);
        for _ in 0..5 {
            let asked = ReadEventsRequest::default();
            client.read_events(with_token(asked, &token)).await.expect("a target");
        }
        tokio::time::sleep(after).await;
        client.read_events(fixture.read("")).await.expect("after the time to retry");
    });
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "joined below")]
async fn one_call_too_many_is_shed_with_a_time_to_retry() {
    let fixture = fixture(1);
    both_ways!(fixture, client => {
        let mut holder = client.clone();
        let request = fixture.read("hold");
        let held = tokio::spawn(async move { holder.read_events(request).await });
        fixture.moody.entered.notified().await;
        let status = client.read_events(fixture.read("")).await.expect_err("shed");
        assert_eq!(told(&status), (tonic::Code::ResourceExhausted, "OVERLOADED".into()));
        assert_eq!(retry_delay(&status), Some(SHED_RETRY));
        fixture.moody.release.notify_one();
        held.await.expect("joined").expect("answered");
        assert!(client.read_events(fixture.read("")).await.is_ok(), "the place is free again");
    });
}

#[tokio::test]
async fn streams_hold_a_place_of_their_own_for_as_long_as_they_last() {
    let fixture = fixture(1);
    both_ways!(fixture, client => {
        let mut unary = client.clone();
        let mut begin = async || client.tail_events(fixture.request(TailEventsRequest::default())).await;
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut stream = begin().await.expect("begun").into_inner();
            assert!(stream.message().await.expect("no error").is_some());
            open.push(stream);
        }
        let status = begin().await.expect_err("the third of two");
        assert_eq!(told(&status), (tonic::Code::ResourceExhausted, "TOO_MANY_STREAMS".into()));
        assert_eq!(retry_delay(&status), Some(SHED_RETRY));
        assert!(unary.read_events(fixture.read("")).await.is_ok(), "calls are counted apart");
        drop(open.pop());
        let again = async {
            while begin().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), again).await.expect("the place is free again");
    });
}

#[tokio::test]
async fn answers_that_nobody_reads_are_bounded() {
    let fixture = fixture(1);
    let request = || {
        http::Request::post("/rapport.eventlog.v1.EventLogService/ReadEvents")
            .header("content-type", "application/grpc")
            .header("authorization", format!("Bearer {}", fixture.token))
            .body(Body::new(http_body_util::Full::new(bytes::Bytes::from_static(b"\0\0\0\0\0"))))
            .expect("request")
    };
    // Those that may wait, and one that holds the place of its call.
    let mut unread = Vec::new();
    for _ in 0..=UNREAD {
        let answer = pass(fixture.routes.clone(), request()).await;
        assert!(Status::from_header_map(answer.headers()).is_none(), "the status follows the body");
        unread.push(answer);
    }
    let shed = pass(fixture.routes.clone(), request()).await;
    let shed = Status::from_header_map(shed.headers()).expect("status");
    assert_eq!(told(&shed), (tonic::Code::ResourceExhausted, "OVERLOADED".into()));
    drop(unread);
    let answered = pass(fixture.routes.clone(), request()).await;
    assert!(Status::from_header_map(answered.headers()).is_none());
}

#[tokio::test]
async fn strangers_streams_are_bounded_and_take_no_callers_place() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    let (_reporter, health) = tonic_health::server::health_reporter();
    let fixture = fixture(1);
    let open = fixture.gate.guard(Routes::new(health));
    let mut client = HealthClient::new(open);
    let mut streams = Vec::new();
    for _ in 0..2 {
        let stream = client.watch(HealthCheckRequest::default()).await.expect("begun");
        streams.push(stream.into_inner());
    }
    let status = client.watch(HealthCheckRequest::default()).await.expect_err("the third of two");
    assert_eq!(told(&status), (tonic::Code::ResourceExhausted, "TOO_MANY_STREAMS".into()));
    assert!(client.check(HealthCheckRequest::default()).await.is_ok(), "probes are answered");
    let mut caller = Client::new(fixture.routes.clone());
    let tail = caller.tail_events(fixture.request(TailEventsRequest::default())).await;
    assert!(tail.is_ok(), "callers have places of their own");
    streams.clear();
    assert!(client.watch(HealthCheckRequest::default()).await.is_ok(), "the places are free again");
}

#[tokio::test]
async fn strangers_learn_nothing_not_even_which_methods_exist() {
    let fixture = fixture(8);
    both_ways!(fixture, client => {
        let status = client.read_events(ReadEventsRequest::default()).await.expect_err("no token");
        assert_eq!(told(&status), (tonic::Code::Unauthenticated, "TOKEN_MISSING".into()));
        let status = client.read_events(with_token(ReadEventsRequest::default(), "x")).await.expect_err("no token");
        assert_eq!(told(&status), (tonic::Code::Unauthenticated, "TOKEN_INVALID".into()));
    });
    let call = |path: &'static str, token: Option<&str>| {
        let mut request = http::Request::post(path).header("content-type", "application/grpc");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        pass(fixture.routes.clone(), request.body(Body::empty()).expect("request"))
    };
    for path in ["/rapport.eventlog.v1.EventLogService/Nothing", "/nobody.Service/Nothing"] {
        let status = Status::from_header_map(call(path, None).await.headers()).expect("status");
        assert_eq!(told(&status), (tonic::Code::Unauthenticated, "TOKEN_MISSING".into()));
        let status = Status::from_header_map(call(path, Some(&fixture.token)).await.headers())
            .expect("status");
        assert_eq!(told(&status), (tonic::Code::Unimplemented, "METHOD_UNKNOWN".into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_outlives_any_number_of_refusals() {
    let fixture = fixture(8);
    let client = Client::new(fixture.channel().await);
    let calls = (0..20_000).map(|_| {
        let mut client = client.clone();
        async move { client.read_events(ReadEventsRequest::default()).await }
    });
    let mut answers = futures::stream::iter(calls).buffer_unordered(2_000);
    while let Some(answer) = answers.next().await {
        let status = answer.expect_err("no token");
        assert_eq!(told(&status), (tonic::Code::Unauthenticated, "TOKEN_MISSING".into()));
    }
}

#[tokio::test]
async fn a_service_token_is_good_for_its_callee_and_its_edges_only() {
    let fixture = fixture(8);
    let mut client = Client::new(fixture.routes.clone());
    let grant = Grant { from: "kpis", to: "profiles", tenant: "", on_behalf_of: None };
    let mut call = async |grant: Grant<'_>| {
        let token = fixture.services.mint(grant);
        client
            .get_head(with_token(GetHeadRequest::default(), &token))
            .await
            .map_err(|status| told(&status))
    };
    assert!(call(grant).await.is_ok(), "any target heals from any other");
    let elsewhere =
        call(Grant { to: "content", ..grant }).await.expect_err("meant for another target");
    assert_eq!(elsewhere, (tonic::Code::PermissionDenied, "PERMISSION_MISSING".into()));
    let others = ServiceKeys::generate().mint(grant);
    let status =
        client.get_head(with_token(GetHeadRequest::default(), &others)).await.expect_err("forged");
    assert_eq!(told(&status), (tonic::Code::Unauthenticated, "TOKEN_INVALID".into()));
}

#[tokio::test]
async fn a_healing_token_without_a_tenant_reads_the_log_and_nothing_more() {
    let fixture = fixture(8);
    let mut client = rapport_proto::profiles::v1::party_service_client::PartyServiceClient::new(
        fixture.routes.clone(),
    );
    let token = fixture.services.mint(Grant {
        from: "gateway",
        to: "profiles",
        tenant: "",
        on_behalf_of: None,
    });
    let status =
        client.register_party(with_token(Default::default(), &token)).await.expect_err("no tenant");
    assert_eq!(told(&status), (tonic::Code::PermissionDenied, "PERMISSION_MISSING".into()));
}

#[tokio::test]
async fn raw_errors_oversize_replies_and_garbage_become_reasons() {
    let fixture = fixture(8);
    both_ways!(fixture, client => {
        let status = client.read_events(fixture.read("leak")).await.expect_err("internal");
        assert_eq!(told(&status), (tonic::Code::Internal, "INTERNAL".into()));
        assert!(!status.message().contains("hunter2"));
        let status = client.read_events(fixture.read("large")).await.expect_err("too large");
        assert_eq!(told(&status), (tonic::Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into()));
        let large = ReadEventsRequest { source: "x".repeat(5 << 20), ..Default::default() };
        let status = client.read_events(fixture.request(large)).await.expect_err("too large");
        assert_eq!(told(&status), (tonic::Code::ResourceExhausted, "MESSAGE_TOO_LARGE".into()));
    });
    let garbage = http::Request::post("/rapport.eventlog.v1.EventLogService/ReadEvents")
        .header("content-type", "application/grpc")
        .header("authorization", format!("Bearer {}", fixture.token))
        .body(Body::new(http_body_util::Full::new(bytes::Bytes::from_static(
            b"\0\0\0\0\x03\xff\xff\xff",
        ))))
        .expect("request");
    let response = pass(fixture.routes.clone(), garbage).await;
    let status = Status::from_header_map(response.headers()).expect("status");
    assert_eq!(told(&status), (tonic::Code::InvalidArgument, "MESSAGE_MALFORMED".into()));
}

#[tokio::test]
async fn streams_end_when_the_process_stops_and_none_begins() {
    let fixture = fixture(8);
    let mut client = Client::new(fixture.channel().await);
    let mut stream = client
        .tail_events(fixture.request(TailEventsRequest::default()))
        .await
        .expect("begun")
        .into_inner();
    assert!(stream.message().await.expect("first").is_some());
    fixture.stopping.cancel();
    let status = stream.message().await.expect_err("stopping");
    assert_eq!(told(&status), (tonic::Code::Unavailable, "STOPPING".into()));
    let status = client
        .tail_events(fixture.request(TailEventsRequest::default()))
        .await
        .expect_err("stopping");
    assert_eq!(told(&status), (tonic::Code::Unavailable, "STOPPING".into()));
    assert!(client.read_events(fixture.read("")).await.is_ok(), "unary calls finish");
}
