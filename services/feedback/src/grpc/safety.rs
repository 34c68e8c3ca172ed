//! Candidates of safety cases: for the people of pharmacovigilance.

use chassis::auth::{Caller, Kind};
use chassis::name::{own, own_tenant, unknown};
use chassis::page::Page;
use chassis::status::Problem;
use eventstore::Metadata;
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::safety_service_server::SafetyService;
use tonic::{Request, Response, Status};

use super::Api;
use crate::convert::safety as parse;
use crate::domain::text::{Command, Reader, Text};
use crate::refusal::of_text;
use crate::view;
use crate::view::Place;

#[tonic::async_trait]
impl SafetyService for Api {
    async fn list_safety_candidates(
        &self,
        request: Request<proto::ListSafetyCandidatesRequest>,
    ) -> Result<Response<proto::ListSafetyCandidatesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let state = parse::state(request.state)?;
        let tenant = caller.tenant.as_str();
        let arguments = [tenant, "safetyCandidates", state.as_str_name()];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        self.caught_up(&request.min_positions).await?;
        let after = page.cursor().and_then(Place::parse).unwrap_or(Place::START);
        let store = &self.deps.store;
        let listed = view::candidate::list(store.database(), tenant, state, &after, page.size + 1);
        let mut rows = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut rows, |(place, _)| place.clone());
        let ids: Vec<_> = rows.into_iter().map(|it| it.1).collect();
        let found = store.load_many::<Text>(tenant, &ids).await.map_err(Problem::from)?;
        let candidates = found.iter().filter_map(|it| parse::candidate(tenant, &it.state));
        let candidates = candidates.collect();
        Ok(Response::new(proto::ListSafetyCandidatesResponse { candidates, next_page_token }))
    }

    async fn get_safety_candidate(
        &self,
        request: Request<proto::GetSafetyCandidateRequest>,
    ) -> Result<Response<proto::GetSafetyCandidateResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let id = own(caller, "name", &request.name, "safetyCandidates")?;
        self.caught_up(&request.min_positions).await?;
        let text_id = self.text_of(&caller.tenant, id).await?;
        let state = self.deps.find::<Text>(&caller.tenant, &text_id, "name").await?.state;
        Ok(Response::new(proto::GetSafetyCandidateResponse {
            candidate: parse::candidate(&caller.tenant, &state),
            text: state.open(Reader::Safety).unwrap_or_default().to_owned(),
            comment: state.comment().to_owned(),
        }))
    }

    async fn hand_off_safety_candidate(
        &self,
        request: Request<proto::HandOffSafetyCandidateRequest>,
    ) -> Result<Response<proto::HandOffSafetyCandidateResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "safetyCandidates")?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let command = parse::hand_off(&it.receipt)?;
        let (candidate, position) = self.decide(id, &meta, command).await?;
        Ok(Response::new(proto::HandOffSafetyCandidateResponse { candidate, position }))
    }

    async fn reconcile_safety_candidate(
        &self,
        request: Request<proto::ReconcileSafetyCandidateRequest>,
    ) -> Result<Response<proto::ReconcileSafetyCandidateResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "safetyCandidates")?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let command = parse::reconcile(&it.case_number)?;
        let (candidate, position) = self.decide(id, &meta, command).await?;
        Ok(Response::new(proto::ReconcileSafetyCandidateResponse { candidate, position }))
    }

    async fn dismiss_safety_candidate(
        &self,
        request: Request<proto::DismissSafetyCandidateRequest>,
    ) -> Result<Response<proto::DismissSafetyCandidateResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "safetyCandidates")?;
        let mut meta = self.deps.metadata(&request, &it.request_id)?;
        let command = parse::dismiss(it, caller.kind != Kind::Service)?;
        it.reason.clone_into(&mut meta.reason);
        let (candidate, position) = self.decide(id, &meta, command).await?;
        Ok(Response::new(proto::DismissSafetyCandidateResponse { candidate, position }))
    }
}

impl Api {
    async fn text_of(&self, tenant: &str, candidate_id: &str) -> Result<String, Problem> {
        let database = self.deps.store.database();
        let found = view::candidate::text_of(database, tenant, candidate_id).await?;
        found.ok_or_else(|| unknown("name"))
    }

    async fn decide(
        &self,
        candidate_id: &str,
        meta: &Metadata,
        command: Command,
    ) -> Result<(Option<proto::SafetyCandidate>, u64), Problem> {
        let text_id = self.text_of(&meta.tenant, candidate_id).await?;
        let done = self.execute::<Text>(&text_id, meta, command, of_text).await?;
        Ok((parse::candidate(&meta.tenant, &done.state), done.position))
    }
}
