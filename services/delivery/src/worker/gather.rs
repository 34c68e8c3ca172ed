//! Finds out what the gate judges: asks the peers, and reads what this service holds of others.
//!
//! Which consent is asked for follows from the content's class, which only the content tells; rendering needs the
//! recipient. So a module's class is remembered from the last time and used as a guess, and what was asked with a wrong
//! guess is asked again: the first touch of a module costs two calls more, and no answer is ever used for another
//! question than the one that was meant.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chassis::call::Call;
use chassis::deps::Deps;
use chassis::{name, status};
use eventstore::{AsOf, Error, Metadata, Timestamp};
use rapport_proto::content::v1::module_service_client::ModuleServiceClient;
use rapport_proto::content::v1::{RenderRequest, RenderResponse};
use rapport_proto::decisioning::v1::decision_service_client::DecisionServiceClient;
use rapport_proto::decisioning::v1::{
    CheckOutboundRequest, CheckOutboundResponse, OutboundEffect, RulePackActivated,
};
use rapport_proto::delivery::v1::{TouchCause, TouchRequested};
use rapport_proto::journeys::v1::journey_service_client::JourneyServiceClient;
use rapport_proto::journeys::v1::{CheckInstanceRequest, CheckInstanceResponse};
use rapport_proto::profiles::v1::facts_service_client::FactsServiceClient;
use rapport_proto::profiles::v1::{ResolveRecipientRequest, ResolveRecipientResponse};
use rapport_proto::types::ContentClass;
use rapport_proto::{audience_of, purpose_of};
use tonic::{Code, Status};

use crate::domain::instant;
use crate::domain::recipient::Recipient;
use crate::domain::sender::Sender;
use crate::gate::Gathered;
use crate::gate::caps::Policy;
use crate::ledger::Ledger;
use crate::{RULES, view};

/// What all calls of one run may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Modules whose meaning is remembered.
const REMEMBERED: usize = 10_000;
/// Longest window a line may have that interactions are read for.
const LOOKS_BACK: Duration = Duration::from_secs(366 * 86_400);

/// What the peers and the views said; the rest is read in the unit's own loop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) gathered: Gathered,
}

/// What a module says, as far as consent and coverage depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Meaning {
    class: ContentClass,
    product_id: String,
}

/// Asks.
pub(crate) struct Gatherer {
    deps: Deps,
    meanings: Mutex<HashMap<(String, String), Meaning>>,
}

impl Facts {
    /// Everything, with what the store holds of the party now.
    pub(super) fn with(
        &self,
        request: &TouchRequested,
        ledger: &Ledger,
        position: u64,
    ) -> Gathered {
        let mut gathered = self.gathered.clone();
        gathered.request = request.clone();
        gathered.position = position;
        gathered.contacts = ledger.pressure(&request.party_id).contacts;
        let own = ledger.recipient(&request.party_id).suppressions;
        gathered.suppressions.extend(own.into_values());
        gathered
    }
}

impl Gatherer {
    pub(crate) fn new(deps: &Deps) -> Self {
        Self { deps: deps.clone(), meanings: Mutex::default() }
    }

    /// Everything that does not change with the party's own streams.
    pub(super) async fn gather(
        &self,
        meta: &Metadata,
        request: &TouchRequested,
        at: Timestamp,
    ) -> Result<Facts, Error> {
        // Nobody is asked about a touch that is out of date anyway.
        if instant(request.expires_at.as_ref()) <= at {
            return Ok(Facts::default());
        }
        let call = Call::of_tenant(meta.tenant.clone(), PATIENCE);
        let gathered = call.scope(Box::pin(self.ask(meta, request, at))).await?;
        Ok(Facts { gathered })
    }

    async fn ask(
        &self,
        meta: &Metadata,
        request: &TouchRequested,
        at: Timestamp,
    ) -> Result<Gathered, Error> {
        let tenant = meta.tenant.as_str();
        self.caught_up(request).await?;
        let (instance, said) = futures::try_join!(
            self.check_instance(tenant, request, at),
            self.ask_about(tenant, request, at),
        )?;
        let Said { recipient, content, outbound } = said;
        let (market, same_address) = match &recipient {
            Some(it) => (it.market.clone(), it.same_address.clone()),
            None => Default::default(),
        };
        let database = self.deps.store.database();
        let pack = view::rules::pack(database, tenant, &market, at).await?;
        let policy = view::rules::policy(database, tenant).await?;
        same_rules(outbound.as_ref(), pack.as_ref(), policy.as_ref())?;
        let names = policy.iter().flat_map(|it| &it.lines).flat_map(|it| &it.counts);
        let names: std::collections::BTreeSet<&str> = names.map(String::as_str).collect();
        let interactions = view::contact::of_party(
            database,
            tenant,
            &request.party_id,
            names.into_iter(),
            at.minus(LOOKS_BACK),
        )
        .await?;
        Ok(Gathered {
            request: request.clone(),
            instance,
            recipient,
            content,
            outbound,
            pack,
            policy,
            suppressions: self.of_address(tenant, request, &same_address).await?,
            interactions,
            sender: self.sender(tenant, &request.sender_id).await?,
            ..Gathered::default()
        })
    }

