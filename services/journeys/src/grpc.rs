//! The API, one method per RPC in proto order. Every method is the same five steps: caller, authorise (the layer did),
//! parse, execute or query, reply.

mod check;
mod instances;
mod versions;

use std::collections::BTreeMap;

use authored::document;
use chassis::auth::Caller;
use chassis::deps::Deps;
use chassis::name::{own, own_tenant, unknown};
use chassis::page::Page;
use chassis::status::Problem;
use eventstore::{AsOf, Loaded, Outcome};
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::journey_service_server::JourneyService;
use tonic::{Request, Response, Status};

use crate::convert::{request as parse, resource, step};
use crate::domain::entry::Answer;
use crate::domain::instance::{self, Instance};
use crate::domain::journey::{self, Command, Journey};
use crate::graph::Entry;
use crate::graphs::Graphs;
use crate::refusal::{self, ENTRY_REFUSED};
use crate::units::{self, Answered, Wish};
use crate::view;
use crate::view::instance::Place;

/// What serves the RPCs.
#[derive(Clone)]
pub(crate) struct Api {
    deps: Deps,
    graphs: Graphs,
}

impl Api {
    pub(crate) fn new(deps: &Deps, graphs: &Graphs) -> Self {
        Self { deps: deps.clone(), graphs: graphs.clone() }
    }

    /// Position up to which this replica has certainly read.
    fn position(&self) -> u64 {
        self.deps.store.head().position
    }

    /// Waits for the positions a read must include: its own, and what the reactor has handled of others.
    async fn caught_up(&self, positions: &BTreeMap<String, u64>) -> Result<(), Problem> {
        self.deps.caught_up(&[crate::consumers::REPORTS], positions).await
    }

    async fn journey(&self, tenant: &str, id: &str) -> Result<Loaded<journey::State>, Problem> {
        self.deps.find::<Journey>(tenant, id, "name").await
    }

    async fn instance(
        &self,
        tenant: &str,
        id: &str,
        field: &str,
    ) -> Result<Loaded<instance::State>, Problem> {
        self.deps.find::<Instance>(tenant, id, field).await
    }
}

