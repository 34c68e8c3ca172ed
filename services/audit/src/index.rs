//! The index: a row for each event, and the questions it answers.

use std::fmt;
use std::pin::Pin;

use eventstore::{Database, Error, Recorded, Row, Timestamp, Tx, View, values};
use prost::Message as _;
use rapport_proto::audit::v1::IndexedEvent;
use rapport_proto::types::Actor;

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
            let rows = events.iter().map(|event| {
                let it = &event.envelope;
                let actor = it.actor.clone().unwrap_or_default();
                values![
                    &it.source,
                    event.position,
                    &it.tenant,
                    event.recorded_at(),
                    &it.id,
                    &it.stream,
                    it.version,
                    &it.r#type,
                    event.occurred_at(),
                    &actor.subject,
                    actor.encode_to_vec(),
                    &it.method,
                    &it.correlation_id,
                    &it.causation_id,
                    &it.party_id,
                    &it.reason,
                    event.chain.to_vec()
                ]
            });
            tx.insert_many(
                "INSERT INTO event_index (source, position, tenant, recorded_at, event_id, stream, version, type,
                     occurred_at, subject, actor, method, correlation_id, causation_id, party_id, reason, chain)",
                rows.collect(),
                "",
            )
            .await
            .map(drop)
        })
    }
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

/// The statement that narrows by one column with an index of its own first, in one direction.
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
                 AND (recorded_at, source, position) ",
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
                filter.from,
                filter.until,
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

/// Chains of the rows of a source after a position, up to another.
pub(crate) async fn chains(
    database: &Database,
    source: &str,
    after: u64,
    until: u64,
) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let rows = database
        .query(
            "SELECT position, chain FROM event_index
             WHERE source = $1 AND position > $2 AND position <= $3 ORDER BY position",
            values![source, after, until],
        )
        .await?;
    rows.iter().map(|row| Ok((row.count(0)?, row.blob(1)?.to_vec()))).collect()
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
