//! The service through its API: typed clients, the real layers, real stores of the other services, a clock that moves
//! when told. What those services would have decided is appended as it would stand there.

mod bad_input;
mod experiments;
mod figures;
mod golden;
mod history;
mod targets;
mod tenancy;
mod versions;

use std::path::Path;
use std::time::Duration;

use chassis::assembly::Target;
use chassis::settings::Settings;
use chassis::status::{reason, violations};
use chassis::testing::{Connection, Harness, START, TENANTS};
use eventstore::{About, Decider, Metadata, Outcome, Schema, Store, Timestamp};
use rapport_proto::delivery::v1::{TouchSent, touch_event};
use rapport_proto::feedback::v1::{Answer, QuestionKind, ResponseSubmitted, response_event};
use rapport_proto::kpis::v1 as proto;
use rapport_proto::kpis::v1::experiment_service_client::ExperimentServiceClient;
use rapport_proto::kpis::v1::metric_service_client::MetricServiceClient;
use rapport_proto::profiles::v1::{
    InteractionRecorded, PartyRegistered, interaction_event, party_event,
};
use rapport_proto::types::PartyKind;
use tonic::{Code, Status};

use crate::rollup::definition::SOURCES;

const ACME: &str = TENANTS[0];
const UMBRELLA: &str = TENANTS[1];
const DAY: i64 = 86_400 * 1_000_000;
/// How often a condition is looked at, 20 ms apart: two minutes, for a slow machine.
const LOOKS: usize = 6_000;

const TARGET: Target = Target {
    name: "kpis",
    schema: crate::schema,
    reasons: crate::REASONS,
    service: crate::service,
};

const fn source(name: &'static str) -> Target {
    Target {
        name,
        schema: Schema::default,
        reasons: &[],
        service: |_| chassis::service::Service::new(),
    }
}

/// Declares the facts of another service's aggregate, without its decisions; the state is what each is about.
macro_rules! facts {
    ($($name:ident, $source:literal, $aggregate:literal, $event:ty;)*) => {$(
        enum $name {}

        impl Decider for $name {
            const AGGREGATE: &'static str = $aggregate;
            type Command = std::convert::Infallible;
            type State = About;
            type Event = $event;
            type Refusal = std::convert::Infallible;

            fn decide(
                _: &About,
                command: Self::Command,
                _: Timestamp,
            ) -> Result<Vec<Self::Event>, Self::Refusal> {
                match command {}
            }

            fn evolve(state: About, _: &Self::Event) -> About {
                state
            }

            fn about(_: &str, state: &About, _: &Self::Event) -> About {
                state.clone()
            }
        }

        impl Of for $name {
            const SOURCE: &'static str = $source;
        }
    )*};
}

trait Of: Decider<State = About> {
    const SOURCE: &'static str;
}

facts! {
    Touch, "delivery", "touch", touch_event::Event;
    Interaction, "profiles", "interaction", interaction_event::Event;
    Party, "profiles", "party", party_event::Event;
    Response, "feedback", "response", response_event::Event;
}

/// A metric of one's own.
const CALLS: &str = "metric: calls
description: Interactions called Call Completed.
unit: COUNT
source: profiles
event: rapport.profiles.v1.InteractionRecorded
filter: \"event.name == 'Call Completed'\"
measure: {count: true}
dimensions: {market: market}
bucket: DAY
";

struct World {
    harness: Harness,
}

