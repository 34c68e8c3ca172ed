//! The peers of the gate as targets of the harness: their stores take events a test writes, and their RPCs answer what
//! a test told them to.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use chassis::assembly::Target;
use chassis::deps::Deps;
use chassis::service::Service;
use eventstore::{Clock, Decider, Metadata, Schema, Store, Timestamp};
use http::Request;
use prost::Message;
use rapport_proto::content::v1::{Part, RenderRequest, RenderResponse, module_event};
use rapport_proto::decisioning::v1::{
    CheckOutboundRequest, CheckOutboundResponse, OutboundEffect, policy_event, rule_pack_event,
};
use rapport_proto::journeys::v1::{CheckInstanceRequest, CheckInstanceResponse, instance_event};
use rapport_proto::profiles::v1::{
    ConsentVerdict, ResolveRecipientRequest, ResolveRecipientResponse, consent_event,
    interaction_event,
};
use rapport_proto::types::{Channel, ContentClass, PartyKind, Purpose, Regime};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Response, Status};

use super::{ACME, PARTY};

/// What the peers answer, and what they were asked.
#[derive(Clone)]
pub(super) struct Script(Arc<Mutex<Answers>>);

pub(super) struct Answers {
    pub(super) recipient: ResolveRecipientResponse,
    pub(super) content: RenderResponse,
    pub(super) outbound: CheckOutboundResponse,
    pub(super) instance: CheckInstanceResponse,
    /// The RPC that cannot be reached.
    pub(super) down: &'static str,
    /// The RPC whose answer takes this long.
    pub(super) slow: (&'static str, Duration),
    /// Moved by answers that take long.
    clock: Clock,
    /// Called before an answer is given.
    pub(super) asked: Vec<String>,
}

impl Script {
    pub(super) fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().expect("nobody panics with it")
    }
}

static SCRIPTS: LazyLock<Mutex<BTreeMap<PathBuf, Script>>> = LazyLock::new(Mutex::default);

/// The script of a harness, told by its folder.
pub(super) fn script_of(deps: &Deps) -> Script {
    let mut scripts = SCRIPTS.lock().expect("nobody panics with it");
    let folder = deps.settings.delivery.outbox.clone();
    scripts.entry(folder).or_insert_with(|| Script(Arc::new(Mutex::new(yes(&deps.clock))))).clone()
}

/// A lawful promotional e-mail.
fn yes(clock: &Clock) -> Answers {
    Answers {
        recipient: ResolveRecipientResponse {
            found: true,
            state: "ACTIVE".into(),
            kind: PartyKind::Hcp.into(),
            market: "DE".into(),
            language: "de".into(),
            time_zone: "Europe/Berlin".into(),
            contact_point_id: "cpt_1".into(),
            address: "ada@example.org".into(),
            same_address: vec!["cpt_1".into()],
            consent: Some(ConsentVerdict {
                allowed: true,
                regime: Regime::OptIn.into(),
                consent_id: "con_1".into(),
                pack: "DE".into(),
                pack_version: 1,
                position: 3,
                ..Default::default()
            }),
            assignee_party_id: "pty_rep".into(),
            positions: [("profiles".to_owned(), 3)].into(),
            ..Default::default()
        },
        content: RenderResponse {
            subject: "Hello".into(),
            text: "Hello Ada".into(),
            html: "<p>Hello Ada</p>".into(),
            render_hash: "ab".repeat(32),
            parts: vec![Part {
                kind: "module".into(),
                id: "welcome".into(),
                version: 1,
                content_hash: "cd".repeat(32),
                signature_ids: vec!["sig_1".into()],
            }],
            content_class: ContentClass::DiseaseAwareness.into(),
            topic: "launch".into(),
            position: 4,
            ..Default::default()
        },
        outbound: CheckOutboundResponse {
            effect: OutboundEffect::Allow.into(),
            pack: "DE".into(),
            pack_version: 1,
            rule: "de-hcp".into(),
            position: 5,
            ..Default::default()
        },
        instance: CheckInstanceResponse {
            live: true,
            instance_version: 2,
            position: 6,
            ..Default::default()
        },
        down: "",
        slow: ("", Duration::ZERO),
        clock: clock.clone(),
        asked: Vec::new(),
    }
}

pub(super) const TARGETS: [Target; 4] = [
    Target { name: "profiles", schema: Schema::default, reasons: &[], service: profiles },
    Target { name: "content", schema: Schema::default, reasons: &[], service: content },
    Target { name: "decisioning", schema: Schema::default, reasons: &[], service: decisioning },
    Target { name: "journeys", schema: Schema::default, reasons: &[], service: journeys },
];

