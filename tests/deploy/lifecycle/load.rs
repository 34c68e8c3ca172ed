//! Callers who go on calling, whatever operators do: of every target, and through the gateway.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::status::chain;
use rapport::targets::TARGETS;
use rapport_proto::audit::v1::SearchEventsRequest;
use rapport_proto::audit::v1::audit_service_client::AuditServiceClient;
use rapport_proto::content::v1::ListModulesRequest;
use rapport_proto::content::v1::module_service_client::ModuleServiceClient;
use rapport_proto::decisioning::v1::ListRulePacksRequest;
use rapport_proto::decisioning::v1::rule_pack_service_client::RulePackServiceClient;
use rapport_proto::delivery::v1::ListTouchesRequest;
use rapport_proto::delivery::v1::delivery_service_client::DeliveryServiceClient;
use rapport_proto::feedback::v1::ListSurveysRequest;
use rapport_proto::feedback::v1::survey_service_client::SurveyServiceClient;
use rapport_proto::journeys::v1::ListJourneysRequest;
use rapport_proto::journeys::v1::journey_service_client::JourneyServiceClient;
use rapport_proto::kpis::v1::ListMetricsRequest;
use rapport_proto::kpis::v1::metric_service_client::MetricServiceClient;
use rapport_proto::profiles::v1::RegisterPartyRequest;
use rapport_proto::profiles::v1::party_service_client::PartyServiceClient;
use rapport_proto::types::PartyKind;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::cluster::Cluster;

/// Who registers parties: where each calls.
const WRITERS: [&str; 4] = ["profiles", "gateway", "profiles", "gateway"];
const PARENT: &str = "tenants/default";
/// As the policy for callers has it: what is UNAVAILABLE is called again with the same request id.
const ATTEMPTS: usize = 8;

pub(super) struct Load {
    told: Arc<Told>,
    callers: JoinSet<()>,
}

#[derive(Default)]
struct Told {
    stop: AtomicBool,
    /// How many calls of each caller were answered.
    answered: Vec<AtomicUsize>,
    /// The parties that were registered.
    parties: Mutex<Vec<String>>,
    /// Calls that were made again: whose, when, and why.
    again: Mutex<Vec<String>>,
    /// How many calls were sent again because no server had looked at them.
    unseen: AtomicUsize,
}

/// A connection of one's own, and who calls.
struct Caller {
    number: usize,
    /// The target, or the gateway, that is called.
    at: &'static str,
    channel: Channel,
    token: String,
    told: Arc<Told>,
}

impl Load {
    pub(super) fn start(cluster: &Cluster) -> Self {
        let read = TARGETS.iter().map(|it| it.name).filter(|it| !WRITERS.contains(it));
        let places: Vec<_> = WRITERS.into_iter().chain(read).collect();
        let answered = places.iter().map(|_| AtomicUsize::new(0)).collect();
        let told = Arc::new(Told { answered, ..Told::default() });
        let mut callers = JoinSet::new();
        for (number, at) in places.into_iter().enumerate() {
            let address = format!("http://{}", cluster.address(at));
            let endpoint = Endpoint::from_shared(address).expect("an address");
            let channel = endpoint.timeout(Duration::from_secs(60)).connect_lazy();
            let (token, told) = (cluster.token(), told.clone());
            callers.spawn(Caller { number, at, channel, token, told }.call());
        }
        Self { told, callers }
    }

