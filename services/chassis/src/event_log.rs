//! `EventLogService` over the stores of this process, and reading another target's source to heal a gap.
//!
//! A target reads everything: it needs each position to check the chain. Anybody else sees the events of its own
//! tenant; the others are left out, and the position to read after next still moves past them. How much all tenants
//! together have written, the head, is told to targets and operators only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use eventstore::{SourceReader, Store, Stored};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _};
use rapport_proto::eventlog::v1::event_log_service_client::EventLogServiceClient;
use rapport_proto::eventlog::v1::event_log_service_server::{
    EventLogService, EventLogServiceServer,
};
use rapport_proto::eventlog::v1::{
    GetHeadRequest, GetHeadResponse, LoggedEvent, ReadEventsRequest, ReadEventsResponse,
    TailEventsRequest, TailEventsResponse,
};
use tonic::{Request, Response, Status};

use crate::auth::{Caller, Kind};
use crate::peers::Peers;
use crate::status::{NOT_FOUND, Problem};

const DEFAULT_LIMIT: i32 = 500;
const MAX_LIMIT: i32 = 1000;
/// Room in a message for what stands around the envelopes: positions, chains, lengths.
const MARGIN_BYTES: usize = 256 << 10;
/// How long a tail waits before it looks again for events that another replica appended.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Serves the sources this process owns.
#[derive(Clone)]
pub struct EventLog {
    sources: Arc<BTreeMap<String, Store>>,
    max_message_bytes: usize,
}

impl EventLog {
    pub fn new(stores: impl IntoIterator<Item = Store>, max_message_bytes: usize) -> Self {
        let sources = stores.into_iter().map(|store| (store.source().to_owned(), store)).collect();
        Self { sources: Arc::new(sources), max_message_bytes }
    }

    pub fn server(self) -> EventLogServiceServer<Self> {
        let max = self.max_message_bytes;
        crate::limited!(EventLogServiceServer::new(self), max)
    }

    fn store(&self, source: &str) -> Result<&Store, Problem> {
        self.sources.get(source).ok_or_else(|| {
            Problem::new(NOT_FOUND, "this process owns no such source")
                .violation("source", "Name a target served here, profiles for example.")
        })
    }

    async fn page(
        &self,
        store: &Store,
        reader: &Reader,
        after: u64,
        limit: usize,
    ) -> Result<Page, Problem> {
        let room = self.max_message_bytes.saturating_sub(MARGIN_BYTES);
        let (mut events, mut next, mut size) = (Vec::new(), after, 0);
        for event in store.read(after, limit).await? {
            size += event.envelope.len();
            if size > room && next > after {
                break;
            }
            next = event.position;
            if reader.may_see(&event)? {
                events.push(event);
            }
        }
        Ok(Page { events, next })
    }
}

struct Page {
    events: Vec<Stored>,
    next: u64,
}

/// Who reads.
#[derive(Clone)]
enum Reader {
    Target,
    Tenant(String),
}

impl Reader {
    fn of<T>(request: &Request<T>) -> Result<Self, Problem> {
        let caller = Caller::of(request)?;
        Ok(match caller.kind {
            Kind::Service => Self::Target,
            Kind::User | Kind::Development => Self::Tenant(caller.tenant.clone()),
        })
    }

    fn may_see(&self, event: &Stored) -> Result<bool, Problem> {
        match self {
            Self::Target => Ok(true),
            Self::Tenant(tenant) => Ok(event.envelope()?.tenant == *tenant),
        }
    }
}

#[tonic::async_trait]
impl EventLogService for EventLog {
    async fn read_events(
        &self,
        request: Request<ReadEventsRequest>,
    ) -> Result<Response<ReadEventsResponse>, Status> {
        let reader = Reader::of(&request)?;
        let request = request.into_inner();
        let store = self.store(&request.source)?;
        let limit = match request.limit {
            0 => DEFAULT_LIMIT,
            limit @ 1..=MAX_LIMIT => limit,
            _ => {
                return Err(Problem::field("limit", "Use 0 for the default, or 1 to 1000.").into());
            }
        };
        let limit = usize::try_from(limit).unwrap_or_default();
        let head = match reader {
            Reader::Target => Some(store.read_head().await.map_err(Problem::from)?.position),
            Reader::Tenant(_) => None,
        };
        let page = self.page(store, &reader, request.after_position, limit).await?;
        Ok(Response::new(ReadEventsResponse {
            events: page.events.iter().map(logged).collect(),
            next_after_position: page.next,
            head_position: head.map_or(0, |head| head.max(page.next)),
        }))
    }

