//! Units of several streams: a start with its entry, an end with its entry. One commit, or none.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::deps::Deps;
use eventstore::{
    AsOf, Decider as _, Error, Loaded, Metadata, Outcome, Store, UnitBuilder, UnitError,
};
use rapport_proto::audience_of;
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::{Cause, entry_event, instance_event};
use rapport_proto::types::Clear;
use tonic::Status;

use crate::domain::entry::{self, Answer, Asked, Entry};
use crate::domain::instance::reading::Reading;
use crate::domain::instance::{self, Instance, Step};
use crate::domain::journey::{self, Journey};
use crate::facts;
use crate::graph::Graph;
use crate::graphs::Graphs;
use crate::view::journey::Standing;

/// How often a unit is decided again after a version conflict.
const ATTEMPTS: usize = 10;

/// Why a unit has no effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A peer did not answer, or refused.
    #[error("a peer refused: {0}")]
    Peer(#[from] Status),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// Too large.
    #[error(transparent)]
    Unit(UnitError),
    /// The request id was used for another request.
    #[error("the request id was used for another request")]
    RequestReused,
}

impl From<UnitError> for Failure {
    fn from(error: UnitError) -> Self {
        match error {
            UnitError::Store(it) => Self::Store(it),
            other => Self::Unit(other),
        }
    }
}

/// What a timer's handler answers: a peer that does not answer is asked again later.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(it) => it,
            Failure::Peer(status) => Self::unavailable_because("ask a peer", status),
            Failure::Unit(it) => Self::corrupt(it.to_string()),
            Failure::RequestReused => Self::corrupt("a derived request id was used twice"),
        }
    }
}

/// A wish that a party enters.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) journey_id: String,
    pub(crate) party_id: String,
    pub(crate) entry_key: String,
    pub(crate) entry: BTreeMap<String, Clear>,
    pub(crate) cause: Option<Cause>,
    /// Version of the entry's stream at which it was asked for; 0 for a call.
    pub(crate) request: u64,
}

/// How a wish was answered.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) answer: Option<Answer>,
    pub(crate) position: u64,
}

/// Lets a party in, or notes which rule keeps it out. `loaded` is the entry's stream, if it was just read.
pub(crate) async fn enter(
    deps: &Deps,
    graphs: &Graphs,
    meta: &Metadata,
    wish: &Wish,
    mut loaded: Option<Loaded<entry::State>>,
) -> Result<Answered, Failure> {
    let store = &deps.store;
    let stream = entry::stream_id(&wish.journey_id, &wish.party_id);
    for _ in 0..ATTEMPTS {
        let loaded = match loaded.take() {
            Some(loaded) => loaded,
            None => store.load::<Entry>(&meta.tenant, &stream, AsOf::Now).await?,
        };
        // Whoever hears of something more meanwhile moves the stream, and this is done again.
        let heard = loaded.state.heard_since(wish.request);
        let known = known(deps, graphs, meta, wish, &heard).await?;
        let asked = asked(meta, wish, &known);
        let Ok(mut events) =
            Entry::decide(&loaded.state, entry::Command::Answer(Box::new(asked)), meta.at);
        let mut unit = store.unit(meta.clone());
        let started = start(meta, wish, heard, &known, &events);
        let state = started.iter().fold(instance::State::default(), Instance::evolve);
        if let (Some(how), Some(start)) = (state.ended_how(), &state.started) {
            let entered = events.iter().fold(loaded.state.clone(), Entry::evolve);
            let instance_id = start.instance_id.clone();
            let close = entry::Command::Close { instance_id, how };
            let Ok(closed) = Entry::decide(&entered, close, meta.at);
            events.extend(closed);
        }
        let folded = events.iter().fold(loaded.state.clone(), Entry::evolve);
        unit.push::<Entry>(&stream, loaded.version, &loaded.state, events).await?;
        if let Some(start) = &state.started {
            unit.push::<Instance>(&start.instance_id, 0, &instance::State::default(), started)
                .await?;
        }
        if let Some(it) = &known {
            // A version that is paused, drained or replaced at this moment lets nobody in.
            insist(&mut unit, &wish.journey_id, it.stream_version).await?;
        }
        match store.append(unit.finish()?).await {
            Outcome::Committed { position } => {
                return Ok(Answered { answer: folded.last, position });
            }
            Outcome::Repeated { version, position, .. } => {
                let then =
                    store.load::<Entry>(&meta.tenant, &stream, AsOf::Version(version)).await?;
                return Ok(Answered { answer: then.state.last, position });
            }
            other => settled(other)?,
        }
        graphs.forget(&meta.tenant, &wish.journey_id);
    }
    Err(Error::unavailable("the entry kept changing").into())
}

