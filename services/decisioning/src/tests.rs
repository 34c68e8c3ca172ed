//! The service through its API: typed clients, the real layers, SQLite, a clock that moves when told.

mod bad_input;
mod decision;
mod golden;
mod holdout;
mod indexes;
mod learning;
mod outcomes;
mod policy;
mod rule_pack;
mod shared;
mod tenancy;
mod view;

use std::time::Duration;

use chassis::assembly::Target;
use chassis::status::{reason, violations};
use chassis::testing::{Connection, Harness, START, TENANTS};
use eventstore::Timestamp;
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::decision_service_client::DecisionServiceClient;
use rapport_proto::decisioning::v1::policy_service_client::PolicyServiceClient;
use rapport_proto::decisioning::v1::rule_pack_service_client::RulePackServiceClient;
use rapport_proto::types::{Audience, Channel, ContentClass};
use tonic::{Code, Status};

const ACME: &str = TENANTS[0];
const UMBRELLA: &str = TENANTS[1];
/// As long as a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(120);

const TARGET: Target = Target {
    name: "decisioning",
    schema: crate::schema,
    reasons: crate::REASONS,
    service: crate::service,
};

/// An example, not legal advice.
const GERMANY: &str = r#"
rule_pack: DE
consent:
  - {purpose: PROMOTIONAL, channels: [EMAIL, SMS], regime: OPT_IN, double_opt_in: true, expires_after: 730d}
  - {purpose: PROMOTIONAL, channels: [FIELD_TASK], regime: NOT_REQUIRED}
outbound:
  - {id: de-rx-hcp, content_classes: [RX_PROMOTIONAL], audiences: [HCP], channels: [EMAIL, FIELD_TASK, PORTAL], effect: ALLOW, when: "attributes.licence_valid"}
  - {id: de-rx-public, content_classes: [RX_PROMOTIONAL], audiences: [PATIENT, PUBLIC], channels: [ANY], effect: DENY}
  - {id: de-service, content_classes: [SERVICE], audiences: [HCP, PATIENT], channels: [ANY], effect: ALLOW}
review:
  - {content_classes: [RX_PROMOTIONAL], roles: [MEDICAL, LEGAL, REGULATORY]}
quiet_hours: {channels: [EMAIL, SMS, PHONE], from: "20:00", to: "08:00", also: [SUN, HOLIDAY]}
calendar: {time_zones: [Europe/Berlin], weekend: [SAT, SUN], holidays: ["2026-12-25", "2026-12-26"]}
enabled_kinds: [HCP, HCO, PHARMACIST, EMPLOYEE]
tests:
  - {content_class: RX_PROMOTIONAL, audience: PATIENT, channel: EMAIL, expect: DENY, rule: de-rx-public}
  - {content_class: RX_PROMOTIONAL, audience: HCP, channel: EMAIL, attributes: {licence_valid: {flag: true}}, expect: ALLOW}
"#;

struct World {
    harness: Harness,
}

impl World {
    async fn start() -> Self {
        Self { harness: Harness::start(&[TARGET]).await }
    }

    fn ada(&self) -> Connection {
        self.harness.person(ACME, "ada", &["*"])
    }

    fn bea(&self) -> Connection {
        self.harness.person(ACME, "bea", &["*"])
    }

    fn packs(&self) -> RulePackServiceClient<Connection> {
        RulePackServiceClient::new(self.ada())
    }

    fn policies(&self) -> PolicyServiceClient<Connection> {
        PolicyServiceClient::new(self.ada())
    }

    fn decisions(&self) -> DecisionServiceClient<Connection> {
        DecisionServiceClient::new(self.ada())
    }

    fn head(&self) -> u64 {
        self.harness.deps("decisioning").store.head().position
    }

    fn pass(&self, seconds: u64) {
        assert!(self.harness.clock.advance(Duration::from_secs(seconds)));
    }

    async fn draft_pack(&self, yaml: &str) -> Result<u32, Status> {
        let request = proto::DraftRulePackRequest {
            parent: parent(),
            definition: Some(proto::draft_rule_pack_request::Definition::Yaml(yaml.into())),
            ..Default::default()
        };
        let reply = self.packs().draft_rule_pack(request).await?.into_inner();
        Ok(reply.version.expect("a version").version)
    }

