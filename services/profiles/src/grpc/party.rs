//! `PartyService`.

use std::collections::BTreeSet;

use chassis::auth::Caller;
use chassis::page::Page;
use chassis::status::Problem;
use eventstore::{AsOf, Decider as _, Executed, Loaded, Metadata, Recorded};
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::get_party_request::AsOf as AsOfField;
use rapport_proto::profiles::v1::party_service_server::PartyService;
use rapport_proto::types::PartyKind;
use tonic::{Request, Response, Status};

use super::{Api, own, own_tenant, unknown, unsealed};
use crate::convert::{self, party as parse, relation as relations};
use crate::domain::contact_point::Schemes;
use crate::domain::identifier::Identifier;
use crate::domain::party::{self, Command, Party, Registration, State};
use crate::domain::place::Market;
use crate::domain::relation::{self, Relation};
use crate::domain::source::Source;
use crate::refusal::{Fields, IDENTIFIER_TAKEN};
use crate::view;

#[tonic::async_trait]
impl PartyService for Api {
    async fn register_party(
        &self,
        request: Request<proto::RegisterPartyRequest>,
    ) -> Result<Response<proto::RegisterPartyResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let new = parse::registration(request.get_ref(), &meta, self.webhook_schemes())?;
        caller.in_market(&request.get_ref().market)?;
        let party_id = parse::derived_id("pty", &meta, 0);
        self.check_registration(&meta, &party_id, &new).await?;
        if request.get_ref().validate_only {
            let party = preview(caller, &party_id, &meta, new)?;
            return Ok(Response::new(proto::RegisterPartyResponse {
                party: Some(party),
                position: self.position(),
            }));
        }
        let done =
            self.execute::<Party>(&party_id, &meta, Command::Register(Box::new(new))).await?;
        let (party, position) = reply(caller, &party_id, done);
        Ok(Response::new(proto::RegisterPartyResponse { party: Some(party), position }))
    }

    async fn get_party(
        &self,
        request: Request<proto::GetPartyRequest>,
    ) -> Result<Response<proto::GetPartyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let party_id = own(caller, "name", &request.name, "parties")?;
        let mask = parse::read_mask(request.read_mask.as_ref())?;
        self.caught_up(&request.min_positions).await?;
        self.in_reach(caller, party_id, "name").await?;
        let (as_of, position) = self.instant_of(request).await?;
        let found = self
            .deps
            .store
            .load::<Party>(&caller.tenant, party_id, as_of)
            .await
            .map_err(Problem::from)?;
        if found.version == 0 {
            return Err(unknown("name").into());
        }
        let party = parse::masked(resource(caller, party_id, found), &mask);
        Ok(Response::new(proto::GetPartyResponse { party: Some(party), position }))
    }

    async fn lookup_party(
        &self,
        request: Request<proto::LookupPartyRequest>,
    ) -> Result<Response<proto::LookupPartyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let identifier = parse::lookup(request)?;
        self.caught_up(&request.min_positions).await?;
        let position = self.position();
        let holder = self.named(&caller.tenant, &[identifier]).await?.pop().flatten();
        let party_id = holder.ok_or_else(|| unknown("value"))?;
        self.in_reach(caller, &party_id, "value").await?;
        let found = self.deps.find::<Party>(&caller.tenant, &party_id, "value").await?;
        let party = resource(caller, &party_id, found);
        Ok(Response::new(proto::LookupPartyResponse { party: Some(party), position }))
    }

    async fn list_parties(
        &self,
        request: Request<proto::ListPartiesRequest>,
    ) -> Result<Response<proto::ListPartiesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let market = caller.market_asked(&request.market)?;
        let filter = filter(request, market)?;
        let (kind, state) = (request.kind.to_string(), request.state.to_string());
        let arguments = [caller.tenant.as_str(), "parties", &kind, market, &state];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        self.caught_up(&request.min_positions).await?;
        let after = page.cursor().unwrap_or(0_i64);
        let store = &self.deps.store;
        let mut rows =
            view::party::list(store.database(), &caller.tenant, &filter, after, page.size + 1)
                .await
                .map_err(Problem::from)?;
        let next_page_token = page.cut(&mut rows, |(_, position)| *position);
        let ids: Vec<_> = rows.into_iter().map(|(id, _)| id).collect();
        let found = store.load_many::<Party>(&caller.tenant, &ids).await.map_err(Problem::from)?;
        // One that moved since it was listed is not shown by what was asked before.
        let parties = (ids.iter().zip(found))
            .filter(|(_, found)| caller.reaches(&found.state.market))
            .map(|(id, found)| resource(caller, id, found))
            .collect();
        Ok(Response::new(proto::ListPartiesResponse { parties, next_page_token }))
    }

    async fn set_attributes(
        &self,
        request: Request<proto::SetAttributesRequest>,
    ) -> Result<Response<proto::SetAttributesResponse>, Status> {
        let it = request.get_ref();
        let (party, position) =
            self.command(&request, &it.name, &it.request_id, parse::set_attributes).await?;
        Ok(Response::new(proto::SetAttributesResponse { party: Some(party), position }))
    }

    async fn add_identifier(
        &self,
        request: Request<proto::AddIdentifierRequest>,
    ) -> Result<Response<proto::AddIdentifierResponse>, Status> {
        let caller = Caller::of(&request)?;
        let party_id = own(caller, "name", &request.get_ref().name, "parties")?;
        self.in_reach(caller, party_id, "name").await?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let new = parse::add_identifier(request.get_ref(), &meta)?;
        let identifiers = [new.identifier.clone()];
        self.check_free(&meta, party_id, &identifiers, |_| "identifier.value".to_owned()).await?;
        let done = self.execute::<Party>(party_id, &meta, Command::AddIdentifier(new)).await?;
        let (party, position) = reply(caller, party_id, done);
        Ok(Response::new(proto::AddIdentifierResponse { party: Some(party), position }))
    }

    async fn remove_identifier(
        &self,
        request: Request<proto::RemoveIdentifierRequest>,
    ) -> Result<Response<proto::RemoveIdentifierResponse>, Status> {
        let it = request.get_ref();
        let (party, position) =
            self.command(&request, &it.name, &it.request_id, parse::remove_identifier).await?;
        Ok(Response::new(proto::RemoveIdentifierResponse { party: Some(party), position }))
    }

    async fn add_contact_point(
        &self,
        request: Request<proto::AddContactPointRequest>,
    ) -> Result<Response<proto::AddContactPointResponse>, Status> {
        let it = request.get_ref();
        let schemes = self.webhook_schemes();
        let parse = |it: &_, meta: &_| parse::add_contact_point(it, meta, schemes);
        let (party, position) = self.command(&request, &it.name, &it.request_id, parse).await?;
        Ok(Response::new(proto::AddContactPointResponse { party: Some(party), position }))
    }

    async fn verify_contact_point(
        &self,
        request: Request<proto::VerifyContactPointRequest>,
    ) -> Result<Response<proto::VerifyContactPointResponse>, Status> {
        let it = request.get_ref();
        let (party, position) =
            self.command(&request, &it.name, &it.request_id, parse::verify_contact_point).await?;
        Ok(Response::new(proto::VerifyContactPointResponse { party: Some(party), position }))
    }

    async fn remove_contact_point(
        &self,
        request: Request<proto::RemoveContactPointRequest>,
    ) -> Result<Response<proto::RemoveContactPointResponse>, Status> {
        let it = request.get_ref();
        let (party, position) =
            self.command(&request, &it.name, &it.request_id, parse::remove_contact_point).await?;
        Ok(Response::new(proto::RemoveContactPointResponse { party: Some(party), position }))
    }

    async fn move_party(
        &self,
        request: Request<proto::MovePartyRequest>,
    ) -> Result<Response<proto::MovePartyResponse>, Status> {
        let it = request.get_ref();
        let (party, position) =
            self.command(&request, &it.name, &it.request_id, parse::move_party).await?;
        Ok(Response::new(proto::MovePartyResponse { party: Some(party), position }))
    }

    async fn suppress_party(
        &self,
        request: Request<proto::SuppressPartyRequest>,
    ) -> Result<Response<proto::SuppressPartyResponse>, Status> {
        let it = request.get_ref();
        let (party, position) =
            self.command(&request, &it.name, &it.request_id, parse::suppress).await?;
        Ok(Response::new(proto::SuppressPartyResponse { party: Some(party), position }))
    }

    async fn release_party(
        &self,
        request: Request<proto::ReleasePartyRequest>,
    ) -> Result<Response<proto::ReleasePartyResponse>, Status> {
        let it = request.get_ref();
        let (party, position) =
            self.command(&request, &it.name, &it.request_id, parse::release).await?;
        Ok(Response::new(proto::ReleasePartyResponse { party: Some(party), position }))
    }

    async fn state_preference(
        &self,
        request: Request<proto::StatePreferenceRequest>,
    ) -> Result<Response<proto::StatePreferenceResponse>, Status> {
        let it = request.get_ref();
        let (party, position) =
            self.command(&request, &it.name, &it.request_id, parse::state_preference).await?;
        Ok(Response::new(proto::StatePreferenceResponse { party: Some(party), position }))
    }

    async fn record_relation(
        &self,
        request: Request<proto::RecordRelationRequest>,
    ) -> Result<Response<proto::RecordRelationResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let stated = relations::stated(request.get_ref())?;
        let relation_id = parse::derived_id("rel", &meta, 0);
        self.in_reach(caller, &stated.from_party_id, "relation.from_party_id").await?;
        self.in_reach(caller, &stated.to_party_id, "relation.to_party_id").await?;
        let command = relation::Command::Record(relation::New {
            kind: stated.kind,
            from: self.end(&meta, stated.from_party_id, "relation.from_party_id").await?,
            to: self.end(&meta, stated.to_party_id, "relation.to_party_id").await?,
            role: stated.role,
            product_id: stated.product_id,
            valid: stated.valid,
        });
        let done = self.execute::<Relation>(&relation_id, &meta, command).await?;
        let relation = Some(relations::relation(&relation_id, &done.state));
        Ok(Response::new(proto::RecordRelationResponse { relation, position: done.position }))
    }

    async fn end_relation(
        &self,
        request: Request<proto::EndRelationRequest>,
    ) -> Result<Response<proto::EndRelationResponse>, Status> {
        let caller = Caller::of(&request)?;
        let relation_id = own(caller, "name", &request.get_ref().name, "relations")?;
        self.relation_in_reach(caller, relation_id).await?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let (command, reason) = relations::end(request.get_ref())?;
        meta.reason = reason;
        let done = self.execute::<Relation>(relation_id, &meta, command).await?;
        let relation = Some(relations::relation(relation_id, &done.state));
        Ok(Response::new(proto::EndRelationResponse { relation, position: done.position }))
    }

    async fn list_relations(
        &self,
        request: Request<proto::ListRelationsRequest>,
    ) -> Result<Response<proto::ListRelationsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let party_id = own(caller, "parent", &request.parent, "parties")?;
        self.in_reach(caller, party_id, "parent").await?;
        let mut fields = Fields::default();
        let valid_at = convert::time(&mut fields, "valid_at", request.valid_at.as_ref());
        let valid_at = fields.finish(valid_at)?;
        let bound = valid_at.map(|it| it.0.to_string()).unwrap_or_default();
        let arguments = [caller.tenant.as_str(), "relations", party_id, &bound];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        let after = page.cursor().unwrap_or_default();
        let store = &self.deps.store;
        let listed = view::relation::list(
            store.database(),
            &caller.tenant,
            party_id,
            valid_at,
            after,
            page.size + 1,
        );
        let mut ids = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut ids, String::clone);
        let found =
            store.load_many::<Relation>(&caller.tenant, &ids).await.map_err(Problem::from)?;
        let reached = self.relations_in_reach(caller, found.iter().map(|it| &it.state)).await?;
        let relations = (ids.iter().zip(found).zip(reached))
            .filter(|it| it.1)
            .map(|((id, it), _)| relations::relation(id, &it.state))
            .collect();
        Ok(Response::new(proto::ListRelationsResponse { relations, next_page_token }))
    }

    async fn list_timeline_entries(
        &self,
        request: Request<proto::ListTimelineEntriesRequest>,
    ) -> Result<Response<proto::ListTimelineEntriesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let party_id = own(caller, "parent", &request.parent, "parties")?;
        self.in_reach(caller, party_id, "parent").await?;
        let arguments = [caller.tenant.as_str(), "timeline", party_id];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        let after = page.cursor().and_then(|it: i64| u64::try_from(it).ok()).unwrap_or(0);
        let read =
            self.deps.store.read_party(&caller.tenant, party_id, after, page.size as usize + 1);
        let mut events = read.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut events, |event: &Recorded| event.position);
        let timeline_entries = events
            .iter()
            .map(convert::timeline::entry)
            .collect::<Result<_, _>>()
            .map_err(Problem::from)?;
        Ok(Response::new(proto::ListTimelineEntriesResponse { timeline_entries, next_page_token }))
    }
}