/// One scripted RPC of a gRPC service.
macro_rules! scripted {
    ($target:ident, $server:ident, $name:literal, $rpc:literal, $request:ty, $answer:ident) => {
        #[derive(Clone)]
        struct $server(Script);

        impl NamedService for $server {
            const NAME: &'static str = $name;
        }

        impl tower::Service<Request<Body>> for $server {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: Request<Body>) -> Self::Future {
                let script = self.0.clone();
                Box::pin(async move {
                    let answer = tower::service_fn(move |asked: tonic::Request<$request>| {
                        let script = script.clone();
                        async move {
                            let mut answers = script.lock();
                            answers.asked.push(described($rpc, asked.get_ref()));
                            if answers.slow.0 == $rpc {
                                answers.clock.advance(answers.slow.1);
                            }
                            match answers.down == $rpc {
                                true => Err(down()),
                                false => Ok(Response::new(answers.$answer.clone())),
                            }
                        }
                    });
                    let codec = tonic_prost::ProstCodec::default();
                    Ok(tonic::server::Grpc::new(codec).unary(answer, request).await)
                })
            }
        }

        fn $target(deps: &Deps) -> Service {
            Service::new().serve($server(script_of(deps)))
        }
    };
}

scripted!(
    profiles,
    Facts,
    "rapport.profiles.v1.FactsService",
    "ResolveRecipient",
    ResolveRecipientRequest,
    recipient
);
scripted!(content, Modules, "rapport.content.v1.ModuleService", "Render", RenderRequest, content);
scripted!(
    decisioning,
    Decisions,
    "rapport.decisioning.v1.DecisionService",
    "CheckOutbound",
    CheckOutboundRequest,
    outbound
);
scripted!(
    journeys,
    Journeys,
    "rapport.journeys.v1.JourneyService",
    "CheckInstance",
    CheckInstanceRequest,
    instance
);

fn down() -> Status {
    Status::unavailable("down")
}

/// What was asked, as far as tests look at it.
fn described<M: Message + std::fmt::Debug>(rpc: &str, asked: &M) -> String {
    format!("{rpc} {asked:?}")
}

/// Streams of other services: what a test writes into them is what they decide.
macro_rules! written {
    ($aggregate:ident, $name:literal, $event:ty) => {
        pub(super) enum $aggregate {}

        impl Decider for $aggregate {
            const AGGREGATE: &'static str = $name;
            type Command = Vec<$event>;
            type State = ();
            type Event = $event;
            type Refusal = Infallible;

            fn decide(
                _: &(),
                command: Vec<$event>,
                _: Timestamp,
            ) -> Result<Vec<$event>, Infallible> {
                Ok(command)
            }

            fn evolve(_: (), _: &$event) {}

            fn about(_: &str, _: &(), _: &$event) -> eventstore::About {
                eventstore::About { party_id: PARTY.into(), ..Default::default() }
            }
        }
    };
}

written!(Instance, "instance", instance_event::Event);
written!(Consent, "consent", consent_event::Event);
written!(Interaction, "interaction", interaction_event::Event);
written!(RulePack, "rule_pack", rule_pack_event::Event);
written!(Policy, "policy", policy_event::Event);
written!(Module, "module", module_event::Event);

/// Writes an event into a stream of another service; returns its position.
pub(super) async fn write<D: Decider<Command = Vec<<D as Decider>::Event>>>(
    store: &Store,
    id: &str,
    event: D::Event,
) -> u64 {
    let meta = Metadata {
        tenant: ACME.into(),
        method: "test".into(),
        request_id: format!("write-{}", store.head().position),
        at: store.clock().now(),
        ..Default::default()
    };
    store.execute::<D>(id, &meta, vec![event]).await.expect("written").position
}

/// A consent as `profiles` grants it.
pub(super) fn granted(captured_at: Timestamp) -> consent_event::Event {
    use rapport_proto::profiles::v1::{ConsentGranted, ConsentKey, ConsentProof};
    consent_event::Event::Granted(ConsentGranted {
        key: Some(ConsentKey {
            party_id: PARTY.into(),
            purpose: Purpose::Promotional.into(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
            market: "DE".into(),
        }),
        proof: Some(ConsentProof {
            captured_at: Some(captured_at.to_proto()),
            effective_at: Some(captured_at.to_proto()),
            ..Default::default()
        }),
        expires_at: None,
    })
}
