//! The same client, the same answers: in process and over the network.

mod leaving;

use std::sync::Arc;

use rapport_proto::eventlog::v1::event_log_service_client::EventLogServiceClient as Client;
use rapport_proto::eventlog::v1::event_log_service_server::{
    EventLogService, EventLogServiceServer,
};
use rapport_proto::eventlog::v1::{
    GetHeadRequest, GetHeadResponse, ReadEventsRequest, ReadEventsResponse, TailEventsRequest,
    TailEventsResponse,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Request;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::*;
use crate::auth::{Authenticator, Caller, Kind};
use crate::layers::{Gate, Parts};
use crate::settings::Settings;
use crate::status::reason;
use crate::telemetry::propagation::current_traceparent;
use crate::testing::Authority;

/// Tells what reached it.
struct Mirror;

#[tonic::async_trait]
impl EventLogService for Mirror {
    async fn read_events(
        &self,
        request: Request<ReadEventsRequest>,
    ) -> Result<tonic::Response<ReadEventsResponse>, Status> {
        let caller = Caller::of(&request)?;
        assert_eq!((caller.kind, caller.target()), (Kind::Service, Some("kpis")));
        match request.get_ref().source.as_str() {
            "panic" => panic!("out of luck"),
            "sleep" => std::future::pending().await,
            "person" => assert_eq!(caller.on_behalf_of.as_deref(), Some("ada")),
            "traced" => assert!(current_traceparent().is_some()),
            _ => {}
        }
        let left = Call::current().deadline.map_or(Duration::MAX, Deadline::remaining);
        let micros = u64::try_from(left.as_micros()).unwrap_or(u64::MAX);
        Ok(tonic::Response::new(ReadEventsResponse {
            next_after_position: micros,
            head_position: request.get_ref().source.len() as u64,
            ..Default::default()
        }))
    }

    type TailEventsStream = futures::stream::Pending<Result<TailEventsResponse, Status>>;

    async fn tail_events(
        &self,
        _: Request<TailEventsRequest>,
    ) -> Result<tonic::Response<Self::TailEventsStream>, Status> {
        Ok(tonic::Response::new(futures::stream::pending()))
    }

    async fn get_head(
        &self,
        _: Request<GetHeadRequest>,
    ) -> Result<tonic::Response<GetHeadResponse>, Status> {
        Ok(tonic::Response::new(GetHeadResponse::default()))
    }
}

/// What stands before `profiles`, and what calls to it are signed with.
fn gate() -> (Arc<Gate>, ServiceKeys, Methods) {
    let keys = ServiceKeys::generate();
    let methods = Methods::of_contract().expect("decodes");
    let (authenticator, _) =
        Authenticator::new(&Settings::default(), keys.clone()).expect("embedded");
    let gate = Gate::new(Parts {
        methods: methods.clone(),
        served: ["profiles".to_owned()].into(),
        authenticator: Arc::new(authenticator),
        max_in_flight: 8,
        max_streams: 8,
        tenant_requests_per_second: 0,
        request_timeout: Duration::from_secs(30),
        stopping: tokio_util::sync::CancellationToken::new(),
        aborting: tokio_util::sync::CancellationToken::new(),
    });
    (gate, keys, methods)
}

/// Its URL, and what serves it until it is dropped.
async fn serve(mut server: Server, routes: Routes) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let serving = server.add_routes(routes).serve_with_incoming(TcpListenerStream::new(listener));
    let mut served = JoinSet::new();
    served.spawn(async { serving.await.expect("served") });
    (url, served)
}

/// `profiles` in this process, by its URL, and by a URL at which callers show certificates.
async fn every_way() -> ([Client<Peer>; 3], JoinSet<()>) {
    let (gate, keys, methods) = gate();
    let routes = gate.guard(Routes::new(EventLogServiceServer::new(Mirror)));
    let (url, mut served) = serve(Server::builder(), routes.clone()).await;

    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let secured_url = format!("https://{}", listener.local_addr().expect("bound"));
    let folder = tempfile::tempdir().expect("folder");
    let tls = Tls::read(&Authority::new().issue(folder.path())).expect("read");
    let incoming = Box::pin(tls.clone().incoming(TcpIncoming::from(listener)));
    let secured = Server::builder().add_routes(routes.clone()).serve_with_incoming(incoming);
    served.spawn(async { secured.await.expect("served") });

    let directory =
        |urls, tls: &Arc<Tls>| Directory::new(urls, keys.clone(), methods.clone(), tls.clone());
    let local = directory(BTreeMap::new(), &no_tls());
    local.serve("profiles", routes.clone());
    let (remote, secured) = (directory(at(url), &no_tls()), directory(at(secured_url), &tls));
    let clients = [local, remote, secured]
        .map(|directory| Client::new(directory.seen_from("kpis").to("profiles")));
    (clients, served)
}

