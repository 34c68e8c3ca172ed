//! The API, one method per RPC in proto order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::auth::Caller;
use chassis::deps::Deps;
use chassis::event_log::Healer;
use chassis::name::{own_tenant, parse, unknown};
use chassis::page::Page;
use chassis::status::Problem;
use eventstore::{Error, SourceReader as _, Timestamp};
use futures::stream::{self, BoxStream, StreamExt as _};
use rapport_proto::audit::v1 as proto;
use rapport_proto::audit::v1::audit_service_server::AuditService;
use rapport_proto::eventlog::v1::GetHeadRequest;
use rapport_proto::eventlog::v1::event_log_service_client::EventLogServiceClient;
use tonic::{Request, Response, Status};

use crate::export::{Export, Part, Range};
use crate::index::{self, Filter, Place};
use crate::{INDEX, SOURCES, metrics, shown, verify};

/// What serves the RPCs.
#[derive(Clone)]
pub(crate) struct Api {
    deps: Deps,
    /// Reads a source from the target that owns it, wherever that runs.
    sources: Arc<Healer>,
}

impl Api {
    pub(crate) fn new(deps: &Deps) -> Self {
        Self { deps: deps.clone(), sources: Arc::new(Healer::new(deps.peers.clone())) }
    }

    /// Up to where the index has each of these sources.
    async fn reached(&self, sources: &[String]) -> Result<Vec<(String, u64)>, Problem> {
        let mut reached = Vec::new();
        for source in sources {
            reached.push((source.clone(), self.deps.handled(INDEX, source).await?));
        }
        Ok(reached)
    }

    /// Compares a source with the index, once the index had its time to read what the source holds by now.
    async fn verified(&self, source: &str) -> Result<proto::VerifiedSource, Error> {
        let database = self.deps.store.database();
        // A row is written after its event: what is read first cannot be beyond what is read then.
        let last = index::last(database, source).await?;
        let mut producer = EventLogServiceClient::new(self.deps.peers.to(source));
        let asked = GetHeadRequest { source: source.to_owned() };
        let head = producer.get_head(asked).await;
        let head = head
            .map_err(|it| Error::unavailable_because(format!("the head of {source}"), it))?
            .into_inner()
            .position;
        // Where the index was told of more than the source holds now, that is missing there.
        let until = head.max(self.indexed(source, head).await?);
        let found = verify::source(database, &*self.sources, source, (last, until)).await?;
        metrics::verified(&found);
        Ok(found)
    }

    /// Waits for the index to reach a position as long as it moves; how far it is then.
    async fn indexed(&self, source: &str, head: u64) -> Result<u64, Error> {
        let mut seen = self.deps.handled(INDEX, source).await?;
        let mut moved = Instant::now();
        while seen < head && moved.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK_AGAIN).await;
            let now = self.deps.handled(INDEX, source).await?;
            if now != seen {
                (seen, moved) = (now, Instant::now());
            }
        }
        Ok(seen)
    }
}

