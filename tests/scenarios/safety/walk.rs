//! Calls everything that is served, made up from the descriptors, so that a call that is added tomorrow is made too.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chassis::auth::edges;
use chassis::testing::TokenSpec;
use prost_reflect::prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MethodDescriptor, Value,
};
use rapport::targets::TARGETS;
use rapport_proto::ACCESS;
use support::{Message, Web};

use crate::stage::{Stage, at};

/// What tells names apart: `tenants/{tenant}/{collection}/{id}`.
const COLLECTIONS: [&str; 22] = [
    "parties",
    "relations",
    "sources",
    "segments",
    "references",
    "claims",
    "modules",
    "policies",
    "rulepacks",
    "holdouts",
    "decisions",
    "journeys",
    "instances",
    "touches",
    "surveys",
    "invitations",
    "responses",
    "cases",
    "safetyCandidates",
    "metrics",
    "experiments",
    "alerts",
];

const INVALID_ARGUMENT: &str = "3";
const NOT_FOUND: &str = "5";

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Shows a candidate to safety, which may unseal it.
const SAFETY: &str = "rapport.feedback.v1.SafetyService.GetSafetyCandidate";
/// Has no end; its events are those of `ReadEvents`.
const ENDLESS: &str = "rapport.eventlog.v1.EventLogService.TailEvents";

/// A person who calls everything.
pub(super) struct Walk<'a> {
    stage: &'a Stage,
    names: &'a [String],
    parent: String,
    token: String,
    unseals: bool,
}

impl<'a> Walk<'a> {
    /// Somebody who may do everything.
    pub(super) fn of_everybody(stage: &'a Stage, names: &'a [String]) -> Self {
        let token = stage.platform.issuer.mint(TokenSpec::new("acme", "root", &["*"]));
        Self { stage, names, parent: stage.remote.parent.clone(), token, unseals: true }
    }

    /// Somebody who may do everything but unseal.
    pub(super) fn without_unsealing(stage: &'a Stage, names: &'a [String]) -> Self {
        let permissions = ACCESS.iter().map(|(_, permission)| *permission);
        let permissions: BTreeSet<_> = permissions.filter(|it| !it.ends_with(".unseal")).collect();
        let permissions = Vec::from_iter(permissions);
        let token = stage.platform.issuer.mint(TokenSpec::new("acme", "clerk", &permissions));
        Self { stage, names, parent: stage.remote.parent.clone(), token, unseals: false }
    }

    /// Somebody who may do everything in another tenant, and asks for things in this one or in their own.
    pub(super) fn of_another_tenant(stage: &'a Stage, names: &'a [String], parent: &str) -> Self {
        let token = stage.platform.issuer.mint(TokenSpec::new("umbrella", "root", &["*"]));
        Self { stage, names, parent: parent.to_owned(), token, unseals: false }
    }

    /// Makes every call that changes nothing; the paths of those that answered. No answer holds the text.
    pub(super) async fn through_reads(&self, text: &str) -> BTreeSet<String> {
        self.through(is_read, |path, answer| shows_not(text, path, answer)).await
    }

    /// Paths of the calls that change nothing.
    pub(super) fn reads() -> BTreeSet<String> {
        methods().iter().filter(|it| is_read(it) && it.full_name() != ENDLESS).map(path).collect()
    }

    /// Makes every call of `feedback`.
    pub(super) async fn through_all_of_feedback(&self, text: &str) -> BTreeSet<String> {
        let is_feedback = |it: &MethodDescriptor| it.full_name().starts_with("rapport.feedback.");
        self.through(is_feedback, |path, answer| shows_not(text, path, answer)).await
    }

    /// Makes every call that names a tenant, changes and all: none is answered, and each says at least once that there
    /// is no such thing. What is wrong with the rest of a request may be said first.
    pub(super) async fn is_refused(&self) {
        let names_a_tenant = |it: &MethodDescriptor| {
            ["name", "parent"].iter().any(|field| it.input().get_field_by_name(field).is_some())
        };
        let said = RefCell::new(BTreeMap::<_, BTreeSet<_>>::new());
        let refused = |path: &str, answer: &Message| {
            let is_refused = [NOT_FOUND, INVALID_ARGUMENT].contains(&&*answer.grpc_status());
            assert!(is_refused, "{path}: {:?} {}", answer.headers, answer.text());
            said.borrow_mut().entry(path.to_owned()).or_default().insert(answer.grpc_status());
        };
        self.through(names_a_tenant, refused).await;
        let said = said.into_inner();
        let silent = said.iter().filter(|it| !it.1.contains(NOT_FOUND));
        let silent: Vec<_> = silent.map(|it| it.0).collect();
        assert!(silent.is_empty(), "never said that there is no such thing: {silent:#?}");
    }

    async fn through(
        &self,
        wanted: impl Fn(&MethodDescriptor) -> bool,
        told: impl Fn(&str, &Message),
    ) -> BTreeSet<String> {
        let mut answered = BTreeSet::new();
        for method in methods().into_iter().filter(|it| wanted(it)) {
            let shows = method.full_name() == SAFETY && self.unseals;
            if shows || method.full_name() == ENDLESS {
                continue;
            }
            for target in served_by(&method) {
                let mut web = Web::new(self.stage.platform.node(target).grpc.clone());
                for request in self.requests(&method, target) {
                    let answer = self.call(&mut web, &method, &request).await;
                    told(&path(&method), &answer);
                    if is_well(&answer) {
                        answered.insert(path(&method));
                    }
                }
            }
        }
        answered
    }