    async fn simulate_pack(&self, id: &str) -> Result<u32, Status> {
        let request = proto::SimulateRulePackRequest { name: pack_name(id), ..Default::default() };
        Ok(self.packs().simulate_rule_pack(request).await?.into_inner().unmapped)
    }

    async fn approve_pack(&self, who: Connection, id: &str, version: u32) -> Result<(), Status> {
        let request =
            proto::ApproveRulePackRequest { name: pack_name(id), version, ..Default::default() };
        RulePackServiceClient::new(who).approve_rule_pack(request).await.map(drop)
    }

    async fn activate_pack(&self, id: &str, version: u32) -> Result<(), Status> {
        let request =
            proto::ActivateRulePackRequest { name: pack_name(id), version, ..Default::default() };
        self.packs().activate_rule_pack(request).await.map(drop)
    }

    /// From nothing to in force.
    async fn pack(&self, id: &str, yaml: &str) -> u32 {
        let version = self.draft_pack(yaml).await.expect("drafted");
        self.simulate_pack(id).await.expect("simulated");
        self.approve_pack(self.bea(), id, version).await.expect("approved");
        self.activate_pack(id, version).await.expect("activated");
        self.pass(60);
        version
    }

    async fn outbound(&self, audience: Audience) -> proto::CheckOutboundResponse {
        let request = question(audience);
        self.decisions().check_outbound(request).await.expect("answered").into_inner()
    }

    async fn draft_policy(&self, policy: proto::Policy) -> Result<u32, Status> {
        let request = proto::DraftPolicyRequest {
            parent: parent(),
            definition: Some(proto::draft_policy_request::Definition::Policy(policy)),
            ..Default::default()
        };
        let reply = self.policies().draft_policy(request).await?.into_inner();
        Ok(reply.version.expect("a version").version)
    }

    /// From nothing to live.
    async fn policy(&self, policy: proto::Policy) -> u32 {
        let version = self.draft_policy(policy).await.expect("drafted");
        let name = policy_name();
        let simulate = proto::SimulatePolicyRequest { name: name.clone(), ..Default::default() };
        self.policies().simulate_policy(simulate).await.expect("simulated");
        let approve =
            proto::ApprovePolicyRequest { name: name.clone(), version, ..Default::default() };
        PolicyServiceClient::new(self.bea()).approve_policy(approve).await.expect("approved");
        let activate = proto::ActivatePolicyRequest { name, version, ..Default::default() };
        self.policies().activate_policy(activate).await.expect("activated");
        version
    }
}

/// Waits until something is there; how long that takes is not what is tested.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    found.unwrap_or_else(|_| panic!("not within {} s: {what}", PATIENCE.as_secs()))
}

fn parent() -> String {
    format!("tenants/{ACME}")
}

fn pack_name(id: &str) -> String {
    format!("tenants/{ACME}/rulepacks/{id}")
}

fn policy_name() -> String {
    format!("tenants/{ACME}/policies/default")
}

fn question(audience: Audience) -> proto::CheckOutboundRequest {
    proto::CheckOutboundRequest {
        parent: parent(),
        audience: audience.into(),
        market: "DE".into(),
        channel: Channel::Email.into(),
        content_class: ContentClass::RxPromotional.into(),
        ..Default::default()
    }
}

/// One action with one treatment.
fn small_policy() -> proto::Policy {
    let group = proto::ActionGroup { group: "win-back".into(), ..Default::default() };
    let action = proto::Action {
        action: "write".into(),
        group: "win-back".into(),
        value: 1.0,
        eligibility: "party.kind == 'HCP'".into(),
        rewards: vec![proto::Reward {
            event: "Order Completed".into(),
            within: "14d".into(),
            value: 1.0,
        }],
        treatments: vec![proto::Treatment {
            treatment: "mail".into(),
            channel: Channel::Email.into(),
            module: "letter".into(),
            topic: "asthma".into(),
        }],
        ..Default::default()
    };
    proto::Policy {
        policy: "default".into(),
        groups: vec![group],
        actions: vec![action],
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

fn time(at: Timestamp) -> Option<prost_types::Timestamp> {
    Some(at.to_proto())
}
