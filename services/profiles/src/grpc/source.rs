//! `SourceService`.

use chassis::auth::Caller;
use chassis::name::unknown;
use chassis::page::Page;
use chassis::status::{PERMISSION_MISSING, Problem};
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::source_service_server::SourceService;
use tonic::{Request, Response, Status};

use super::{Api, own, own_tenant, unsealed};
use crate::convert::source as parse;
use crate::domain;
use crate::domain::interaction::Interaction;
use crate::domain::source::Source;
use crate::refusal::Fields;
use crate::view;
use crate::view::interaction::Place;

#[tonic::async_trait]
impl SourceService for Api {
    async fn register_source(
        &self,
        request: Request<proto::RegisterSourceRequest>,
    ) -> Result<Response<proto::RegisterSourceResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let (source_id, command) = parse::register(request.get_ref())?;
        let done = self.execute::<Source>(&source_id, &meta, command).await?;
        let source = Some(parse::source(&caller.tenant, &source_id, done.state));
        Ok(Response::new(proto::RegisterSourceResponse { source, position: done.position }))
    }

    async fn extend_source_schema(
        &self,
        request: Request<proto::ExtendSourceSchemaRequest>,
    ) -> Result<Response<proto::ExtendSourceSchemaResponse>, Status> {
        let caller = Caller::of(&request)?;
        let source_id = own(caller, "name", &request.get_ref().name, "sources")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let command = parse::extend(request.get_ref())?;
        let done = self.execute::<Source>(source_id, &meta, command).await?;
        let source = Some(parse::source(&caller.tenant, source_id, done.state));
        Ok(Response::new(proto::ExtendSourceSchemaResponse { source, position: done.position }))
    }

    async fn disable_source(
        &self,
        request: Request<proto::DisableSourceRequest>,
    ) -> Result<Response<proto::DisableSourceResponse>, Status> {
        let caller = Caller::of(&request)?;
        let source_id = own(caller, "name", &request.get_ref().name, "sources")?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let (command, reason) = parse::disable(request.get_ref())?;
        meta.reason = reason;
        let done = self.execute::<Source>(source_id, &meta, command).await?;
        let source = Some(parse::source(&caller.tenant, source_id, done.state));
        Ok(Response::new(proto::DisableSourceResponse { source, position: done.position }))
    }

    async fn get_source(
        &self,
        request: Request<proto::GetSourceRequest>,
    ) -> Result<Response<proto::GetSourceResponse>, Status> {
        let caller = Caller::of(&request)?;
        let source_id = own(caller, "name", &request.get_ref().name, "sources")?;
        let found = self.deps.find::<Source>(&caller.tenant, source_id, "name").await?;
        let source = Some(parse::source(&caller.tenant, source_id, found.state));
        Ok(Response::new(proto::GetSourceResponse { source }))
    }

    async fn list_sources(
        &self,
        request: Request<proto::ListSourcesRequest>,
    ) -> Result<Response<proto::ListSourcesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let page = Page::parse(
            request.page_size,
            &request.page_token,
            &[caller.tenant.as_str(), "sources"],
        )?;
        let after = page.cursor().unwrap_or_default();
        let store = &self.deps.store;
        let listed = view::source::list(store.database(), &caller.tenant, after, page.size + 1);
        let mut ids = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut ids, String::clone);
        let found = store.load_many::<Source>(&caller.tenant, &ids).await.map_err(Problem::from)?;
        let sources = ids
            .iter()
            .zip(found)
            .map(|(id, it)| parse::source(&caller.tenant, id, it.state))
            .collect();
        Ok(Response::new(proto::ListSourcesResponse { sources, next_page_token }))
    }

    async fn authenticate_source(
        &self,
        request: Request<proto::AuthenticateSourceRequest>,
    ) -> Result<Response<proto::AuthenticateSourceResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        // Whoever may read sources could try keys otherwise.
        if caller.target().is_none() {
            let told = "only a service of the platform asks what a write key opens";
            return Err(Problem::new(PERMISSION_MISSING, told).into());
        }
        let hash = eventstore::digest(request.get_ref().write_key.as_bytes());
        let store = &self.deps.store;
        let ids = view::source::opened(store.database(), &caller.tenant, hash).await;
        let ids = ids.map_err(Problem::from)?;
        let found = store.load_many::<Source>(&caller.tenant, &ids).await.map_err(Problem::from)?;
        let is_active = |it: &domain::source::State| it.status == domain::source::Status::Active;
        let found = ids.into_iter().zip(found).find(|(_, it)| is_active(&it.state));
        let (source_id, loaded) = found.ok_or_else(|| unknown("write_key"))?;
        let source = Some(parse::source(&caller.tenant, &source_id, loaded.state));
        Ok(Response::new(proto::AuthenticateSourceResponse { source }))
    }

    async fn record_interactions(
        &self,
        request: Request<proto::RecordInteractionsRequest>,
    ) -> Result<Response<proto::RecordInteractionsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let source_id = own(caller, "parent", &request.get_ref().parent, "sources")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let reply = self.record(&meta, source_id, &request.get_ref().interactions).await?;
        Ok(Response::new(reply))
    }

    async fn list_interactions(
        &self,
        request: Request<proto::ListInteractionsRequest>,
    ) -> Result<Response<proto::ListInteractionsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let party_id = own(caller, "parent", &request.parent, "parties")?;
        let mut fields = Fields::default();
        let name =
            fields.keep("interaction_name", domain::line(&request.interaction_name, 0..=128));
        let name = fields.finish(name)?;
        let arguments = [caller.tenant.as_str(), "interactions", party_id, name];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        let after = page.cursor().and_then(Place::parse).unwrap_or(Place::START);
        let store = &self.deps.store;
        let listed = view::interaction::list(
            store.database(),
            &caller.tenant,
            party_id,
            name,
            after,
            page.size + 1,
        );
        let mut rows = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut rows, |(_, place)| *place);
        let ids: Vec<_> = rows.into_iter().map(|(id, _)| id).collect();
        let found =
            store.load_many::<Interaction>(&caller.tenant, &ids).await.map_err(Problem::from)?;
        let unsealed = unsealed(caller);
        let interactions = (ids.iter().zip(found))
            .filter_map(|(id, it)| Some((id, it.state.recorded?)))
            .map(|(id, recorded)| parse::interaction(id, party_id, recorded, unsealed))
            .collect();
        Ok(Response::new(proto::ListInteractionsResponse { interactions, next_page_token }))
    }
}
