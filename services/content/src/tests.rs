//! The service through its API: typed clients, the real layers, SQLite, a clock that moves when told.

mod bad_input;
mod brands;
mod cascade;
mod golden;
mod indexes;
mod listing;
mod plans;
mod render;
mod review;

use std::time::Duration;

use chassis::assembly::Target;
use chassis::service::Service;
use chassis::status::{reason, violations};
use chassis::testing::{Connection, Harness, TENANTS, TokenSpec};
use eventstore::{Schema, Timestamp};
use rapport_proto::content::v1 as proto;
use rapport_proto::content::v1::library_service_client::LibraryServiceClient;
use rapport_proto::content::v1::module_service_client::ModuleServiceClient;
use rapport_proto::content::v1::{ReviewRole, SlotKind, State, Verdict};
use rapport_proto::types::{Audience, Channel, ContentClass};
use tonic::{Code, Status};

const ACME: &str = TENANTS[0];
const UMBRELLA: &str = TENANTS[1];
/// As long as a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks: who looks without a pause takes the time of what it waits for.
const GLANCE: Duration = Duration::from_millis(5);

const TARGET: Target = Target {
    name: "content",
    schema: crate::schema,
    reasons: crate::REASONS,
    service: crate::service,
};

/// A store of its name, to write the facts of another service into.
const fn producer(name: &'static str) -> Target {
    Target { name, schema: Schema::default, reasons: &[], service: |_| Service::new() }
}

/// Who fills which role.
const REVIEWERS: [(ReviewRole, &str); 3] =
    [(ReviewRole::Medical, "mia"), (ReviewRole::Legal, "leo"), (ReviewRole::Regulatory, "rita")];

/// When everybody logged in, in seconds.
const AUTHENTICATED: i64 = 1_767_220_000;

/// The roles that people's tokens name. The author could review the content of others.
fn roles_of(subject: &str) -> &'static [&'static str] {
    match subject {
        "mia" => &["medical", "legal"],
        "max" | "author" => &["medical"],
        "leo" => &["legal"],
        "rita" => &["regulatory"],
        _ => &[],
    }
}

struct World {
    harness: Harness,
}

impl World {
    async fn start() -> Self {
        let targets = [TARGET, producer("decisioning"), producer("journeys")];
        Self { harness: Harness::start(&targets).await }
    }

    fn library(&self) -> LibraryServiceClient<Connection> {
        self.library_as("author")
    }

    fn modules(&self) -> ModuleServiceClient<Connection> {
        self.modules_as("author")
    }

    fn library_as(&self, subject: &str) -> LibraryServiceClient<Connection> {
        LibraryServiceClient::new(self.holding(subject, roles_of(subject)))
    }

    fn modules_as(&self, subject: &str) -> ModuleServiceClient<Connection> {
        ModuleServiceClient::new(self.holding(subject, roles_of(subject)))
    }

    /// A person whose token names roles.
    fn holding(&self, subject: &str, roles: &[&str]) -> Connection {
        let token = TokenSpec::new(ACME, subject, &["content.*"]).roles(roles);
        let token = token.with("auth_time", AUTHENTICATED.into());
        self.harness.with_token(&self.harness.issuer.mint(token))
    }

    async fn reference(&self, id: &str, expires_at: Option<prost_types::Timestamp>) {
        let reference = proto::Reference {
            reference_id: id.into(),
            citation: "Doe J. 2024".into(),
            locator: "doi:10.1000/1".into(),
            expires_at,
        };
        let request = proto::AddReferenceRequest {
            parent: parent(),
            reference: Some(reference),
            ..Default::default()
        };
        self.library().add_reference(request).await.expect("added");
    }

    async fn save_claim(&self, id: &str, content: proto::ClaimContent) -> proto::ClaimVersion {
        let reply = self
            .library()
            .save_claim(claim_request(id, content))
            .await
            .expect("saved")
            .into_inner();
        let version = reply.version;
        let claim = reply.claim.expect("a claim");
        claim.versions.into_iter().find(|it| it.version == version).expect("the version")
    }

    async fn save(&self, id: &str, content: proto::ModuleContent) -> proto::ModuleVersion {
        let reply = self
            .modules()
            .save_module(module_request(id, content))
            .await
            .expect("saved")
            .into_inner();
        let version = reply.version;
        let module = reply.module.expect("a module");
        module.versions.into_iter().find(|it| it.version == version).expect("the version")
    }

    async fn submit(&self, id: &str) {
        let request = proto::SubmitModuleRequest { name: module_name(id), ..Default::default() };
        self.modules().submit_module(request).await.expect("submitted");
    }

    async fn submit_claim(&self, id: &str) {
        let request = proto::SubmitClaimRequest { name: claim_name(id), ..Default::default() };
        self.library().submit_claim(request).await.expect("submitted");
    }

    /// Saves, submits and has a claim approved by all roles.
    async fn approved_claim(&self, id: &str, content: proto::ClaimContent) -> proto::ClaimVersion {
        let version = self.save_claim(id, content).await;
        self.submit_claim(id).await;
        for (role, subject) in REVIEWERS {
            let request = claim_review(id, version.version, &version.content_hash, role);
            self.library_as(subject).review_claim(request).await.expect("reviewed");
        }
        version
    }

    /// Saves, submits and has a module approved by all roles.
    async fn approved(&self, id: &str, content: proto::ModuleContent) -> proto::ModuleVersion {
        let version = self.save(id, content).await;
        self.submit(id).await;
        for (role, subject) in REVIEWERS {
            let request = module_review(id, version.version, &version.content_hash, role);
            self.modules_as(subject).review_module(request).await.expect("reviewed");
        }
        version
    }

