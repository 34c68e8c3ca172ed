//! Cases.

use chassis::auth::Caller;
use chassis::name::{own, own_tenant};
use chassis::page::Page;
use chassis::status::Problem;
use eventstore::{Error, Metadata};
use rapport_proto::eventlog::v1::GetHeadRequest;
use rapport_proto::eventlog::v1::event_log_service_client::EventLogServiceClient;
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::case_service_server::CaseService;
use tonic::{Request, Response, Status};

use super::Api;
use crate::convert::{case as parse, code};
use crate::domain::case::{Case, Command, State};
use crate::refusal::{PARTY_UNKNOWN, of_case, of_failure};
use crate::units;
use crate::view;
use crate::view::Place;

#[tonic::async_trait]
impl CaseService for Api {
    async fn open_case(
        &self,
        request: Request<proto::OpenCaseRequest>,
    ) -> Result<Response<proto::OpenCaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let new = parse::open(request.get_ref(), &meta)?;
        let id = new.opened.case_id.clone();
        self.known(&meta.tenant, &new.opened.party_id).await?;
        let opened = units::open_case(&self.deps.store, &meta, new).await;
        let position = opened.map_err(of_failure)?;
        let state = self.deps.find::<Case>(&meta.tenant, &id, "name").await?.state;
        let case = Some(self.with_text(caller, &state).await?);
        Ok(Response::new(proto::OpenCaseResponse { case, position }))
    }

    async fn respond_case(
        &self,
        request: Request<proto::RespondCaseRequest>,
    ) -> Result<Response<proto::RespondCaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "cases")?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let (case, position) = self.act(id, &meta, Command::Respond).await?;
        Ok(Response::new(proto::RespondCaseResponse { case, position }))
    }

    async fn pause_case(
        &self,
        request: Request<proto::PauseCaseRequest>,
    ) -> Result<Response<proto::PauseCaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "cases")?;
        let mut meta = self.deps.metadata(&request, &it.request_id)?;
        let reason = parse::reason(&it.reason)?;
        reason.clone_into(&mut meta.reason);
        let (case, position) = self.act(id, &meta, Command::Pause { reason }).await?;
        Ok(Response::new(proto::PauseCaseResponse { case, position }))
    }

    async fn resume_case(
        &self,
        request: Request<proto::ResumeCaseRequest>,
    ) -> Result<Response<proto::ResumeCaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "cases")?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let (case, position) = self.act(id, &meta, Command::Resume).await?;
        Ok(Response::new(proto::ResumeCaseResponse { case, position }))
    }

    async fn resolve_case(
        &self,
        request: Request<proto::ResolveCaseRequest>,
    ) -> Result<Response<proto::ResolveCaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "cases")?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let outcome = code("outcome", &it.outcome)?;
        let (case, position) = self.act(id, &meta, Command::Resolve { outcome }).await?;
        Ok(Response::new(proto::ResolveCaseResponse { case, position }))
    }

    async fn reopen_case(
        &self,
        request: Request<proto::ReopenCaseRequest>,
    ) -> Result<Response<proto::ReopenCaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "cases")?;
        let mut meta = self.deps.metadata(&request, &it.request_id)?;
        let reason = parse::reason(&it.reason)?;
        reason.clone_into(&mut meta.reason);
        let (case, position) = self.act(id, &meta, Command::Reopen { reason }).await?;
        Ok(Response::new(proto::ReopenCaseResponse { case, position }))
    }

    async fn get_case(
        &self,
        request: Request<proto::GetCaseRequest>,
    ) -> Result<Response<proto::GetCaseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let id = own(caller, "name", &request.name, "cases")?;
        self.caught_up(&request.min_positions).await?;
        let state = self.deps.find::<Case>(&caller.tenant, id, "name").await?.state;
        let case = Some(self.with_text(caller, &state).await?);
        Ok(Response::new(proto::GetCaseResponse { case }))
    }

    async fn list_cases(
        &self,
        request: Request<proto::ListCasesRequest>,
    ) -> Result<Response<proto::ListCasesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let filter = parse::filter(request)?;
        let tenant = caller.tenant.as_str();
        let (state, type_) = (filter.state.as_str_name(), filter.type_.as_str_name());
        let arguments = [tenant, "cases", state, type_, filter.party_id];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        self.caught_up(&request.min_positions).await?;
        let after = page.cursor().and_then(Place::parse).unwrap_or(Place::START);
        let store = &self.deps.store;
        let listed = view::case::list(store.database(), tenant, filter, &after, page.size + 1);
        let mut places = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut places, Place::clone);
        let ids: Vec<_> = places.into_iter().map(|it| it.id).collect();
        let found = store.load_many::<Case>(tenant, &ids).await.map_err(Problem::from)?;
        let now = self.deps.clock.now();
        let cases = found.iter().map(|it| parse::case(tenant, &it.state, now)).collect();
        Ok(Response::new(proto::ListCasesResponse { cases, next_page_token }))
    }
}

impl Api {
    /// A command on a case that exists; the case as it stands, without its text.
    async fn act(
        &self,
        id: &str,
        meta: &Metadata,
        command: Command,
    ) -> Result<(Option<proto::Case>, u64), Problem> {
        let done = self.execute::<Case>(id, meta, command, of_case).await?;
        let case = parse::case(&meta.tenant, &done.state, self.deps.clock.now());
        Ok((Some(case), done.position))
    }

    /// A case is about somebody: refuses a party that nobody registered. What `profiles` holds by now was read before
    /// that is said.
    async fn known(&self, tenant: &str, party_id: &str) -> Result<(), Problem> {
        let database = self.deps.store.database();
        if view::party::look_up(database, tenant, party_id).await?.is_some() {
            return Ok(());
        }
        let head = GetHeadRequest { source: "profiles".to_owned() };
        let head = EventLogServiceClient::new(self.deps.peers.to("profiles")).get_head(head).await;
        let head =
            head.map_err(|it| Error::unavailable_because("the head of profiles", it))?.into_inner();
        self.caught_up(&[("profiles".to_owned(), head.position)].into()).await?;
        let found = view::party::look_up(database, tenant, party_id).await?;
        found
            .map(drop)
            .ok_or_else(|| Problem::of(PARTY_UNKNOWN).violation("party_id", PARTY_UNKNOWN.remedy))
    }

    async fn with_text(&self, caller: &Caller, state: &State) -> Result<proto::Case, Problem> {
        let text_id = &state.opened.text_id;
        let texts = self.texts(caller, std::iter::once(text_id)).await?;
        let (text, withheld) = texts.shown(text_id);
        let case = parse::case(&caller.tenant, state, self.deps.clock.now());
        Ok(proto::Case { text, withheld, ..case })
    }
}
