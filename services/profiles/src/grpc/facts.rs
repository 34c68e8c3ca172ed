//! `FactsService`: what the other services may know about a party at an instant.

use std::collections::{BTreeMap, BTreeSet};

use chassis::auth::Caller;
use chassis::name::unknown;
use chassis::status::Problem;
use eventstore::{AsOf, Error, Timestamp};
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::facts_service_server::FactsService;
use rapport_proto::types::{Channel, Regime};
use tonic::{Request, Response, Status};

use super::{Api, Frontier, own, own_tenant};
use crate::convert::facts as parse;
use crate::domain::party::{Party, State, Status as PartyStatus};
use crate::domain::segment::Question;
use crate::segments::facts::{self, Asked, Needs};
use crate::segments::{Live, LiveSegment};
use crate::verdict::{judge, nowhere};
use crate::{traits, view};

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
        let frontier = self.frontier(&caller.tenant, &request.min_positions).await?;
        let at = wanted.at.unwrap_or_else(|| self.now());
        let Frontier { positions, live } = &frontier;
        let position = positions.get(self.deps.store.source()).copied().unwrap_or_default();
        let known = Known { tenant: &caller.tenant, party_id, live, at, position };
        let facts = self.facts(known, &wanted).await.map_err(Problem::from)?;
        let facts = facts.ok_or_else(|| unknown("name"))?;
        Ok(Response::new(proto::GetFactsResponse { positions: frontier.positions, ..facts }))
    }

    async fn resolve_recipient(
        &self,
        request: Request<proto::ResolveRecipientRequest>,
    ) -> Result<Response<proto::ResolveRecipientResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let party_id = own(caller, "name", &request.name, "parties")?;
        let parse::Recipient { question, at } = parse::recipient(request)?;
        let frontier = self.frontier(&caller.tenant, &request.min_positions).await?;
        let at = at.unwrap_or_else(|| self.now());
        let Frontier { positions, live } = &frontier;
        let position = positions.get(self.deps.store.source()).copied().unwrap_or_default();
        let known = Known { tenant: &caller.tenant, party_id, live, at, position };
        let found = self.recipient(known, &question, &request.product_id).await;
        // Nobody is an answer, not an error: the gate tells a party that is not there from a service that is not.
        let recipient = found.map_err(Problem::from)?.unwrap_or_default();
        let positions = frontier.positions;
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
        let frontier = self.frontier(&caller.tenant, &request.min_positions).await?;
        let Frontier { positions, live } = frontier;
        let store = &self.deps.store;
        let kinds = traits::kinds(store, &caller.tenant, &live).await.map_err(Problem::from)?;
        let versions = live.segments.iter().map(|(id, it)| (id.clone(), it.version)).collect();
        let kinds = named(kinds, &request.traits).into_iter();
        Ok(Response::new(proto::CheckNamesResponse {
            traits: kinds.map(|(id, kind)| (id, kind.into())).collect(),
            segments: named(versions, &request.segments),
            positions,
        }))
    }
}

/// A party, the instant asked about, and where the tenant stands.
#[derive(Clone, Copy)]
struct Known<'a> {
    tenant: &'a str,
    party_id: &'a str,
    live: &'a Live,
    at: Timestamp,
    /// Up to it nothing is missed that was said.
    position: u64,
}

