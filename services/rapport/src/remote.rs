//! A running platform as a client sees it: every service's client, with a person's token.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chassis::status::{self, Violation};
use rapport_proto::audit::v1::audit_service_client::AuditServiceClient;
use rapport_proto::content::v1::library_service_client::LibraryServiceClient;
use rapport_proto::content::v1::module_service_client::ModuleServiceClient;
use rapport_proto::decisioning::v1::decision_service_client::DecisionServiceClient;
use rapport_proto::decisioning::v1::policy_service_client::PolicyServiceClient;
use rapport_proto::decisioning::v1::rule_pack_service_client::RulePackServiceClient;
use rapport_proto::delivery::v1::delivery_service_client::DeliveryServiceClient;
use rapport_proto::feedback::v1::case_service_client::CaseServiceClient;
use rapport_proto::feedback::v1::feedback_service_client::FeedbackServiceClient;
use rapport_proto::feedback::v1::safety_service_client::SafetyServiceClient;
use rapport_proto::feedback::v1::survey_service_client::SurveyServiceClient;
use rapport_proto::journeys::v1::journey_service_client::JourneyServiceClient;
use rapport_proto::kpis::v1::experiment_service_client::ExperimentServiceClient;
use rapport_proto::kpis::v1::metric_service_client::MetricServiceClient;
use rapport_proto::profiles::v1::consent_service_client::ConsentServiceClient;
use rapport_proto::profiles::v1::facts_service_client::FactsServiceClient;
use rapport_proto::profiles::v1::party_service_client::PartyServiceClient;
use rapport_proto::profiles::v1::segment_service_client::SegmentServiceClient;
use rapport_proto::profiles::v1::source_service_client::SourceServiceClient;
use serde_json::json;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig};
use tonic::{Code, Request, Response, Status};

use crate::targets::TARGETS;

/// How long a call may take; a server that works gives up before.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a process that is asked is asked whether it is there, and how long it may take to say so: one that is frozen
/// is not waited for, since another replica may answer.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// A transport that adds a person's token.
pub type Http = InterceptedService<Channel, Token>;

/// Where the targets are.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// Where every target is that is not named.
    pub all: String,
    /// `(target, URL)` of those that are elsewhere.
    pub named: Vec<(String, String)>,
    /// Who vouches for those with https, and what they are shown; the public authorities, and nothing, by default.
    pub tls: Option<ClientTlsConfig>,
}

impl Addresses {
    /// Reads `http://…` and `target=http://…`.
    pub fn parse(texts: &[String], default: &str) -> Self {
        let mut addresses = Self { all: default.to_owned(), ..Self::default() };
        for text in texts {
            match text.split_once('=') {
                Some((target, url)) if !target.contains(':') => {
                    addresses.named.push((target.to_owned(), url.to_owned()));
                }
                _ => addresses.all.clone_from(text),
            }
        }
        addresses
    }

    fn of(&self, target: &str) -> &str {
        self.named.iter().rfind(|it| it.0 == target).map_or(self.all.as_str(), |it| it.1.as_str())
    }

    /// A channel that connects at its first call.
    fn channel(&self, target: &str) -> anyhow::Result<Channel> {
        let url = self.of(target);
        let mut endpoint = Channel::from_shared(url.to_owned())
            .with_context(|| format!("--url: {url:?} is no URL; use the form http://HOST:PORT"))?;
        if url.starts_with("https://") {
            let public = || ClientTlsConfig::new().with_webpki_roots();
            endpoint = endpoint.tls_config(self.tls.clone().unwrap_or_else(public))?;
        }
        Ok(endpoint
            .timeout(PATIENCE)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .connect_lazy())
    }
}

/// Every service's client, with one person's token. Cheap to clone.
#[derive(Clone)]
pub struct Remote(Arc<Clients>);

