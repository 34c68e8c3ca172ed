//! The index: a row for each event, and the questions it answers.

use std::fmt;
use std::pin::Pin;

use eventstore::{Database, Error, Hash, Recorded, Row, Timestamp, Tx, Value, View, values};
use prost::Message;
use rapport_proto::audit::v1::IndexedEvent;
use rapport_proto::types::{Actor, Envelope};

/// Follows every source.
pub(crate) struct Index;

impl View for Index {
    fn name(&self) -> &'static str {
        crate::INDEX
    }

    fn tables(&self) -> &'static [&'static str] {
        &["event_index"]
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>> {
        Box::pin(async move {
            let row = |it: &Recorded| Entry::of(it.position, &it.chain, &it.envelope).values();
            tx.insert_many(
                "INSERT INTO event_index (source, position, tenant, recorded_at, event_id, stream, version, type,
                     occurred_at, subject, actor, method, correlation_id, causation_id, party_id, reason, chain)",
                events.iter().map(row).collect(),
                "",
            )
            .await
            .map(drop)
        })
    }
}

/// A row: everything that the index says of an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) tenant: String,
    /// Whom the actor's events are found under.
    pub(crate) subject: String,
    pub(crate) chain: Vec<u8>,
    pub(crate) event: IndexedEvent,
}

impl Entry {
    /// What an event's row must say.
    pub(crate) fn of(position: u64, chain: &Hash, envelope: &Envelope) -> Self {
        let it = envelope.clone();
        let actor = it.actor.unwrap_or_default();
        let time = |at: Option<prost_types::Timestamp>| Some(instant(at.as_ref()).to_proto());
        Self {
            tenant: it.tenant,
            subject: actor.subject.clone(),
            chain: chain.to_vec(),
            event: IndexedEvent {
                source: it.source,
                position,
                event_id: it.id,
                stream: it.stream,
                version: it.version,
                r#type: it.r#type,
                occurred_time: time(it.occurred_at),
                record_time: time(it.recorded_at),
                actor: Some(actor),
                method: it.method,
                correlation_id: it.correlation_id,
                causation_id: it.causation_id,
                party_id: it.party_id,
                reason: it.reason,
            },
        }
    }

    fn values(&self) -> Vec<Value> {
        let it = &self.event;
        values![
            &it.source,
            it.position,
            &self.tenant,
            instant(it.record_time.as_ref()),
            &it.event_id,
            &it.stream,
            it.version,
            &it.r#type,
            instant(it.occurred_time.as_ref()),
            &self.subject,
            it.actor.as_ref().map(Message::encode_to_vec).unwrap_or_default(),
            &it.method,
            &it.correlation_id,
            &it.causation_id,
            &it.party_id,
            &it.reason,
            &self.chain[..]
        ]
    }
}

/// A time as protobuf states it; what cannot be read is the first instant, as it is to the store.
fn instant(time: Option<&prost_types::Timestamp>) -> Timestamp {
    time.and_then(Timestamp::from_proto).unwrap_or_default()
}

/// Which events are asked for; what is empty does not narrow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter<'a> {
    pub(crate) party_id: &'a str,
    pub(crate) correlation_id: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) r#type: &'a str,
    pub(crate) source: &'a str,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

/// A place in the order of events across sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) recorded_at: Timestamp,
    pub(crate) source: String,
    pub(crate) position: u64,
}

impl Place {
    /// Before everything.
    pub(crate) fn start() -> Self {
        Self { recorded_at: Timestamp(i64::MIN), source: String::new(), position: 0 }
    }

    /// After everything: no name of a source sorts behind a tilde.
    pub(crate) fn end() -> Self {
        Self { recorded_at: Timestamp(i64::MAX), source: "~".to_owned(), position: 0 }
    }

    /// Reads what `Display` wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let recorded_at = Timestamp(parts.next()?.parse().ok()?);
        let position = parts.next()?.parse().ok()?;
        Some(Self { recorded_at, source: parts.next()?.to_owned(), position })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.recorded_at.0, self.position, self.source)
    }
}

/// The statement that narrows by one column with an index of its own first, in one direction. The times bound what is
/// read of that index; the place, with its `+`, asks for no other index.
macro_rules! page {
    ($narrow:literal, $compare:literal, $order:literal) => {
        concat!(
            "SELECT source, position, event_id, stream, version, type, occurred_at, recorded_at, actor, method,
                 correlation_id, causation_id, party_id, reason
             FROM event_index
             WHERE tenant = $1",
            $narrow,
            " AND ($2 = '' OR party_id = $2) AND ($3 = '' OR correlation_id = $3)
                 AND ($4 = '' OR subject = $4) AND ($5 = '' OR type = $5) AND ($6 = '' OR source = $6)
                 AND recorded_at >= $7 AND recorded_at < $8
                 AND (+recorded_at, source, position) ",
            $compare,
            " ($9, $10, $11)
             ORDER BY recorded_at ",
            $order,
            ", source ",
            $order,
            ", position ",
            $order,
            " LIMIT $12"
        )
    };
}

