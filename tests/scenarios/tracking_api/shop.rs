//! A web shop with a write key, in front of a platform of `profiles` and `gateway`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use rapport::remote::{Remote, told};
use rapport_proto::profiles::v1::{
    ClearField, Identifier, InteractionConflicted, InteractionRecorded, InteractionRejected,
    ListInteractionsRequest, LookupPartyRequest, Party, RegisterPartyRequest,
    RegisterSourceRequest,
};
use rapport_proto::types::{ClearKind, PartyKind};
use serde_json::Value;
use support::{Message, Platform, Topology, Web};

use crate::NODE;

/// The shop's key.
pub(crate) const KEY: &str = "key-of-the-web-shop";

/// The shop and its platform.
pub(crate) struct Shop {
    pub(crate) platform: Platform,
    pub(crate) remote: Remote,
    pub(crate) web: Web,
}

impl Shop {
    /// A platform with further settings, that parks at a point if one is given, and a source.
    pub(crate) async fn open(topology: Topology, settings: &[&str], parks: Option<&str>) -> Self {
        let mut platform = Platform::some(topology, NODE, &["profiles", "gateway"]).await;
        platform.extra.extend(settings.iter().map(|it| (*it).to_owned()));
        platform.start(parks);
        let shop = Self::of(platform);
        shop.register("shop", KEY).await;
        shop
    }

    /// The shop of a platform that runs.
    pub(crate) fn of(platform: Platform) -> Self {
        let remote = platform.remote("acme", "operator");
        let web = Web::new(platform.node("gateway").grpc.clone());
        Self { platform, remote, web }
    }

    /// Registers a source with a key.
    pub(crate) async fn register(&self, source_id: &str, write_key: &str) {
        let clear =
            |name: &str, kind: ClearKind| ClearField { name: name.into(), kind: kind.into() };
        let request = RegisterSourceRequest {
            parent: self.remote.parent.clone(),
            source_id: source_id.into(),
            owner: "shop team".into(),
            clear_fields: vec![clear("total", ClearKind::Number), clear("tier", ClearKind::Code)],
            write_key: write_key.into(),
            ..Default::default()
        };
        told(self.remote.sources.clone().register_source(request).await).expect("a source");
    }

    /// A pharmacist whom the shop knows by an id.
    pub(crate) async fn customer(&self, user_id: &str) -> String {
        let request = RegisterPartyRequest {
            parent: self.remote.parent.clone(),
            kind: PartyKind::Pharmacist.into(),
            market: "US".into(),
            identifiers: vec![Identifier {
                system: "user-id".into(),
                value: user_id.into(),
                ..Identifier::default()
            }],
            request_id: format!("register-{user_id}"),
            ..Default::default()
        };
        let reply = told(self.remote.parties.clone().register_party(request).await);
        reply.expect("registered").party.expect("a party").party_id
    }

    /// Posts as an SDK does.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Message {
        let key = basic(KEY);
        let headers = [("authorization", &*key), ("content-type", "application/json")];
        let answer = self.web.ask("POST", path, &headers, body.to_string().as_bytes()).await;
        answer.expect("an answer")
    }

    /// Who has an identifier.
    pub(crate) async fn lookup(&self, system: &str, value: &str) -> Option<Party> {
        let request = LookupPartyRequest {
            parent: self.remote.parent.clone(),
            system: system.into(),
            value: value.into(),
            ..Default::default()
        };
        let reply = self.remote.parties.clone().lookup_party(request).await;
        reply.ok().and_then(|it| it.into_inner().party)
    }

    /// Names of what a party did, in the order in which it happened.
    pub(crate) async fn did(&self, party_id: &str) -> Vec<String> {
        let request = ListInteractionsRequest {
            parent: self.remote.name("parties", party_id),
            page_size: 1_000,
            ..Default::default()
        };
        let reply = told(self.remote.sources.clone().list_interactions(request).await);
        reply.expect("interactions").interactions.into_iter().map(|it| it.name).collect()
    }

    /// What became of messages, from the log.
    pub(crate) async fn log(&self) -> Log {
        let mut log = Log::default();
        for (position, envelope) in self.platform.log_of("profiles").await {
            log.head = position;
            let payload = &*envelope.payload;
            match envelope.r#type.rsplit('.').next().unwrap_or_default() {
                "InteractionRecorded" => {
                    let it = InteractionRecorded::decode(payload).expect("an event");
                    *log.recorded.entry(it.message_id.clone()).or_default() += 1;
                    log.in_order.push((it.message_id, envelope.party_id));
                }
                "InteractionRejected" => {
                    let it = InteractionRejected::decode(payload).expect("an event");
                    log.refused.push((it.message_id, it.code));
                }
                "InteractionConflicted" => {
                    let it = InteractionConflicted::decode(payload).expect("an event");
                    log.refused.push((it.message_id, "conflict".into()));
                }
                _ => {}
            }
        }
        log
    }
}

/// What the log says of messages.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) head: u64,
    /// How often each was recorded.
    pub(crate) recorded: BTreeMap<String, usize>,
    /// Messages and their parties, by position.
    pub(crate) in_order: Vec<(String, String)>,
    /// Messages that were kept without being recorded, and why.
    pub(crate) refused: Vec<(String, String)>,
}

/// The header of a key.
pub(crate) fn basic(key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{key}:")))
}
