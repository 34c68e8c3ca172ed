//! No answer of any RPC holds a text that is unscreened or a candidate. The RPCs are those of the descriptors, so one
//! that is added tomorrow is asked too.

use eventstore::{AsOf, Metadata, TimerHandler as _};
use http::uri::PathAndQuery;
use prost_reflect::prost::Message as _;
use prost_reflect::prost::bytes::{Buf as _, BufMut as _};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MethodDescriptor, Value,
};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::*;
use crate::domain::text::{Status as Stands, Text};
use crate::timers::Timers;
use crate::view::{DECIDE, SCREEN};

/// The one that shows a candidate, to safety.
const SAFETY: &str = "rapport.feedback.v1.SafetyService.GetSafetyCandidate";

/// Messages as their bytes.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let bytes = from.copy_to_bytes(from.remaining());
        Ok(Some(bytes.to_vec()))
    }
}

/// What stands in the world: names, texts nobody may see, and their ids.
pub(super) struct Hidden {
    names: Vec<String>,
    survey: String,
    token: String,
    invitation_id: String,
    party_id: String,
    texts: Vec<(String, String)>,
}

impl World {
    /// Fires the timers of a kind that are due.
    async fn fires(&self, kind: &str) {
        let store = self.store("feedback");
        for timer in store.claim_due(100).await.expect("claimed") {
            if timer.kind != kind {
                continue;
            }
            let meta = Metadata {
                tenant: timer.key.tenant.clone(),
                method: "timer".into(),
                request_id: timer.key.request_id(),
                at: self.now(),
                fires: Some(timer.key.clone()),
                ..Metadata::default()
            };
            Timers.fire(&store, &timer, meta).await.expect("fired");
        }
    }

    /// A response and a case whose texts are unscreened, or candidates.
    pub(super) async fn hidden(&self, number: usize, screened: bool) -> Hidden {
        let party_id = format!("pty_{number}_{screened}");
        // Of its own: a call that ends a survey ends no other's.
        let survey = format!("survey-{number}-{screened}");
        self.live(&NPS.replace("order-nps", &survey)).await;
        let asked =
            proto::RequestInvitationRequest { survey: survey.clone(), ..request(&party_id) };
        let name = self.ask(asked).await;
        self.fires(DECIDE).await;
        let token = self.invitation(&name).await.token;
        let marks = [0, 1].map(|it| format!("itching-mark-{number}-{screened}-{it}"));
        let submitted = self.feedback().submit_response(submit(&token, 2, &marks[0])).await;
        let response_id = submitted.expect("kept").into_inner().response_id;
        let complaint =
            proto::OpenCaseRequest { party_id: party_id.clone(), ..complaint(&marks[1]) };
        let case = self.open(complaint).await.name;
        if screened {
            self.fires(SCREEN).await;
        }
        let response = format!("tenants/{ACME}/responses/{response_id}");
        let text_id = self.response(&response).await.answers.pop().expect("a text").text_id;
        let case_id = case.rsplit('/').next().expect("an id");
        let of_case = eventstore::derive_id("txt", &[ACME, "txt", case_id]);
        let candidates = self.candidates().await;
        let candidates = candidates.into_iter().filter(|it| it.party_id == party_id);
        let invitation_id = name.rsplit('/').next().expect("an id").to_owned();
        let names = [name, response, case, format!("tenants/{ACME}/surveys/{survey}")];
        let [first, second] = marks;
        Hidden {
            names: names.into_iter().chain(candidates.map(|it| it.name)).collect(),
            survey,
            token,
            invitation_id,
            party_id,
            texts: vec![(text_id, first), (of_case, second)],
        }
    }

    /// Whether the text is still hidden.
    async fn is_hidden(&self, text_id: &str) -> bool {
        let store = self.store("feedback");
        let loaded = store.load::<Text>(ACME, text_id, AsOf::Now).await.expect("loaded");
        matches!(loaded.state.status, Stands::Unscreened | Stands::Candidate)
    }

    /// The answer's bytes, a refusal's included.
    async fn answer(&self, method: &MethodDescriptor, request: &DynamicMessage) -> Vec<u8> {
        self.call(method, request).await.unwrap_or_else(|status| {
            [status.message().as_bytes(), status.details(), format!("{status:?}").as_bytes()]
                .concat()
        })
    }

    pub(super) async fn call(
        &self,
        method: &MethodDescriptor,
        request: &DynamicMessage,
    ) -> Result<Vec<u8>, Status> {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let path = PathAndQuery::try_from(path).expect("a path");
        let mut client = tonic::client::Grpc::new(self.harness.admin());
        client.ready().await.expect("ready");
        let request = tonic::Request::new(request.encode_to_vec());
        client.unary(request, path, Raw).await.map(tonic::Response::into_inner)
    }
}