    /// Waits for what the touch asks to have been read, as far as this service reads it itself.
    async fn caught_up(&self, request: &TouchRequested) -> Result<(), Error> {
        let known = |source: &str| source == "decisioning";
        let positions: BTreeMap<String, u64> = (request.positions.iter())
            .filter(|(source, _)| known(source))
            .map(|(source, position)| (source.clone(), *position))
            .collect();
        let caught_up = self.deps.caught_up(&[RULES], &positions).await;
        caught_up.map_err(|problem| Error::unavailable(problem.message.clone().into_owned()))
    }

    async fn check_instance(
        &self,
        tenant: &str,
        request: &TouchRequested,
        at: Timestamp,
    ) -> Result<Option<CheckInstanceResponse>, Error> {
        if request.cause() != TouchCause::Instance {
            return Ok(None);
        }
        let instance = ("instances", request.instance_id.as_str());
        let asked = CheckInstanceRequest {
            name: name::print(tenant, &[instance]),
            touch_id: request.touch_id.clone(),
            // One for each run: an answer of an earlier run is none for this one.
            request_id: format!("gate/{}/{}", request.touch_id, at.0),
            min_positions: of_source(request, "journeys"),
        };
        let mut journeys = JourneyServiceClient::new(self.deps.peers.to("journeys"));
        match journeys.check_instance(asked).await {
            Ok(told) => Ok(Some(told.into_inner())),
            Err(status) => {
                let rule = refusal(&status, "journeys")?;
                Ok(Some(CheckInstanceResponse { rule, ..Default::default() }))
            }
        }
    }

    /// Asks about recipient, content and country, until every question was asked for what the content means.
    async fn ask_about(
        &self,
        tenant: &str,
        request: &TouchRequested,
        at: Timestamp,
    ) -> Result<Said, Error> {
        let mut meaning = self.remembered(tenant, &request.module);
        for _ in 0..3 {
            let recipient = self.resolve(tenant, request, &meaning, at).await?;
            if !recipient.found {
                return Ok(Said { recipient: Some(recipient), ..Said::default() });
            }
            let (content, outbound) = futures::try_join!(
                self.render(tenant, request, &recipient, at),
                self.check_outbound(tenant, request, &recipient, &meaning, at),
            )?;
            let told =
                Meaning { class: content.content_class(), product_id: content.product_id.clone() };
            let unknown = told.class == ContentClass::Unspecified;
            if unknown || told == meaning {
                let outbound = (!unknown).then_some(outbound);
                return Ok(Said { recipient: Some(recipient), content: Some(content), outbound });
            }
            self.remember(tenant, &request.module, told.clone());
            meaning = told;
        }
        Err(Error::unavailable("the meaning of the module keeps changing"))
    }

    async fn resolve(
        &self,
        tenant: &str,
        request: &TouchRequested,
        meaning: &Meaning,
        at: Timestamp,
    ) -> Result<ResolveRecipientResponse, Error> {
        let asked = ResolveRecipientRequest {
            name: name::print(tenant, &[("parties", &request.party_id)]),
            channel: request.channel,
            purpose: purpose_of(meaning.class).into(),
            sender_id: request.sender_id.clone(),
            product_id: meaning.product_id.clone(),
            time: Some(at.to_proto()),
            min_positions: of_source(request, "profiles"),
        };
        let mut facts = FactsServiceClient::new(self.deps.peers.to("profiles"));
        match facts.resolve_recipient(asked).await {
            Ok(told) => Ok(told.into_inner()),
            Err(status) => {
                refusal(&status, "profiles")?;
                Ok(ResolveRecipientResponse::default())
            }
        }
    }

    async fn render(
        &self,
        tenant: &str,
        request: &TouchRequested,
        recipient: &ResolveRecipientResponse,
        at: Timestamp,
    ) -> Result<RenderResponse, Error> {
        let asked = RenderRequest {
            name: name::print(tenant, &[("modules", &request.module)]),
            market: recipient.market.clone(),
            audience: audience_of(recipient.kind()).into(),
            channel: request.channel,
            language: recipient.language.clone(),
            tone: String::new(),
            time: Some(at.to_proto()),
            slots: request.slots.clone(),
            party_fields: recipient.fields.clone(),
            min_positions: of_source(request, "content"),
        };
        let mut modules = ModuleServiceClient::new(self.deps.peers.to("content"));
        match modules.render(asked).await {
            Ok(told) => Ok(told.into_inner()),
            Err(status) => Ok(RenderResponse {
                content_detail: refusal(&status, "content")?,
                content_reason: "content_not_approved".into(),
                ..RenderResponse::default()
            }),
        }
    }

