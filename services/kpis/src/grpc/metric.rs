//! `MetricService`.

use authored::document;
use chassis::auth::Caller;
use chassis::page::Page;
use chassis::status::Problem;
use eventstore::{AsOf, Metadata};
use rapport_proto::kpis::v1 as proto;
use rapport_proto::kpis::v1::metric_service_server::MetricService;
use rapport_proto::types::VersionInfo;
use tonic::{Request, Response, Status};

use super::{Api, by, comment, not_built_in, own, own_tenant, unknown};
use crate::convert;
use crate::domain::metric::{Command, Metric, State};
use crate::refusal::{self, METRIC_INVALID, SUPPRESSED, TOO_MANY_FIGURES};
use crate::rollup::built_in;
use crate::rollup::definition::Definition;
use crate::timers;
use crate::view;
use crate::view::figure::Cursor;

/// Figures in one answer, at most.
const MOST_FIGURES: usize = 10_000;

#[tonic::async_trait]
impl MetricService for Api {
    async fn draft_metric(
        &self,
        request: Request<proto::DraftMetricRequest>,
    ) -> Result<Response<proto::DraftMetricResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let metric = convert::metric(request.get_ref().definition.as_ref())?;
        not_built_in(&metric.metric)?;
        let findings = Definition::compile(&metric, 1).err().unwrap_or_default();
        if request.get_ref().validate_only {
            let position = self.position();
            let reply = proto::DraftMetricResponse { version: None, findings, position };
            return Ok(Response::new(reply));
        }
        if !findings.is_empty() {
            return Err(refusal::of_findings("metric", METRIC_INVALID, &findings).into());
        }
        let (id, hash) = (metric.metric.clone(), document::hash(&metric));
        let draft = Command::Draft { by: by(caller), document: Box::new(metric), hash };
        let done = self.execute::<Metric>(&id, &meta, draft).await?;
        let version = done.state.versions.newest().map(|it| it.0).unwrap_or_default();
        Ok(Response::new(proto::DraftMetricResponse {
            version: done.state.versions.info(version),
            findings: Vec::new(),
            position: done.position,
        }))
    }

    async fn approve_metric(
        &self,
        request: Request<proto::ApproveMetricRequest>,
    ) -> Result<Response<proto::ApproveMetricResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "metrics")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let version = request.get_ref().version;
        let approve = Command::Approve {
            by: by(caller),
            version,
            hash: convert::hash(&request.get_ref().hash)?,
            comment: comment(&request.get_ref().comment)?,
        };
        let (version, position) = self.step(id, &meta, version, approve).await?;
        Ok(Response::new(proto::ApproveMetricResponse { version, position }))
    }

    async fn activate_metric(
        &self,
        request: Request<proto::ActivateMetricRequest>,
    ) -> Result<Response<proto::ActivateMetricResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "metrics")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let version = request.get_ref().version;
        let activate = Command::Activate { by: by(caller), version };
        let (version, position) = self.step(id, &meta, version, activate).await?;
        Ok(Response::new(proto::ActivateMetricResponse { version, position }))
    }

    async fn retire_metric(
        &self,
        request: Request<proto::RetireMetricRequest>,
    ) -> Result<Response<proto::RetireMetricResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "metrics")?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let reason = convert::reason(&request.get_ref().reason)?;
        meta.reason.clone_from(&reason);
        let version = request.get_ref().version;
        let retire = Command::Retire { by: by(caller), version, reason };
        let (version, position) = self.step(id, &meta, version, retire).await?;
        Ok(Response::new(proto::RetireMetricResponse { version, position }))
    }

    async fn get_metric(
        &self,
        request: Request<proto::GetMetricRequest>,
    ) -> Result<Response<proto::GetMetricResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "metrics")?;
        let position = self.position();
        let loaded = self.deps.store.load::<Metric>(&caller.tenant, id, AsOf::Now).await;
        let state = loaded.map_err(Problem::from)?.state;
        let targets = state.targets.values().map(|it| it.target.clone()).collect();
        let wanted = request.get_ref().version;
        let (metric, version, versions) = match built_in::find(id) {
            Some(it) if wanted <= built_in::VERSION => {
                let info = built_in::info(it);
                (it.metric.clone(), Some(info.clone()), vec![info])
            }
            Some(_) => return Err(unknown("version").into()),
            None => versions(&state, wanted)?,
        };
        let reply =
            proto::GetMetricResponse { metric: Some(metric), version, versions, targets, position };
        Ok(Response::new(reply))
    }

    async fn list_metrics(
        &self,
        request: Request<proto::ListMetricsRequest>,
    ) -> Result<Response<proto::ListMetricsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (request, tenant) = (request.get_ref(), caller.tenant.as_str());
        own_tenant(caller, &request.parent)?;
        let page =
            Page::parse(request.page_size.min(500), &request.page_token, &[tenant, "metrics"])?;
        let after = page.cursor().unwrap_or_default();
        let database = self.deps.store.database();
        let mut ids = view::metric::list(database, tenant, after, page.size + 1)
            .await
            .map_err(Problem::from)?;
        let built = built_in::all().iter().map(|it| &it.metric.metric);
        ids.extend(built.filter(|it| it.as_str() > after).cloned());
        ids.sort_unstable();
        ids.dedup();
        let next_page_token = page.cut(&mut ids, String::clone);
        let loaded = self.deps.store.load_many::<Metric>(tenant, &ids).await;
        let loaded = loaded.map_err(Problem::from)?;
        let metrics = ids.iter().zip(loaded).map(|(id, it)| summary(id, &it.state)).collect();
        Ok(Response::new(proto::ListMetricsResponse { metrics, next_page_token }))
    }

    async fn query_figures(
        &self,
        request: Request<proto::QueryFiguresRequest>,
    ) -> Result<Response<proto::QueryFiguresResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (request, tenant) = (request.get_ref(), caller.tenant.as_str());
        let id = own(caller, "name", &request.name, "metrics")?;
        let definition = self.in_force(tenant, id).await?;
        let query = convert::query(&definition, request)?;
        let (series, hash) = (&definition.series, definition.hash);
        self.caught_up(tenant, series, hash, &request.min_positions).await?;
        let read = view::figure::read(&self.deps.store, tenant, &definition, &query).await;
        let read = read.map_err(Problem::from)?;
        if read.figures.len() > MOST_FIGURES {
            return Err(Problem::of(TOO_MANY_FIGURES).into());
        }
        let figures = convert::figures(&definition, &request.group_by, request, &read);
        Ok(Response::new(proto::QueryFiguresResponse { figures }))
    }

    async fn list_figure_events(
        &self,
        request: Request<proto::ListFigureEventsRequest>,
    ) -> Result<Response<proto::ListFigureEventsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (request, tenant) = (request.get_ref(), caller.tenant.as_str());
        let id = own(caller, "name", &request.name, "metrics")?;
        let definition = self.in_force(tenant, id).await?;
        let query = convert::cell(&definition, request)?;
        let arguments = format!("{query:?}");
        let page = Page::parse(request.page_size, &request.page_token, &[tenant, id, &arguments])?;
        let store = &self.deps.store;
        let after = page.cursor().map_or_else(|| Some(Cursor::default()), cursor);
        let after = after.ok_or_else(|| Problem::field("page_token", "Use the token as it is."))?;
        let limit = page.size as usize + 1;
        let found = view::figure::events(store, tenant, &definition, &query, after, limit).await;
        let found = found.map_err(Problem::from)?;
        let mut found = found.ok_or_else(|| Problem::of(SUPPRESSED))?;
        let next_page_token = page.cut(&mut found, |it| print(&it.cursor));
        let items = found
            .into_iter()
            .map(|it| {
                let (source, position, _, element) = it.cursor;
                proto::list_figure_events_response::Item {
                    source,
                    position: u64::try_from(position).unwrap_or_default(),
                    event_id: it.event_id,
                    element: u32::try_from(element).unwrap_or_default(),
                }
            })
            .collect();
        Ok(Response::new(proto::ListFigureEventsResponse { items, next_page_token }))
    }

    async fn set_target(
        &self,
        request: Request<proto::SetTargetRequest>,
    ) -> Result<Response<proto::SetTargetResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "metrics")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let asked = request.get_ref();
        if asked.remove {
            let target = asked.target.clone().unwrap_or_default();
            let remove = Command::RemoveTarget { target: target.target.clone() };
            let done = self.execute::<Metric>(id, &meta, remove).await?;
            let reply = proto::SetTargetResponse { target: Some(target), position: done.position };
            return Ok(Response::new(reply));
        }
        let definition = self.in_force(&caller.tenant, id).await?;
        let target = convert::target(Some(&definition), asked)?;
        let judge_at = timers::judge_at(&definition, meta.at).ok_or_else(|| {
            Problem::field("name", "Use a metric whose buckets the calendar knows.")
        })?;
        let set = Command::SetTarget { target: Box::new(target.clone()), judge_at };
        let done = self.execute::<Metric>(id, &meta, set).await?;
        let reply = proto::SetTargetResponse { target: Some(target), position: done.position };
        Ok(Response::new(reply))
    }

    async fn list_alerts(
        &self,
        request: Request<proto::ListAlertsRequest>,
    ) -> Result<Response<proto::ListAlertsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let (request, tenant) = (request.get_ref(), caller.tenant.as_str());
        own_tenant(caller, &request.parent)?;
        let all = if request.cleared { "all" } else { "standing" };
        let arguments = [tenant, "alerts", all];
        let page = Page::parse(request.page_size.min(500), &request.page_token, &arguments)?;
        let before = page.cursor().unwrap_or(i64::MAX);
        let database = self.deps.store.database();
        let listed = view::alert::list(database, tenant, before, request.cleared, page.size + 1);
        let mut rows = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut rows, |it| it.position);
        let alerts = rows.into_iter().map(|it| it.alert).collect();
        Ok(Response::new(proto::ListAlertsResponse { alerts, next_page_token }))
    }

    async fn clear_alert(
        &self,
        request: Request<proto::ClearAlertRequest>,
    ) -> Result<Response<proto::ClearAlertResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "alerts")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let database = self.deps.store.database();
        let find = || view::alert::find(database, &caller.tenant, id);
        let known = find().await.map_err(Problem::from)?.ok_or_else(|| unknown("name"))?;
        let clear = Command::Clear { alert_id: id.to_owned() };
        let done = self.execute::<Metric>(&known.metric, &meta, clear).await?;
        let alert = find().await.map_err(Problem::from)?;
        Ok(Response::new(proto::ClearAlertResponse { alert, position: done.position }))
    }
}

