//! What other services report. A handler makes no calls: it writes down who asks to enter and which instances are to be
//! looked at, and those facts state the timers of the workers.
//!
//! An instance is woken only if the event can matter to it as it stands: it waits for this interaction or it reaches a
//! goal, it waits for this touch, an exit criterion reads what changed, or its timer follows a local time. What
//! filters interactions reads nothing but the interaction and the entry, so that it can be asked here.

use std::collections::BTreeMap;

use eventstore::{
    AsOf, Decider as _, Error, Metadata, Reactor, Recorded, Store, Unit, UnitBuilder, UnitError,
};
use futures::future::BoxFuture;
use prost::Message;
use rapport_proto::delivery::v1 as delivery;
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::{Cause, Crossing};
use rapport_proto::profiles::v1 as profiles;
use rapport_proto::types::{Clear, clear};

use crate::domain::entry::{self, Entry};
use crate::domain::instance::{self, Instance, walk};
use crate::graph::{self, Graph, Node};
use crate::graphs::Graphs;
use crate::view;
use crate::view::journey::{of_event, of_segment};

/// The consumer's name.
pub(crate) const REPORTS: &str = "journeys";
/// Events of one unit; an event that concerns more is handled as far as it goes. A party has at most
/// [`entry::MOST_RUNNING`] instances of a journey.
const MOST_EVENTS: usize = 240;

/// Writes down what concerns journeys.
pub(crate) struct Reports {
    graphs: Graphs,
}

impl Reports {
    pub(crate) fn new(graphs: &Graphs) -> Self {
        Self { graphs: graphs.clone() }
    }
}

impl Reactor for Reports {
    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        Box::pin(async move {
            let Some(news) = read(event)? else { return Ok(None) };
            let mut notes =
                Notes { store, graphs: &self.graphs, event, unit: store.unit(meta), events: 0 };
            match news {
                News::Settled { verdict, detail } => notes.settled(verdict, detail).await?,
                News::Interaction { name, properties } => {
                    notes.entries_by_interaction(&name, &properties).await?;
                    notes.wakes(&Change::interaction(name, properties)).await?;
                }
                News::Crossed { segment, crossing } => {
                    notes.entries(&of_segment(&segment, crossing), "", &BTreeMap::new()).await?;
                    notes.wakes(&Change::of(&["segments"])).await?;
                }
                News::Changed(change) => notes.wakes(&change).await?,
            }
            notes.finish()
        })
    }
}

/// What an event says that can matter here.
enum News {
    Interaction { name: String, properties: BTreeMap<String, Clear> },
    Crossed { segment: String, crossing: Crossing },
    Changed(Change),
    Settled { verdict: &'static str, detail: String },
}

/// What changed about a party.
#[derive(Default)]
struct Change {
    /// What rules call it.
    roots: &'static [&'static str],
    interaction: Option<(String, BTreeMap<String, Clear>)>,
    /// The zone may be another one now.
    moved: bool,
    attributes: Vec<String>,
}

impl Change {
    fn of(roots: &'static [&'static str]) -> Self {
        Self { roots, ..Self::default() }
    }

    /// An interaction changes traits; segments that follow from them have events of their own.
    fn interaction(name: String, properties: BTreeMap<String, Clear>) -> Self {
        Self { interaction: Some((name, properties)), ..Self::of(&["traits"]) }
    }
}