    async fn check_outbound(
        &self,
        tenant: &str,
        request: &TouchRequested,
        recipient: &ResolveRecipientResponse,
        meaning: &Meaning,
        at: Timestamp,
    ) -> Result<CheckOutboundResponse, Error> {
        let asked = CheckOutboundRequest {
            parent: name::print(tenant, &[]),
            party_id: request.party_id.clone(),
            audience: audience_of(recipient.kind()).into(),
            market: recipient.market.clone(),
            channel: request.channel,
            content_class: meaning.class.into(),
            time: Some(at.to_proto()),
            min_positions: of_source(request, "decisioning"),
        };
        let mut decisions = DecisionServiceClient::new(self.deps.peers.to("decisioning"));
        match decisions.check_outbound(asked).await {
            Ok(told) => Ok(told.into_inner()),
            Err(status) => Ok(CheckOutboundResponse {
                detail: refusal(&status, "decisioning")?,
                effect: OutboundEffect::Deny.into(),
                ..CheckOutboundResponse::default()
            }),
        }
    }

    /// Suppressions of the same address under other parties.
    async fn of_address(
        &self,
        tenant: &str,
        request: &TouchRequested,
        same_address: &[String],
    ) -> Result<Vec<rapport_proto::delivery::v1::RecipientSuppressed>, Error> {
        let store = &self.deps.store;
        let found = view::suppression::parties_of(store.database(), tenant, same_address).await?;
        let others: Vec<_> = found.into_iter().filter(|it| *it != request.party_id).collect();
        let loaded = store.load_many::<Recipient>(tenant, &others).await?;
        let all = loaded.into_iter().flat_map(|it| it.state.suppressions.into_values());
        Ok(all.filter(|it| same_address.contains(&it.contact_point_id)).collect())
    }

    async fn sender(
        &self,
        tenant: &str,
        sender_id: &str,
    ) -> Result<Option<rapport_proto::delivery::v1::Sender>, Error> {
        let loaded = self.deps.store.load::<Sender>(tenant, sender_id, AsOf::Now).await?;
        Ok(loaded.state.sender)
    }

    /// What a module meant the last time; at first a guess, which costs a second question when it is wrong.
    fn remembered(&self, tenant: &str, module: &str) -> Meaning {
        let meanings = self.meanings.lock().unwrap_or_else(PoisonError::into_inner);
        let known = meanings.get(&(tenant.to_owned(), module.to_owned())).cloned();
        let guess = Meaning { class: ContentClass::RxPromotional, product_id: String::new() };
        known.unwrap_or(guess)
    }

    fn remember(&self, tenant: &str, module: &str, meaning: Meaning) {
        let mut meanings = self.meanings.lock().unwrap_or_else(PoisonError::into_inner);
        if meanings.len() >= REMEMBERED {
            meanings.clear();
        }
        meanings.insert((tenant.to_owned(), module.to_owned()), meaning);
    }
}

/// What the peers told.
#[derive(Default)]
struct Said {
    recipient: Option<ResolveRecipientResponse>,
    content: Option<RenderResponse>,
    outbound: Option<CheckOutboundResponse>,
}

/// The position of one source that an answer must include.
fn of_source(request: &TouchRequested, source: &str) -> BTreeMap<String, u64> {
    let position = request.positions.get(source);
    position.map(|it| (source.to_owned(), *it)).into_iter().collect()
}

/// What a peer refused the question with, when asking again would not change the answer. Everything else is no answer.
fn refusal(status: &Status, peer: &str) -> Result<String, Error> {
    match status.code() {
        Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            let told = status::reason(status).unwrap_or_else(|| "refused".to_owned());
            Ok(told.to_ascii_lowercase())
        }
        _ => Err(Error::unavailable_because(format!("ask {peer}"), status.clone())),
    }
}

/// Quiet hours, kinds and caps are judged by the rules that `decisioning` has in force, not by those that arrived here
/// last: until both are the same, nothing is judged.
fn same_rules(
    told: Option<&CheckOutboundResponse>,
    pack: Option<&RulePackActivated>,
    policy: Option<&Policy>,
) -> Result<(), Error> {
    let Some(told) = told else {
        return Ok(());
    };
    let same_pack = told.market_pack_version == pack.map_or(0, |it| it.version);
    let same_policy = told.policy_version == policy.map_or(0, |it| it.version);
    match same_pack && same_policy {
        true => Ok(()),
        false => {
            Err(Error::unavailable("the rules in force have not arrived from decisioning yet"))
        }
    }
}