/// The unit is refused if the journey's stream has moved.
async fn insist(
    unit: &mut UnitBuilder,
    journey_id: &str,
    stream_version: u64,
) -> Result<(), UnitError> {
    let state = journey::State::default();
    unit.push::<Journey>(journey_id, stream_version, &state, Vec::new()).await
}

/// What is known of the version that lets parties in; `None` when there is none.
struct Known {
    version: u32,
    stream_version: u64,
    graph: Arc<Graph>,
    reading: Option<Arc<Reading>>,
}

async fn known(
    deps: &Deps,
    graphs: &Graphs,
    meta: &Metadata,
    wish: &Wish,
    heard: &[proto::InstanceWoken],
) -> Result<Option<Known>, Failure> {
    let found = graphs.entering(&meta.tenant, &wish.journey_id).await?;
    let Some((version, standing)) = found else { return Ok(None) };
    let graph = graphs.get(&meta.tenant, &wish.journey_id, version).await?;
    let causes = wish.cause.iter().chain(heard.iter().filter_map(|it| it.cause.as_ref()));
    let positions = instance::positions(causes);
    let reading =
        facts::read(deps, &meta.tenant, &wish.party_id, &graph, meta.at, &positions).await?;
    let stream_version = standing.stream_version;
    Ok(Some(Known { version, stream_version, graph, reading: reading.map(Arc::new) }))
}

fn asked(meta: &Metadata, wish: &Wish, known: &Option<Known>) -> Asked {
    let reading = known.as_ref().and_then(|it| it.reading.as_deref());
    Asked {
        tenant: meta.tenant.clone(),
        journey_id: wish.journey_id.clone(),
        version: known.as_ref().map_or(0, |it| it.version),
        party_id: wish.party_id.clone(),
        entry_key: wish.entry_key.clone(),
        market: reading.map(|it| it.market.clone()).unwrap_or_default(),
        cause: wish.cause.clone(),
        request: wish.request,
        reentry: known.as_ref().map_or(crate::graph::Reentry::Never, |it| it.graph.reentry),
        kept_out: known.as_ref().map_or(Some("not_live"), |it| kept_out(&it.graph, reading)),
    }
}

/// What keeps a party out whatever its history; a party that nobody knows is in no state to enter.
fn kept_out(graph: &Graph, reading: Option<&Reading>) -> Option<&'static str> {
    let Some(reading) = reading.filter(|it| it.state == "ACTIVE") else { return Some("state") };
    if !graph.markets.contains(&reading.market) {
        return Some("market");
    }
    (!graph.audiences.contains(&audience_of(reading.kind))).then_some("audience")
}

/// The beginning of the instance, when the party enters.
fn start(
    meta: &Metadata,
    wish: &Wish,
    heard: Vec<proto::InstanceWoken>,
    known: &Option<Known>,
    events: &[entry_event::Event],
) -> Vec<instance_event::Event> {
    let entered = events.iter().find_map(|event| match event {
        entry_event::Event::Entered(it) => Some(it),
        _ => None,
    });
    let (Some(entered), Some(known)) = (entered, known) else { return Vec::new() };
    let started = proto::InstanceStarted {
        instance_id: entered.instance_id.clone(),
        journey_id: wish.journey_id.clone(),
        version: known.version,
        hash: known.graph.hash.to_vec(),
        party_id: wish.party_id.clone(),
        entry_key: wish.entry_key.clone(),
        entry_number: entered.entry_number,
        entry: wish.entry.clone().into_iter().collect(),
        cause: wish.cause.clone(),
        node: known.graph.start.clone(),
        market: entered.market.clone(),
        started_at: Some(meta.at.to_proto()),
        sender_id: known.graph.sender_id.clone(),
    };
    let step = Step {
        tenant: meta.tenant.clone(),
        graph: known.graph.clone(),
        reading: known.reading.clone().unwrap_or_default(),
    };
    let start = instance::Command::Start { started: Box::new(started), heard, step };
    Instance::decide(&instance::State::default(), start, meta.at).unwrap_or_default()
}