impl World {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::of(TARGET, change).await
    }

    async fn of(kpis: Target, change: impl FnOnce(&mut Settings)) -> Self {
        let others = SOURCES.into_iter().filter(|it| *it != "kpis").map(source);
        let targets: Vec<Target> = others.chain([kpis]).collect();
        Self { harness: Harness::with(&targets, change).await }
    }

    /// The same on PostgreSQL, which is no embedded mode: the keys come from files in `keys`.
    async fn on_postgres(server: &eventstore::testing::Postgres, keys: &Path) -> Self {
        for service in SOURCES {
            server.psql("postgres", &format!("CREATE DATABASE {service}"));
        }
        let file = |name: &str, secret: &str| {
            let path = keys.join(name);
            std::fs::write(&path, secret).expect("a key file");
            path
        };
        let kek_file = file("root.key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        let service_key_file = file("service.key", &"k".repeat(64));
        Self::with(|settings| {
            settings.database.url = server.url("{service}");
            settings.keys.kek_file = kek_file;
            settings.auth.service_key_file = service_key_file;
        })
        .await
    }

    fn metrics(&self) -> MetricServiceClient<Connection> {
        MetricServiceClient::new(self.harness.person(ACME, "ada", &["*"]))
    }

    fn second(&self) -> MetricServiceClient<Connection> {
        MetricServiceClient::new(self.harness.person(ACME, "bea", &["*"]))
    }

    fn experiments(&self) -> ExperimentServiceClient<Connection> {
        ExperimentServiceClient::new(self.harness.person(ACME, "ada", &["*"]))
    }

    fn store(&self) -> &Store {
        &self.harness.deps("kpis").store
    }

    fn pass(&self, micros: i64) {
        let micros = u64::try_from(micros).expect("forward");
        assert!(self.harness.clock.advance(Duration::from_micros(micros)));
    }

    /// Appends facts of another service about a party; returns their last position.
    async fn append<D: Of>(&self, id: &str, about: About, events: Vec<D::Event>) -> u64 {
        let store = &self.harness.deps(D::SOURCE).store;
        let version = store.load::<D>(ACME, id, eventstore::AsOf::Now).await.expect("read").version;
        let meta = Metadata {
            tenant: ACME.into(),
            method: "test".into(),
            request_id: format!("{}/{id}/{version}", D::AGGREGATE),
            at: self.harness.clock.now(),
            ..Metadata::default()
        };
        let mut unit = store.unit(meta);
        unit.push::<D>(id, version, &about, events).await.expect("pushed");
        match store.append(unit.finish().expect("a unit")).await {
            Outcome::Committed { position } => position,
            other => panic!("{other:?}"),
        }
    }

    /// Appends one fact to each of many streams, as many in a unit as one may hold.
    async fn append_each<D: Of>(&self, facts: Vec<(String, About, D::Event)>) {
        let store = &self.harness.deps(D::SOURCE).store;
        let mut facts = facts.into_iter().peekable();
        while let Some((first, ..)) = facts.peek() {
            let meta = Metadata {
                tenant: ACME.into(),
                method: "test".into(),
                request_id: format!("each/{first}"),
                at: self.harness.clock.now(),
                ..Metadata::default()
            };
            let mut unit = store.unit(meta);
            for (id, about, event) in facts.by_ref().take(eventstore::MAX_EVENTS) {
                unit.push::<D>(&id, 0, &about, vec![event]).await.expect("pushed");
            }
            let appended = store.append(unit.finish().expect("a unit")).await;
            assert!(matches!(appended, Outcome::Committed { .. }), "{appended:?}");
        }
    }

    async fn register(&self, party: &str, kind: PartyKind) {
        let it = PartyRegistered { kind: kind.into(), ..Default::default() };
        let about = About { party_id: party.into(), market: "DE".into(), ..About::default() };
        self.append::<Party>(party, about, vec![party_event::Event::Registered(it)]).await;
    }

    /// Whoever is not registered yet is a pharmacist.
    async fn know(&self, party: &str) {
        let store = &self.harness.deps("profiles").store;
        let loaded = store.load::<Party>(ACME, party, eventstore::AsOf::Now).await.expect("read");
        if loaded.version == 0 {
            self.register(party, PartyKind::Pharmacist).await;
        }
    }

    /// A party did something.
    async fn did(&self, party: &str, what: &str, at: Timestamp) -> u64 {
        self.know(party).await;
        self.stranger_did(party, what, at).await
    }

    /// Somebody did something who need not be known.
    async fn stranger_did(&self, party: &str, what: &str, at: Timestamp) -> u64 {
        let it = InteractionRecorded { name: what.into(), ..Default::default() };
        let events = vec![interaction_event::Event::Recorded(it)];
        let id = format!("itx_{party}_{what}_{}", at.0).replace(' ', "_");
        self.append::<Interaction>(&id, about(party, at), events).await
    }

    async fn answered(&self, party: &str, score: i32, at: Timestamp) -> u64 {
        self.know(party).await;
        let answers = vec![Answer {
            question: "recommend".into(),
            kind: QuestionKind::Nps.into(),
            score,
            ..Default::default()
        }];
        let id = format!("rsp_{party}_{}", at.0);
        let it = ResponseSubmitted { response_id: id.clone(), answers, ..Default::default() };
        let events = vec![response_event::Event::Submitted(it)];
        self.append::<Response>(&id, about(party, at), events).await
    }

    async fn sent(&self, touch: &str, party: &str, at: Timestamp) -> u64 {
        self.know(party).await;
        let it = TouchSent { adapter: "smtp".into(), ..Default::default() };
        self.append::<Touch>(touch, about(party, at), vec![touch_event::Event::Sent(it)]).await
    }

    /// Waits until the consumer has handled everything there is.
    async fn read_all(&self) {
        let deps = self.harness.deps("kpis");
        for of in SOURCES {
            let position = self.harness.deps(of).store.head().position;
            for _ in 0..12_000 {
                if deps.handled("kpis", of).await.expect("read") >= position {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(deps.handled("kpis", of).await.expect("read") >= position, "{of}");
        }
    }

    async fn draft(&self, yaml: &str) -> Result<proto::DraftMetricResponse, Status> {
        let request = proto::DraftMetricRequest {
            parent: parent(),
            definition: Some(proto::draft_metric_request::Definition::Yaml(yaml.into())),
            ..Default::default()
        };
        self.metrics().draft_metric(request).await.map(tonic::Response::into_inner)
    }

    /// From nothing to in force, by two persons.
    async fn live(&self, yaml: &str) -> u32 {
        let version = self.draft(yaml).await.expect("drafted").version.expect("a version");
        let metric: proto::Metric = authored::document::parse(yaml).expect("a document");
        let name = metric_name(&metric.metric);
        let (hash, version) = (version.hash, version.version);
        let approve =
            proto::ApproveMetricRequest { name: name.clone(), version, hash, ..Default::default() };
        self.second().approve_metric(approve).await.expect("approved");
        let activate = proto::ActivateMetricRequest { name, version, ..Default::default() };
        self.metrics().activate_metric(activate).await.expect("live");
        version
    }

    async fn ask(&self, request: proto::QueryFiguresRequest) -> Vec<proto::Figure> {
        let ask = async || self.metrics().query_figures(request.clone()).await;
        patiently(ask).await.figures
    }

    /// The figure of a metric over everything that was appended so far.
    async fn total(&self, metric: &str) -> proto::Figure {
        let figures = self.ask(total(metric)).await;
        figures.into_iter().next().unwrap_or_default()
    }

    /// Asks until a figure is as expected.
    async fn until(
        &self,
        request: proto::QueryFiguresRequest,
        what: impl Fn(&[proto::Figure]) -> bool,
    ) -> Vec<proto::Figure> {
        let mut figures = Vec::new();
        for _ in 0..6_000 {
            figures = self.ask(request.clone()).await;
            if what(&figures) {
                return figures;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{figures:?}")
    }
}

/// The answer, once what it must include was read: the service itself waits for two seconds only.
async fn patiently<T>(call: impl AsyncFn() -> Result<tonic::Response<T>, Status>) -> T {
    for _ in 0..LOOKS {
        match call().await {
            Ok(reply) => return reply.into_inner(),
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
    }
    panic!("what was asked for is never read");
}

fn about(party: &str, at: Timestamp) -> About {
    About { party_id: party.into(), market: "DE".into(), occurred_at: Some(at), ..About::default() }
}

fn parent() -> String {
    format!("tenants/{ACME}")
}

fn metric_name(id: &str) -> String {
    format!("tenants/{ACME}/metrics/{id}")
}

fn total(metric: &str) -> proto::QueryFiguresRequest {
    proto::QueryFiguresRequest { name: metric_name(metric), total: true, ..Default::default() }
}

fn day(days: i64) -> Timestamp {
    Timestamp(START.0 + days * DAY)
}

/// Code and reason of a refusal.
fn told(status: &Status) -> (Code, String) {
    (status.code(), reason(status).unwrap_or_default())
}

fn fields(status: &Status) -> Vec<String> {
    violations(status).into_iter().map(|it| it.field).collect()
}
