//! Touches by party, state, provider's id and due time.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Timestamp, Tx, Value, values};
use rapport_proto::delivery::v1::touch_event::Event;
use rapport_proto::types::Channel;

use super::task;
use crate::domain::touch::{Status, status_after};
use crate::domain::{instant, is_task};

/// A row without its key.
#[derive(Clone, Debug, Default)]
struct Row {
    party_id: String,
    channel: i64,
    state: i64,
    market: String,
    assignee_party_id: String,
    provider_id: String,
    expires_at: i64,
    requested_position: i64,
}

impl Row {
    fn channel(&self) -> Channel {
        let channel = i32::try_from(self.channel).ok().and_then(|it| Channel::try_from(it).ok());
        channel.unwrap_or_default()
    }
}

type Rows = BTreeMap<(String, String), Row>;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let mut rows = read(tx, events).await?;
    let (mut placed, mut over) = (Vec::new(), Vec::new());
    for event in events {
        let (tenant, touch_id) = (&event.envelope.tenant, event.id());
        let Some(fact) = event.decode::<Event>()? else { continue };
        let row = rows.entry((tenant.clone(), touch_id.to_owned())).or_default();
        fold(row, &fact, event.position);
        match fact {
            Event::Ready(it) if is_task(row.channel()) => {
                placed.extend(task::rows_of(tenant, touch_id, &it));
            }
            Event::TaskCompleted(_)
            | Event::TaskDismissed(_)
            | Event::TaskExpired(_)
            | Event::TaskWithdrawn(_) => over.push(values![tenant, touch_id]),
            _ => {}
        }
    }
    task::apply(tx, placed, over).await?;
    let rows = rows
        .into_iter()
        .map(|((tenant, touch_id), it)| {
            values![
                tenant,
                touch_id,
                it.party_id,
                it.channel,
                it.state,
                it.market,
                it.assignee_party_id,
                it.provider_id,
                it.expires_at,
                it.requested_position
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO touch (tenant, touch_id, party_id, channel, state, market, assignee_party_id, provider_id,
             expires_at, requested_position)",
        rows,
        "ON CONFLICT (tenant, touch_id) DO UPDATE SET state = excluded.state, market = excluded.market,
             assignee_party_id = excluded.assignee_party_id, provider_id = excluded.provider_id",
    )
    .await
    .map(drop)
}

async fn read(tx: &mut Tx, events: &[&Recorded]) -> Result<Rows, Error> {
    let keys: BTreeMap<_, Vec<Value>> = (events.iter())
        .map(|it| (&it.envelope.stream, values![&it.envelope.tenant, it.id()]))
        .collect();
    let keys: Vec<_> = keys.into_values().collect();
    let found = tx
        .query_keys(
            "k(tenant, touch_id)",
            &keys,
            "SELECT t.tenant, t.touch_id, t.party_id, t.channel, t.state, t.market, t.assignee_party_id,
                 t.provider_id, t.expires_at, t.requested_position
             FROM k
             JOIN touch t ON t.tenant = k.tenant AND t.touch_id = k.touch_id",
        )
        .await?;
    found
        .iter()
        .map(|row| {
            let key = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
            let it = Row {
                party_id: row.text(2)?.to_owned(),
                channel: row.int(3)?,
                state: row.int(4)?,
                market: row.text(5)?.to_owned(),
                assignee_party_id: row.text(6)?.to_owned(),
                provider_id: row.text(7)?.to_owned(),
                expires_at: row.int(8)?,
                requested_position: row.int(9)?,
            };
            Ok((key, it))
        })
        .collect()
}

fn fold(row: &mut Row, event: &Event, position: u64) {
    match event {
        Event::Requested(it) => {
            row.party_id.clone_from(&it.party_id);
            row.channel = it.channel.into();
            row.expires_at = instant(it.expires_at.as_ref()).0;
            row.requested_position = i64::try_from(position).unwrap_or(i64::MAX);
        }
        Event::Ready(it) => {
            row.market.clone_from(&it.market);
            row.assignee_party_id.clone_from(&it.assignee_party_id);
        }
        Event::Sent(it) => row.provider_id.clone_from(&it.provider_id),
        Event::Resolved(it) if !it.provider_id.is_empty() => {
            row.provider_id.clone_from(&it.provider_id);
        }
        _ => {}
    }
    if let Some(status) = status_after(row.channel(), event) {
        row.state = i32::from(status).into();
    }
}

/// Which touches are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Filter<'a> {
    /// Empty: any.
    pub(crate) party_id: &'a str,
    /// Unspecified: any.
    pub(crate) state: Status,
}