/// Makes an instance follow its version: it pauses, resumes or ends. `false`: the instance or the version changed
/// meanwhile.
pub(crate) async fn follow(
    store: &Store,
    meta: &Metadata,
    instance_id: &str,
    loaded: &Loaded<instance::State>,
    standing: &Standing,
) -> Result<bool, Failure> {
    // Not the firing or the call that led here: the pause of one instance is no more than a part of it.
    let meta = Metadata {
        method: "follow".to_owned(),
        request_id: format!("{instance_id}/{}", standing.stream_version),
        request_digest: Vec::new(),
        reason: standing.reason.clone(),
        fires: None,
        ..meta.clone()
    };
    let command = match (standing.retired, standing.is_paused()) {
        (true, _) => instance::Command::Eject { reason: standing.reason.clone() },
        (false, true) => instance::Command::Pause {
            timers: standing.timers,
            reason: standing.reason.clone(),
            paused_at: standing.paused_at,
        },
        (false, false) => instance::Command::Resume,
    };
    let events = Instance::decide(&loaded.state, command, meta.at).unwrap_or_default();
    if events.is_empty() {
        return Ok(true);
    }
    // Who follows a pause that is over meanwhile would stand still for ever.
    let by = Some(standing.stream_version);
    Ok(commit(store, &meta, instance_id, loaded, by, events).await?.is_some())
}

/// Commits the facts of an instance, with the end of its entry when they end it; `by` is the version of the journey's
/// stream that lets it happen, if that matters. `None`: somebody else was faster, and the instance is to be loaded again.
pub(crate) async fn commit(
    store: &Store,
    meta: &Metadata,
    instance_id: &str,
    loaded: &Loaded<instance::State>,
    by: Option<u64>,
    events: Vec<instance_event::Event>,
) -> Result<Option<u64>, Failure> {
    let state = events.iter().fold(loaded.state.clone(), Instance::evolve);
    let start = state.start();
    let mut unit = store.unit(meta.clone());
    unit.push::<Instance>(instance_id, loaded.version, &loaded.state, events).await?;
    if let Some(how) = state.ended_how().filter(|_| !loaded.state.is_ended()) {
        let stream = entry::stream_id(&start.journey_id, &start.party_id);
        let entry = store.load::<Entry>(&meta.tenant, &stream, AsOf::Now).await?;
        let close = entry::Command::Close { instance_id: instance_id.to_owned(), how };
        let Ok(closed) = Entry::decide(&entry.state, close, meta.at);
        unit.push::<Entry>(&stream, entry.version, &entry.state, closed).await?;
    }
    if let Some(stream_version) = by {
        insist(&mut unit, &start.journey_id, stream_version).await?;
    }
    match store.append(unit.finish()?).await {
        Outcome::Committed { position } | Outcome::Repeated { position, .. } => Ok(Some(position)),
        // The timer was moved or fired elsewhere: there is nothing left to do.
        Outcome::Superseded => Ok(Some(store.head().position)),
        other => settled(other).map(|()| None),
    }
}

/// An outcome that says that nothing was committed: fine to try again, or a failure.
fn settled(outcome: Outcome) -> Result<(), Failure> {
    match outcome {
        Outcome::Conflict | Outcome::Committed { .. } | Outcome::Repeated { .. } => Ok(()),
        Outcome::Superseded => {
            Err(Error::unavailable("the work was done by another replica").into())
        }
        Outcome::RequestReused => Err(Failure::RequestReused),
        Outcome::Refused(what) => Err(Error::refused(what).into()),
        Outcome::Failed(error) => Err(error.into()),
    }
}
