//! Given events, which figures; and that no order of arrival shows.

mod arms;
mod built_ins;
mod documents;
mod figures;
mod numbers;
mod orders;
mod suppression;

use std::collections::BTreeMap;

use eventstore::Timestamp;
use prost::{Message, Name};
use rapport_proto::feedback::v1::{Answer, QuestionKind, ResponseSubmitted};
use rapport_proto::kpis::v1::Metric;

use super::contribution::Contribution;
use super::definition::Definition;
use super::figure::{Cell, Dimension, Fold, Number, Query};
use super::record::Event;

const DAY: i64 = 86_400 * 1_000_000;
/// 2026-01-05, a Monday.
const MONDAY: Timestamp = Timestamp(1_767_571_200_000_000);

/// An event that owns what it says.
#[derive(Clone, Debug)]
struct Said {
    source: &'static str,
    type_name: String,
    position: u64,
    id: String,
    party_id: String,
    market: &'static str,
    occurred_at: Timestamp,
    recorded_at: Timestamp,
    payload: Vec<u8>,
}

impl Said {
    fn new<M: Message + Name>(source: &'static str, position: u64, at: Timestamp, it: &M) -> Self {
        Self {
            source,
            type_name: M::full_name(),
            position,
            id: format!("id_{position}"),
            party_id: format!("pty_{position}"),
            market: "DE",
            occurred_at: at,
            recorded_at: at,
            payload: it.encode_to_vec(),
        }
    }

    fn id(mut self, id: &str) -> Self {
        self.id = id.to_owned();
        self
    }

    fn party(mut self, party_id: &str) -> Self {
        self.party_id = party_id.to_owned();
        self
    }

    fn event(&self) -> Event<'_> {
        Event {
            source: self.source,
            type_name: &self.type_name,
            position: self.position,
            event_id: &self.id,
            id: &self.id,
            party_id: &self.party_id,
            market: self.market,
            occurred_at: self.occurred_at,
            recorded_at: self.recorded_at,
            payload: &self.payload,
            decoded: Default::default(),
        }
    }
}

fn days(days: i64) -> Timestamp {
    Timestamp(MONDAY.0 + days * DAY)
}

fn compiled(yaml: &str) -> Definition {
    let metric: Metric = authored::document::parse(yaml).expect("a document");
    Definition::compile(&metric, 1).expect("a metric")
}

fn contributions(definition: &Definition, said: &[Said]) -> Vec<Contribution> {
    said.iter().flat_map(|it| definition.series.contributions(&it.event())).collect()
}

fn fold(
    definition: &Definition,
    query: &Query,
    contributions: &[Contribution],
    as_of: Timestamp,
) -> BTreeMap<Cell, Number> {
    let mut fold = Fold::new(definition.series.shape, definition.seconds_stated(), query);
    contributions.iter().for_each(|it| fold.add(it, ""));
    fold.finish(as_of)
}

/// The figures of events, by bucket.
fn figures(definition: &Definition, query: &Query, said: &[Said]) -> BTreeMap<Cell, Number> {
    let as_of = said.iter().map(|it| it.recorded_at).max().unwrap_or_default();
    fold(definition, query, &contributions(definition, said), as_of)
}

/// One figure over everything.
fn whole(definition: &Definition, said: &[Said]) -> Number {
    let query = Query { total: true, ..Query::default() };
    figures(definition, &query, said).into_values().next().unwrap_or_default()
}

fn by(definition: &Definition, name: &str) -> Query {
    let dimension = Dimension::find(&definition.series, name).expect("a dimension");
    Query { group: vec![dimension], total: true, ..Query::default() }
}

fn answered(position: u64, at: Timestamp, answers: &[(QuestionKind, i32)]) -> Said {
    let answers = answers
        .iter()
        .map(|(kind, score)| Answer {
            question: format!("{kind:?}"),
            kind: (*kind).into(),
            score: *score,
            ..Default::default()
        })
        .collect();
    let it = ResponseSubmitted { survey: "after".into(), answers, ..Default::default() };
    Said::new("feedback", position, at, &it)
}