fn read(event: &Recorded) -> Result<Option<News>, Error> {
    let payload = &*event.envelope.payload;
    let Some(name) = event.envelope.r#type.strip_prefix("rapport.") else { return Ok(None) };
    Ok(Some(match name {
        "profiles.v1.InteractionRecorded" => {
            let it: profiles::InteractionRecorded = decode(payload)?;
            News::Interaction { name: it.name, properties: it.clear.into_iter().collect() }
        }
        "profiles.v1.SegmentEntered" => {
            let it: profiles::SegmentEntered = decode(payload)?;
            News::Crossed { segment: it.segment_id, crossing: Crossing::Entered }
        }
        "profiles.v1.SegmentExited" => {
            let it: profiles::SegmentExited = decode(payload)?;
            News::Crossed { segment: it.segment_id, crossing: Crossing::Exited }
        }
        "profiles.v1.PartyMoved" => {
            News::Changed(Change { moved: true, ..Change::of(&["party", "consent"]) })
        }
        "profiles.v1.PartyAttributesSet" => {
            let it: profiles::PartyAttributesSet = decode(payload)?;
            let attributes = it.clear.into_keys().chain(it.removed).collect();
            News::Changed(Change { attributes, ..Change::of(&["attributes"]) })
        }
        "profiles.v1.PartySuppressed" | "profiles.v1.PartyReleased" => {
            News::Changed(Change::of(&["party"]))
        }
        "profiles.v1.ConsentGranted"
        | "profiles.v1.ConsentDenied"
        | "profiles.v1.ConsentWithdrawn"
        | "profiles.v1.ConsentExpired" => News::Changed(Change::of(&["consent"])),
        "delivery.v1.TouchSent" => News::Settled { verdict: "sent", detail: String::new() },
        "delivery.v1.TouchSkipped" => {
            let it: delivery::TouchSkipped = decode(payload)?;
            News::Settled { verdict: "skipped", detail: it.reason }
        }
        "delivery.v1.TouchFailed" => {
            let it: delivery::TouchFailed = decode(payload)?;
            News::Settled { verdict: "failed", detail: it.code }
        }
        // A touch of which nothing is known yet is waited for until it is resolved.
        "delivery.v1.TouchResolved" => {
            let it: delivery::TouchResolved = decode(payload)?;
            let verdict = if it.sent { "sent" } else { "failed" };
            News::Settled { verdict, detail: if it.sent { String::new() } else { it.by } }
        }
        _ => return Ok(None),
    }))
}

fn decode<M: Message + Default>(payload: &[u8]) -> Result<M, Error> {
    M::decode(payload).map_err(|it| Error::corrupt(format!("an event of another service: {it}")))
}

/// The unit that an event leads to.
struct Notes<'a> {
    store: &'a Store,
    graphs: &'a Graphs,
    event: &'a Recorded,
    unit: UnitBuilder,
    events: usize,
}

