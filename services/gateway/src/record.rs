//! From messages to calls: who is known by which id and who withdrew what, then every interaction, exactly once, then
//! what was said of customers.
//!
//! What a message says of its customer follows from its record: a message that is refused changes nobody, and one that
//! was recorded long ago sets nothing back. When a crash came between the two, the same message sent again finds its
//! record and does the rest; what was done is not done twice, by the request's id. Withdrawals alone come first and
//! whatever becomes of the message: they must not be lost.

use std::collections::BTreeMap;
use std::future::Future;

use chassis::Call;
use chassis::deps::Deps;
use chassis::status::{reason, violations};
use prost::Message as _;
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

use crate::answer::{Refusal, failed};
use crate::keys::{PATIENCE, Source};
use crate::message::{self, Around, Kind, Message, Unusable};

/// Interactions in one call.
const AT_ONCE: usize = 256;
/// Bytes of the interactions in one call, unless one alone is larger: so many are recorded in good time.
const CALL_BYTES: usize = 256 << 10;
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
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) outcomes: Vec<Outcome>,
    /// Position in the log of `profiles` at which it holds.
    pub(crate) position: u64,
}

/// Records everything; an error means that the whole must be sent again. `kind` is the path's, absent for a batch.
pub(crate) async fn record(
    deps: &Deps,
    source: &Source,
    items: &[Value],
    kind: Option<Kind>,
    around: &Around,
) -> Result<Recorded, Refusal> {
    let recorder = Recorder { deps, source };
    let most = CALL_BYTES.min(deps.max_message_bytes / 2);
    let (mut recorded, mut call, mut bytes) = (Recorded::default(), Vec::new(), 0);
    // One call after another: what a customer did stays in the order of the batch.
    for item in items {
        let item = recorder.item(message::read(item, kind, around));
        let size = item.interaction.encoded_len();
        if call.len() == AT_ONCE || (!call.is_empty() && bytes + size > most) {
            recorder.take(std::mem::take(&mut call), &mut recorded).await?;
            bytes = 0;
        }
        bytes += size;
        call.push(item);
    }
    if !call.is_empty() {
        recorder.take(call, &mut recorded).await?;
    }
    Ok(recorded)
}

/// An item on its way.
struct Item {
    /// The message without its properties; absent when it is unusable.
    message: Option<Message>,
    /// Whether its properties are what the source declares.
    fits: bool,
    interaction: NewInteraction,
    /// What we found wrong ourselves.
    refused: Option<Outcome>,
    /// The party an identify is about.
    party_id: Option<String>,
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

    fn item(&self, read: Result<Message, Unusable>) -> Item {
        let (message, fits, interaction, refused) = match read {
            Ok(mut message) => {
                let fits = fit(&self.source.clear, &message.properties);
                let interaction = interaction(&mut message);
                (Some(message), fits, interaction, None)
            }
            Err(unusable) => (None, false, remains(&unusable), Some(told(&unusable))),
        };
        Item { message, fits, interaction, refused, party_id: None }
    }

    /// Records the items of one call and carries out what they say.
    async fn take(&self, mut items: Vec<Item>, recorded: &mut Recorded) -> Result<(), Refusal> {
        for item in &mut items {
            self.prepare(item).await?;
        }
        let interactions = items.iter_mut().map(|it| std::mem::take(&mut it.interaction)).collect();
        let (verdicts, position) = self.send(interactions).await?;
        recorded.position = recorded.position.max(position);
        for (item, verdict) in items.into_iter().zip(verdicts) {
            // What we found wrong ourselves says more than that `profiles` could not use what was left of it.
            let mut outcome = item.refused.unwrap_or_else(|| judged(&verdict));
            if let Some((message, party_id)) = item.message.zip(item.party_id)
                && outcome == Outcome::Stored
                && has_effect(&verdict)
            {
                match self.set(&message, &party_id).await {
                    Ok(position) => recorded.position = recorded.position.max(position),
                    Err(status) => outcome = for_good(status)?,
                }
            }
            recorded.outcomes.push(outcome);
        }
        Ok(())
    }

    async fn send(
        &self,
        interactions: Vec<NewInteraction>,
    ) -> Result<(Vec<Verdict>, u64), Refusal> {
        let mut client = SourceServiceClient::new(self.deps.peers.to("profiles"));
        let parent = self.name("sources", &self.source.source_id);
        // The message ids make it idempotent, for ever.
        let request = RecordInteractionsRequest { parent, interactions, request_id: String::new() };
        let reply = self.call(client.record_interactions(request)).await.map_err(of_call)?;
        Ok((reply.verdicts, reply.position))
    }

