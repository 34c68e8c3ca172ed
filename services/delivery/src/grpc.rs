//! The API: one method per RPC in proto order. Every method is the same five steps: caller, authorise (the layer did),
//! parse, execute or query, reply.

use std::collections::BTreeMap;

use chassis::auth::Caller;
use chassis::command::of_command;
use chassis::deps::Deps;
use chassis::name::{own, own_tenant, unknown};
use chassis::page::Page;
use chassis::status::{CONFLICT, Problem};
use chassis::text::Check;
use eventstore::{AsOf, Decider, Executed, Loaded, Metadata};
use rapport_proto::delivery::v1 as proto;
use rapport_proto::delivery::v1::delivery_service_server::DeliveryService;
use tonic::{Request, Response, Status};

use crate::adapters::webhook;
use crate::convert::{self, touch as parse};
use crate::domain::recipient::{self, Recipient};
use crate::domain::report::Report;
use crate::domain::sender::Sender;
use crate::domain::touch::{self, Touch};
use crate::worker::Worker;
use crate::{REACTIONS, RULES, view};

mod provider;
mod request;
mod settle;
mod task;

/// What serves the RPCs.
#[derive(Clone)]
pub(crate) struct Api {
    deps: Deps,
    senders: request::Senders,
    worker: Worker,
}