    async fn module(&self, id: &str) -> proto::Module {
        let request = proto::GetModuleRequest { name: module_name(id), ..Default::default() };
        self.modules()
            .get_module(request)
            .await
            .expect("found")
            .into_inner()
            .module
            .expect("a module")
    }

    async fn claim(&self, id: &str) -> proto::Claim {
        let request = proto::GetClaimRequest { name: claim_name(id), ..Default::default() };
        self.library().get_claim(request).await.expect("found").into_inner().claim.expect("a claim")
    }

    async fn render(&self, request: proto::RenderRequest) -> proto::RenderResponse {
        self.modules().render(request).await.expect("an answer").into_inner()
    }

    async fn check(&self, id: &str) -> proto::CheckUsableResponse {
        let request = proto::CheckUsableRequest {
            name: module_name(id),
            market: "DE".into(),
            audience: Audience::Hcp.into(),
            channel: Channel::Email.into(),
            ..Default::default()
        };
        self.modules().check_usable(request).await.expect("an answer").into_inner()
    }

    /// Waits until a version of a module stands in a state.
    async fn module_becomes(&self, id: &str, version: u32, state: State) -> proto::ModuleVersion {
        let wait = async {
            loop {
                let versions = self.module(id).await.versions;
                if let Some(it) =
                    versions.into_iter().find(|it| it.version == version && it.state() == state)
                {
                    return it;
                }
                tokio::time::sleep(GLANCE).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the module gets there")
    }

    fn head(&self) -> u64 {
        self.harness.deps("content").store.head().position
    }
}

fn parent() -> String {
    format!("tenants/{ACME}")
}

fn module_name(id: &str) -> String {
    format!("tenants/{ACME}/modules/{id}")
}

fn claim_name(id: &str) -> String {
    format!("tenants/{ACME}/claims/{id}")
}

fn claim_request(id: &str, content: proto::ClaimContent) -> proto::SaveClaimRequest {
    proto::SaveClaimRequest {
        parent: parent(),
        claim_id: id.into(),
        definition: Some(proto::save_claim_request::Definition::Content(content)),
        ..Default::default()
    }
}

fn module_request(id: &str, content: proto::ModuleContent) -> proto::SaveModuleRequest {
    proto::SaveModuleRequest {
        parent: parent(),
        module_id: id.into(),
        definition: Some(proto::save_module_request::Definition::Content(content)),
        ..Default::default()
    }
}

fn claim_content(references: &[&str]) -> proto::ClaimContent {
    proto::ClaimContent {
        text: "Works within one hour in adults & adolescents.".into(),
        category: "efficacy".into(),
        markets: vec!["DE".into(), "AT".into()],
        reference_ids: references.iter().map(|it| (*it).to_owned()).collect(),
        language: "de".into(),
        ..Default::default()
    }
}

/// One German e-mail for professionals in Germany.
fn module_content(text: &str) -> proto::ModuleContent {
    proto::ModuleContent {
        title: "Hello".into(),
        content_class: ContentClass::RxPromotional.into(),
        topic: "onset".into(),
        markets: vec!["DE".into()],
        audiences: vec![Audience::Hcp.into()],
        default_languages: [("DE".to_owned(), "de".to_owned())].into(),
        variants: vec![variant(Channel::Email, "de", "Hallo", text)],
        ..Default::default()
    }
}

fn variant(channel: Channel, language: &str, subject: &str, text: &str) -> proto::Variant {
    proto::Variant {
        channel: channel.into(),
        language: language.into(),
        subject: subject.into(),
        text: text.into(),
        ..Default::default()
    }
}

fn slot(name: &str, kind: SlotKind, of: &str) -> proto::Slot {
    proto::Slot { name: name.into(), kind: kind.into(), of: of.into(), ..Default::default() }
}

fn with_slots(text: &str, slots: &[(&str, SlotKind, &str)]) -> proto::ModuleContent {
    let slots = slots.iter().map(|(name, kind, of)| slot(name, *kind, of)).collect();
    proto::ModuleContent { slots, ..module_content(text) }
}

fn module_review(
    id: &str,
    version: u32,
    hash: &str,
    role: ReviewRole,
) -> proto::ReviewModuleRequest {
    proto::ReviewModuleRequest {
        name: module_name(id),
        version,
        role: role.into(),
        verdict: Verdict::Approve.into(),
        content_hash: hash.into(),
        printed_name: "Dr. Signer".into(),
        meaning: "I approve this content".into(),
        offset_seconds: 3600,
        ..Default::default()
    }
}

fn claim_review(id: &str, version: u32, hash: &str, role: ReviewRole) -> proto::ReviewClaimRequest {
    proto::ReviewClaimRequest {
        name: claim_name(id),
        version,
        role: role.into(),
        verdict: Verdict::Approve.into(),
        content_hash: hash.into(),
        printed_name: "Dr. Signer".into(),
        meaning: "I approve this content".into(),
        offset_seconds: -18_000,
        ..Default::default()
    }
}

fn render_request(id: &str) -> proto::RenderRequest {
    proto::RenderRequest {
        name: module_name(id),
        market: "DE".into(),
        audience: Audience::Hcp.into(),
        channel: Channel::Email.into(),
        ..Default::default()
    }
}

fn time(at: Timestamp) -> Option<prost_types::Timestamp> {
    Some(at.to_proto())
}

/// Code and reason of a refusal.
fn told(status: &Status) -> (Code, String) {
    (status.code(), reason(status).unwrap_or_default())
}

fn fields(status: &Status) -> Vec<String> {
    violations(status).into_iter().map(|it| it.field).collect()
}