    /// What must be so before the message is recorded: its customer is known, so that it is recorded of them, and what
    /// they withdrew counts. A message that does not fit will be refused, so it makes nobody known.
    async fn prepare(&self, item: &mut Item) -> Result<(), Refusal> {
        let Some(message) = &item.message else { return Ok(()) };
        let done = match message.kind {
            Kind::Identify if item.fits => {
                self.identify(message).await.map(|known| item.party_id = known)
            }
            Kind::Alias if item.fits => self.alias(message).await,
            Kind::Track => {
                item.refused = self.withdraw(message).await?;
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(status) = done {
            item.refused = Some(for_good(status)?);
        }
        Ok(())
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

    /// The party that has the user id. An unknown one is registered if what it is was said too.
    async fn identify(&self, message: &Message) -> Result<Option<String>, Status> {
        if message.user_id.is_empty() {
            return Ok(None);
        }
        let Some(party) = self.lookup(USER, &message.user_id).await? else {
            return self.register(message).await;
        };
        self.name_too(message, &party.party_id, &message.anonymous_id).await?;
        Ok(Some(party.party_id))
    }

    /// What was said of a party becomes its attributes. Returns the position at which they hold.
    async fn set(&self, message: &Message, party_id: &str) -> Result<u64, Status> {
        let (attributes, personal_attributes) = self.attributes(&message.traits);
        if attributes.is_empty() && personal_attributes.is_empty() {
            return Ok(0);
        }
        let request = SetAttributesRequest {
            name: self.name("parties", party_id),
            attributes,
            personal_attributes,
            request_id: self.request_id(message, "attributes"),
            ..Default::default()
        };
        let mut client = self.parties();
        Ok(self.call(client.set_attributes(request)).await?.position)
    }

    /// With what is said of it, so that what cannot be said of a party registers none.
    async fn register(&self, message: &Message) -> Result<Option<String>, Status> {
        let said =
            |name: &str| message.traits.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = PartyKind::from_str_name(&format!("PARTY_KIND_{}", said("kind")));
        let Some(kind) = kind.filter(|_| !said("market").is_empty()) else { return Ok(None) };
        let (attributes, personal_attributes) = self.attributes(&message.traits);
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
        let reply = self.call(client.register_party(request)).await?;
        Ok(reply.party.map(|it| it.party_id))
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

    /// A category called `PURPOSE/CHANNEL/sender` that is off withdraws that consent, from now on: the sender's clock may
    /// be wrong, and what it says is kept as evidence. One that is on grants nothing: a grant needs the text that was
    /// agreed to. All that can be withdrawn is, then the first thing that could not be is told.
    async fn withdraw(&self, message: &Message) -> Result<Option<Outcome>, Refusal> {
        let mut refused = None;
        for (category, preferred) in &message.preferences {
            let parts: Vec<_> = category.split('/').collect();
            let [purpose, channel, sender_id] = parts[..] else { continue };
            if preferred == &Value::Bool(true) {
                continue;
            }
            let purpose = Purpose::from_str_name(&format!("PURPOSE_{purpose}"));
            let channel = Channel::from_str_name(&format!("CHANNEL_{channel}"));
            let key = purpose.zip(channel).filter(|_| preferred == &Value::Bool(false));
            let Some((purpose, channel)) = key else {
                refused.get_or_insert_with(|| unreadable(category));
                continue;
            };
            let key = ConsentKey {
                purpose: purpose.into(),
                channel: channel.into(),
                sender_id: sender_id.to_owned(),
                ..Default::default()
            };
            if let Err(status) = self.withdraw_one(message, key).await {
                let told = for_good(status)?;
                refused.get_or_insert(told);
            }
        }
        Ok(refused)
    }

    async fn withdraw_one(&self, message: &Message, key: ConsentKey) -> Result<(), Status> {
        let (system, id) = known_by(message);
        let Some(party) = self.lookup(system, id).await? else { return Ok(()) };
        let key = ConsentKey { party_id: party.party_id, market: party.market, ..key };
        let stated = message.stated_at.map(|at| format!(", stated {at}")).unwrap_or_default();
        let what = eventstore::hex(&eventstore::digest(&key.encode_to_vec()));
        let request = WithdrawConsentRequest {
            parent: self.parent(),
            key: Some(key),
            reason: "preference_updated".into(),
            source: self.source.source_id.clone(),
            evidence: format!("{}{stated}", message.message_id),
            // When `profiles` hears of it.
            captured_time: None,
            request_id: self.request_id(message, &what),
        };
        let mut client = ConsentServiceClient::new(self.deps.peers.to("profiles"));
        self.call(client.withdraw_consent(request)).await.map(drop)
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

/// Whether declared properties are as they are declared: `profiles` refuses a message of which they are not.
fn fit(declared: &BTreeMap<String, ClearKind>, properties: &Map<String, Value>) -> bool {
    let fits = |kind: ClearKind, value: &Value| match kind {
        ClearKind::Money => {
            value.get("currency_code").is_some_and(Value::is_string)
                && value.get("amount").is_some_and(|it| it.is_string() || it.is_number())
        }
        kind => clear_value(kind, value).is_some(),
    };
    (properties.iter())
        .filter(|it| !it.1.is_null())
        .all(|(name, value)| declared.get(name).is_none_or(|kind| fits(*kind, value)))
}

/// System and value of the identifier that a message gives its customer.
fn known_by(message: &Message) -> (&'static str, &str) {
    match &*message.user_id {
        "" => (ANONYMOUS, &message.anonymous_id),
        user_id => (USER, user_id),
    }
}

/// Takes the properties. Whoever is known by an anonymous id only, and not known by that, is nobody yet.
fn interaction(message: &mut Message) -> NewInteraction {
    let properties = std::mem::take(&mut message.properties);
    let (system, id) = known_by(message);
    NewInteraction {
        message_id: message.message_id.clone(),
        name: message.name.clone(),
        occurred_time: Some(message.at.to_proto()),
        properties: Some(structure(properties)),
        party: Some(new_interaction::Party::Identifier(named(system, id.to_owned()))),
        party_optional: message.user_id.is_empty(),
        sender_digest: message.digest.clone(),
        ..Default::default()
    }
}

/// A call that was refused as a whole is no verdict on any of its messages: an SDK drops what it is told is wrong.
fn of_call(status: Status) -> Refusal {
    if status.code() == Code::InvalidArgument { failed(&status) } else { status.into() }
}

/// What is refused for good is told to the sender of the message; anything else is tried again as a whole.
fn for_good(status: Status) -> Result<Outcome, Refusal> {
    match status.code() {
        Code::InvalidArgument | Code::AlreadyExists | Code::FailedPrecondition | Code::NotFound => {
            let violation = violations(&status).into_iter().next();
            let (field, detail) = violation.map_or_else(
                || (String::new(), status.message().to_owned()),
                |it| (it.field, it.remedy),
            );
            let code = reason(&status).unwrap_or_default().to_lowercase();
            Ok(Outcome::Rejected { code, field, detail })
        }
        _ => Err(status.into()),
    }
}

fn judged(verdict: &Verdict) -> Outcome {
    match verdict.outcome() {
        Told::Rejected => Outcome::Rejected {
            code: verdict.code.clone(),
            field: String::new(),
            detail: verdict.detail.clone(),
        },
        Told::Conflicted => Outcome::Rejected {
            code: "conflict".into(),
            field: "messageId".into(),
            detail: "This messageId was used before with other content.".into(),
        },
        Told::Recorded | Told::Duplicate | Told::Unspecified => Outcome::Stored,
    }
}

/// Whether what a message says of its customer is to be carried out. After a late duplicate it could set back what was
/// said since; after an earlier one it finishes what was begun, or changes nothing.
fn has_effect(verdict: &Verdict) -> bool {
    match verdict.outcome() {
        Told::Recorded => true,
        Told::Duplicate => verdict.code.is_empty(),
        Told::Conflicted | Told::Rejected | Told::Unspecified => false,
    }
}

/// A category that looks like a consent and is none.
fn unreadable(category: &str) -> Outcome {
    let category: String = category.chars().take(128).collect();
    Outcome::Rejected {
        code: "schema".into(),
        field: format!("{}.{category}", message::PREFERENCES),
        detail: "Write PURPOSE/CHANNEL/sender, for example PROMOTIONAL/EMAIL/northwind, and true or false."
            .into(),
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
fn remains(unusable: &Unusable) -> NewInteraction {
    let raw = [("raw".to_owned(), Value::String(unusable.raw.clone()))].into_iter().collect();
    NewInteraction {
        message_id: unusable.message_id.clone(),
        properties: Some(structure(raw)),
        sender_digest: unusable.digest.clone(),
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

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;

    fn told(outcome: Told, code: &str) -> Verdict {
        Verdict { outcome: outcome.into(), code: code.into(), ..Verdict::default() }
    }

    #[test]
    fn only_what_is_recorded_changes_a_customer_and_nothing_is_set_back() {
        assert!(has_effect(&told(Told::Recorded, "")));
        assert!(has_effect(&told(Told::Duplicate, "")), "a crash may have left it undone");
        assert!(!has_effect(&told(Told::Duplicate, "late")));
        assert!(!has_effect(&told(Told::Conflicted, "")));
        assert!(!has_effect(&told(Told::Rejected, "schema")));
    }

    #[test]
    fn a_call_that_is_refused_as_a_whole_is_no_verdict_on_its_messages() {
        let status = |status: Status| of_call(status).status;
        let refused = Status::invalid_argument("it cannot be read");
        assert_eq!(status(refused), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(status(Status::unavailable("down")), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(Status::resource_exhausted("busy")), StatusCode::TOO_MANY_REQUESTS);
    }

    #[test]
    fn declared_properties_fit_as_profiles_reads_them() {
        let declared = [
            ("beds".to_owned(), ClearKind::Number),
            ("tier".to_owned(), ClearKind::Code),
            ("spent".to_owned(), ClearKind::Money),
        ];
        let fits = |properties: Value| {
            let properties = properties.as_object().cloned().expect("an object");
            fit(&declared.clone().into(), &properties)
        };
        assert!(fits(json!({"beds": 3, "tier": null, "other": {}})));
        assert!(fits(json!({"spent": {"currency_code": "EUR", "amount": "12.50"}})));
        for misfit in [json!({"beds": "many"}), json!({"tier": 1}), json!({"spent": 3})] {
            assert!(!fits(misfit.clone()), "{misfit}");
        }
    }
}