impl Api {
    async fn relation_in_reach(&self, caller: &Caller, relation_id: &str) -> Result<(), Problem> {
        if caller.markets.is_none() {
            return Ok(());
        }
        let found = self.deps.find::<Relation>(&caller.tenant, relation_id, "name").await?.state;
        match self.relations_in_reach(caller, [&found]).await?.as_slice() {
            [true] => Ok(()),
            _ => Err(unknown("name")),
        }
    }

    /// Which relations the caller may know of: both ends are in the caller's markets, or nobody is told of it.
    async fn relations_in_reach<'a>(
        &self,
        caller: &Caller,
        relations: impl IntoIterator<Item = &'a relation::State>,
    ) -> Result<Vec<bool>, Problem> {
        let ends = |it: &relation::State| {
            let recorded = it.recorded.as_ref();
            recorded.map(|it| [it.from_party_id.clone(), it.to_party_id.clone()])
        };
        let ends: Vec<_> = relations.into_iter().map(ends).collect();
        if caller.markets.is_none() {
            return Ok(vec![true; ends.len()]);
        }
        let parties: BTreeSet<_> = ends.iter().flatten().flatten().cloned().collect();
        let parties: Vec<_> = parties.into_iter().collect();
        let found = self.deps.store.load_many::<Party>(&caller.tenant, &parties).await?;
        let reached = |it: &Loaded<State>| caller.reaches(&it.state.market);
        let own: BTreeSet<_> =
            parties.iter().zip(&found).filter(|it| reached(it.1)).map(|it| it.0).collect();
        let both = |it: &Option<[String; 2]>| {
            it.as_ref().is_some_and(|it| it.iter().all(|end| own.contains(end)))
        };
        Ok(ends.iter().map(both).collect())
    }

    fn webhook_schemes(&self) -> Schemes {
        self.deps.settings.delivery.webhook_schemes()
    }

    /// The rhythm of a command on one party.
    async fn command<T: prost::Message>(
        &self,
        request: &Request<T>,
        name: &str,
        request_id: &str,
        parse: impl FnOnce(&T, &Metadata) -> Result<Command, Problem>,
    ) -> Result<(proto::Party, u64), Problem> {
        let caller = Caller::of(request)?;
        let party_id = own(caller, "name", name, "parties")?;
        self.in_reach(caller, party_id, "name").await?;
        let mut meta = self.deps.metadata(request, request_id)?;
        let command = parse(request.get_ref(), &meta)?;
        if let Command::Move(to) = &command {
            caller.in_market(to.market.as_str())?;
        }
        parse::reason_of(&command).clone_into(&mut meta.reason);
        let done = self.execute::<Party>(party_id, &meta, command).await?;
        Ok(reply(caller, party_id, done))
    }

    /// What the decider cannot see: the source, and who holds the identifiers.
    async fn check_registration(
        &self,
        meta: &Metadata,
        party_id: &str,
        new: &Registration,
    ) -> Result<(), Problem> {
        if !new.source_id.is_empty() {
            self.deps.find::<Source>(&meta.tenant, &new.source_id, "source_id").await?;
        }
        let identifiers: Vec<_> = new.identifiers.iter().map(|it| it.identifier.clone()).collect();
        self.check_free(meta, party_id, &identifiers, |n| format!("identifiers[{n}].value")).await
    }

    /// Tells early, and with the field, what the view would refuse under the head lock.
    async fn check_free(
        &self,
        meta: &Metadata,
        party_id: &str,
        identifiers: &[Identifier],
        field: impl Fn(usize) -> String,
    ) -> Result<(), Problem> {
        if identifiers.is_empty() {
            return Ok(());
        }
        let holders = self.holders(&meta.tenant, identifiers).await?;
        let taken = (holders.iter())
            .position(|it| it.as_ref().is_some_and(|it| it.excludes(party_id, meta.at)));
        let Some(index) = taken else { return Ok(()) };
        let problem =
            Problem::of(IDENTIFIER_TAKEN).violation(field(index), IDENTIFIER_TAKEN.remedy);
        self.deps.unless_repeated(meta, problem).await
    }

    /// The instant a reader asks for, and the position its answer holds at.
    async fn instant_of(&self, request: &proto::GetPartyRequest) -> Result<(AsOf, u64), Problem> {
        match &request.as_of {
            None => Ok((AsOf::Now, self.position())),
            Some(AsOfField::AsOfPosition(position)) => {
                let source = self.deps.store.source().to_owned();
                self.caught_up(&[(source, *position)].into()).await?;
                Ok((AsOf::Position(*position), *position))
            }
            Some(AsOfField::AsOfTime(time)) => {
                let mut fields = Fields::default();
                let time = convert::time(&mut fields, "as_of_time", Some(time));
                let time = fields.finish(time)?.unwrap_or_default();
                Ok((AsOf::Time(time), self.position()))
            }
        }
    }

    async fn end(
        &self,
        meta: &Metadata,
        party_id: String,
        field: &str,
    ) -> Result<relation::End, Problem> {
        let party = self.concerned(meta, &party_id, field).await?;
        Ok(relation::End { party_id, kind: party.kind })
    }
}

