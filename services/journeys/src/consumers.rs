//! What other services report. A handler makes no calls: it writes down who asks to enter and which instances are to be
//! looked at, and those facts state the timers of the workers.
//!
//! An instance is woken only if the event can matter to it as it stands: it waits for this interaction or will want it,
//! it reaches a goal, it waits for this touch, an exit criterion reads what changed, or its timer follows a local time.
//! What filters interactions reads nothing but the interaction and the entry, so that it can be asked here.
//!
//! **What an event costs.** One statement finds everybody whom an event may concern: the journeys that it lets its party
//! into, the party's entries that are not answered, the party's instances that have not ended. Mostly that is nobody.
//! It is asked anew for every event and nothing of it is remembered, because another replica may have published a
//! journey or started an instance a moment ago. What is remembered are definitions, which never change: by them all
//! are left out to whom nothing of this kind ever matters, and only the streams of the others are read, together.

mod news;
mod notes;

use std::collections::BTreeMap;
use std::sync::Arc;

use eventstore::{AsOf, Decider as _, Error, Loaded, Metadata, Reactor, Recorded, Store, Unit};
use futures::future::BoxFuture;
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::Cause;
use rapport_proto::types::{Clear, clear};

use self::news::{Change, Interaction, News};
use self::notes::Note;

use crate::domain::entry::{self, Entry};
use crate::domain::instance::{self, Instance, walk};
use crate::graph::{self, Graph, Node};
use crate::graphs::Graphs;
use crate::view;
use crate::view::concerned::{Concerned, Everybody, Happened};
use crate::view::journey::{of_event, of_segment};

/// The consumer's name.
pub(crate) const REPORTS: &str = "journeys";

/// How often those are found anew whom an event concerns.
const ATTEMPTS: usize = 10;

/// Writes down what concerns journeys.
pub(crate) struct Reports {
    graphs: Graphs,
    everybody: Everybody,
}

impl Reports {
    pub(crate) fn new(store: &Store, graphs: &Graphs) -> Self {
        Self { graphs: graphs.clone(), everybody: Everybody::of(store.database()) }
    }
}

impl Reactor for Reports {
    fn reads(&self, type_name: &str) -> bool {
        news::reads(type_name)
    }

    /// An event concerns streams of its party only.
    fn lane<'e>(&self, event: &'e Recorded) -> Option<&'e str> {
        Some(event.envelope.party_id.as_str()).filter(|it| !it.is_empty())
    }

    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        Box::pin(async move {
            let Some(news) = news::read(event)? else { return Ok(None) };
            let Self { graphs, everybody } = self;
            let mut reaction = Reaction { store, graphs, everybody, event, notes: Vec::new() };
            match news {
                News::Settled { verdict, detail } => reaction.settled(verdict, detail).await?,
                News::Crossed { segment, crossing } => {
                    let trigger_key = of_segment(&segment, crossing);
                    reaction.changed(&trigger_key, &Change::of(&["segments"])).await?;
                }
                News::Changed(change) => {
                    let name = change.interaction.as_ref().map(|it| of_event(&it.name));
                    reaction.changed(&name.unwrap_or_default(), &change).await?;
                }
            }
            notes::unit(store, meta, reaction.notes).await
        })
    }
}

