//! Invitations and responses.

use chassis::auth::Caller;
use chassis::name::{own, own_tenant, unknown};
use chassis::page::Page;
use chassis::status::{PERMISSION_MISSING, Problem};
use chassis::token;
use eventstore::{Executed, Loaded};
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::feedback_service_server::FeedbackService;
use rapport_proto::feedback::v1::submit_response_request::Invitation as Which;
use tonic::{Request, Response, Status};

use super::Api;
use crate::convert::{feedback as parse, filter};
use crate::domain::invitation::{self, Command, Invitation};
use crate::domain::response;
use crate::domain::survey::Survey;
use crate::refusal::{MODULE_NOT_SURVEY, of_failure, of_invitation};
use crate::units::{self, Submission};
use crate::view;

/// The permission to see personal links, beside the one a method declares.
const UNSEAL: &str = "feedback.invitations.unseal";
/// The permission to answer in somebody's place: for imports and demonstrations.
const IMPORT: &str = "feedback.responses.operate";

#[tonic::async_trait]
impl FeedbackService for Api {
    async fn request_invitation(
        &self,
        request: Request<proto::RequestInvitationRequest>,
    ) -> Result<Response<proto::RequestInvitationResponse>, Status> {
        own_tenant(Caller::of(&request)?, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let mut wanted = parse::request(request.get_ref(), &meta)?;
        let survey = self.deps.find::<Survey>(&meta.tenant, &wanted.survey, "survey").await?.state;
        let database = self.deps.store.database();
        if let Some((_, live)) = survey.live()
            && view::module::is_no_survey(database, &meta.tenant, &live.module)
                .await
                .map_err(Problem::from)?
        {
            let told = Problem::of(MODULE_NOT_SURVEY).with("module", &live.module);
            let told = told.violation("survey", MODULE_NOT_SURVEY.remedy);
            self.deps.unless_repeated(&meta, told).await?;
        }
        let party = view::party::find(database, &meta.tenant, &wanted.party_id).await;
        wanted.market = party.map_err(Problem::from)?.market;
        let id = wanted.invitation_id.clone();
        let command = Command::Request(Box::new(wanted));
        let done = self.execute::<Invitation>(&id, &meta, command, of_invitation).await?;
        let Executed { state, version, position, created_at, updated_at, .. } = done;
        let loaded = Loaded { state, version, created_at, updated_at };
        let invitation = Some(parse::invitation(&meta.tenant, &id, &loaded));
        Ok(Response::new(proto::RequestInvitationResponse { invitation, position }))
    }

    async fn get_invitation(
        &self,
        request: Request<proto::GetInvitationRequest>,
    ) -> Result<Response<proto::GetInvitationResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let id = own(caller, "name", &request.name, "invitations")?;
        self.caught_up(&request.min_positions).await?;
        let loaded = self.deps.find::<Invitation>(&caller.tenant, id, "name").await?;
        let shows = caller.permissions.allow(UNSEAL) && loaded.state.issued.is_some();
        let keys = &self.deps.service_keys;
        let token = shows.then(|| token::mint(keys, &caller.tenant, token::SURVEY, id));
        let invitation = Some(parse::invitation(&caller.tenant, id, &loaded));
        let token = token.unwrap_or_default();
        Ok(Response::new(proto::GetInvitationResponse { invitation, token }))
    }

