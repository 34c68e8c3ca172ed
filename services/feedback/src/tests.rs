//! The service through its API, its consumers and its timers: typed clients, the real layers, SQLite, a clock that
//! moves when told. The neighbours are stores that say what a test tells them to; `tests/scenarios` runs the real ones.

mod bad_input;
mod cases;
mod golden;
mod invitations;
mod neighbours;
mod responses;
mod safety;
mod surveys;
mod tenancy;
mod withheld;

use std::time::Duration;

use chassis::assembly::Target;
use chassis::status::{reason, violations};
use chassis::testing::{Connection, Harness, START, TENANTS};
use eventstore::{Store, Timestamp};
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::case_service_client::CaseServiceClient;
use rapport_proto::feedback::v1::feedback_service_client::FeedbackServiceClient;
use rapport_proto::feedback::v1::invitation::State as Invited;
use rapport_proto::feedback::v1::safety_service_client::SafetyServiceClient;
use rapport_proto::feedback::v1::survey_service_client::SurveyServiceClient;
use rapport_proto::types::Channel;
use tonic::{Code, Status};

use neighbours::neighbour;

const ACME: &str = TENANTS[0];
const UMBRELLA: &str = TENANTS[1];
const PARTY: &str = "pty_1";
/// As long as a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(120);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

const TARGET: Target = Target {
    name: "feedback",
    schema: crate::schema,
    reasons: crate::REASONS,
    service: crate::service,
};

/// Nothing is decided, screened or missed unless a test says so.
const STANDING: Target = Target { service: crate::standing, ..TARGET };

const NPS: &str = "survey: order-nps
family: nps
module: ask-nps
questions:
  - {id: score, kind: NPS, required: true, text: {en: How likely?, de: Wie wahrscheinlich?}}
  - {id: why, kind: TEXT, text: {en: Why?}}
follow_ups:
  - {question: score, score_at_most: 6, type: FOLLOW_UP, sla: {first_response: 8h}}
";

struct World {
    harness: Harness,
}

impl World {
    async fn start() -> Self {
        Self::with(TARGET).await
    }

    async fn with(feedback: Target) -> Self {
        let [content, delivery, journeys, profiles] =
            ["content", "delivery", "journeys", "profiles"].map(neighbour);
        let targets = [content, delivery, journeys, profiles, feedback];
        Self { harness: Harness::start(&targets).await }
    }

    /// With a live survey.
    async fn asking() -> Self {
        let world = Self::start().await;
        world.live(NPS).await;
        world
    }

    fn surveys(&self) -> SurveyServiceClient<Connection> {
        SurveyServiceClient::new(self.harness.admin())
    }

    fn feedback(&self) -> FeedbackServiceClient<Connection> {
        FeedbackServiceClient::new(self.harness.admin())
    }

    fn feedback_as(&self, permissions: &[&str]) -> FeedbackServiceClient<Connection> {
        FeedbackServiceClient::new(self.harness.person(ACME, "bob", permissions))
    }

    fn cases(&self) -> CaseServiceClient<Connection> {
        CaseServiceClient::new(self.harness.admin())
    }

    fn cases_as(&self, permissions: &[&str]) -> CaseServiceClient<Connection> {
        CaseServiceClient::new(self.harness.person(ACME, "bob", permissions))
    }

    fn safety(&self) -> SafetyServiceClient<Connection> {
        SafetyServiceClient::new(self.harness.admin())
    }

    fn store(&self, target: &str) -> Store {
        self.harness.deps(target).store.clone()
    }

    fn advance(&self, by: Duration) {
        self.harness.clock.advance(by);
    }

    fn now(&self) -> Timestamp {
        self.harness.clock.now()
    }

    /// Saves, approves and activates a survey.
    async fn live(&self, yaml: &str) -> u32 {
        let drafted = self.surveys().draft_survey(draft(yaml)).await.expect("saved").into_inner();
        let version = drafted.version.expect("a version");
        let id = yaml.split_once('\n').expect("lines").0.trim_start_matches("survey: ");
        let name = format!("tenants/{ACME}/surveys/{id}");
        let approve = proto::ApproveSurveyRequest {
            name: name.clone(),
            version: version.version,
            hash: version.hash,
            ..Default::default()
        };
        let grace = self.harness.person(ACME, "grace", &["*"]);
        SurveyServiceClient::new(grace).approve_survey(approve).await.expect("approved");
        let activate =
            proto::ActivateSurveyRequest { name, version: version.version, ..Default::default() };
        self.surveys().activate_survey(activate).await.expect("live");
        version.version
    }

