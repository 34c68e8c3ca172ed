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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) recorded_at: Timestamp,
    pub(crate) source: String,
    pub(crate) position: u64,
}

impl Place {
    /// Before every event of an instant: no source is without a name.
    pub(crate) fn before(recorded_at: Timestamp) -> Self {
        Self { recorded_at, source: String::new(), position: 0 }
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

/// The statement that narrows by one column first, in one direction, and by others where they are given. Column and place
/// are compared together and ordered together: only the column's own index does both, whatever a database guesses of how
/// many events there are. `CASE`, for PostgreSQL takes that for every other event, but some `OR`s for hardly one: then it
/// would read all there are and sort them.
macro_rules! page {
    ($order:literal, $($column:literal = $value:literal)?; $($other:literal = $given:literal),*) => {
        concat!(
            "SELECT source, position, event_id, stream, version, type, occurred_at, recorded_at, actor, method,
                 correlation_id, causation_id, party_id, reason
             FROM event_index
             WHERE tenant = $1
                 AND (",
            $($column, ", ",)?
            "recorded_at, source, position) > (",
            $($value, ", ",)?
            "$7, $8, $9)
                 AND (",
            $($column, ", ",)?
            "recorded_at, source, position) < (",
            $($value, ", ",)?
            "$10, $11, $12)",
            $("
                 AND CASE ", $given, " WHEN '' THEN TRUE ELSE ", $other, " = ", $given, " END",)*
            "
             ORDER BY ",
            $($column, $order, ", ",)?
            "recorded_at", $order, ", source", $order, ", position", $order,
            " LIMIT $13"
        )
    };
}

/// The statement in either direction.
macro_rules! pages {
    ($($narrow:tt)*) => {
        [page!("", $($narrow)*), page!(" DESC", $($narrow)*)]
    };
}

impl Filter<'_> {
    /// The index that narrows most: a party or a correlation has few events, a person more, a type many.
    fn statements(&self) -> [&'static str; 2] {
        if !self.party_id.is_empty() {
            pages!("party_id" = "$2"; "correlation_id" = "$3", "subject" = "$4", "type" = "$5", "source" = "$6")
        } else if !self.correlation_id.is_empty() {
            pages!("correlation_id" = "$3"; "subject" = "$4", "type" = "$5", "source" = "$6")
        } else if !self.subject.is_empty() {
            pages!("subject" = "$4"; "type" = "$5", "source" = "$6")
        } else if !self.r#type.is_empty() {
            pages!("type" = "$5"; "source" = "$6")
        } else {
            pages!(; "source" = "$6")
        }
    }

    /// The statement of a search, with its values.
    pub(crate) fn asked(
        &self,
        tenant: &str,
        newest_first: bool,
        place: &Place,
        limit: u32,
    ) -> (&'static str, Vec<Value>) {
        let [forwards, backwards] = self.statements();
        let (from, until) = (Place::before(self.from), Place::before(self.until));
        let (sql, after, before) = match newest_first {
            true => (backwards, &from, place.min(&until)),
            false => (forwards, place.max(&from), &until),
        };
        let values = values![
            tenant,
            self.party_id,
            self.correlation_id,
            self.subject,
            self.r#type,
            self.source,
            after.recorded_at,
            &after.source,
            after.position,
            before.recorded_at,
            &before.source,
            before.position,
            limit
        ];
        (sql, values)
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
    let (sql, values) = filter.asked(tenant, newest_first, place, limit);
    database.query(sql, values).await?.iter().map(event).collect()
}

/// The row of an event of a tenant.
pub(crate) async fn get(
    database: &Database,
    tenant: &str,
    source: &str,
    position: u64,
) -> Result<Option<IndexedEvent>, Error> {
    // Without the tenant in the statement no index is searched by it.
    let found = entries(database, source, position.saturating_sub(1), position).await?;
    Ok(found.into_iter().find(|it| it.tenant == tenant).map(|it| it.event))
}

pub(crate) const ENTRIES: &str =
    "SELECT source, position, event_id, stream, version, type, occurred_at, recorded_at, actor, method,
         correlation_id, causation_id, party_id, reason, tenant, subject, chain
     FROM event_index WHERE source = $1 AND position > $2 AND position <= $3";

/// The rows of a source after a position, up to another, in any order.
pub(crate) async fn entries(
    database: &Database,
    source: &str,
    after: u64,
    until: u64,
) -> Result<Vec<Entry>, Error> {
    let rows = database.query(ENTRIES, values![source, after, until]).await?;
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

pub(crate) const LAST: &str =
    "SELECT COALESCE(MAX(position), 0) FROM event_index WHERE source = $1";

/// Position of the last row of a source.
pub(crate) async fn last(database: &Database, source: &str) -> Result<u64, Error> {
    let rows = database.query(LAST, values![source]).await?;
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
