//! From messages to calls: what identify and alias say of a customer first, then every interaction, exactly once.

use std::collections::BTreeMap;
use std::future::Future;

use chassis::Call;
use chassis::deps::Deps;
use chassis::status::{reason, violations};
use prost_types::value::Kind as Shape;
use prost_types::{ListValue, Struct};
use rapport_proto::profiles::v1::consent_service_client::ConsentServiceClient;
use rapport_proto::profiles::v1::party_service_client::PartyServiceClient;
use rapport_proto::profiles::v1::record_interactions_response::{
    Verdict, verdict::Outcome as Told,
};
use rapport_proto::profiles::v1::source_service_client::SourceServiceClient;
use rapport_proto::profiles::v1::{
    AddIdentifierRequest, ConsentKey, Identifier, IdentifierRef, LookupPartyRequest,
    NewInteraction, Party, RecordInteractionsRequest, RegisterPartyRequest, SetAttributesRequest,
    WithdrawConsentRequest, new_interaction,
};
use rapport_proto::types::{Channel, Clear, ClearKind, PartyKind, Purpose, clear};
use serde_json::{Map, Value};
use tonic::{Code, Response, Status};

use crate::answer::Refusal;
use crate::keys::{PATIENCE, Source};
use crate::message::{Kind, Message, Unusable};

/// Interactions in one call.
const AT_ONCE: usize = 256;
/// What userId and anonymousId are called in `profiles`.
const USER: &str = "user-id";
const ANONYMOUS: &str = "anonymous-id";
/// Traits that say what a new party is; they are no attributes.
const RESERVED: [&str; 4] = ["kind", "market", "language", "time_zone"];

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stored,
    /// Kept by `profiles` as unusable.
    Rejected {
        code: String,
        field: String,
        detail: String,
    },
}

/// What became of all items.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) outcomes: Vec<Outcome>,
    /// Position in the log of `profiles` at which it holds.
    pub(crate) position: u64,
}

/// Records everything; an error means that the whole must be sent again.
pub(crate) async fn record(
    deps: &Deps,
    source: &Source,
    items: Vec<Result<Message, Unusable>>,
) -> Result<Recorded, Refusal> {
    let recorder = Recorder { deps, source };
    let (mut outcomes, mut interactions) = (Vec::new(), Vec::new());
    for item in items {
        let (outcome, interaction) = match item {
            Ok(message) => {
                let refused = recorder.apply(&message).await?;
                (refused.unwrap_or(Outcome::Stored), interaction(message))
            }
            Err(unusable) => (told(&unusable), remains(unusable)),
        };
        outcomes.push(outcome);
        interactions.push(interaction);
    }
    let (mut told, mut position) = (Vec::new(), 0);
    let mut interactions = interactions.into_iter();
    loop {
        // One after another: what a customer did stays in the order of the batch.
        let some: Vec<_> = interactions.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            break;
        }
        let (verdicts, at) = recorder.send(some).await?;
        told.extend(verdicts);
        position = at;
    }
    // What we found wrong ourselves says more than that `profiles` could not use what was left of it.
    let first = |(ours, theirs): (Outcome, Outcome)| match ours {
        Outcome::Stored => theirs,
        rejected @ Outcome::Rejected { .. } => rejected,
    };
    Ok(Recorded { outcomes: outcomes.into_iter().zip(told).map(first).collect(), position })
}

struct Recorder<'a> {
    deps: &'a Deps,
    source: &'a Source,
}