#[tonic::async_trait]
impl DeliveryService for Api {
    async fn register_sender(
        &self,
        request: Request<proto::RegisterSenderRequest>,
    ) -> Result<Response<proto::RegisterSenderResponse>, Status> {
        own_tenant(Caller::of(&request)?, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let (sender_id, command) = convert::sender::register(request.get_ref())?;
        let done = self.execute::<Sender>(&sender_id, &meta, command).await?;
        let (sender, position) = (done.state.sender, done.position);
        Ok(Response::new(proto::RegisterSenderResponse { sender, position }))
    }

    async fn list_senders(
        &self,
        request: Request<proto::ListSendersRequest>,
    ) -> Result<Response<proto::ListSendersResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let tenant = caller.tenant.as_str();
        let page = Page::parse(request.page_size, &request.page_token, &[tenant, "senders"])?;
        let after = page.cursor().unwrap_or_default();
        let store = &self.deps.store;
        let listed = view::sender::list(store.database(), tenant, after, page.size + 1).await;
        let mut ids = listed.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut ids, String::clone);
        let found = store.load_many::<Sender>(tenant, &ids).await.map_err(Problem::from)?;
        let senders = found.into_iter().filter_map(|it| it.state.sender).collect();
        Ok(Response::new(proto::ListSendersResponse { senders, next_page_token }))
    }

    async fn request_touch(
        &self,
        request: Request<proto::RequestTouchRequest>,
    ) -> Result<Response<proto::RequestTouchResponse>, Status> {
        let caller = Caller::of(&request)?;
        let party_id = own(caller, "parent", &request.get_ref().parent, "parties")?.to_owned();
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let wanted = parse::request(request.get_ref(), &party_id, &meta)?;
        let (touch, position) = shown(&meta.tenant, self.ask(&meta, wanted).await?);
        Ok(Response::new(proto::RequestTouchResponse { touch, position }))
    }

    async fn get_touch(
        &self,
        request: Request<proto::GetTouchRequest>,
    ) -> Result<Response<proto::GetTouchResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        let touch_id = own(caller, "name", &request.name, "touches")?;
        self.caught_up(&request.min_positions).await?;
        let position = self.deps.store.head().position;
        let loaded = self.find(&caller.tenant, touch_id).await?;
        let touch = Some(parse::touch(&caller.tenant, &loaded));
        Ok(Response::new(proto::GetTouchResponse { touch, position }))
    }

    async fn list_touches(
        &self,
        request: Request<proto::ListTouchesRequest>,
    ) -> Result<Response<proto::ListTouchesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let mut check = Check::default();
        let party_id = convert::optional_id(&mut check, "party_id", &request.party_id);
        let state = touch::Status::try_from(request.state).ok();
        check.require(state.is_some(), "state", "Choose one of the enum's values.");
        check.finish().map_err(Status::from)?;
        self.caught_up(&request.min_positions).await?;
        let (tenant, state) = (caller.tenant.as_str(), state.unwrap_or_default());
        let arguments = [tenant, "touches", &party_id, state.as_str_name()];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        let before = page.cursor().unwrap_or(i64::MAX);
        let filter = view::touch::Filter { party_id: &party_id, state };
        let database = self.deps.store.database();
        let listed = view::touch::list(database, tenant, filter, before, page.size + 1).await;
        let mut rows = listed.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut rows, |(_, position)| *position);
        let touches = self.touches(tenant, rows.into_iter().map(|it| it.0).collect()).await?;
        Ok(Response::new(proto::ListTouchesResponse { touches, next_page_token }))
    }

    async fn settle_touch(
        &self,
        request: Request<proto::SettleTouchRequest>,
    ) -> Result<Response<proto::SettleTouchResponse>, Status> {
        let caller = Caller::of(&request)?;
        let touch_id = own(caller, "name", &request.get_ref().name, "touches")?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let command = parse::settle(request.get_ref())?;
        request.get_ref().reason.clone_into(&mut meta.reason);
        let (touch, position) = self.settle(touch_id, &meta, command).await?;
        Ok(Response::new(proto::SettleTouchResponse { touch: Some(touch), position }))
    }

    async fn record_provider_events(
        &self,
        request: Request<proto::RecordProviderEventsRequest>,
    ) -> Result<Response<proto::RecordProviderEventsResponse>, Status> {
        own_tenant(Caller::of(&request)?, &request.get_ref().parent)?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let reports = convert::provider::reports(request.get_ref(), meta.at)?;
        let (results, position) = self.record(&meta, reports).await?;
        Ok(Response::new(proto::RecordProviderEventsResponse { results, position }))
    }

    async fn list_reports(
        &self,
        request: Request<proto::ListReportsRequest>,
    ) -> Result<Response<proto::ListReportsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let tenant = caller.tenant.as_str();
        let page = Page::parse(request.page_size, &request.page_token, &[tenant, "reports"])?;
        let after = page.cursor().unwrap_or_default();
        let store = &self.deps.store;
        let listed = view::report::list(store.database(), tenant, after, page.size + 1).await;
        let mut rows = listed.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut rows, |(_, position)| *position);
        let ids: Vec<String> = rows.into_iter().map(|it| it.0).collect();
        let found = store.load_many::<Report>(tenant, &ids).await.map_err(Problem::from)?;
        let reports = found.iter().filter_map(|it| it.state.kept().cloned()).collect();
        Ok(Response::new(proto::ListReportsResponse { reports, next_page_token }))
    }

    async fn list_suppressions(
        &self,
        request: Request<proto::ListSuppressionsRequest>,
    ) -> Result<Response<proto::ListSuppressionsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let mut check = Check::default();
        let party_id = convert::optional_id(&mut check, "party_id", &request.party_id);
        check.finish().map_err(Status::from)?;
        let tenant = caller.tenant.as_str();
        let arguments = [tenant, "suppressions", &party_id];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        let after = page.cursor().and_then(view::suppression::Key::parse);
        let after = after.unwrap_or(view::suppression::Key {
            party_id: String::new(),
            suppression_id: String::new(),
        });
        let database = self.deps.store.database();
        let listed =
            view::suppression::list(database, tenant, &party_id, &after, page.size + 1).await;
        let mut keys = listed.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut keys, ToString::to_string);
        let suppressions = self.suppressions(tenant, &keys).await?;
        Ok(Response::new(proto::ListSuppressionsResponse { suppressions, next_page_token }))
    }

    async fn release_recipient(
        &self,
        request: Request<proto::ReleaseRecipientRequest>,
    ) -> Result<Response<proto::ReleaseRecipientResponse>, Status> {
        let caller = Caller::of(&request)?;
        let party_id = own(caller, "name", &request.get_ref().name, "parties")?;
        let mut meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let mut check = Check::default();
        let reason = convert::code(&mut check, "reason", &request.get_ref().reason);
        check.finish().map_err(Status::from)?;
        meta.reason.clone_from(&reason);
        let suppression_ids = request.get_ref().suppression_ids.clone();
        let command = recipient::Command::Release { suppression_ids, reason };
        let done = self.execute::<Recipient>(party_id, &meta, command).await?;
        let suppressions = done.state.suppressions.into_values().collect();
        let position = done.position;
        Ok(Response::new(proto::ReleaseRecipientResponse { suppressions, position }))
    }

    async fn get_webhook_secret(
        &self,
        request: Request<proto::GetWebhookSecretRequest>,
    ) -> Result<Response<proto::GetWebhookSecretResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let mut check = Check::default();
        let id = convert::id(&mut check, "contact_point_id", &request.contact_point_id);
        check.finish().map_err(Status::from)?;
        let secret = webhook::secret_text(self.deps.store.keys(), &caller.tenant, &id);
        Ok(Response::new(proto::GetWebhookSecretResponse { secret }))
    }

    async fn list_tasks(
        &self,
        request: Request<proto::ListTasksRequest>,
    ) -> Result<Response<proto::ListTasksResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.get_ref();
        own_tenant(caller, &request.parent)?;
        let mut check = Check::default();
        let assignee =
            convert::optional_id(&mut check, "assignee_party_id", &request.assignee_party_id);
        let market = convert::optional_id(&mut check, "market", &request.market);
        check.finish().map_err(Status::from)?;
        let states = parse::task_states(request.state)?;
        let tenant = caller.tenant.as_str();
        let named = format!("{}/{}", states[0].as_str_name(), states[1].as_str_name());
        let arguments = [tenant, "tasks", &assignee, &market, &named];
        let page = Page::parse(request.page_size, &request.page_token, &arguments)?;
        let after = page.cursor().and_then(view::touch::Place::parse);
        let after = after.unwrap_or(view::touch::Place::START);
        let wanted = view::touch::Tasks { assignee_party_id: &assignee, market: &market, states };
        let database = self.deps.store.database();
        let listed = view::touch::tasks(database, tenant, wanted, &after, page.size + 1).await;
        let mut places = listed.map_err(Problem::from)?;
        let next_page_token = page.cut(&mut places, ToString::to_string);
        let ids = places.into_iter().map(|it| it.touch_id).collect();
        let tasks = self.touches(tenant, ids).await?;
        Ok(Response::new(proto::ListTasksResponse { tasks, next_page_token }))
    }

    async fn accept_task(
        &self,
        request: Request<proto::AcceptTaskRequest>,
    ) -> Result<Response<proto::AcceptTaskResponse>, Status> {
        let caller = Caller::of(&request)?;
        let touch_id = own(caller, "name", &request.get_ref().name, "touches")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        self.still_lawful(touch_id, &meta).await?;
        let command = touch::Command::Accept { by: caller.subject.clone() };
        let (touch, position) = self.do_task(touch_id, &meta, command).await?;
        Ok(Response::new(proto::AcceptTaskResponse { touch, position }))
    }

    async fn complete_task(
        &self,
        request: Request<proto::CompleteTaskRequest>,
    ) -> Result<Response<proto::CompleteTaskResponse>, Status> {
        let caller = Caller::of(&request)?;
        let touch_id = own(caller, "name", &request.get_ref().name, "touches")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let outcome = parse::outcome(request.get_ref())?;
        let judged = self.still_lawful(touch_id, &meta).await?;
        let command = touch::Command::Complete { by: caller.subject.clone(), outcome, judged };
        let (touch, position) = self.do_task(touch_id, &meta, command).await?;
        Ok(Response::new(proto::CompleteTaskResponse { touch, position }))
    }

    async fn dismiss_task(
        &self,
        request: Request<proto::DismissTaskRequest>,
    ) -> Result<Response<proto::DismissTaskResponse>, Status> {
        let caller = Caller::of(&request)?;
        let touch_id = own(caller, "name", &request.get_ref().name, "touches")?;
        let meta = self.deps.metadata(&request, &request.get_ref().request_id)?;
        let command = parse::dismiss(request.get_ref(), caller.subject.clone())?;
        let (touch, position) = self.do_task(touch_id, &meta, command).await?;
        Ok(Response::new(proto::DismissTaskResponse { touch, position }))
    }
}

