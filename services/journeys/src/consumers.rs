//! What other services report. A handler makes no calls: it writes down who asks to enter and which instances are to be
//! looked at, and those facts state the timers of the workers.
//!
//! An instance is woken only if the event can matter to it as it stands: it waits for this interaction or it reaches a
//! goal, it waits for this touch, an exit criterion reads what changed, or its timer follows a local time. What
//! filters interactions reads nothing but the interaction and the entry, so that it can be asked here.

mod news;
mod notes;

use std::collections::BTreeMap;

use eventstore::{AsOf, Decider as _, Error, Loaded, Metadata, Reactor, Recorded, Store, Unit};
use futures::future::BoxFuture;
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::Cause;
use rapport_proto::types::{Clear, clear};

use self::news::{Change, News};
use self::notes::Note;

use crate::domain::entry::{self, Entry};
use crate::domain::instance::{self, Instance, walk};
use crate::graph::{self, Graph, Node};
use crate::graphs::Graphs;
use crate::view;
use crate::view::journey::{of_event, of_segment};

/// The consumer's name.
pub(crate) const REPORTS: &str = "journeys";

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
            let Some(news) = news::read(event)? else { return Ok(None) };
            let mut reaction = Reaction { store, graphs: &self.graphs, event, notes: Vec::new() };
            match news {
                News::Settled { verdict, detail } => reaction.settled(verdict, detail).await?,
                News::Interaction { name, properties } => {
                    reaction.entries_by_interaction(&name, &properties).await?;
                    reaction.wakes(&Change::interaction(name, properties)).await?;
                }
                News::Crossed { segment, crossing } => {
                    let trigger_key = of_segment(&segment, crossing);
                    reaction.entries(&trigger_key, "", &BTreeMap::new()).await?;
                    reaction.wakes(&Change::of(&["segments"])).await?;
                }
                News::Changed(change) => reaction.wakes(&change).await?,
            }
            notes::unit(store, meta, reaction.notes).await
        })
    }
}

/// What an event leads to.
struct Reaction<'a> {
    store: &'a Store,
    graphs: &'a Graphs,
    event: &'a Recorded,
    notes: Vec<Note>,
}

impl Reaction<'_> {
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
        if !events.is_empty() {
            let loaded = Box::new(loaded);
            self.notes.push(Note::Entry { stream, loaded, events });
        }
        Ok(())
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
                self.wake(instance_id, loaded, woken);
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
        self.wake(instance_id, loaded, woken);
        Ok(())
    }

    fn wake(
        &mut self,
        instance_id: String,
        loaded: Loaded<instance::State>,
        woken: proto::InstanceWoken,
    ) {
        let wake = instance::Command::Wake(Box::new(woken));
        let events = Instance::decide(&loaded.state, wake, eventstore::Timestamp::default())
            .unwrap_or_default();
        if !events.is_empty() {
            let loaded = Box::new(loaded);
            self.notes.push(Note::Instance { instance_id, loaded, events });
        }
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
