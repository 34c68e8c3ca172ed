//! The service through its API: typed clients, the real layers, SQLite, a clock that moves when told.

mod bad_input;
mod consent;
mod consumers;
mod facts;
mod golden;
mod indexes;
mod interactions;
mod markets;
mod neighbours;
mod packs;
mod party;
mod recipient;
mod relation;
mod segments;
mod tenancy;
mod view;

use std::path::Path;

use chassis::assembly::Target;
use chassis::settings::Settings;
use chassis::status::{reason, violations};
use chassis::testing::{Connection, Harness, TENANTS};
use eventstore::Timestamp;
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::consent_service_client::ConsentServiceClient;
use rapport_proto::profiles::v1::facts_service_client::FactsServiceClient;
use rapport_proto::profiles::v1::party_service_client::PartyServiceClient;
use rapport_proto::profiles::v1::segment_service_client::SegmentServiceClient;
use rapport_proto::profiles::v1::source_service_client::SourceServiceClient;
use rapport_proto::types::{Channel, ClearKind, PartyKind, Purpose, Regime};
use tonic::{Code, Status};

const ACME: &str = TENANTS[0];
const UMBRELLA: &str = TENANTS[1];
const NPI: &str = "1234567893";
const EMAIL: &str = "ada@example.org";
const WRITE_KEY: &str = "a-key-of-sixteen-letters-or-more";

const TARGET: Target = Target {
    name: "profiles",
    schema: crate::schema,
    reasons: crate::REASONS,
    service: crate::service,
};

struct World {
    harness: Harness,
}

impl World {
    async fn start() -> Self {
        Self { harness: Harness::start(&[TARGET]).await }
    }

    /// The same service on PostgreSQL, which is no embedded mode: the keys come from files in `keys`.
    async fn on_postgres(url: String, keys: &Path) -> Self {
        let file = |name: &str, secret: &str| {
            let path = keys.join(name);
            std::fs::write(&path, secret).expect("a key file");
            path
        };
        let kek_file = file("root.key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        let service_key_file = file("service.key", &"k".repeat(64));
        let change = |settings: &mut Settings| {
            // One service needs one database; settings insist on its name in the URL.
            settings.database.url = format!("{url}?application_name={{service}}");
            settings.keys.kek_file = kek_file;
            settings.auth.service_key_file = service_key_file;
        };
        Self { harness: Harness::with(&[TARGET], change).await }
    }

    fn parties(&self) -> PartyServiceClient<Connection> {
        PartyServiceClient::new(self.harness.admin())
    }

    fn consents(&self) -> ConsentServiceClient<Connection> {
        ConsentServiceClient::new(self.harness.admin())
    }

    fn facts(&self) -> FactsServiceClient<Connection> {
        FactsServiceClient::new(self.harness.admin())
    }

    fn sources(&self) -> SourceServiceClient<Connection> {
        SourceServiceClient::new(self.harness.admin())
    }

    /// Registers a party and returns its id.
    async fn register(&self, request: proto::RegisterPartyRequest) -> String {
        let reply = self.parties().register_party(request).await.expect("registered").into_inner();
        reply.party.expect("a party").party_id
    }

    async fn party_of(&self, kind: PartyKind) -> String {
        self.register(registration(kind)).await
    }

    async fn get(&self, party_id: &str) -> proto::Party {
        let request = proto::GetPartyRequest { name: party_name(party_id), ..Default::default() };
        let reply = self.parties().get_party(request).await.expect("found").into_inner();
        reply.party.expect("a party")
    }

    async fn source(&self, source_id: &str) {
        self.sources().register_source(source_registration(source_id)).await.expect("registered");
    }

    /// Destroys a party's key, once nobody reads what it seals: a reader may keep a key it has in its hands.
    async fn erase(&self, party_id: &str) {
        let deps = self.harness.deps("profiles");
        let head = deps.store.read_head().await.expect("read").position;
        let consumer = crate::segments::CONSUMER;
        let handled = async {
            while deps.handled(consumer, "profiles").await.expect("read") < head {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(120), handled).await.expect("handled");
        let now = deps.clock.now();
        deps.store.keys().destroy(ACME, party_id, "request", now).await.expect("destroyed");
    }

    fn head(&self) -> u64 {
        self.harness.deps("profiles").store.head().position
    }
}

fn party_name(party_id: &str) -> String {
    format!("tenants/{ACME}/parties/{party_id}")
}

fn parent() -> String {
    format!("tenants/{ACME}")
}

fn registration(kind: PartyKind) -> proto::RegisterPartyRequest {
    proto::RegisterPartyRequest {
        parent: parent(),
        kind: kind.into(),
        market: "DE".into(),
        language: "de".into(),
        time_zone: "Europe/Berlin".into(),
        ..Default::default()
    }
}

/// A professional with an NPI, an address and a name.
fn professional() -> proto::RegisterPartyRequest {
    proto::RegisterPartyRequest {
        identifiers: vec![identifier("npi", NPI)],
        contact_points: vec![email(EMAIL)],
        personal_attributes: [("last_name".to_owned(), "Lovelace".to_owned())].into(),
        ..registration(PartyKind::Hcp)
    }
}

fn identifier(system: &str, value: &str) -> proto::Identifier {
    proto::Identifier { system: system.into(), value: value.into(), ..Default::default() }
}

fn email(address: &str) -> proto::ContactPoint {
    proto::ContactPoint {
        channel: Channel::Email.into(),
        value: address.into(),
        ..Default::default()
    }
}

fn source_registration(source_id: &str) -> proto::RegisterSourceRequest {
    let field =
        |name: &str, kind: ClearKind| proto::ClearField { name: name.into(), kind: kind.into() };
    proto::RegisterSourceRequest {
        parent: parent(),
        source_id: source_id.into(),
        owner: "web team".into(),
        clear_fields: vec![field("total", ClearKind::Money), field("sku", ClearKind::Code)],
        ..Default::default()
    }
}

fn consent_key(party_id: &str) -> proto::ConsentKey {
    proto::ConsentKey {
        party_id: party_id.into(),
        purpose: Purpose::Promotional.into(),
        channel: Channel::Email.into(),
        sender_id: "northwind".into(),
        market: "DE".into(),
    }
}

fn grant(party_id: &str) -> proto::RecordConsentRequest {
    proto::RecordConsentRequest {
        parent: parent(),
        key: Some(consent_key(party_id)),
        state: proto::consent::State::Granted.into(),
        regime_shown: Regime::OptIn.into(),
        source: "paper-form".into(),
        evidence: "scan 7".into(),
        text_version: "v3".into(),
        language: "de".into(),
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