impl Api {
    /// A step in the life of a version.
    async fn step(
        &self,
        id: &str,
        meta: &Metadata,
        version: u32,
        command: Command,
    ) -> Result<(Option<VersionInfo>, u64), Problem> {
        not_built_in(id)?;
        self.deps.find::<Metric>(&meta.tenant, id, "name").await?;
        let done = self.execute::<Metric>(id, meta, command).await?;
        Ok((done.state.versions.info(version), done.position))
    }
}

type Versions = (proto::Metric, Option<VersionInfo>, Vec<VersionInfo>);

/// The document of a version, the version, and all of them; 0 asks for the live one, else the newest.
fn versions(state: &State, wanted: u32) -> Result<Versions, Problem> {
    let all = &state.versions;
    let (newest, _) = all.newest().ok_or_else(|| unknown("name"))?;
    let version = match wanted {
        0 => all.live().map_or(newest, |it| it.0),
        wanted => wanted,
    };
    let document = state.documents.get(&version).cloned().ok_or_else(|| unknown("version"))?;
    Ok((document, all.info(version), all.iter().filter_map(|it| all.info(it.0)).collect()))
}

fn summary(id: &str, state: &State) -> proto::MetricSummary {
    let of = match built_in::find(id) {
        Some(it) => Ok((it.metric.clone(), Some(built_in::info(it)), Vec::new())),
        None => versions(state, 0),
    };
    let (metric, version, _) = of.unwrap_or_default();
    proto::MetricSummary {
        metric: id.to_owned(),
        description: metric.description,
        version,
        built_in: built_in::find(id).is_some(),
    }
}

/// `delivery/12/0/0`.
fn print((source, position, role, element): &Cursor) -> String {
    format!("{source}/{position}/{role}/{element}")
}

fn cursor(text: &str) -> Option<Cursor> {
    let mut parts = text.split('/');
    let source = parts.next()?.to_owned();
    let mut number = || parts.next()?.parse().ok();
    Some((source, number()?, number()?, number()?))
}