/// The clients; clone one to call it.
pub struct Clients {
    /// `tenants/{tenant}`.
    pub parent: String,
    pub parties: PartyServiceClient<Http>,
    pub consents: ConsentServiceClient<Http>,
    pub sources: SourceServiceClient<Http>,
    pub facts: FactsServiceClient<Http>,
    pub segments: SegmentServiceClient<Http>,
    pub library: LibraryServiceClient<Http>,
    pub modules: ModuleServiceClient<Http>,
    pub policies: PolicyServiceClient<Http>,
    pub packs: RulePackServiceClient<Http>,
    pub decisions: DecisionServiceClient<Http>,
    pub journeys: JourneyServiceClient<Http>,
    pub delivery: DeliveryServiceClient<Http>,
    pub surveys: SurveyServiceClient<Http>,
    pub feedback: FeedbackServiceClient<Http>,
    pub cases: CaseServiceClient<Http>,
    pub safety: SafetyServiceClient<Http>,
    pub metrics: MetricServiceClient<Http>,
    pub experiments: ExperimentServiceClient<Http>,
    pub audit: AuditServiceClient<Http>,
    ways: BTreeMap<&'static str, Http>,
}

impl Remote {
    /// Clients that connect at their first call.
    pub fn new(addresses: &Addresses, tenant: &str, token: &str) -> anyhow::Result<Self> {
        let http = |target: &str| -> anyhow::Result<Http> {
            Ok(InterceptedService::new(addresses.channel(target)?, Token::new(token)?))
        };
        let ways = TARGETS.iter().map(|it| Ok((it.name, http(it.name)?)));
        let ways: BTreeMap<_, _> = ways.collect::<anyhow::Result<_>>()?;
        let way = |target: &str| ways[target].clone();
        let (profiles, content) = (way("profiles"), way("content"));
        let (decisioning, feedback, kpis) = (way("decisioning"), way("feedback"), way("kpis"));
        Ok(Self(Arc::new(Clients {
            parent: format!("tenants/{tenant}"),
            parties: PartyServiceClient::new(profiles.clone()),
            consents: ConsentServiceClient::new(profiles.clone()),
            sources: SourceServiceClient::new(profiles.clone()),
            facts: FactsServiceClient::new(profiles.clone()),
            segments: SegmentServiceClient::new(profiles),
            library: LibraryServiceClient::new(content.clone()),
            modules: ModuleServiceClient::new(content),
            policies: PolicyServiceClient::new(decisioning.clone()),
            packs: RulePackServiceClient::new(decisioning.clone()),
            decisions: DecisionServiceClient::new(decisioning),
            journeys: JourneyServiceClient::new(way("journeys")),
            delivery: DeliveryServiceClient::new(way("delivery")),
            surveys: SurveyServiceClient::new(feedback.clone()),
            feedback: FeedbackServiceClient::new(feedback.clone()),
            cases: CaseServiceClient::new(feedback.clone()),
            safety: SafetyServiceClient::new(feedback),
            metrics: MetricServiceClient::new(kpis.clone()),
            experiments: ExperimentServiceClient::new(kpis),
            audit: AuditServiceClient::new(way("audit")),
            ways,
        })))
    }

    /// The name of one of the tenant's things, `tenants/{tenant}/{collection}/{id}`.
    pub fn name(&self, collection: &str, id: &str) -> String {
        format!("{}/{collection}/{id}", self.parent)
    }

    /// The way to a target of [`TARGETS`], for what every target serves.
    pub(crate) fn way(&self, target: &str) -> Http {
        self.ways[target].clone()
    }
}

impl Deref for Remote {
    type Target = Clients;

    fn deref(&self) -> &Clients {
        &self.0
    }
}

/// Adds a bearer token.
#[derive(Clone)]
pub struct Token(tonic::metadata::AsciiMetadataValue);