#[tonic::async_trait]
impl JourneyService for Api {
    async fn draft_journey(
        &self,
        request: Request<proto::DraftJourneyRequest>,
    ) -> Result<Response<proto::DraftJourneyResponse>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let actor = caller.subject.clone();
        let (definition, findings) = parse::definition(request.get_ref().definition.as_ref())?;
        if request.get_ref().validate_only {
            let position = self.position();
            let reply = proto::DraftJourneyResponse { version: None, findings, position };
            return Ok(Response::new(reply));
        }
        let journey = match definition {
            Some(journey) if findings.is_empty() => journey,
            _ => return Err(refusal::of_findings(&findings).into()),
        };
        let (journey_id, hash) = (journey.journey.clone(), document::hash(&journey));
        let draft = Command::Draft { journey: Box::new(journey), hash, actor };
        let done = self.change(&journey_id, &meta, draft).await?;
        let version =
            done.state.versions.newest().and_then(|(version, _)| done.state.info(version));
        let reply = proto::DraftJourneyResponse { version, findings, position: done.position };
        Ok(Response::new(reply))
    }

    async fn check_journey(
        &self,
        request: Request<proto::CheckJourneyRequest>,
    ) -> Result<Response<proto::CheckJourneyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "journeys")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let loaded = self.journey(&caller.tenant, id).await?;
        let newest = loaded.state.versions.newest().map_or(0, |(version, _)| version);
        let version = match request.get_ref().version {
            0 => newest,
            version => version,
        };
        let positions = &request.get_ref().min_positions;
        let checked = self.check(&caller.tenant, &loaded.state, version, positions).await?;
        if !checked.findings.is_empty() {
            let (version, position) = (loaded.state.info(version), self.position());
            let findings = checked.findings;
            return Ok(Response::new(proto::CheckJourneyResponse { version, findings, position }));
        }
        let check = Command::Check { version, positions: checked.positions };
        let done = self.change(id, &meta, check).await?;
        Ok(Response::new(proto::CheckJourneyResponse {
            version: done.state.info(version),
            findings: Vec::new(),
            position: done.position,
        }))
    }

    async fn approve_journey(
        &self,
        request: Request<proto::ApproveJourneyRequest>,
    ) -> Result<Response<proto::ApproveJourneyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "journeys")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let version = request.get_ref().version;
        let approve = Command::Approve {
            version,
            hash: parse::hash(&request.get_ref().hash)?,
            comment: parse::comment(&request.get_ref().comment)?,
            actor: caller.subject.clone(),
        };
        let (version, position) =
            self.change_version(&caller.tenant, id, &meta, version, approve).await?;
        Ok(Response::new(proto::ApproveJourneyResponse { version, position }))
    }

    async fn publish_journey(
        &self,
        request: Request<proto::PublishJourneyRequest>,
    ) -> Result<Response<proto::PublishJourneyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "journeys")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let version = request.get_ref().version;
        let loaded = self.journey(&caller.tenant, id).await?;
        // What cannot be published whatever the check says is refused before anybody is asked.
        if self.deps.store.find_request(&meta).await.map_err(Problem::from)?.is_none() {
            loaded.state.may_publish(version).map_err(Problem::from)?;
            let checked =
                self.check(&caller.tenant, &loaded.state, version, &BTreeMap::new()).await?;
            if !checked.findings.is_empty() {
                let (version, position) = (loaded.state.info(version), self.position());
                let findings = checked.findings;
                return Ok(Response::new(proto::PublishJourneyResponse {
                    version,
                    findings,
                    position,
                }));
            }
        }
        let publish = Command::Publish { version };
        let (version, position) =
            self.change_version(&caller.tenant, id, &meta, version, publish).await?;
        Ok(Response::new(proto::PublishJourneyResponse { version, findings: Vec::new(), position }))
    }

    async fn pause_journey(
        &self,
        request: Request<proto::PauseJourneyRequest>,
    ) -> Result<Response<proto::PauseJourneyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "journeys")?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let (timers, reason) = parse::pause(request.get_ref())?;
        reason.clone_into(&mut meta.reason);
        let state = self.journey(&caller.tenant, id).await?.state;
        let version = state.meant(request.get_ref().version, |it| it.enters);
        let pause = Command::Pause { version, timers, reason };
        let (version, position) =
            self.change_version(&caller.tenant, id, &meta, version, pause).await?;
        Ok(Response::new(proto::PauseJourneyResponse { version, position }))
    }

    async fn resume_journey(
        &self,
        request: Request<proto::ResumeJourneyRequest>,
    ) -> Result<Response<proto::ResumeJourneyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "journeys")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let state = self.journey(&caller.tenant, id).await?.state;
        let version = state.meant(request.get_ref().version, |it| it.paused.is_some());
        let resume = Command::Resume { version };
        let (version, position) =
            self.change_version(&caller.tenant, id, &meta, version, resume).await?;
        Ok(Response::new(proto::ResumeJourneyResponse { version, position }))
    }

    async fn drain_journey(
        &self,
        request: Request<proto::DrainJourneyRequest>,
    ) -> Result<Response<proto::DrainJourneyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "journeys")?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let reason = parse::reason(&request.get_ref().reason)?;
        reason.clone_into(&mut meta.reason);
        let state = self.journey(&caller.tenant, id).await?.state;
        let version = state.meant(request.get_ref().version, |it| it.enters);
        let drain = Command::Drain { version, reason };
        let (version, position) =
            self.change_version(&caller.tenant, id, &meta, version, drain).await?;
        Ok(Response::new(proto::DrainJourneyResponse { version, position }))
    }

    async fn retire_journey(
        &self,
        request: Request<proto::RetireJourneyRequest>,
    ) -> Result<Response<proto::RetireJourneyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "journeys")?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let reason = parse::reason(&request.get_ref().reason)?;
        reason.clone_into(&mut meta.reason);
        let version = request.get_ref().version;
        let retire = Command::Retire { version, reason };
        let (version, position) =
            self.change_version(&caller.tenant, id, &meta, version, retire).await?;
        Ok(Response::new(proto::RetireJourneyResponse { version, position }))
    }

    async fn get_journey(
        &self,
        request: Request<proto::GetJourneyRequest>,
    ) -> Result<Response<proto::GetJourneyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let id = own(caller, "name", &request.name, "journeys")?;
        self.caught_up(&request.min_positions).await?;
        let position = self.position();
        let state = self.journey(&caller.tenant, id).await?.state;
        let version = state.meant(request.version, |it| it.enters && it.retired_at.is_none());
        let journey = state.definitions.get(&version).cloned().ok_or_else(|| unknown("version"))?;
        let nodes = view::instance::by_node(self.deps.store.database(), &caller.tenant, id).await;
        let nodes = nodes.map_err(Problem::from)?.into_iter();
        Ok(Response::new(proto::GetJourneyResponse {
            journey: Some(journey),
            version: state.info(version),
            versions: state.versions.iter().filter_map(|(it, _)| state.info(it)).collect(),
            nodes: nodes
                .map(|(version, node, instances)| proto::NodeCount { node, version, instances })
                .collect(),
            position,
        }))
    }

    async fn list_journeys(
        &self,
        request: Request<proto::ListJourneysRequest>,
    ) -> Result<Response<proto::ListJourneysResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let arguments = [caller.tenant.as_str(), "journeys"];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        let after = page.cursor().unwrap_or_default();
        let store = &self.deps.store;
        let listed = view::journey::list(store.database(), &caller.tenant, after, page.size + 1);
        let mut ids = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut ids, String::clone);
        let found =
            store.load_many::<Journey>(&caller.tenant, &ids).await.map_err(Problem::from)?;
        let mut journeys = Vec::with_capacity(ids.len());
        for (journey_id, loaded) in ids.into_iter().zip(found) {
            journeys.push(self.summary(&caller.tenant, journey_id, &loaded.state).await?);
        }
        Ok(Response::new(proto::ListJourneysResponse { journeys, next_page_token }))
    }

    async fn request_entry(
        &self,
        request: Request<proto::RequestEntryRequest>,
    ) -> Result<Response<proto::RequestEntryResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "parent", &request.get_ref().parent, "journeys")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let (party_id, entry_key, entry) = parse::entry(request.get_ref())?;
        let state = self.journey(&caller.tenant, id).await?.state;
        if let Some(version) = state.entering() {
            let graph =
                self.graphs.get(&caller.tenant, id, version).await.map_err(Problem::from)?;
            if graph.entry != Entry::Api {
                return Err(Problem::of(ENTRY_REFUSED)
                    .violation("parent", ENTRY_REFUSED.remedy)
                    .into());
            }
        }
        let cause = proto::Cause {
            r#type: meta.method.clone(),
            occurred_at: Some(meta.at.to_proto()),
            recorded_at: Some(meta.at.to_proto()),
            ..Default::default()
        };
        let journey_id = id.to_owned();
        let wish = Wish { journey_id, party_id, entry_key, entry, cause: Some(cause), request: 0 };
        let answered = self.entered_before(&meta, &wish).await?;
        let Answered { answer, position } = match answered {
            Some(answered) => answered,
            None => units::enter(&self.deps, &self.graphs, &meta, &wish, None)
                .await
                .map_err(refusal::of_failure)?,
        };
        let (instance, refused) = match answer {
            Some(Answer::Entered(id)) => {
                let loaded = self.instance(&caller.tenant, &id, "parent").await?;
                (Some(resource::instance(&caller.tenant, &loaded)), String::new())
            }
            Some(Answer::Refused(rule)) => (None, rule),
            None => (None, String::new()),
        };
        Ok(Response::new(proto::RequestEntryResponse { instance, refused, position }))
    }

    async fn get_instance(
        &self,
        request: Request<proto::GetInstanceRequest>,
    ) -> Result<Response<proto::GetInstanceResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let id = own(caller, "name", &request.name, "instances")?;
        self.caught_up(&request.min_positions).await?;
        let position = self.position();
        let loaded = self.instance(&caller.tenant, id, "name").await?;
        let instance = Some(resource::instance(&caller.tenant, &loaded));
        Ok(Response::new(proto::GetInstanceResponse { instance, position }))
    }

    async fn list_instances(
        &self,
        request: Request<proto::ListInstancesRequest>,
    ) -> Result<Response<proto::ListInstancesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let (journey_id, party_id) = (request.journey_id.as_str(), request.party_id.as_str());
        let arguments = [caller.tenant.as_str(), "instances", journey_id, party_id];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        self.caught_up(&request.min_positions).await?;
        let before = page.cursor().and_then(Place::parse).unwrap_or_else(Place::start);
        let store = &self.deps.store;
        let listed = view::instance::list(
            store.database(),
            &caller.tenant,
            journey_id,
            party_id,
            &before,
            page.size + 1,
        );
        let mut places = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut places, Place::clone);
        let ids: Vec<_> = places.into_iter().map(|it| it.instance_id).collect();
        let found =
            store.load_many::<Instance>(&caller.tenant, &ids).await.map_err(Problem::from)?;
        let instances = found.iter().map(|it| resource::instance(&caller.tenant, it)).collect();
        Ok(Response::new(proto::ListInstancesResponse { instances, next_page_token }))
    }

    async fn list_instance_steps(
        &self,
        request: Request<proto::ListInstanceStepsRequest>,
    ) -> Result<Response<proto::ListInstanceStepsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let id = own(caller, "parent", &request.parent, "instances")?;
        let page =
            Page::parse(request.page_size, &request.page_token, &[&caller.tenant, "steps", id])?;
        self.caught_up(&request.min_positions).await?;
        let after = page.cursor::<i64>().and_then(|it| u64::try_from(it).ok()).unwrap_or(0);
        let stream = format!("instance/{id}");
        let read = self.deps.store.read_stream(&caller.tenant, &stream, AsOf::Now).await;
        let events = read.map_err(Problem::from)?;
        if events.is_empty() {
            return Err(unknown("parent").into());
        }
        let mut steps = Vec::new();
        let wanted = events.iter().filter(|event| event.envelope.version > after);
        for event in wanted.take(page.size as usize + 1) {
            steps.extend(step::step(event).map_err(Problem::from)?);
        }
        let next_page_token = page.cut(&mut steps, |it| it.number);
        Ok(Response::new(proto::ListInstanceStepsResponse { steps, next_page_token }))
    }

    async fn eject_instance(
        &self,
        request: Request<proto::EjectInstanceRequest>,
    ) -> Result<Response<proto::EjectInstanceResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "instances")?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let reason = parse::reason(&request.get_ref().reason)?;
        reason.clone_into(&mut meta.reason);
        let (instance, position) = self.eject(id, &meta, &reason).await?;
        Ok(Response::new(proto::EjectInstanceResponse { instance: Some(instance), position }))
    }

    async fn list_entry_refusals(
        &self,
        request: Request<proto::ListEntryRefusalsRequest>,
    ) -> Result<Response<proto::ListEntryRefusalsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let (journey_id, party_id) = (request.journey_id.as_str(), request.party_id.as_str());
        let arguments = [caller.tenant.as_str(), "refusals", journey_id, party_id];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        let before = page.cursor().unwrap_or(i64::MAX);
        let database = self.deps.store.database();
        let listed = view::refusal::list(
            database,
            &caller.tenant,
            journey_id,
            party_id,
            before,
            page.size + 1,
        );
        let mut rows = listed.await.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut rows, |(position, _, _)| *position);
        let refusals = (rows.into_iter())
            .map(|(_, at, refusal)| proto::EntryRefusal {
                refusal: Some(refusal),
                record_time: Some(at.to_proto()),
            })
            .collect();
        Ok(Response::new(proto::ListEntryRefusalsResponse { refusals, next_page_token }))
    }

    async fn check_instance(
        &self,
        request: Request<proto::CheckInstanceRequest>,
    ) -> Result<Response<proto::CheckInstanceResponse>, Status> {
        let caller = Caller::of(&request)?;
        let id = own(caller, "name", &request.get_ref().name, "instances")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let asked = request.get_ref();
        let reply = self.is_live(id, &meta, &asked.touch_id, &asked.min_positions).await?;
        Ok(Response::new(reply))
    }
}

impl Api {
    /// The outcome of an entry that was asked for with the same request id before.
    async fn entered_before(
        &self,
        meta: &eventstore::Metadata,
        wish: &Wish,
    ) -> Result<Option<Answered>, Status> {
        let store = &self.deps.store;
        match store.find_request(meta).await.map_err(Problem::from)? {
            Some(Outcome::Repeated { version, position, .. }) => {
                let stream = crate::domain::entry::stream_id(&wish.journey_id, &wish.party_id);
                let then = store.load::<crate::domain::entry::Entry>(
                    &meta.tenant,
                    &stream,
                    AsOf::Version(version),
                );
                let answer = then.await.map_err(Problem::from)?.state.last;
                Ok(Some(Answered { answer, position }))
            }
            Some(_) => Err(refusal::of_failure(units::Failure::RequestReused)),
            None => Ok(None),
        }
    }
}