impl Recorder<'_> {
    fn parent(&self) -> String {
        format!("tenants/{}", self.source.tenant)
    }

    fn name(&self, collection: &str, id: &str) -> String {
        format!("tenants/{}/{collection}/{id}", self.source.tenant)
    }

    fn request_id(&self, message: &Message, what: &str) -> String {
        let parts = [&*self.source.tenant, &*self.source.source_id, &*message.message_id, what];
        eventstore::derive_id("gtw", &parts)
    }

    /// A call for the source's tenant.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        let scope = Call::of_tenant(&self.source.tenant, PATIENCE);
        scope.scope(call).await.map(Response::into_inner)
    }

    fn parties(&self) -> PartyServiceClient<chassis::peers::Peer> {
        PartyServiceClient::new(self.deps.peers.to("profiles"))
    }

    async fn send(
        &self,
        interactions: Vec<NewInteraction>,
    ) -> Result<(Vec<Outcome>, u64), Refusal> {
        let mut client = SourceServiceClient::new(self.deps.peers.to("profiles"));
        let parent = self.name("sources", &self.source.source_id);
        // The message ids make it idempotent, for ever.
        let request = RecordInteractionsRequest { parent, interactions, request_id: String::new() };
        let reply = self.call(client.record_interactions(request)).await?;
        let outcome = |it: Verdict| match it.outcome() {
            Told::Rejected => {
                Outcome::Rejected { code: it.code, field: String::new(), detail: it.detail }
            }
            Told::Conflicted => Outcome::Rejected {
                code: "conflict".into(),
                field: "messageId".into(),
                detail: "This messageId was used before with other content.".into(),
            },
            Told::Recorded | Told::Duplicate | Told::Unspecified => Outcome::Stored,
        };
        Ok((reply.verdicts.into_iter().map(outcome).collect(), reply.position))
    }

    /// Carries out what a message says of its customer, before it is recorded itself.
    async fn apply(&self, message: &Message) -> Result<Option<Outcome>, Refusal> {
        let done = match message.kind {
            Kind::Identify => self.identify(message).await,
            Kind::Alias => self.alias(message).await,
            Kind::Track if !message.preferences.is_empty() => self.withdraw(message).await,
            _ => Ok(()),
        };
        let Err(status) = done else { return Ok(None) };
        // Refused for good: the message is recorded, and its sender is told. Anything else is tried again as a whole.
        match status.code() {
            Code::InvalidArgument
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::NotFound => {
                let violation = violations(&status).into_iter().next();
                let (field, detail) = violation.map_or_else(
                    || (String::new(), status.message().to_owned()),
                    |it| (it.field, it.remedy),
                );
                let code = reason(&status).unwrap_or_default().to_lowercase();
                Ok(Some(Outcome::Rejected { code, field, detail }))
            }
            _ => Err(status.into()),
        }
    }

    async fn lookup(&self, system: &str, value: &str) -> Result<Option<Party>, Status> {
        let request = LookupPartyRequest {
            parent: self.parent(),
            system: system.to_owned(),
            value: value.to_owned(),
            ..Default::default()
        };
        let mut client = self.parties();
        match self.call(client.lookup_party(request)).await {
            Ok(reply) => Ok(reply.party),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// What is said of a known party becomes its attributes; an unknown one is registered if what it is was said too.
    async fn identify(&self, message: &Message) -> Result<(), Status> {
        if message.user_id.is_empty() {
            return Ok(());
        }
        let (attributes, personal_attributes) = self.attributes(&message.traits);
        let party = match self.lookup(USER, &message.user_id).await? {
            Some(party) => party,
            None => return self.register(message, attributes, personal_attributes).await,
        };
        if !attributes.is_empty() || !personal_attributes.is_empty() {
            let request = SetAttributesRequest {
                name: self.name("parties", &party.party_id),
                attributes,
                personal_attributes,
                request_id: self.request_id(message, "attributes"),
                ..Default::default()
            };
            let mut client = self.parties();
            self.call(client.set_attributes(request)).await?;
        }
        self.name_too(message, &party.party_id, &message.anonymous_id).await
    }

    async fn register(
        &self,
        message: &Message,
        attributes: BTreeMap<String, Clear>,
        personal_attributes: BTreeMap<String, String>,
    ) -> Result<(), Status> {
        let said =
            |name: &str| message.traits.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = PartyKind::from_str_name(&format!("PARTY_KIND_{}", said("kind")));
        let Some(kind) = kind.filter(|_| !said("market").is_empty()) else { return Ok(()) };
        let named = [(USER, &message.user_id), (ANONYMOUS, &message.anonymous_id)];
        let request = RegisterPartyRequest {
            parent: self.parent(),
            kind: kind.into(),
            market: said("market").to_owned(),
            language: said("language").to_owned(),
            time_zone: said("time_zone").to_owned(),
            source_id: self.source.source_id.clone(),
            attributes,
            personal_attributes,
            identifiers: named.into_iter().filter(|it| !it.1.is_empty()).map(identifier).collect(),
            request_id: self.request_id(message, "register"),
            ..Default::default()
        };
        let mut client = self.parties();
        self.call(client.register_party(request)).await.map(drop)
    }

    /// From now on the party is known by another id too.
    async fn name_too(
        &self,
        message: &Message,
        party_id: &str,
        anonymous_id: &str,
    ) -> Result<(), Status> {
        if anonymous_id.is_empty() || self.lookup(ANONYMOUS, anonymous_id).await?.is_some() {
            return Ok(());
        }
        let request = AddIdentifierRequest {
            name: self.name("parties", party_id),
            identifier: Some(identifier((ANONYMOUS, &anonymous_id.to_owned()))),
            request_id: self.request_id(message, "identifier"),
        };
        let mut client = self.parties();
        self.call(client.add_identifier(request)).await.map(drop)
    }

    async fn alias(&self, message: &Message) -> Result<(), Status> {
        match self.lookup(USER, &message.user_id).await? {
            Some(party) => self.name_too(message, &party.party_id, &message.previous_id).await,
            None => Ok(()),
        }
    }

    /// A category called `PURPOSE/CHANNEL/sender` that is off withdraws that consent. One that is on grants nothing:
    /// a grant needs the text that was agreed to.
    async fn withdraw(&self, message: &Message) -> Result<(), Status> {
        let Some(party) = self.lookup(USER, &message.user_id).await? else { return Ok(()) };
        for (category, _) in message.preferences.iter().filter(|it| it.1 == &Value::Bool(false)) {
            let parts: Vec<_> = category.split('/').collect();
            let [purpose, channel, sender_id] = parts[..] else { continue };
            let purpose = Purpose::from_str_name(&format!("PURPOSE_{purpose}"));
            let channel = Channel::from_str_name(&format!("CHANNEL_{channel}"));
            let Some((purpose, channel)) = purpose.zip(channel) else { continue };
            let request = WithdrawConsentRequest {
                parent: self.parent(),
                key: Some(ConsentKey {
                    party_id: party.party_id.clone(),
                    purpose: purpose.into(),
                    channel: channel.into(),
                    sender_id: sender_id.to_owned(),
                    market: party.market.clone(),
                }),
                reason: "preference_updated".into(),
                source: self.source.source_id.clone(),
                evidence: message.message_id.clone(),
                captured_time: Some(message.at.to_proto()),
                request_id: self.request_id(message, category),
            };
            let mut client = ConsentServiceClient::new(self.deps.peers.to("profiles"));
            self.call(client.withdraw_consent(request)).await?;
        }
        Ok(())
    }

    /// Attributes that the source declares as clear, where they fit; everything else is personal.
    fn attributes(
        &self,
        traits: &Map<String, Value>,
    ) -> (BTreeMap<String, Clear>, BTreeMap<String, String>) {
        let (mut open, mut personal) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in traits.iter().filter(|it| !RESERVED.contains(&it.0.as_str())) {
            let clear = self.source.clear.get(name).and_then(|kind| clear_value(*kind, value));
            match (clear, value) {
                (Some(clear), _) => drop(open.insert(name.clone(), clear)),
                (None, Value::Null) => {}
                (None, Value::String(text)) => drop(personal.insert(name.clone(), text.clone())),
                (None, other) => drop(personal.insert(name.clone(), other.to_string())),
            }
        }
        (open, personal)
    }
}

fn named(system: &str, value: String) -> IdentifierRef {
    IdentifierRef { system: system.to_owned(), value }
}

fn identifier((system, value): (&str, &String)) -> Identifier {
    Identifier { system: system.to_owned(), value: value.clone(), ..Default::default() }
}

fn clear_value(kind: ClearKind, value: &Value) -> Option<Clear> {
    let value = match kind {
        ClearKind::Number => clear::Value::Number(value.as_f64()?),
        ClearKind::Code => clear::Value::Code(value.as_str()?.to_owned()),
        ClearKind::Flag => clear::Value::Flag(value.as_bool()?),
        ClearKind::Time => clear::Value::Time(value.as_str()?.parse().ok()?),
        ClearKind::Money | ClearKind::Unspecified => return None,
    };
    Some(Clear { value: Some(value) })
}

/// Whoever is known by an anonymous id only, and not known by that, is nobody yet.
fn interaction(message: Message) -> NewInteraction {
    let by_anonymous_id = message.user_id.is_empty();
    let party = match by_anonymous_id {
        true => named(ANONYMOUS, message.anonymous_id),
        false => named(USER, message.user_id),
    };
    NewInteraction {
        message_id: message.message_id,
        name: message.name,
        occurred_time: Some(message.at.to_proto()),
        properties: Some(structure(message.properties)),
        party: Some(new_interaction::Party::Identifier(party)),
        party_optional: by_anonymous_id,
        sender_digest: message.digest,
        ..Default::default()
    }
}

fn told(unusable: &Unusable) -> Outcome {
    Outcome::Rejected {
        code: unusable.code.to_owned(),
        field: unusable.field.to_owned(),
        detail: unusable.remedy.to_owned(),
    }
}

/// What is left of an item that cannot be used, to be kept.
fn remains(unusable: Unusable) -> NewInteraction {
    let raw = [("raw".to_owned(), Value::String(unusable.raw))].into_iter().collect();
    NewInteraction {
        message_id: unusable.message_id,
        properties: Some(structure(raw)),
        sender_digest: unusable.digest,
        unusable: unusable.code.to_owned(),
        ..Default::default()
    }
}

fn structure(map: Map<String, Value>) -> Struct {
    Struct { fields: map.into_iter().map(|(name, value)| (name, shape(value))).collect() }
}

fn shape(value: Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Shape::NullValue(0),
        Value::Bool(flag) => Shape::BoolValue(flag),
        Value::Number(number) => Shape::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Shape::StringValue(text),
        Value::Array(items) => {
            Shape::ListValue(ListValue { values: items.into_iter().map(shape).collect() })
        }
        Value::Object(map) => Shape::StructValue(structure(map)),
    };
    prost_types::Value { kind: Some(kind) }
}