macro_rules! pages {
    ($narrow:literal) => {
        [page!($narrow, ">", ""), page!($narrow, "<", "DESC")]
    };
}

impl Filter<'_> {
    /// The index that narrows most: a party or a correlation has few events, a person more, a type many.
    fn statements(&self) -> [&'static str; 2] {
        if !self.party_id.is_empty() {
            pages!(" AND party_id = $2")
        } else if !self.correlation_id.is_empty() {
            pages!(" AND correlation_id = $3")
        } else if !self.subject.is_empty() {
            pages!(" AND subject = $4")
        } else if !self.r#type.is_empty() {
            pages!(" AND type = $5")
        } else {
            pages!("")
        }
    }
}

/// Events of a tenant in order, after a place, or before it when `newest_first`.
pub(crate) async fn search(
    database: &Database,
    tenant: &str,
    filter: Filter<'_>,
    newest_first: bool,
    place: &Place,
    limit: u32,
) -> Result<Vec<IndexedEvent>, Error> {
    let [forwards, backwards] = filter.statements();
    let (from, until) = match newest_first {
        true => (filter.from, filter.until.min(Timestamp(place.recorded_at.0.saturating_add(1)))),
        false => (filter.from.max(place.recorded_at), filter.until),
    };
    let rows = database
        .query(
            if newest_first { backwards } else { forwards },
            values![
                tenant,
                filter.party_id,
                filter.correlation_id,
                filter.subject,
                filter.r#type,
                filter.source,
                from,
                until,
                place.recorded_at,
                &place.source,
                place.position,
                limit
            ],
        )
        .await?;
    rows.iter().map(event).collect()
}

/// The row of an event of a tenant.
pub(crate) async fn get(
    database: &Database,
    tenant: &str,
    source: &str,
    position: u64,
) -> Result<Option<IndexedEvent>, Error> {
    let rows = database
        .query(
            "SELECT source, position, event_id, stream, version, type, occurred_at, recorded_at, actor, method,
                 correlation_id, causation_id, party_id, reason
             FROM event_index WHERE source = $1 AND position = $2 AND tenant = $3",
            values![source, position, tenant],
        )
        .await?;
    rows.first().map(event).transpose()
}

/// The rows of a source after a position, up to another.
pub(crate) async fn entries(
    database: &Database,
    source: &str,
    after: u64,
    until: u64,
) -> Result<Vec<Entry>, Error> {
    let rows = database
        .query(
            "SELECT source, position, event_id, stream, version, type, occurred_at, recorded_at, actor, method,
                 correlation_id, causation_id, party_id, reason, tenant, subject, chain
             FROM event_index WHERE source = $1 AND position > $2 AND position <= $3 ORDER BY position",
            values![source, after, until],
        )
        .await?;
    let entry = |row: &Row| {
        Ok(Entry {
            tenant: row.text(14)?.to_owned(),
            subject: row.text(15)?.to_owned(),
            chain: row.blob(16)?.to_vec(),
            event: event(row)?,
        })
    };
    rows.iter().map(entry).collect()
}

/// Position of the last row of a source.
pub(crate) async fn last(database: &Database, source: &str) -> Result<u64, Error> {
    let rows = database
        .query(
            "SELECT COALESCE(MAX(position), 0) FROM event_index WHERE source = $1",
            values![source],
        )
        .await?;
    rows.first().map_or(Ok(0), |row| row.count(0))
}

fn event(row: &Row) -> Result<IndexedEvent, Error> {
    let text = |column| row.text(column).map(str::to_owned);
    let actor = Actor::decode(row.blob(8)?)
        .map_err(|it| Error::corrupt(format!("the actor of a row of the index: {it}")))?;
    Ok(IndexedEvent {
        source: text(0)?,
        position: row.count(1)?,
        event_id: text(2)?,
        stream: text(3)?,
        version: row.count(4)?,
        r#type: text(5)?,
        occurred_time: Some(row.time(6)?.to_proto()),
        record_time: Some(row.time(7)?.to_proto()),
        actor: Some(actor),
        method: text(9)?,
        correlation_id: text(10)?,
        causation_id: text(11)?,
        party_id: text(12)?,
        reason: text(13)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_page_token() {
        let place = Place { recorded_at: Timestamp(-5), source: "profiles".into(), position: 7 };
        assert_eq!(Place::parse(&place.to_string()), Some(place));
        assert_eq!(Place::parse("profiles"), None);
    }
}