    /// gRPC-Web: the answer's body holds what is said and what it ends with.
    async fn call(
        &self,
        web: &mut Web,
        method: &MethodDescriptor,
        request: &DynamicMessage,
    ) -> Message {
        let length = u32::try_from(request.encoded_len()).expect("a small message").to_be_bytes();
        let body = [&[0], &length[..], &request.encode_to_vec()].concat();
        let token = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", &*token),
            ("content-type", "application/grpc-web+proto"),
            ("x-grpc-web", "1"),
        ];
        let path = path(method);
        let answer = tokio::time::timeout(PATIENCE, web.ask("POST", &path, &headers, &body)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{path} answers for ever"));
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Requests that a method takes: for every name there is, and every value of a state.
    fn requests(&self, method: &MethodDescriptor, target: &str) -> Vec<DynamicMessage> {
        let input = method.input();
        let has = |field| input.get_field_by_name(field).is_some();
        let mut names = vec![self.parent.clone()];
        if has("name") || has("parent") {
            names.extend(self.names.iter().cloned());
            // Of what there is none the name is asked for all the same.
            let of = |name: &str| name.split('/').nth(2).map(str::to_owned);
            let known: BTreeSet<_> = self
                .names
                .iter()
                .filter(|it| it.split('/').count() == 4)
                .filter_map(|it| of(it))
                .collect();
            let absent = COLLECTIONS.iter().filter(|it| !known.contains(**it));
            names.extend(absent.map(|it| format!("{}/{it}/x", self.parent)));
        }
        let states = if input.get_field_by_name("state").is_some() { 0..5 } else { 0..1 };
        let mut requests = Vec::new();
        for name in &names {
            for state in states.clone() {
                let mut request = DynamicMessage::new(input.clone());
                for field in input.fields() {
                    if let Some(value) = self.filled(&field, name, state, target) {
                        request.set_field(&field, value);
                    }
                }
                requests.push(request);
            }
        }
        requests
    }

    fn filled(
        &self,
        field: &FieldDescriptor,
        name: &str,
        state: i32,
        target: &str,
    ) -> Option<Value> {
        let text = |text: &str| Some(Value::String(text.to_owned()));
        let named = |collection: &str| {
            let mut names = self.names.iter().map(|it| it.split('/'));
            names.find_map(|mut it| (it.nth(2) == Some(collection)).then(|| it.next()).flatten())
        };
        if field.is_list() || field.is_map() {
            return None;
        }
        match (field.name(), field.kind()) {
            ("name" | "parent", Kind::String) => text(name),
            ("party_id", Kind::String) => text(named("parties").unwrap_or_default()),
            ("invitation_id", Kind::String) => text(named("invitations").unwrap_or_default()),
            // A log is read where it is; everywhere else a source is one of several.
            ("source", Kind::String) if target_of(field).is_none() => text(target),
            ("source", Kind::String) => text("feedback"),
            ("sender_id", Kind::String) => text("northwind"),
            ("survey", Kind::String) => text("order-nps"),
            ("limit" | "page_size", Kind::Int32) => Some(Value::I32(500)),
            ("from", Kind::Message(_)) => instant(field, "2027-01-01T00:00:00Z"),
            ("until", Kind::Message(_)) => instant(field, "2027-02-01T00:00:00Z"),
            ("state", Kind::Enum(_)) => Some(Value::EnumNumber(state)),
            ("version", Kind::Uint32) => Some(Value::U32(1)),
            ("validate_only", Kind::Bool) => Some(Value::Bool(true)),
            ("receipt" | "case_number" | "reason" | "outcome" | "comment", Kind::String) => {
                text("word")
            }
            (_, Kind::Enum(_)) => Some(Value::EnumNumber(1)),
            _ => None,
        }
    }
}

fn methods() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(rapport_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
    pool.services().flat_map(|it| it.methods().collect::<Vec<_>>()).collect()
}

/// The rule of the project: what changes something takes a `request_id`, and nothing else does.
fn is_read(method: &MethodDescriptor) -> bool {
    method.input().get_field_by_name("request_id").is_none()
}

fn shows_not(text: &str, path: &str, answer: &Message) {
    let held = answer.body.windows(text.len()).any(|it| it == text.as_bytes());
    assert!(!held, "{path} shows {text}");
}

/// The targets that serve a method: its own, or every one. What drives the clock is no business of people's.
fn served_by(method: &MethodDescriptor) -> Vec<&'static str> {
    let service = method.parent_service().full_name().to_owned();
    let all = service.starts_with("rapport.eventlog.");
    let own = edges::target_of(&service);
    TARGETS.iter().map(|it| it.name).filter(|it| all || own == Some(*it)).collect()
}

/// The target of a message; nothing for what every target takes.
fn target_of(field: &FieldDescriptor) -> Option<String> {
    edges::target_of(field.parent_message().full_name()).map(str::to_owned)
}

fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// Whether it was answered, not refused.
fn is_well(answer: &Message) -> bool {
    answer.status() == 200 && answer.grpc_status() == "0"
}

fn instant(field: &FieldDescriptor, text: &str) -> Option<Value> {
    let kind = field.kind();
    let mut time = DynamicMessage::new(kind.as_message()?.clone());
    time.set_field_by_name("seconds", Value::I64(at(text).0 / 1_000_000));
    Some(Value::Message(time))
}