    /// Asks a party by a call; the invitation's name.
    async fn ask(&self, request: proto::RequestInvitationRequest) -> String {
        let reply = self.feedback().request_invitation(request).await.expect("taken on");
        reply.into_inner().invitation.expect("an invitation").name
    }

    async fn invitation(&self, name: &str) -> proto::GetInvitationResponse {
        let request = proto::GetInvitationRequest { name: name.into(), ..Default::default() };
        self.feedback().get_invitation(request).await.expect("found").into_inner()
    }

    /// The invitation once it is in a state.
    async fn reaches(&self, name: &str, state: Invited) -> proto::Invitation {
        let found = until(async || {
            let invitation = self.invitation(name).await.invitation.expect("an invitation");
            (invitation.state() == state).then_some(invitation)
        });
        match found.await {
            Some(invitation) => invitation,
            None => panic!("not {state:?}: {:?}", self.invitation(name).await),
        }
    }

    /// A fresh party that is asked; the invitation's name and the token of its personal link.
    async fn invited(&self, party_id: &str) -> (String, String) {
        let name = self.ask(request(party_id)).await;
        self.reaches(&name, Invited::Issued).await;
        let token = self.invitation(&name).await.token;
        (name, token)
    }

    /// A party's answer by its personal link; the response's name.
    async fn answered(&self, party_id: &str, score: i32, text: &str) -> String {
        let (_, token) = self.invited(party_id).await;
        let reply = self.feedback().submit_response(submit(&token, score, text)).await;
        let id = reply.expect("kept").into_inner().response_id;
        format!("tenants/{ACME}/responses/{id}")
    }

    async fn response(&self, name: &str) -> proto::Response {
        let request = proto::GetResponseRequest { name: name.into(), ..Default::default() };
        let reply = self.feedback().get_response(request).await.expect("found").into_inner();
        reply.response.expect("a response")
    }

    /// Of somebody who is registered by then.
    async fn open(&self, request: proto::OpenCaseRequest) -> proto::Case {
        self.known(&request.party_id).await;
        let reply = self.cases().open_case(request).await.expect("opened").into_inner();
        reply.case.expect("a case")
    }

    async fn case(&self, name: &str) -> proto::Case {
        let request = proto::GetCaseRequest { name: name.into(), ..Default::default() };
        let reply = self.cases().get_case(request).await.expect("found").into_inner();
        reply.case.expect("a case")
    }

    async fn candidates(&self) -> Vec<proto::SafetyCandidate> {
        let request = proto::ListSafetyCandidatesRequest { parent: parent(), ..Default::default() };
        let reply = self.safety().list_safety_candidates(request).await.expect("listed");
        reply.into_inner().candidates
    }

    /// The candidates once there are so many.
    async fn has_candidates(&self, count: usize) -> Vec<proto::SafetyCandidate> {
        let found = until(async || {
            let candidates = self.candidates().await;
            (candidates.len() == count).then_some(candidates)
        });
        found.await.unwrap_or_else(|| panic!("not {count} candidates"))
    }
}

/// Waits for a condition.
async fn until<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let found = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.ok()
}

fn parent() -> String {
    format!("tenants/{ACME}")
}

fn draft(yaml: &str) -> proto::DraftSurveyRequest {
    let definition = proto::draft_survey_request::Definition::Yaml(yaml.to_owned());
    let definition = Some(definition);
    proto::DraftSurveyRequest { parent: parent(), definition, ..Default::default() }
}

fn request(party_id: &str) -> proto::RequestInvitationRequest {
    proto::RequestInvitationRequest {
        parent: parent(),
        survey: "order-nps".into(),
        party_id: party_id.into(),
        channel: Channel::Email.into(),
        sender_id: "northwind".into(),
        about_touch_id: "tch_about".into(),
        ..Default::default()
    }
}

fn submit(token: &str, score: i32, text: &str) -> proto::SubmitResponseRequest {
    let which = proto::submit_response_request::Invitation::Token(token.to_owned());
    let score =
        proto::NewAnswer { question: "score".into(), score: Some(score), ..Default::default() };
    let text = proto::NewAnswer { question: "why".into(), text: text.into(), ..Default::default() };
    proto::SubmitResponseRequest {
        parent: parent(),
        invitation: Some(which),
        answers: vec![score, text],
        language: "en".into(),
        ..Default::default()
    }
}

fn complaint(text: &str) -> proto::OpenCaseRequest {
    proto::OpenCaseRequest {
        parent: parent(),
        r#type: proto::CaseType::Service.into(),
        party_id: PARTY.into(),
        text: text.into(),
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
