//! Finds out what the gate judges: asks the peers, and reads what this service holds of others. For one touch:
//!
//! | asked or read | when | fresh because |
//! |---|---|---|
//! | `journeys.CheckInstance` | a journey asked, beside the rest | asked in each run |
//! | `profiles.ResolveRecipient` | first: rendering needs the recipient | asked in each run |
//! | `content.Render`, `decisioning.CheckOutbound` | after it, at once | asked in each run |
//! | rule pack, policy | by the versions that `CheckOutbound` names | a version never changes: kept |
//! | interactions | only those that lines count | read in each run |
//! | sender | beside the peers | read in each run |
//! | the touch, its party's pressure and suppressions | once, beside the peers | the commit insists on their versions |
//! | suppressions of the same address | only where others have it | the commit insists on their versions |
//!
//! Nothing that can be withdrawn is kept: whether content is approved, consent stands or a country allows is asked anew
//! each time, and the answer holds for five seconds.
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
use rapport_proto::decisioning::v1::{CheckOutboundRequest, CheckOutboundResponse, OutboundEffect};
use rapport_proto::delivery::v1::{
    RecipientSuppressed, Sender as SenderDocument, SuppressionCause, TouchCause, TouchRequested,
};
use rapport_proto::journeys::v1::journey_service_client::JourneyServiceClient;
use rapport_proto::journeys::v1::{CheckInstanceRequest, CheckInstanceResponse};
use rapport_proto::profiles::v1::facts_service_client::FactsServiceClient;
use rapport_proto::profiles::v1::{ResolveRecipientRequest, ResolveRecipientResponse};
use rapport_proto::types::ContentClass;
use rapport_proto::{audience_of, purpose_of};
use tonic::{Code, Status};

use super::in_force::InForce;
use crate::domain::instant;
use crate::domain::sender::Sender;
use crate::gate::Gathered;
use crate::ledger::Ledger;
use crate::{CONTACTS, RULES, view};

/// What all calls of one run may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Modules whose meaning is remembered.
const REMEMBERED: usize = 10_000;

/// What the peers and the views said; what the party's own streams say is added in the unit's own loop.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) gathered: Gathered,
}

/// What a module says, as far as consent and coverage depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Meaning {
    class: ContentClass,
    product_id: String,
}

/// Asks.
pub(super) struct Gatherer {
    deps: Deps,
    meanings: Mutex<HashMap<(String, String), Meaning>>,
    in_force: InForce,
}

impl Facts {
    pub(super) fn contact_point_id(&self) -> &str {
        self.gathered.recipient.as_ref().map_or("", |it| &it.contact_point_id)
    }

    /// Market of the party; empty when nobody was asked, or nobody knows it.
    pub(super) fn market(&self) -> String {
        self.gathered.recipient.as_ref().map(|it| it.market.clone()).unwrap_or_default()
    }

    /// Every contact point that is or was the recipient's address.
    pub(super) fn same_address(&self) -> &[String] {
        self.gathered.recipient.as_ref().map_or(&[], |it| &it.same_address)
    }

    /// Whether a suppression is of the address that would be used.
    fn is_here(&self, it: &RecipientSuppressed) -> bool {
        self.contact_point_id() == it.contact_point_id
            || self.same_address().contains(&it.contact_point_id)
    }

    /// Everything, with what the streams of the party and of its neighbours at the address say.
    pub(super) fn complete(
        &mut self,
        request: TouchRequested,
        ledger: &Ledger,
        neighbours: &[String],
    ) {
        let party_id = &request.party_id;
        let own = ledger.recipient(party_id).suppressions.into_values();
        // An address is dead, not its party: whoever has another one now is reached there.
        let own = own.filter(|it| it.cause() != SuppressionCause::Bounced || self.is_here(it));
        let others =
            neighbours.iter().flat_map(|it| ledger.recipient(it).suppressions.into_values());
        let others = others.filter(|it| self.is_here(it));
        let suppressions = own.chain(others).collect();
        self.gathered.suppressions = suppressions;
        self.gathered.contacts = ledger.pressure(party_id).contacts;
        self.gathered.request = request;
    }
}

impl Gatherer {
    pub(super) fn new(deps: &Deps) -> Self {
        Self { deps: deps.clone(), meanings: Mutex::default(), in_force: InForce::default() }
    }

    /// Everything that does not stand in the party's own streams.
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
        let (instance, said, sender) = futures::try_join!(
            self.check_instance(tenant, request, at),
            self.ask_about(tenant, request, at),
            self.sender(tenant, &request.sender_id),
        )?;
        let Said { recipient, content, outbound } = said;
        let database = self.deps.store.database();
        let market = recipient.as_ref().map(|it| it.market.clone()).unwrap_or_default();
        let told = outbound.clone().unwrap_or_default();
        let (pack, policy) = self.in_force.named_by(&told, database, tenant, &market).await?;
        let interactions = match &policy {
            Some(it) => {
                view::contact::of_party(database, tenant, &request.party_id, it, at).await?
            }
            None => Vec::new(),
        };
        Ok(Gathered {
            instance,
            recipient,
            content,
            outbound,
            pack,
            policy,
            interactions,
            sender,
            ..Gathered::default()
        })
    }

    /// Waits for what the touch asks to have been read, as far as this service reads it itself.
    async fn caught_up(&self, request: &TouchRequested) -> Result<(), Error> {
        for (source, consumer) in [("decisioning", RULES), ("profiles", CONTACTS)] {
            let caught_up = self.deps.caught_up(&[consumer], &of_source(request, source)).await;
            caught_up
                .map_err(|problem| Error::unavailable(problem.message.clone().into_owned()))?;
        }
        Ok(())
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
            // Of content without a class nothing is asked but the rules in force, which are those of every class.
            if told.class == ContentClass::Unspecified || told == meaning {
                let (recipient, content) = (Some(recipient), Some(content));
                return Ok(Said { recipient, content, outbound: Some(outbound) });
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

    async fn sender(&self, tenant: &str, sender_id: &str) -> Result<Option<SenderDocument>, Error> {
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