impl Notes<'_> {
    fn tenant(&self) -> &str {
        &self.event.envelope.tenant
    }

    fn party_id(&self) -> &str {
        &self.event.envelope.party_id
    }

    fn cause(&self) -> Cause {
        let envelope = &self.event.envelope;
        Cause {
            source: envelope.source.clone(),
            position: self.event.position,
            r#type: envelope.r#type.clone(),
            occurred_at: envelope.occurred_at,
            recorded_at: envelope.recorded_at,
        }
    }

    async fn entries_by_interaction(
        &mut self,
        name: &str,
        properties: &BTreeMap<String, Clear>,
    ) -> Result<(), Error> {
        let database = self.store.database();
        let triggered = view::journey::triggered(database, self.tenant(), &of_event(name)).await?;
        for (journey_id, version) in triggered {
            let graph = self.graphs.get(self.tenant(), &journey_id, version).await?;
            if let Some(key) = entry_key(&graph, properties) {
                self.request(&journey_id, version, &key, properties).await?;
            }
        }
        Ok(())
    }

    async fn entries(
        &mut self,
        trigger_key: &str,
        entry_key: &str,
        entry: &BTreeMap<String, Clear>,
    ) -> Result<(), Error> {
        let database = self.store.database();
        for (journey_id, version) in
            view::journey::triggered(database, self.tenant(), trigger_key).await?
        {
            self.request(&journey_id, version, entry_key, entry).await?;
        }
        Ok(())
    }

    async fn request(
        &mut self,
        journey_id: &str,
        version: u32,
        entry_key: &str,
        entry: &BTreeMap<String, Clear>,
    ) -> Result<(), Error> {
        let requested = proto::InstanceEntryRequested {
            journey_id: journey_id.to_owned(),
            version,
            party_id: self.party_id().to_owned(),
            entry_key: entry_key.to_owned(),
            entry: entry.clone().into_iter().collect(),
            cause: Some(self.cause()),
        };
        let stream = entry::stream_id(journey_id, self.party_id());
        let loaded = self.store.load::<Entry>(self.tenant(), &stream, AsOf::Now).await?;
        let request = entry::Command::Request(Box::new(requested));
        let Ok(events) = Entry::decide(&loaded.state, request, eventstore::Timestamp::default());
        if events.is_empty() || self.events >= MOST_EVENTS {
            return Ok(());
        }
        self.events += events.len();
        self.unit
            .push::<Entry>(&stream, loaded.version, &loaded.state, events)
            .await
            .map_err(unit_error)
    }

    /// Wakes the party's instances to which the change can matter.
    async fn wakes(&mut self, change: &Change) -> Result<(), Error> {
        let database = self.store.database();
        let running =
            view::instance::running_of_party(database, self.tenant(), self.party_id()).await?;
        for instance_id in running {
            let loaded =
                self.store.load::<Instance>(self.tenant(), &instance_id, AsOf::Now).await?;
            let start = loaded.state.start();
            if start.instance_id.is_empty() {
                continue;
            }
            let graph = self.graphs.get(self.tenant(), &start.journey_id, start.version).await?;
            if let Some(woken) = self.woken(&graph, &loaded.state, change) {
                self.wake(&instance_id, &loaded, woken).await?;
            }
        }
        Ok(())
    }

    fn woken(
        &self,
        graph: &Graph,
        state: &instance::State,
        change: &Change,
    ) -> Option<proto::InstanceWoken> {
        let of = |reason: &str| proto::InstanceWoken {
            reason: reason.to_owned(),
            node: state.node.clone(),
            cause: Some(self.cause()),
            ..Default::default()
        };
        if let Some((name, properties)) = &change.interaction
            && walk::concerns(graph, state, name, properties)
        {
            return Some(proto::InstanceWoken {
                event: name.clone(),
                properties: properties.clone().into_iter().collect(),
                ..of(walk::EVENT)
            });
        }
        let node = state.wait.as_ref().and_then(|it| graph.nodes.get(&it.node));
        let resolved_again = match node {
            Some(Node::WaitUntil { .. }) => change.moved,
            Some(Node::WaitDate { attribute, .. }) => {
                change.moved || change.attributes.contains(attribute)
            }
            _ => false,
        };
        (resolved_again || graph.exits_by(change.roots)).then(|| of(walk::FACTS))
    }

    /// Tells the instance that waits for a touch what became of it.
    async fn settled(&mut self, verdict: &str, detail: String) -> Result<(), Error> {
        let database = self.store.database();
        let touch_id = self.event.id().to_owned();
        let waiting = view::instance::waiting_for(database, self.tenant(), &touch_id).await?;
        let Some(instance_id) = waiting else { return Ok(()) };
        let loaded = self.store.load::<Instance>(self.tenant(), &instance_id, AsOf::Now).await?;
        if loaded.state.awaited_touch() != Some(&touch_id) {
            return Ok(());
        }
        let woken = proto::InstanceWoken {
            reason: walk::SETTLED.to_owned(),
            node: loaded.state.node.clone(),
            cause: Some(self.cause()),
            about: touch_id,
            verdict: verdict.to_owned(),
            detail,
            ..Default::default()
        };
        self.wake(&instance_id, &loaded, woken).await
    }

    async fn wake(
        &mut self,
        instance_id: &str,
        loaded: &eventstore::Loaded<instance::State>,
        woken: proto::InstanceWoken,
    ) -> Result<(), Error> {
        let wake = instance::Command::Wake(Box::new(woken));
        let events = Instance::decide(&loaded.state, wake, eventstore::Timestamp::default())
            .unwrap_or_default();
        if events.is_empty() || self.events >= MOST_EVENTS {
            return Ok(());
        }
        self.events += events.len();
        self.unit
            .push::<Instance>(instance_id, loaded.version, &loaded.state, events)
            .await
            .map_err(unit_error)
    }

    fn finish(self) -> Result<Option<Unit>, Error> {
        if self.events == 0 {
            return Ok(None);
        }
        self.unit.finish().map(Some).map_err(unit_error)
    }
}

fn unit_error(error: UnitError) -> Error {
    match error {
        UnitError::Store(error) => error,
        other => Error::corrupt(other.to_string()),
    }
}

/// The entry key of an interaction: empty when the journey has none, `None` when the interaction does not let in.
fn entry_key(graph: &Graph, properties: &BTreeMap<String, Clear>) -> Option<String> {
    let graph::Entry::Event { filter, key, .. } = &graph.entry else { return None };
    let scope = |name: &authored::rule::Name| match name.root() {
        "event" => properties.get(name.key()).and_then(authored::rule::Value::from_clear),
        _ => None,
    };
    if !filter.as_ref().is_none_or(|rule| rule.check(&scope).is_true()) {
        return None;
    }
    match key {
        None => Some(String::new()),
        Some(property) => properties.get(property).and_then(key_text),
    }
}

/// A clear value as an entry key.
fn key_text(value: &Clear) -> Option<String> {
    Some(match value.value.as_ref()? {
        clear::Value::Code(code) => code.clone(),
        clear::Value::Number(number) => number.to_string(),
        clear::Value::Flag(flag) => flag.to_string(),
        clear::Value::Time(time) => eventstore::Timestamp::from_proto(time)?.to_string(),
        clear::Value::Money(_) => return None,
    })
}
