//! `FactsService`: what the other services may know about a party at an instant.

use std::collections::{BTreeMap, BTreeSet};

use chassis::auth::Caller;
use chassis::status::Problem;
use eventstore::{AsOf, Error, Timestamp};
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::facts_service_server::FactsService;
use rapport_proto::types::Clear;
use tonic::{Request, Response, Status};

use super::{Api, own, own_tenant};
use crate::convert::facts as parse;
use crate::domain::party::{Party, State, Status as PartyStatus};
use crate::verdict::{Question, judge};
use crate::{segments, traits, view};

#[tonic::async_trait]
impl FactsService for Api {
    async fn get_facts(
        &self,
        request: Request<proto::GetFactsRequest>,
    ) -> Result<Response<proto::GetFactsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let party_id = own(caller, "name", &request.name, "parties")?;
        let wanted = parse::wanted(request)?;
        self.caught_up_with_all(&request.min_positions).await?;
        let at = wanted.at.unwrap_or_else(|| self.now());
        // Read before the facts: they include at least what stands up to these positions.
        let positions = self.positions().await.map_err(Problem::from)?;
        let party = self.deps.find::<Party>(&caller.tenant, party_id, "name").await?.state;
        let known = Known { tenant: &caller.tenant, party_id, party: &party, at };
        let facts = self.facts(known, request, &wanted.questions).await.map_err(Problem::from)?;
        Ok(Response::new(proto::GetFactsResponse { positions, ..facts }))
    }

    async fn resolve_recipient(
        &self,
        request: Request<proto::ResolveRecipientRequest>,
    ) -> Result<Response<proto::ResolveRecipientResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let party_id = own(caller, "name", &request.name, "parties")?;
        let parse::Recipient { question, at } = parse::recipient(request)?;
        self.caught_up_with_all(&request.min_positions).await?;
        let at = at.unwrap_or_else(|| self.now());
        let positions = self.positions().await.map_err(Problem::from)?;
        let loaded = self.deps.store.load::<Party>(&caller.tenant, party_id, AsOf::Now).await;
        let party = loaded.map_err(Problem::from)?.state;
        if party.status == PartyStatus::Unknown {
            // An answer, not an error: the gate tells a party that is not there from a service that is not.
            return Ok(Response::new(proto::ResolveRecipientResponse {
                positions,
                ..Default::default()
            }));
        }
        let known = Known { tenant: &caller.tenant, party_id, party: &party, at };
        let found = self.recipient(known, &question, &request.product_id).await;
        let recipient = found.map_err(Problem::from)?;
        Ok(Response::new(proto::ResolveRecipientResponse { positions, ..recipient }))
    }

    async fn check_names(
        &self,
        request: Request<proto::CheckNamesRequest>,
    ) -> Result<Response<proto::CheckNamesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        parse::names(request)?;
        self.caught_up_with_all(&request.min_positions).await?;
        let positions = self.positions().await.map_err(Problem::from)?;
        let (definitions, tenant) = (&self.definitions, &caller.tenant);
        let kinds = traits::kinds(definitions, tenant).await.map_err(Problem::from)?;
        let versions = segments::versions(definitions, tenant).await.map_err(Problem::from)?;
        let kinds = named(kinds, &request.traits).into_iter();
        Ok(Response::new(proto::CheckNamesResponse {
            traits: kinds.map(|(id, kind)| (id, kind.into())).collect(),
            segments: named(versions, &request.segments),
            positions,
        }))
    }
}

/// A party, and the instant asked about.
#[derive(Clone, Copy)]
struct Known<'a> {
    tenant: &'a str,
    party_id: &'a str,
    party: &'a State,
    at: Timestamp,
}

impl Known<'_> {
    fn is_erased(&self) -> bool {
        self.party.status == PartyStatus::Erased
    }
}

impl Api {
    /// The facts, without the positions read. Of an erased party there is little more than that.
    async fn facts(
        &self,
        known: Known<'_>,
        request: &proto::GetFactsRequest,
        questions: &[Question],
    ) -> Result<proto::GetFactsResponse, Error> {
        let Known { tenant, party_id, party, at } = known;
        let judged = judge(&self.deps.store, tenant, (party_id, party), questions, at).await?;
        let consents = judged.into_iter().zip(questions).map(|(it, asked)| it.into_proto(asked));
        let facts = proto::GetFactsResponse {
            party_id: party_id.to_owned(),
            kind: party.kind.into(),
            market: party.market.clone(),
            language: party.language.clone(),
            time_zone: party.time_zone.clone(),
            state: parse::state(party.status).to_owned(),
            consents: consents.collect(),
            time: Some(at.to_proto()),
            ..Default::default()
        };
        if known.is_erased() {
            return Ok(facts);
        }
        Ok(proto::GetFactsResponse {
            attributes: party.attributes.clone(),
            traits: self.traits(known, request).await?,
            segments: segments::of(&self.definitions, tenant, party_id, at).await?,
            ..facts
        })
    }

    async fn traits(
        &self,
        known: Known<'_>,
        request: &proto::GetFactsRequest,
    ) -> Result<BTreeMap<String, Clear>, Error> {
        if request.without_traits {
            return Ok(BTreeMap::new());
        }
        let Known { tenant, party_id, at, .. } = known;
        let names = Some(request.traits.as_slice()).filter(|it| !it.is_empty());
        traits::values(&self.definitions, tenant, party_id, names, at).await
    }

    /// The recipient, without the positions read.
    async fn recipient(
        &self,
        known: Known<'_>,
        question: &Question,
        product_id: &str,
    ) -> Result<proto::ResolveRecipientResponse, Error> {
        let Known { tenant, party_id, party, at } = known;
        let (store, channel) = (&self.deps.store, question.channel);
        let asked = std::slice::from_ref(question);
        let judged = judge(store, tenant, (party_id, party), asked, at).await?;
        let recipient = proto::ResolveRecipientResponse {
            found: true,
            state: parse::state(party.status).to_owned(),
            kind: party.kind.into(),
            market: party.market.clone(),
            language: party.language.clone(),
            time_zone: party.time_zone.clone(),
            consent: judged.into_iter().next().map(|it| it.into_proto(question)),
            ..Default::default()
        };
        if known.is_erased() {
            return Ok(recipient);
        }
        let covering = view::relation::covering(store.database(), tenant, party_id, product_id, at);
        let recipient = proto::ResolveRecipientResponse {
            fields: parse::fields(party),
            assignee_party_id: covering.await?.unwrap_or_default(),
            ..recipient
        };
        let Some((contact_point_id, address)) = parse::contact_point(party, channel) else {
            return Ok(recipient);
        };
        let keys = store.keys();
        let same = view::contact_point::same(store.database(), keys, tenant, channel, address);
        Ok(proto::ResolveRecipientResponse {
            contact_point_id: contact_point_id.to_owned(),
            address: address.to_owned(),
            same_address: same.await?,
            ..recipient
        })
    }
}

/// Those of a map that are named.
fn named<T>(all: BTreeMap<String, T>, names: &[String]) -> BTreeMap<String, T> {
    let names: BTreeSet<_> = names.iter().collect();
    all.into_iter().filter(|(id, _)| names.contains(id)).collect()
}