/// Ids and positions of touches before a position, newest first.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    filter: Filter<'_>,
    before: i64,
    limit: u32,
) -> Result<Vec<(String, i64)>, Error> {
    let rows = database
        .query(
            "SELECT touch_id, requested_position FROM touch
             WHERE tenant = $1 AND ($2 = '' OR party_id = $2) AND ($3 = 0 OR state = $3)
                 AND requested_position < $4
             ORDER BY requested_position DESC
             LIMIT $5",
            values![tenant, filter.party_id, i64::from(i32::from(filter.state)), before, limit],
        )
        .await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.int(1)?))).collect()
}

/// Which tasks are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tasks<'a> {
    /// Empty: any.
    pub(crate) assignee_party_id: &'a str,
    /// Empty: any.
    pub(crate) market: &'a str,
    pub(crate) states: [Status; 2],
}

/// Where a page of tasks ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) due_at: Timestamp,
    pub(crate) touch_id: String,
}

impl Place {
    /// Before everything.
    pub(crate) const START: Self = Self { due_at: Timestamp(i64::MIN), touch_id: String::new() };

    /// Reads what `Display` wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (due_at, touch_id) = text.split_once('/')?;
        Some(Self { due_at: Timestamp(due_at.parse().ok()?), touch_id: touch_id.to_owned() })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.due_at.0, self.touch_id)
    }
}

/// Tasks after a place, by due time.
pub(crate) async fn tasks(
    database: &Database,
    tenant: &str,
    wanted: Tasks<'_>,
    after: &Place,
    limit: u32,
) -> Result<Vec<Place>, Error> {
    let [one, other] = wanted.states.map(|it| i64::from(i32::from(it)));
    let rows = database
        .query(
            "SELECT expires_at, touch_id FROM touch
             WHERE tenant = $1 AND (state = $2 OR state = $3)
                 AND ($4 = '' OR assignee_party_id = $4) AND ($5 = '' OR market = $5)
                 AND (expires_at > $6 OR (expires_at = $6 AND touch_id > $7))
             ORDER BY expires_at, touch_id
             LIMIT $8",
            values![
                tenant,
                one,
                other,
                wanted.assignee_party_id,
                wanted.market,
                after.due_at,
                &after.touch_id,
                limit
            ],
        )
        .await?;
    rows.iter()
        .map(|row| Ok(Place { due_at: row.time(0)?, touch_id: row.text(1)?.to_owned() }))
        .collect()
}

/// The touch that each id names which a provider gave a message. Some providers give one id to many messages: then it
/// names none of them.
pub(crate) async fn by_provider(
    database: &Database,
    tenant: &str,
    provider_ids: impl Iterator<Item = &str>,
) -> Result<BTreeMap<String, Option<String>>, Error> {
    let keys: Vec<_> = provider_ids.map(|it| values![tenant, it]).collect();
    let rows = database
        .query_keys(
            "k(tenant, provider_id)",
            &keys,
            "SELECT t.provider_id, MIN(t.touch_id), MAX(t.touch_id) FROM k
             JOIN touch t ON t.tenant = k.tenant AND t.provider_id = k.provider_id
             GROUP BY t.provider_id",
        )
        .await?;
    rows.iter()
        .map(|row| {
            let (first, last) = (row.text(1)?, row.text(2)?);
            Ok((row.text(0)?.to_owned(), (first == last).then(|| first.to_owned())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_page_token() {
        let place = Place { due_at: Timestamp(-5), touch_id: "tch_1".into() };
        assert_eq!(Place::parse(&place.to_string()), Some(place));
        assert_eq!(Place::parse("tch_1"), None);
    }
}