impl Api {
    /// The facts, without the positions read; nothing when there is no such party. Of an erased one there is little
    /// more than that. What the traits, the segments and the questions look at is read once for all of them.
    async fn facts(
        &self,
        known: Known<'_>,
        wanted: &parse::Wanted,
    ) -> Result<Option<proto::GetFactsResponse>, Error> {
        let Known { tenant, party_id, live, at, position } = known;
        let segments: Vec<&LiveSegment> = live
            .segments
            .values()
            .filter(|it| wanted.segments.include(&it.definition.id))
            .collect();
        let traits: Vec<&String> =
            live.traits.keys().filter(|id| wanted.traits.include(id)).collect();
        let mut needs = Needs::of_party(segments.iter().map(|it| &*it.needs));
        needs.traits.extend(traits.iter().map(|id| (*id).clone()));
        needs.questions.extend(wanted.questions.iter().map(|it| (it.key(), it.clone())));
        let asked = [Asked::new(party_id, &needs)];
        let found = facts::load(&self.deps.store, live, tenant, &asked, at).await?;
        let facts = found.first().and_then(|it| Some((it.party.as_ref()?, it)));
        let Some((party, facts)) = facts.filter(|(it, _)| it.status != PartyStatus::Unknown) else {
            return Ok(None);
        };
        let answer = |asked: &Question| {
            let judged = facts.judge(&asked.key(), at).ok_or_else(nowhere)?;
            Ok(judged.into_proto(asked, position))
        };
        let consents = wanted.questions.iter().map(answer).collect::<Result<_, Error>>()?;
        let told = proto::GetFactsResponse {
            party_id: party_id.to_owned(),
            kind: party.kind.into(),
            market: party.market.clone(),
            language: party.language.clone(),
            time_zone: party.time_zone.clone(),
            state: parse::state(party.status).to_owned(),
            consents,
            time: Some(at.to_proto()),
            ..Default::default()
        };
        if party.status == PartyStatus::Erased {
            return Ok(Some(told));
        }
        let value = |id: &String| Some((id.clone(), facts.of_trait(id, at)?));
        let inside = segments.iter().filter(|it| facts.hold(&it.definition.rule, at));
        let attributes =
            party.attributes.iter().filter(|(name, _)| wanted.attributes.include(name));
        Ok(Some(proto::GetFactsResponse {
            attributes: attributes.map(|(name, it)| (name.clone(), it.clone())).collect(),
            traits: traits.into_iter().filter_map(value).collect(),
            segments: inside.map(|it| it.definition.id.clone()).collect(),
            ..told
        }))
    }

    /// The recipient, without the positions read; nothing when there is no such party.
    async fn recipient(
        &self,
        known: Known<'_>,
        question: &Question,
        product_id: &str,
    ) -> Result<Option<proto::ResolveRecipientResponse>, Error> {
        let Known { tenant, party_id, live, at, position } = known;
        let (store, channel) = (&self.deps.store, question.channel);
        let party = store.load::<Party>(tenant, party_id, AsOf::Now).await?.state;
        if party.status == PartyStatus::Unknown {
            return Ok(None);
        }
        let asked = (party_id, &party);
        let judged = judge(store, live, tenant, asked, question, (Regime::Unspecified, at));
        let covering = view::relation::covering(store.database(), tenant, party_id, product_id, at);
        let (judged, assignee, same_address) =
            futures::try_join!(judged, covering, self.same_address(tenant, &party, channel))?;
        let recipient = proto::ResolveRecipientResponse {
            found: true,
            state: parse::state(party.status).to_owned(),
            kind: party.kind.into(),
            market: party.market.clone(),
            language: party.language.clone(),
            time_zone: party.time_zone.clone(),
            consent: Some(judged.into_proto(question, position)),
            ..Default::default()
        };
        if party.status == PartyStatus::Erased {
            return Ok(Some(recipient));
        }
        let point = parse::contact_point(&party, channel);
        let (contact_point_id, address) = point.unwrap_or_default();
        Ok(Some(proto::ResolveRecipientResponse {
            fields: parse::fields(&party),
            assignee_party_id: assignee.unwrap_or_default(),
            contact_point_id: contact_point_id.to_owned(),
            address: address.to_owned(),
            same_address,
            ..recipient
        }))
    }

    /// The contact points that are the same address as the one to be used.
    async fn same_address(
        &self,
        tenant: &str,
        party: &State,
        channel: Channel,
    ) -> Result<Vec<String>, Error> {
        let Some((_, address)) = parse::contact_point(party, channel) else {
            return Ok(Vec::new());
        };
        let store = &self.deps.store;
        view::contact_point::same(store.database(), store.keys(), tenant, channel, address).await
    }
}

/// Those of a map that are named.
fn named<T>(all: BTreeMap<String, T>, names: &[String]) -> BTreeMap<String, T> {
    let names: BTreeSet<_> = names.iter().collect();
    all.into_iter().filter(|(id, _)| names.contains(id)).collect()
}