    type TailEventsStream = BoxStream<'static, Result<TailEventsResponse, Status>>;

    async fn tail_events(
        &self,
        request: Request<TailEventsRequest>,
    ) -> Result<Response<Self::TailEventsStream>, Status> {
        let reader = Reader::of(&request)?;
        let request = request.into_inner();
        let store = self.store(&request.source)?.clone();
        let tail = Tail { log: self.clone(), store, reader, after: request.after_position };
        let pages = stream::try_unfold(tail, |mut tail| async move {
            let events = tail.next().await?;
            Ok::<_, Status>(Some((stream::iter(events.into_iter().map(Ok)), tail)))
        });
        let events = futures::TryStreamExt::try_flatten(pages);
        let replies = events
            .map(|event| event.map(|event| TailEventsResponse { event: Some(logged(&event)) }));
        Ok(Response::new(replies.boxed()))
    }

    async fn get_head(
        &self,
        request: Request<GetHeadRequest>,
    ) -> Result<Response<GetHeadResponse>, Status> {
        let head =
            self.store(&request.get_ref().source)?.read_head().await.map_err(Problem::from)?;
        Ok(Response::new(GetHeadResponse { position: head.position, chain: head.chain.to_vec() }))
    }
}

/// A reader that follows a source.
struct Tail {
    log: EventLog,
    store: Store,
    reader: Reader,
    after: u64,
}

impl Tail {
    /// The next events this reader may see; waits for them.
    async fn next(&mut self) -> Result<Vec<Stored>, Problem> {
        let mut head = self.store.watch();
        loop {
            let limit = usize::try_from(DEFAULT_LIMIT).unwrap_or_default();
            let page = self.log.page(&self.store, &self.reader, self.after, limit).await?;
            let moved = page.next > self.after;
            self.after = page.next;
            if !page.events.is_empty() {
                return Ok(page.events);
            }
            if !moved {
                // Woken by our own commits; the time limit is for those of other replicas.
                let _ = tokio::time::timeout(LOOK_AGAIN, head.changed()).await;
            }
        }
    }
}

fn logged(event: &Stored) -> LoggedEvent {
    LoggedEvent {
        position: event.position,
        chain: event.chain.to_vec(),
        envelope: event.envelope.to_vec(),
    }
}

/// Reads a source from the target that owns it: how a consumer heals a gap.
#[derive(Clone, Debug)]
pub struct Healer {
    peers: Peers,
}

impl Healer {
    pub fn new(peers: Peers) -> Self {
        Self { peers }
    }

    async fn page(
        &self,
        source: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, eventstore::Error> {
        let mut client = EventLogServiceClient::new(self.peers.to(source));
        let limit = i32::try_from(limit).unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
        let request = ReadEventsRequest { source: source.to_owned(), after_position: after, limit };
        let reply = client.read_events(request).await;
        let reply = reply.map_err(|status| {
            eventstore::Error::unavailable_because(format!("read {source}"), status)
        })?;
        reply.into_inner().events.into_iter().map(stored).collect()
    }
}

impl SourceReader for Healer {
    fn read<'a>(
        &'a self,
        source: &'a str,
        after: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Stored>, eventstore::Error>> {
        self.page(source, after, limit).boxed()
    }
}

fn stored(event: LoggedEvent) -> Result<Stored, eventstore::Error> {
    let chain = event.chain.as_slice().try_into();
    let chain = chain
        .map_err(|_| eventstore::Error::corrupt("a chain of the event log is not 32 bytes"))?;
    Ok(Stored {
        position: event.position,
        chain,
        envelope: event.envelope.into(),
        hop: String::new(),
    })
}

#[cfg(test)]
mod tests;