    async fn list_invitations(
        &self,
        request: Request<proto::ListInvitationsRequest>,
    ) -> Result<Response<proto::ListInvitationsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let (survey, party_id) = filter(&request.survey, &request.party_id)?;
        let tenant = caller.tenant.as_str();
        let arguments = [tenant, "invitations", &survey, &party_id];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        self.caught_up(&request.min_positions).await?;
        let (store, before) = (&self.deps.store, page.cursor().unwrap_or(i64::MAX));
        let by = (survey.as_str(), party_id.as_str());
        let listed = view::invitation::list(store.database(), tenant, by, before, page.size + 1);
        let mut rows = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut rows, |(_, position)| *position);
        let ids: Vec<_> = rows.into_iter().map(|it| it.0).collect();
        let found = store.load_many::<Invitation>(tenant, &ids).await.map_err(Problem::from)?;
        let invitations = ids.iter().zip(&found);
        let invitations = invitations.map(|(id, it)| parse::invitation(tenant, id, it)).collect();
        Ok(Response::new(proto::ListInvitationsResponse { invitations, next_page_token }))
    }

    async fn open_link(
        &self,
        request: Request<proto::OpenLinkRequest>,
    ) -> Result<Response<proto::OpenLinkResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let id = self.opened(caller, &request.get_ref().token)?;
        let state = self.deps.find::<Invitation>(&caller.tenant, id, "token").await?.state;
        let issued = state.open_at(self.deps.clock.now()).map_err(of_link)?;
        let survey = self.deps.find::<Survey>(&caller.tenant, &issued.survey, "token").await?.state;
        let form = survey.documents.get(&issued.version).map(parse::form);
        let database = self.deps.store.database();
        let party = view::party::find(database, &caller.tenant, &issued.party_id).await;
        Ok(Response::new(proto::OpenLinkResponse {
            invitation_id: id.to_owned(),
            survey: form,
            language: party.map_err(Problem::from)?.language,
            answer_until: issued.answer_until,
        }))
    }

    async fn submit_response(
        &self,
        request: Request<proto::SubmitResponseRequest>,
    ) -> Result<Response<proto::SubmitResponseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        own_tenant(caller, &it.parent)?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let invitation_id = match &it.invitation {
            None => {
                let remedy = "Give the token of the personal link, or the invitation's id.";
                return Err(Problem::field("invitation", remedy).into());
            }
            Some(Which::Token(_)) if it.generated => {
                let remedy = "Leave it out: who has a personal link answers in person.";
                return Err(Problem::field("generated", remedy).into());
            }
            Some(Which::Token(token)) => self.opened(caller, token)?.to_owned(),
            Some(Which::InvitationId(_)) if !caller.permissions.allow(IMPORT) => {
                return Err(Problem::of(PERMISSION_MISSING).with("permission", IMPORT).into());
            }
            Some(Which::InvitationId(id)) => parse::stated_invitation(id)?,
        };
        let submission = Submission {
            invitation_id,
            given: it.answers.clone(),
            language: parse::stated_language(&it.language)?,
            generated: it.generated,
        };
        let kept = units::submit(&self.deps.store, &meta, &submission).await.map_err(of_failure)?;
        let (response_id, position) = (kept.response_id, kept.position);
        Ok(Response::new(proto::SubmitResponseResponse { response_id, position }))
    }

    async fn get_response(
        &self,
        request: Request<proto::GetResponseRequest>,
    ) -> Result<Response<proto::GetResponseResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let id = own(caller, "name", &request.name, "responses")?;
        self.caught_up(&request.min_positions).await?;
        let loaded = self.deps.find::<response::Response>(&caller.tenant, id, "name").await?;
        let response = self.shown(caller, &[loaded]).await?.pop();
        Ok(Response::new(proto::GetResponseResponse { response }))
    }

    async fn list_responses(
        &self,
        request: Request<proto::ListResponsesRequest>,
    ) -> Result<Response<proto::ListResponsesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let (survey, party_id) = filter(&request.survey, &request.party_id)?;
        let tenant = caller.tenant.as_str();
        let arguments = [tenant, "responses", &survey, &party_id];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        self.caught_up(&request.min_positions).await?;
        let (store, before) = (&self.deps.store, page.cursor().unwrap_or(i64::MAX));
        let by = (survey.as_str(), party_id.as_str());
        let listed = view::response::list(store.database(), tenant, by, before, page.size + 1);
        let mut rows = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut rows, |(_, position)| *position);
        let ids: Vec<_> = rows.into_iter().map(|it| it.0).collect();
        let found = store.load_many::<response::Response>(tenant, &ids).await;
        let responses = self.shown(caller, &found.map_err(Problem::from)?).await?;
        Ok(Response::new(proto::ListResponsesResponse { responses, next_page_token }))
    }
}

impl Api {
    /// The invitation a personal link is for.
    fn opened<'a>(&self, caller: &Caller, link: &'a str) -> Result<&'a str, Problem> {
        let keys = &self.deps.service_keys;
        token::open(keys, &caller.tenant, token::SURVEY, link).ok_or_else(|| unknown("token"))
    }

    /// Responses with the texts that the caller may see.
    async fn shown(
        &self,
        caller: &Caller,
        loaded: &[Loaded<response::State>],
    ) -> Result<Vec<proto::Response>, Problem> {
        let answers = loaded.iter().flat_map(|it| &it.state.submitted.answers);
        let texts = self.texts(caller, answers.map(|it| &it.text_id)).await?;
        let shown = loaded
            .iter()
            .map(|it| parse::response(&caller.tenant, it, |text_id| texts.shown(text_id)));
        Ok(shown.collect())
    }
}

/// A link whose invitation was withdrawn before it was sent leads nowhere any more.
fn of_link(refusal: invitation::Refusal) -> Problem {
    match refusal {
        invitation::Refusal::NotIssued => of_invitation(invitation::Refusal::Expired),
        other => of_invitation(other),
    }
}
