//! One instance on one definition, with facts and a time that a test sets.

use rapport_proto::EventSet as _;
use rapport_proto::types::PartyKind;

use super::super::*;
use crate::graph::{Graph, Names};
use crate::view::zone;

pub(super) const DAY: i64 = 86_400 * 1_000_000;
/// 2026-01-01T00:00:00Z, a Thursday.
pub(super) const START: Timestamp = Timestamp(1_767_225_600_000_000);

/// Clear values.
pub(super) mod text {
    use rapport_proto::types::{Clear, clear};

    pub(in super::super) fn number(value: f64) -> Clear {
        Clear { value: Some(clear::Value::Number(value)) }
    }

    pub(in super::super) fn code(value: &str) -> Clear {
        Clear { value: Some(clear::Value::Code(value.into())) }
    }

    pub(in super::super) fn flag(value: bool) -> Clear {
        Clear { value: Some(clear::Value::Flag(value)) }
    }

    pub(in super::super) fn time(at: eventstore::Timestamp) -> Clear {
        Clear { value: Some(clear::Value::Time(at.to_proto())) }
    }
}

/// A definition that starts at `a` and may end at `z`, which says `done`. Findings do not matter here.
pub(super) fn journey(fields: &str, nodes: &str) -> Arc<Graph> {
    let head = "journey: small\nsender: northwind\nmarkets: [DE]\naudiences: [HCP]\nentry: {api: {}}\nreentry: unlimited\nstart: a\n";
    let with_end = format!("{head}{fields}nodes:\n{nodes}  z: {{exit: {{outcome: done}}}}\n");
    let without = format!("{head}{fields}nodes:\n{nodes}");
    let compile = |text: &str| {
        let definition = authored::document::parse(text).expect("a journey");
        Graph::compile(&definition, &Names::default())
    };
    Arc::new(compile(&with_end).or_else(|_| compile(&without)).expect("a clean journey"))
}

pub(super) struct World {
    pub(super) graph: Arc<Graph>,
    pub(super) reading: Reading,
    pub(super) state: State,
    pub(super) events: Vec<Event>,
    pub(super) at: Timestamp,
    position: u64,
}

impl World {
    pub(super) fn start(nodes: &str) -> Self {
        Self::of(&journey("", nodes))
    }

    pub(super) fn of(graph: &Arc<Graph>) -> Self {
        let mut world = Self::unstarted(graph);
        world.begin();
        world
    }

    pub(super) fn unstarted(graph: &Arc<Graph>) -> Self {
        let reading = Reading {
            kind: PartyKind::Hcp,
            market: "DE".into(),
            time_zone: "Europe/Berlin".into(),
            state: "ACTIVE".into(),
            zones: vec![authored::calendar::Zone::parse("Europe/Berlin").expect("a zone")],
            ..Reading::default()
        };
        let (graph, state, events) = (graph.clone(), State::default(), Vec::new());
        Self { graph, reading, state, events, at: START, position: 0 }
    }

    pub(super) fn begin(&mut self) -> Vec<&'static str> {
        self.begin_having_heard(Vec::new())
    }

    pub(super) fn begin_having_heard(
        &mut self,
        heard: Vec<proto::InstanceWoken>,
    ) -> Vec<&'static str> {
        let started = proto::InstanceStarted {
            instance_id: "ins_1".into(),
            journey_id: "small".into(),
            version: 1,
            party_id: "pty_1".into(),
            entry: [("place".to_owned(), text::code("berlin"))].into(),
            node: self.graph.start.clone(),
            cause: Some(proto::Cause { recorded_at: Some(START.to_proto()), ..Default::default() }),
            started_at: Some(self.at.to_proto()),
            ..Default::default()
        };
        let step = self.step();
        self.does(Command::Start { started: Box::new(started), heard, step })
    }

    pub(super) fn zone(&mut self, name: &str) {
        self.reading.time_zone = name.into();
        self.reading.zones = match authored::calendar::Zone::parse(name) {
            Ok(zone) => vec![zone],
            Err(_) => zone::ends(),
        };
    }

    fn step(&self) -> Step {
        Step {
            tenant: "acme".into(),
            graph: self.graph.clone(),
            reading: Arc::new(self.reading.clone()),
        }
    }

    pub(super) fn does(&mut self, command: Command) -> Vec<&'static str> {
        let events = Instance::decide(&self.state, command, self.at).expect("granted");
        self.keep(events)
    }

    pub(super) fn keep(&mut self, events: Vec<Event>) -> Vec<&'static str> {
        let names =
            events.iter().map(|it| it.type_name().rsplit('.').next().unwrap_or_default()).collect();
        for event in events {
            self.state = Instance::evolve(std::mem::take(&mut self.state), &event);
            self.events.push(event);
        }
        names
    }

    pub(super) fn look(&mut self) -> Vec<&'static str> {
        let step = self.step();
        self.does(Command::Go { input: Input::Look, step })
    }

    pub(super) fn answer(&mut self, answer: Answer) -> Vec<&'static str> {
        let step = self.step();
        self.does(Command::Go { input: Input::Answered(Box::new(answer)), step })
    }

    fn wake(&mut self, reason: &str) -> proto::InstanceWoken {
        self.position += 1;
        let at = Some(self.at.to_proto());
        let cause = proto::Cause {
            source: "profiles".into(),
            position: self.position,
            occurred_at: at,
            recorded_at: at,
            ..Default::default()
        };
        proto::InstanceWoken {
            reason: reason.into(),
            node: self.state.node.clone(),
            cause: Some(cause),
            ..Default::default()
        }
    }

    /// An interaction happens now; whether the reactor writes it down for the instance.
    pub(super) fn event(&mut self, name: &str, properties: &[(&str, Clear)]) -> bool {
        self.told(name, properties).is_some()
    }

    /// An interaction happens now; why the reactor writes it down.
    pub(super) fn told(
        &mut self,
        name: &str,
        properties: &[(&str, Clear)],
    ) -> Option<&'static str> {
        let woken = self.interaction(name, properties);
        let reason = walk::hears(&self.graph, &self.state, &woken)?;
        let woken = proto::InstanceWoken { reason: reason.into(), ..woken };
        self.does(Command::Wake(vec![woken]));
        Some(reason)
    }

    /// An interaction that is recorded now.
    pub(super) fn interaction(
        &mut self,
        name: &str,
        properties: &[(&str, Clear)],
    ) -> proto::InstanceWoken {
        proto::InstanceWoken {
            event: name.into(),
            properties: properties
                .iter()
                .map(|(name, it)| ((*name).to_owned(), it.clone()))
                .collect(),
            ..self.wake(walk::EVENT)
        }
    }

    pub(super) fn facts_changed(&mut self) {
        let woken = self.wake(walk::FACTS);
        self.does(Command::Wake(vec![woken]));
    }

    pub(super) fn settled(&mut self, about: &str, verdict: &str) {
        let woken = proto::InstanceWoken {
            about: about.into(),
            verdict: verdict.into(),
            ..self.wake(walk::SETTLED)
        };
        self.does(Command::Wake(vec![woken]));
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        self.state.wait.as_ref().and_then(|it| it.due_at)
    }
}