impl Token {
    /// A token as it was given.
    pub fn new(token: &str) -> anyhow::Result<Self> {
        let value = format!("Bearer {token}").parse();
        Ok(Self(value.map_err(|_| anyhow::anyhow!("the token is not printable ASCII"))?))
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A refusal as a person reads it: the reason, and for each field the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Refused {
    /// The reason code, when the platform gave one.
    pub reason: Option<String>,
    code: tonic::Code,
    message: Box<str>,
    remedy: Box<str>,
    /// What else it tells, for example the permission that is missing.
    facts: BTreeMap<String, String>,
    violations: Vec<Violation>,
}

impl Refused {
    fn text(&self) -> String {
        let name = self.reason.clone().unwrap_or_else(|| format!("{:?}", self.code));
        let facts: Vec<_> = self.facts.iter().map(|(name, it)| format!("{name} {it}")).collect();
        let mut text = format!("{name}: {}", self.message);
        if !facts.is_empty() {
            text.push_str(&format!(" ({})", facts.join(", ")));
        }
        for it in &self.violations {
            text.push_str(&format!("\n  {}: {}", it.field, it.remedy));
        }
        // What to do about a field says more than what to do about the reason.
        if self.violations.is_empty() && !self.remedy.is_empty() {
            text.push_str(&format!("\n  {}", self.remedy));
        }
        text
    }

    /// Whether the same call may succeed later: it did not get there, or what it met was not ready.
    pub fn may_pass(&self) -> bool {
        // A call that is given up says `Cancelled`; a process that just started does not know yet what it serves.
        matches!(
            self.code,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unimplemented
        )
    }

    /// The same for programs.
    pub fn json(&self) -> serde_json::Value {
        let violation = |it: &Violation| json!({"field": it.field, "remedy": it.remedy});
        json!({
            "reason": self.reason,
            "code": format!("{:?}", self.code),
            "message": self.message,
            "remedy": self.remedy,
            "metadata": self.facts,
            "violations": self.violations.iter().map(violation).collect::<Vec<_>>(),
        })
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        let (reason, mut violations) = (status::reason(&status), status::violations(&status));
        let mut facts = status::metadata(&status);
        // Nobody on the other side gave a reason: the call did not get there.
        if reason.is_none() && status.code() == Code::Unavailable {
            let remedy = "Start a server with `rapport serve`, or say where the platform is.";
            violations.push(Violation::new("--url", remedy));
        }
        // A connection that broke, before the answer or in it; tonic has no code of its own for that. What a server said has
        // no source here.
        let broke = status
            .source()
            .is_some_and(<dyn std::error::Error>::is::<tonic::transport::Error>)
            || matches!(status.code(), Code::Unknown | Code::Internal) && status.source().is_some();
        Self {
            reason,
            code: if broke { Code::Unavailable } else { status.code() },
            message: status.message().into(),
            remedy: facts.remove("remedy").unwrap_or_default().into(),
            facts,
            violations,
        }
    }
}

/// The answer of a call, or its refusal.
pub fn told<T>(answer: Result<Response<T>, Status>) -> Result<T, Refused> {
    answer.map(Response::into_inner).map_err(Refused::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::net::{TcpListener, TcpStream};
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;

    #[tokio::test]
    async fn an_answer_that_breaks_off_may_be_asked_for_again() {
        // A server whose answer never ends, behind a connection that does.
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = free.local_addr().expect("bound");
        drop(free);
        let (_reporter, health) = tonic_health::server::health_reporter();
        let serving = tonic::transport::Server::builder().add_service(health).serve(server);
        let door = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", door.local_addr().expect("bound"));
        let (cut, is_cut) = tokio::sync::oneshot::channel::<()>();
        let between = async {
            let (mut near, _) = door.accept().await.expect("a caller");
            let mut far = TcpStream::connect(server).await.expect("the server");
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = is_cut => {}
            }
        };
        let asking = async {
            let channel = Channel::from_shared(url).expect("a URL").connect_lazy();
            let mut client = HealthClient::new(channel);
            let request = HealthCheckRequest::default();
            let mut answer = client.watch(request).await.expect("it begins").into_inner();
            answer.message().await.expect("a first part");
            cut.send(()).expect("the connection stands");
            let refused = Refused::from(answer.message().await.expect_err("it broke off"));
            assert!(refused.may_pass(), "{refused:?}");
        };
        tokio::select! {
            biased;
            ended = serving => panic!("the server ended: {ended:?}"),
            ((), ()) = async { tokio::join!(between, asking) } => {}
        }
    }

    #[test]
    fn one_url_serves_all_and_a_target_may_have_its_own() {
        let given = ["http://a:1".to_owned(), "content=http://b:2".to_owned()];
        let addresses = Addresses::parse(&given, "http://default:8080");
        assert_eq!(addresses.of("profiles"), "http://a:1");
        assert_eq!(addresses.of("content"), "http://b:2");
        assert_eq!(Addresses::parse(&[], "http://default:8080").of("x"), "http://default:8080");
    }
}
