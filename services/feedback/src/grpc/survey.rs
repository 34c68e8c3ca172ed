//! Surveys.

use authored::document;
use chassis::auth::Caller;
use chassis::name::{own, own_tenant, unknown};
use chassis::page::Page;
use chassis::status::Problem;
use eventstore::Metadata;
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::survey_service_server::SurveyService;
use rapport_proto::types::VersionInfo;
use tonic::{Request, Response, Status};

use super::Api;
use crate::convert::{code, survey as parse};
use crate::domain::survey::{Command, Survey};
use crate::refusal::{SURVEY_INVALID, of_version};
use crate::view;

#[tonic::async_trait]
impl SurveyService for Api {
    async fn draft_survey(
        &self,
        request: Request<proto::DraftSurveyRequest>,
    ) -> Result<Response<proto::DraftSurveyResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let actor = caller.subject.clone();
        let (document, findings) = parse::definition(request.get_ref().definition.as_ref())?;
        if request.get_ref().validate_only {
            let position = self.position();
            let reply = proto::DraftSurveyResponse { version: None, findings, position };
            return Ok(Response::new(reply));
        }
        let Some(document) = document.filter(|_| findings.is_empty()) else {
            let told = Problem::of(SURVEY_INVALID);
            let told = findings.iter().fold(told, |told, it| {
                let line = if it.line > 0 { format!("line {}: ", it.line) } else { String::new() };
                told.violation(format!("definition.{}", it.place), format!("{line}{}", it.text))
            });
            return Err(told.into());
        };
        let (id, hash) = (document.survey.clone(), document::hash(&document));
        let draft = Command::Draft { document: Box::new(document), hash, actor };
        let done = self.execute::<Survey>(&id, &meta, draft, of_version).await?;
        let newest = done.state.versions.newest().map_or(0, |(version, _)| version);
        let version = done.state.versions.info(newest);
        let reply = proto::DraftSurveyResponse { version, findings, position: done.position };
        Ok(Response::new(reply))
    }

    async fn approve_survey(
        &self,
        request: Request<proto::ApproveSurveyRequest>,
    ) -> Result<Response<proto::ApproveSurveyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "surveys")?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let approve = Command::Approve {
            version: it.version,
            hash: parse::hash(&it.hash)?,
            comment: parse::comment(&it.comment)?,
            actor: caller.subject.clone(),
        };
        let (version, position) = self.change(id, &meta, it.version, approve).await?;
        Ok(Response::new(proto::ApproveSurveyResponse { version, position }))
    }

    async fn activate_survey(
        &self,
        request: Request<proto::ActivateSurveyRequest>,
    ) -> Result<Response<proto::ActivateSurveyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "surveys")?;
        let meta = self.deps.metadata(&request, &it.request_id)?;
        let activate = Command::Activate { version: it.version };
        let (version, position) = self.change(id, &meta, it.version, activate).await?;
        Ok(Response::new(proto::ActivateSurveyResponse { version, position }))
    }

    async fn retire_survey(
        &self,
        request: Request<proto::RetireSurveyRequest>,
    ) -> Result<Response<proto::RetireSurveyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        let id = own(caller, "name", &it.name, "surveys")?;
        let mut meta = self.deps.metadata(&request, &it.request_id)?;
        let reason = code("reason", &it.reason)?;
        reason.clone_into(&mut meta.reason);
        let retire = Command::Retire { version: it.version, reason };
        let (version, position) = self.change(id, &meta, it.version, retire).await?;
        Ok(Response::new(proto::RetireSurveyResponse { version, position }))
    }

    async fn get_survey(
        &self,
        request: Request<proto::GetSurveyRequest>,
    ) -> Result<Response<proto::GetSurveyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let id = own(caller, "name", &request.name, "surveys")?;
        self.caught_up(&request.min_positions).await?;
        let position = self.position();
        let state = self.deps.find::<Survey>(&caller.tenant, id, "name").await?.state;
        let version = state.shown(request.version);
        let survey = state.documents.get(&version).cloned().ok_or_else(|| unknown("version"))?;
        Ok(Response::new(proto::GetSurveyResponse {
            survey: Some(survey),
            version: state.versions.info(version),
            versions: state.versions.iter().filter_map(|it| state.versions.info(it.0)).collect(),
            position,
        }))
    }

    async fn list_surveys(
        &self,
        request: Request<proto::ListSurveysRequest>,
    ) -> Result<Response<proto::ListSurveysResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let tenant = caller.tenant.as_str();
        let page = Page::parse(request.page_size, &request.page_token, &[tenant, "surveys"])?;
        self.caught_up(&request.min_positions).await?;
        let (store, after) = (&self.deps.store, page.cursor().unwrap_or_default());
        let listed = view::survey::list(store.database(), tenant, after, page.size + 1).await;
        let mut ids = listed.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut ids, String::clone);
        let found = store.load_many::<Survey>(tenant, &ids).await.map_err(Problem::from)?;
        let surveys = ids.into_iter().zip(&found).map(|(id, it)| parse::summary(id, &it.state));
        let surveys = surveys.collect();
        Ok(Response::new(proto::ListSurveysResponse { surveys, next_page_token }))
    }
}

impl Api {
    /// Changes a version of a survey that exists, and shows it.
    async fn change(
        &self,
        id: &str,
        meta: &Metadata,
        version: u32,
        command: Command,
    ) -> Result<(Option<VersionInfo>, u64), Problem> {
        self.deps.find::<Survey>(&meta.tenant, id, "name").await?;
        let done = self.execute::<Survey>(id, meta, command, of_version).await?;
        Ok((done.state.versions.info(version), done.position))
    }
}