/// What would be registered, from the same decision; nothing is written.
fn preview(
    caller: &Caller,
    party_id: &str,
    meta: &Metadata,
    new: Registration,
) -> Result<proto::Party, Problem> {
    let command = Command::Register(Box::new(new));
    let events =
        Party::decide(&party::State::default(), command, meta.at).map_err(Problem::from)?;
    let state = eventstore::fold::<Party>(&events);
    let version = state.version;
    Ok(resource(
        caller,
        party_id,
        Loaded { state, version, created_at: meta.at, updated_at: meta.at },
    ))
}

fn reply(caller: &Caller, party_id: &str, done: Executed<party::State>) -> (proto::Party, u64) {
    let Executed { state, version, position, created_at, updated_at, .. } = done;
    (resource(caller, party_id, Loaded { state, version, created_at, updated_at }), position)
}

fn resource(caller: &Caller, party_id: &str, found: Loaded<party::State>) -> proto::Party {
    let Loaded { state, created_at, updated_at, .. } = found;
    let unsealed = unsealed(caller);
    parse::Found { tenant: &caller.tenant, party_id, state, created_at, updated_at, unsealed }
        .into_proto()
}

fn filter<'a>(
    request: &proto::ListPartiesRequest,
    market: &'a str,
) -> Result<view::party::Filter<'a>, Problem> {
    let mut fields = Fields::default();
    let kind: Option<PartyKind> = convert::choice_or_none(&mut fields, "kind", request.kind);
    let state: Option<proto::party::State> =
        convert::choice_or_none(&mut fields, "state", request.state);
    if !market.is_empty() {
        fields.keep("market", Market::parse(market));
    }
    let whole = || Some(view::party::Filter { kind: kind?, market, state: state? });
    fields.finish(whole())
}