impl Api {
    pub(crate) fn new(deps: &Deps, worker: Worker) -> Self {
        Self { deps: deps.clone(), senders: request::Senders::default(), worker }
    }

    /// Waits for the positions a read must include: own ones, and those of the sources that touches follow from.
    async fn caught_up(&self, positions: &BTreeMap<String, u64>) -> Result<(), Problem> {
        for (source, position) in positions {
            let consumers: &[&str] = match source.as_str() {
                "journeys" | "profiles" => &[REACTIONS],
                "decisioning" => &[RULES],
                "delivery" => &[],
                _ => {
                    let remedy = "Name delivery, journeys, profiles or decisioning.";
                    return Err(Problem::field("min_positions", remedy));
                }
            };
            let wanted = [(source.clone(), *position)].into();
            self.deps.caught_up(consumers, &wanted).await?;
        }
        Ok(())
    }

    async fn execute<D>(
        &self,
        id: &str,
        meta: &Metadata,
        command: D::Command,
    ) -> Result<Executed<D::State>, Problem>
    where
        D: Decider,
        D::Refusal: Into<Problem>,
    {
        let done = self.deps.store.execute::<D>(id, meta, command).await;
        done.map_err(|error| of_command(error, Into::into, |_| Problem::of(CONFLICT)))
    }