    /// Waits until each caller was answered some more.
    pub(super) async fn goes_on(&self) {
        let answered = || {
            let all = self.told.answered.iter();
            all.map(|it| it.load(Ordering::Relaxed)).collect::<Vec<_>>()
        };
        let before = answered();
        let give_up = Instant::now() + Duration::from_secs(300);
        while answered().iter().zip(&before).any(|(now, before)| *now < before + 5) {
            let calling = self.callers.len() == before.len();
            let slow = || format!("{before:?}, and {:?} are answered", answered());
            assert!(Instant::now() < give_up && calling, "somebody is not: {}", slow());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The calls that were made again so far.
    pub(super) fn again(&self) -> Vec<String> {
        lock(&self.told.again).clone()
    }

    /// Ends; what was registered.
    pub(super) async fn end(self) -> Vec<String> {
        self.told.stop.store(true, Ordering::Relaxed);
        self.callers.join_all().await;
        let (again, unseen) = (lock(&self.told.again), &self.told.unseen);
        support::tell(&format!("made again: {again:#?}, and {unseen:?} that nobody looked at"));
        std::mem::take(&mut *lock(&self.told.parties))
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody says so, or the connection broke, for which tonic has no code.
fn may_be_repeated(status: &Status) -> bool {
    let broke =
        || status.source().is_some_and(<dyn std::error::Error>::is::<tonic::transport::Error>);
    status.code() == Code::Unavailable || broke()
}

/// The connection was taking leave when the call was put on it: the call was not sent, or the connection's last word was
/// that no server looks at it (GOAWAY with NO_ERROR, and a lower number). Libraries of gRPC send such a call again by
/// themselves; tonic does not.
fn is_unseen(status: &Status) -> bool {
    let why = status.source().filter(|it| it.is::<tonic::transport::Error>()).map(chain);
    why.is_some_and(|why| {
        why.ends_with("operation was canceled: connection closed")
            || why.ends_with("connection error received: not a result of an error")
    })
}

impl Caller {
    async fn call(self) {
        let mut call = 0;
        while !self.told.stop.load(Ordering::Relaxed) {
            call += 1;
            let mut attempt = 1;
            while let Err(status) = self.ask(call).await {
                if is_unseen(&status) {
                    self.told.unseen.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                let (at, now) = (self.at, jiff::Timestamp::now());
                let again = may_be_repeated(&status) && attempt < ATTEMPTS;
                assert!(again, "{at}: after {attempt} attempts: {status:?}");
                lock(&self.told.again).push(format!("{at}, {now}, attempt {attempt}: {status:?}"));
                attempt += 1;
                sleep(Duration::from_millis(100) * (1 << attempt)).await;
            }
            if let Some(answered) = self.told.answered.get(self.number) {
                answered.fetch_add(1, Ordering::Relaxed);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Registers a party, or reads what costs little, as `rapport smoke` does.
    async fn ask(&self, call: usize) -> Result<(), Status> {
        macro_rules! page {
            ($client:ident.$list:ident, $request:ident) => {{
                let request =
                    $request { parent: PARENT.into(), page_size: 1, ..$request::default() };
                let mut client = $client::new(self.channel.clone());
                client.$list(self.request(request)).await.map(|_| ())
            }};
        }
        match self.at {
            "content" => page!(ModuleServiceClient.list_modules, ListModulesRequest),
            "decisioning" => page!(RulePackServiceClient.list_rule_packs, ListRulePacksRequest),
            "journeys" => page!(JourneyServiceClient.list_journeys, ListJourneysRequest),
            "delivery" => page!(DeliveryServiceClient.list_touches, ListTouchesRequest),
            "feedback" => page!(SurveyServiceClient.list_surveys, ListSurveysRequest),
            "kpis" => page!(MetricServiceClient.list_metrics, ListMetricsRequest),
            "audit" => page!(AuditServiceClient.search_events, SearchEventsRequest),
            "profiles" | "gateway" => self.register(call).await,
            other => panic!("no question is known that {other} answers"),
        }
    }

    async fn register(&self, call: usize) -> Result<(), Status> {
        let request = RegisterPartyRequest {
            parent: PARENT.into(),
            kind: PartyKind::Hcp.into(),
            market: "DE".into(),
            request_id: format!("load-{}-{call}-0000", self.number),
            ..RegisterPartyRequest::default()
        };
        let mut client = PartyServiceClient::new(self.channel.clone());
        let answer = client.register_party(self.request(request)).await?;
        lock(&self.told.parties).push(answer.into_inner().party.unwrap_or_default().party_id);
        Ok(())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = format!("Bearer {}", self.token).parse().expect("a token is ASCII");
        request.metadata_mut().insert("authorization", token);
        request
    }
}