fn at(url: String) -> BTreeMap<String, String> {
    [("profiles".to_owned(), url)].into()
}

fn no_tls() -> Arc<Tls> {
    Tls::read(&crate::settings::Tls::default()).expect("nothing to read")
}

fn read(source: &str) -> ReadEventsRequest {
    ReadEventsRequest { source: source.into(), ..Default::default() }
}

fn told(status: &Status) -> (tonic::Code, String) {
    (status.code(), reason(status).unwrap_or_default())
}

fn ada(bound: Duration) -> Call {
    Call { on_behalf_of: Some("ada".into()), ..Call::of_tenant("default", bound) }
}

#[tokio::test]
async fn a_peer_is_called_as_a_service_for_the_person_at_hand() {
    let (clients, _served) = every_way().await;
    for mut client in clients {
        assert!(
            client.read_events(read("")).await.is_ok(),
            "healing needs no person and no tenant"
        );
        let call = ada(Duration::from_secs(5)).scope(client.read_events(read("person")));
        assert!(call.await.is_ok());
    }
}

#[tokio::test]
async fn what_is_left_of_the_deadline_is_passed_on() {
    let (clients, _served) = every_way().await;
    for mut client in clients {
        let call = ada(Duration::from_secs(5)).scope(client.read_events(read("")));
        let left =
            Duration::from_micros(call.await.expect("answered").get_ref().next_after_position);
        assert!(left <= Duration::from_secs(5), "{left:?}");
        let left =
            client.read_events(read("")).await.expect("answered").get_ref().next_after_position;
        assert!(Duration::from_micros(left) <= DEFAULT_TIMEOUT, "every call has a bound");
    }
}

#[tokio::test]
async fn a_slow_or_panicking_peer_is_the_same_answer_near_and_far() {
    let (clients, _served) = every_way().await;
    for mut client in clients {
        let call = ada(Duration::from_millis(200)).scope(client.read_events(read("sleep")));
        let status = call.await.expect_err("too slow");
        assert_eq!(told(&status), (tonic::Code::DeadlineExceeded, "DEADLINE_PASSED".into()));
        let status = client.read_events(read("panic")).await.expect_err("panicked");
        assert_eq!(told(&status), (tonic::Code::Internal, "PANICKED".into()));
    }
}

#[tokio::test]
async fn an_unknown_or_unreachable_peer_is_unavailable_never_a_yes() {
    let free = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}", free.local_addr().expect("bound"));
    drop(free);
    let keys = ServiceKeys::generate();
    let methods = Methods::of_contract().expect("decodes");
    let directory = Directory::new(at(url), keys, methods, no_tls());
    for target in ["profiles", "content"] {
        let mut client = Client::new(directory.seen_from("kpis").to(target));
        let status = client.get_head(GetHeadRequest::default()).await.expect_err("nobody there");
        assert_eq!(told(&status), (tonic::Code::Unavailable, "PEER_UNAVAILABLE".into()));
        assert!(crate::status::is_transient(&status));
    }
}

#[tokio::test]
async fn a_peer_that_holds_its_connection_and_says_nothing_is_left() {
    let frozen = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let methods = Methods::of_contract().expect("decodes");
    let urls = [("audit".to_owned(), format!("http://{}", frozen.local_addr().expect("bound")))];
    // Whoever connects is accepted by the system; nobody ever reads.
    let directory = Directory::new(urls.into(), ServiceKeys::generate(), methods, no_tls());
    let mut client = Client::new(directory.seen_from("kpis").to("audit"));
    let asked = ada(Duration::from_secs(300)).scope(client.read_events(read("")));
    let status = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("left before");
    assert_eq!(told(&status.expect_err("nobody answers")).0, tonic::Code::Unavailable);
}