    async fn find(&self, tenant: &str, touch_id: &str) -> Result<Loaded<touch::State>, Problem> {
        let loaded = self.deps.store.load::<Touch>(tenant, touch_id, AsOf::Now).await?;
        if loaded.version == 0 { Err(unknown("name")) } else { Ok(loaded) }
    }

    async fn touches(&self, tenant: &str, ids: Vec<String>) -> Result<Vec<proto::Touch>, Problem> {
        let found = self.deps.store.load_many::<Touch>(tenant, &ids).await?;
        Ok(found.iter().map(|it| parse::touch(tenant, it)).collect())
    }

    async fn suppressions(
        &self,
        tenant: &str,
        keys: &[view::suppression::Key],
    ) -> Result<Vec<proto::RecipientSuppressed>, Problem> {
        let mut parties: Vec<String> = keys.iter().map(|it| it.party_id.clone()).collect();
        parties.dedup();
        let found = self.deps.store.load_many::<Recipient>(tenant, &parties).await?;
        let states: BTreeMap<_, _> =
            parties.into_iter().zip(found.into_iter().map(|it| it.state)).collect();
        let one = |key: &view::suppression::Key| {
            states.get(&key.party_id)?.suppressions.get(&key.suppression_id).cloned()
        };
        Ok(keys.iter().filter_map(one).collect())
    }

    /// A command of the person who does a task.
    async fn do_task(
        &self,
        touch_id: &str,
        meta: &Metadata,
        command: touch::Command,
    ) -> Result<(Option<proto::Touch>, u64), Problem> {
        Ok(shown(&meta.tenant, self.execute::<Touch>(touch_id, meta, command).await?))
    }
}

fn shown(tenant: &str, done: Executed<touch::State>) -> (Option<proto::Touch>, u64) {
    let Executed { state, version, position, created_at, updated_at, .. } = done;
    let loaded = Loaded { state, version, created_at, updated_at };
    (Some(parse::touch(tenant, &loaded)), position)
}