/// What an event leads to.
struct Reaction<'a> {
    store: &'a Store,
    graphs: &'a Graphs,
    everybody: &'a Everybody,
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

    fn cause(&self) -> Option<Cause> {
        let envelope = &self.event.envelope;
        Some(Cause {
            source: envelope.source.clone(),
            position: self.event.position,
            r#type: envelope.r#type.clone(),
            occurred_at: envelope.occurred_at,
            recorded_at: envelope.recorded_at,
        })
    }

    async fn changed(&mut self, trigger_key: &str, change: &Change) -> Result<(), Error> {
        let happened = Happened {
            tenant: self.tenant().to_owned(),
            party_id: self.party_id().to_owned(),
            trigger_key: trigger_key.to_owned(),
        };
        for _ in 0..ATTEMPTS {
            let concerned = self.everybody.by(happened.clone()).await?;
            if self.entries(&concerned, change).await? {
                return self.instances(&concerned, change).await;
            }
            self.notes.clear();
        }
        Err(Error::unavailable("entries of the party keep being answered"))
    }

    /// Notes who asks to enter, and tells those who asked before what their instances would want. `false`: one of them
    /// was answered since it was found, and perhaps has an instance by now.
    async fn entries(&mut self, concerned: &Concerned, change: &Change) -> Result<bool, Error> {
        let mut requests = BTreeMap::new();
        for (journey_id, version) in &concerned.triggered {
            let graph = self.graphs.get(self.tenant(), journey_id, *version).await?;
            let requested = self.requested(&graph, journey_id, *version, change);
            requests.extend(requested.map(|it| (journey_id.as_str(), it)));
        }
        let mut listening: BTreeMap<&str, (Arc<Graph>, Vec<u64>)> = BTreeMap::new();
        for (journey_id, version, request) in &concerned.asked {
            let graph = self.graphs.get(self.tenant(), journey_id, *version).await?;
            if change.interaction.as_ref().is_some_and(|it| graph.wants(&it.name)) {
                listening.entry(journey_id).or_insert((graph, Vec::new())).1.push(*request);
            }
        }
        let mut journeys: Vec<_> = requests.keys().chain(listening.keys()).copied().collect();
        journeys.sort_unstable();
        journeys.dedup();
        let streams: Vec<_> =
            journeys.iter().map(|it| entry::stream_id(it, self.party_id())).collect();
        let loaded = self.store.load_many::<Entry>(self.tenant(), &streams).await?;
        for ((journey_id, stream), loaded) in journeys.into_iter().zip(streams).zip(loaded) {
            let mut heard = None;
            if let Some((graph, asked)) = listening.get(journey_id) {
                if !asked.iter().all(|it| loaded.state.open.contains_key(it)) {
                    return Ok(false);
                }
                heard = self.heard(graph, journey_id, &loaded.state, change);
            }
            let requested = requests.remove(journey_id).map(Box::new);
            let note = entry::Command::Note { heard: heard.map(Box::new), requested };
            let Ok(events) = Entry::decide(&loaded.state, note, eventstore::Timestamp::default());
            if !events.is_empty() {
                let loaded = Box::new(loaded);
                self.notes.push(Note::Entry { stream, loaded, events });
            }
        }
        Ok(true)
    }

    /// The wish to enter; `None` when the interaction does not let in.
    fn requested(
        &self,
        graph: &Graph,
        journey_id: &str,
        version: u32,
        change: &Change,
    ) -> Option<proto::InstanceEntryRequested> {
        let (entry_key, entry) = match &change.interaction {
            Some(it) => (entry_key(graph, &it.properties)?, it.properties.clone()),
            None => Default::default(),
        };
        Some(proto::InstanceEntryRequested {
            journey_id: journey_id.to_owned(),
            version,
            party_id: self.party_id().to_owned(),
            entry_key,
            entry,
            cause: self.cause(),
        })
    }

    /// An interaction that somebody would want who has asked to enter.
    fn heard(
        &self,
        graph: &Graph,
        journey_id: &str,
        state: &entry::State,
        change: &Change,
    ) -> Option<proto::InstanceEntryHeard> {
        let woken = self.woken_by(change.interaction.as_ref()?);
        let wanted = state.open.values().any(|requested| {
            let instance = instance::State::asked_for(requested, graph);
            walk::hears(graph, &instance, &woken).is_some()
        });
        wanted.then(|| proto::InstanceEntryHeard {
            journey_id: journey_id.to_owned(),
            party_id: self.party_id().to_owned(),
            event: woken.event,
            properties: woken.properties,
            cause: woken.cause,
        })
    }

    /// Wakes the party's instances to which the change can matter.
    async fn instances(&mut self, concerned: &Concerned, change: &Change) -> Result<(), Error> {
        let (mut ids, mut graphs) = (Vec::new(), Vec::new());
        for (instance_id, journey_id, version) in &concerned.instances {
            let graph = self.graphs.get(self.tenant(), journey_id, *version).await?;
            if change.can_matter_to(&graph) {
                ids.push(instance_id.clone());
                graphs.push(graph);
            }
        }
        let loaded = self.store.load_many::<Instance>(self.tenant(), &ids).await?;
        for ((instance_id, graph), loaded) in ids.into_iter().zip(graphs).zip(loaded) {
            let woken = self.woken(&graph, &loaded.state, change);
            self.wake(instance_id, loaded, woken);
        }
        Ok(())
    }

    fn woken(
        &self,
        graph: &Graph,
        state: &instance::State,
        change: &Change,
    ) -> Vec<proto::InstanceWoken> {
        let at = |woken: proto::InstanceWoken, reason: &str| {
            let (reason, node) = (reason.to_owned(), state.node.clone());
            proto::InstanceWoken { reason, node, ..woken }
        };
        let heard = change.interaction.as_ref().and_then(|it| {
            let woken = self.woken_by(it);
            walk::hears(graph, state, &woken).map(|reason| at(woken, reason))
        });
        // Who looks at an interaction looks at everything.
        if heard.as_ref().is_some_and(|it| it.reason == walk::EVENT) {
            return heard.into_iter().collect();
        }
        let node = state.wait.as_ref().and_then(|it| graph.nodes.get(&it.node));
        let facts = node.is_some_and(|it| change.moves(it)) || graph.exits_by(change.roots);
        let changed = proto::InstanceWoken { cause: self.cause(), ..Default::default() };
        heard.into_iter().chain(facts.then(|| at(changed, walk::FACTS))).collect()
    }

    fn woken_by(&self, it: &Interaction) -> proto::InstanceWoken {
        proto::InstanceWoken {
            event: it.name.clone(),
            properties: it.properties.clone(),
            cause: self.cause(),
            ..Default::default()
        }
    }

    /// Tells the instance that waits for a touch or an invitation what became of it.
    async fn settled(&mut self, verdict: &str, detail: String) -> Result<(), Error> {
        let database = self.store.database();
        let about = self.event.id().to_owned();
        let waiting = view::instance::waiting_for(database, self.tenant(), &about).await?;
        let Some(instance_id) = waiting else { return Ok(()) };
        let loaded = self.store.load::<Instance>(self.tenant(), &instance_id, AsOf::Now).await?;
        if loaded.state.awaited() != Some(&about) {
            return Ok(());
        }
        let woken = proto::InstanceWoken {
            reason: walk::SETTLED.to_owned(),
            node: loaded.state.node.clone(),
            cause: self.cause(),
            about,
            verdict: verdict.to_owned(),
            detail,
            ..Default::default()
        };
        self.wake(instance_id, loaded, vec![woken]);
        Ok(())
    }

    fn wake(
        &mut self,
        instance_id: String,
        loaded: Loaded<instance::State>,
        woken: Vec<proto::InstanceWoken>,
    ) {
        let wake = instance::Command::Wake(woken);
        let events = Instance::decide(&loaded.state, wake, eventstore::Timestamp::default())
            .unwrap_or_default();
        if !events.is_empty() {
            let loaded = Box::new(loaded);
            self.notes.push(Note::Instance { instance_id, loaded, events });
        }
    }
}

impl Change {
    /// Whether there is anybody on this graph to whom it could matter, wherever they stand.
    fn can_matter_to(&self, graph: &Graph) -> bool {
        self.interaction.as_ref().is_some_and(|it| graph.wants(&it.name))
            || graph.exits_by(self.roots)
            || graph.nodes.values().any(|node| self.moves(node))
    }

    /// Whether a wait at a node is to be resolved again.
    fn moves(&self, node: &Node) -> bool {
        match node {
            Node::WaitUntil { .. } => self.moved,
            Node::WaitDate { attribute, .. } => self.moved || self.attributes.contains(attribute),
            _ => false,
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