/// How long an index that does not move is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks at it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[tonic::async_trait]
impl AuditService for Api {
    async fn search_events(
        &self,
        request: Request<proto::SearchEventsRequest>,
    ) -> Result<Response<proto::SearchEventsResponse>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        own_tenant(caller, &it.parent)?;
        self.deps.caught_up(&[INDEX], &it.min_positions).await?;
        let (from, until) = range(it.from.as_ref(), it.until.as_ref())?;
        let filter = Filter {
            party_id: &it.party_id,
            correlation_id: &it.correlation_id,
            subject: &it.actor,
            r#type: &it.r#type,
            source: &it.source,
            from,
            until,
        };
        if !it.source.is_empty() {
            known("source", &it.source)?;
        }
        let bound = format!("{filter:?} {}", it.newest_first);
        let page = Page::parse(it.page_size, &it.page_token, &[&caller.tenant, "events", &bound])?;
        let first = || Place::before(if it.newest_first { until } else { from });
        let place = page.cursor::<&str>().and_then(Place::parse).unwrap_or_else(first);
        let database = self.deps.store.database();
        let mut events =
            index::search(database, &caller.tenant, filter, it.newest_first, &place, page.size + 1)
                .await
                .map_err(Problem::from)?;
        let next_page_token = page.cut(&mut events, |event| Place {
            recorded_at: time(event.record_time.as_ref()),
            source: event.source.clone(),
            position: event.position,
        });
        Ok(Response::new(proto::SearchEventsResponse { events, next_page_token }))
    }

    async fn get_event(
        &self,
        request: Request<proto::GetEventRequest>,
    ) -> Result<Response<proto::GetEventResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = parse("name", &request.get_ref().name, &["sources", "events"])
            .map_err(Problem::from)?;
        let [source, position] = name.ids[..] else { return Err(unknown("name").into()) };
        let position: u64 = position.parse().map_err(|_| unknown("name"))?;
        if name.tenant != caller.tenant {
            return Err(unknown("name").into());
        }
        let row = index::get(self.deps.store.database(), &caller.tenant, source, position).await;
        let row = row.map_err(Problem::from)?.ok_or_else(|| unknown("name"))?;
        let read = self.sources.read(source, position - 1, 1).await.map_err(Problem::from)?;
        let event = read.first().filter(|it| it.position == position);
        let event = event.ok_or_else(|| unknown("name"))?;
        let envelope = event.envelope().map_err(Problem::from)?;
        let json = shown::envelope(&envelope).map_err(Problem::from)?.to_string();
        let chain = eventstore::hex(&event.chain);
        Ok(Response::new(proto::GetEventResponse { event: Some(row), json, chain }))
    }

    type VerifyLogStream = BoxStream<'static, Result<proto::VerifyLogResponse, Status>>;

    async fn verify_log(
        &self,
        request: Request<proto::VerifyLogRequest>,
    ) -> Result<Response<Self::VerifyLogStream>, Status> {
        let caller = Caller::of(&request)?;
        own_tenant(caller, &request.get_ref().parent)?;
        let left = wanted(&request.get_ref().sources)?.into_iter();
        let found = stream::try_unfold((self.clone(), left), |(api, mut left)| async move {
            let Some(source) = left.next() else { return Ok(None) };
            let found = api.verified(&source).await.map_err(Problem::from)?;
            Ok(Some((proto::VerifyLogResponse { source: Some(found) }, (api, left))))
        });
        Ok(Response::new(found.boxed()))
    }

    type ExportEventsStream = BoxStream<'static, Result<proto::ExportEventsResponse, Status>>;

    async fn export_events(
        &self,
        request: Request<proto::ExportEventsRequest>,
    ) -> Result<Response<Self::ExportEventsStream>, Status> {
        let caller = Caller::of(&request)?;
        let it = request.get_ref();
        own_tenant(caller, &it.parent)?;
        let (from, until) = range(it.from.as_ref(), it.until.as_ref())?;
        for source in it.after.keys() {
            known("after", source)?;
        }
        let reached = self.reached(&wanted(&it.sources)?).await?;
        let parts = reached.into_iter().map(|(source, until)| {
            let after = it.after.get(&source).copied().unwrap_or_default();
            Part { source, after, until }
        });
        let (tenant, party_id) = (caller.tenant.clone(), it.party_id.clone());
        let range = Range { tenant, party_id, from, until };
        let export = Export::new(self.sources.clone(), range, parts.collect());
        let pages = stream::try_unfold(export, |mut export| async move {
            let lines = export.next().await.map_err(Problem::from)?;
            Ok(lines.map(|lines| (proto::ExportEventsResponse { lines }, export)))
        });
        Ok(Response::new(pages.boxed()))
    }
}

/// The sources asked for; all when none is named.
fn wanted(named: &[String]) -> Result<Vec<String>, Problem> {
    if named.is_empty() {
        return Ok(SOURCES.iter().map(|it| (*it).to_owned()).collect());
    }
    for source in named {
        known("sources", source)?;
    }
    let distinct: BTreeMap<_, _> = named.iter().map(|it| (it.clone(), ())).collect();
    Ok(distinct.into_keys().collect())
}

fn known(field: &str, source: &str) -> Result<(), Problem> {
    if SOURCES.contains(&source) {
        return Ok(());
    }
    Err(Problem::field(field, format!("Name one of {}.", SOURCES.join(", "))))
}

fn time(proto: Option<&prost_types::Timestamp>) -> Timestamp {
    proto.and_then(Timestamp::from_proto).unwrap_or_default()
}

/// From when until when; an absent end is without end.
fn range(
    from: Option<&prost_types::Timestamp>,
    until: Option<&prost_types::Timestamp>,
) -> Result<(Timestamp, Timestamp), Problem> {
    let read = |field: &str, time: Option<&prost_types::Timestamp>, absent: i64| match time {
        None => Ok(Timestamp(absent)),
        Some(time) => Timestamp::from_proto(time)
            .ok_or_else(|| Problem::field(field, "Use an instant of the years 1 to 9999.")),
    };
    let (from, until) = (read("from", from, i64::MIN)?, read("until", until, i64::MAX)?);
    if from > until {
        return Err(Problem::field("until", "Name an instant that is not before `from`."));
    }
    Ok((from, until))
}
