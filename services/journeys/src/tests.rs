//! The service through its API: typed clients, the real layers, SQLite, a clock that moves when told. What needs the
//! other services is told in the platform's scenarios.

mod bad_input;
mod crowds;
mod early;
mod golden;
mod instances;
mod peers;
mod questions;
mod replicas;
mod versions;

use std::time::Duration;

use chassis::assembly::Target;
use chassis::status::{reason, violations};
use chassis::testing::{Connection, Harness, TENANTS};
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::journey_service_client::JourneyServiceClient;
use tonic::{Code, Status};

const ACME: &str = TENANTS[0];
const UMBRELLA: &str = TENANTS[1];
/// As long as a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks: who looks without a pause takes the time of what it waits for.
const GLANCE: Duration = Duration::from_millis(5);

const TARGET: Target = Target {
    name: "journeys",
    schema: crate::schema,
    reasons: crate::REASONS,
    service: crate::service,
};

/// Asks no other service when it is checked.
const WELCOME: &str = "journey: welcome
sender: northwind
markets: [DE]
audiences: [HCP]
entry: {api: {}}
reentry: {after_exit: {gap: 1d}}
start: rest
nodes:
  rest: {wait: {for: 10d, next: hope}}
  hope: {wait_event: {any: [{event: Order Completed, next: done}], timeout: 3d, timed_out: lapsed}}
  done: {exit: {outcome: ordered}}
  lapsed: {exit: {outcome: no_order}}
";

struct World {
    harness: Harness,
}

impl World {
    async fn start() -> Self {
        Self { harness: Harness::start(&[TARGET]).await }
    }

    fn client(&self) -> JourneyServiceClient<Connection> {
        JourneyServiceClient::new(self.harness.admin())
    }

    /// A person who may do everything.
    fn as_person(&self, subject: &str) -> JourneyServiceClient<Connection> {
        JourneyServiceClient::new(self.harness.person(ACME, subject, &["*"]))
    }

    async fn draft(&self, yaml: &str) -> proto::DraftJourneyResponse {
        self.client().draft_journey(draft(yaml)).await.expect("saved").into_inner()
    }

    /// Saves, checks, approves and publishes a version.
    async fn live(&self, yaml: &str) -> u32 {
        let version = self.draft(yaml).await.version.expect("a version").version;
        let name = welcome();
        let check =
            proto::CheckJourneyRequest { name: name.clone(), version, ..Default::default() };
        let checked = self.client().check_journey(check).await.expect("checked").into_inner();
        assert_eq!(checked.findings, []);
        let approve = proto::ApproveJourneyRequest {
            name: name.clone(),
            version,
            hash: checked.version.expect("a version").hash,
            ..Default::default()
        };
        self.as_person("grace").approve_journey(approve).await.expect("approved");
        let publish = proto::PublishJourneyRequest { name, version, ..Default::default() };
        let published = self.client().publish_journey(publish).await.expect("live").into_inner();
        assert_eq!(published.findings, []);
        version
    }

    async fn get(&self) -> proto::GetJourneyResponse {
        let request = proto::GetJourneyRequest { name: welcome(), ..Default::default() };
        self.client().get_journey(request).await.expect("found").into_inner()
    }
}

fn parent() -> String {
    format!("tenants/{ACME}")
}

fn welcome() -> String {
    format!("tenants/{ACME}/journeys/welcome")
}

fn draft(yaml: &str) -> proto::DraftJourneyRequest {
    let definition = proto::draft_journey_request::Definition::Yaml(yaml.to_owned());
    proto::DraftJourneyRequest {
        parent: parent(),
        definition: Some(definition),
        ..Default::default()
    }
}

/// Code and reason of a refusal.
fn told(status: &Status) -> (Code, String) {
    (status.code(), reason(status).unwrap_or_default())
}

fn fields(status: &Status) -> Vec<String> {
    violations(status).into_iter().map(|it| it.field).collect()
}