impl Hidden {
    /// Whether a request names what its method is about.
    pub(super) fn is_of(&self, method: &MethodDescriptor, request: &DynamicMessage) -> bool {
        let collection = match method.parent_service().name() {
            "SurveyService" => "surveys",
            "CaseService" => "cases",
            "SafetyService" => "safetyCandidates",
            _ if method.name().contains("Invitation") => "invitations",
            _ => "responses",
        };
        let name = request.get_field_by_name("name");
        let name = name.as_ref().and_then(|it| it.as_str()).map(str::to_owned);
        name.is_none_or(|it| it.split('/').nth(2) == Some(collection))
    }
}

/// The calls of some packages.
pub(super) fn methods(packages: &[&str]) -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(rapport_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
    let services = pool.services();
    let services =
        services.filter(|it| packages.iter().any(|package| it.full_name().starts_with(package)));
    services.flat_map(|it| it.methods().collect::<Vec<_>>()).collect()
}

/// Requests that a method takes: for every name there is, and every value of a state.
pub(super) fn requests(
    method: &MethodDescriptor,
    hidden: &Hidden,
    number: usize,
) -> Vec<DynamicMessage> {
    let input = method.input();
    let has_name = input.get_field_by_name("name").is_some();
    let names = if has_name { hidden.names.as_slice() } else { &hidden.names[..1] };
    let states = if input.get_field_by_name("state").is_some() { 0..5 } else { 0..1 };
    let mut requests = Vec::new();
    for name in names {
        for state in states.clone() {
            let mut request = DynamicMessage::new(input.clone());
            for field in input.fields() {
                if let Some(value) = filled(&field, name, state, hidden, number) {
                    request.set_field(&field, value);
                }
            }
            requests.push(request);
        }
    }
    requests
}

fn filled(
    field: &FieldDescriptor,
    name: &str,
    state: i32,
    hidden: &Hidden,
    number: usize,
) -> Option<Value> {
    let text = |text: &str| Some(Value::String(text.to_owned()));
    if field.is_list() || field.is_map() {
        return None;
    }
    match (field.name(), field.kind()) {
        ("name", _) => text(name),
        ("parent", _) => text(&parent()),
        ("party_id", _) => text(&hidden.party_id),
        ("invitation_id", _) => text(&hidden.invitation_id),
        ("token", _) => text(&hidden.token),
        ("source", _) => text("feedback"),
        ("sender_id", _) => text("northwind"),
        ("survey", Kind::String) => text(&hidden.survey),
        ("request_id" | "page_token" | "hash" | "language" | "yaml", _) => None,
        ("state", _) => Some(Value::EnumNumber(state)),
        ("version", _) => Some(Value::U32(1)),
        ("limit" | "page_size", _) => Some(Value::I32(500)),
        ("validate_only", _) => Some(Value::Bool(true)),
        (_, Kind::String) => text(&format!("word-{number}")),
        (_, Kind::Enum(_)) => Some(Value::EnumNumber(1)),
        _ => None,
    }
}

#[tokio::test]
async fn no_answer_of_any_rpc_holds_a_text_that_is_unscreened_or_a_candidate() {
    let world = World::with(STANDING).await;
    let methods = methods(&["rapport.feedback.v1.", "rapport.eventlog.v1."]);
    assert!(methods.len() > 25, "{}", methods.len());
    // A stream's events are those that ReadEvents answers with.
    let asked = methods.iter().filter(|it| !it.is_server_streaming() && it.full_name() != SAFETY);
    let mut answers = 0;
    for (number, method) in asked.enumerate() {
        for screened in [false, true] {
            let hidden = world.hidden(number, screened).await;
            assert_eq!(hidden.names.len(), if screened { 6 } else { 4 });
            for request in requests(method, &hidden, number) {
                let answer = world.answer(method, &request).await;
                for (text_id, text) in &hidden.texts {
                    let held = answer.windows(text.len()).any(|it| it == text.as_bytes());
                    // What the call itself let go is no longer hidden.
                    assert!(!held || !world.is_hidden(text_id).await, "{}", method.full_name());
                }
                answers += usize::from(!answer.is_empty());
            }
        }
    }
    assert!(answers > 100, "{answers}");
}

#[tokio::test]
async fn the_walk_would_find_a_text_that_is_shown() {
    let world = World::with(STANDING).await;
    let hidden = world.hidden(0, true).await;
    let shows = methods(&["rapport.feedback.v1."]);
    let shows = shows.into_iter().find(|it| it.full_name() == SAFETY).expect("served");
    let mut shown = 0;
    for request in requests(&shows, &hidden, 0) {
        let answer = world.answer(&shows, &request).await;
        for (_, text) in &hidden.texts {
            shown += usize::from(answer.windows(text.len()).any(|it| it == text.as_bytes()));
        }
    }
    assert_eq!(shown, 2, "safety reads both candidates");
}
