//! Interactions of a party in the order in which they happened.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Timestamp, Tx, Value, values};
use rapport_proto::profiles::v1::interaction_event::Event;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut rows = Vec::new();
    for event in events.iter().filter(|it| it.envelope.r#type.ends_with(".InteractionRecorded")) {
        let Some(Event::Recorded(it)) = event.decode()? else {
            continue;
        };
        rows.push(values![
            &event.envelope.tenant,
            it.source_id,
            it.message_id,
            event.id(),
            &event.envelope.party_id,
            it.name,
            event.occurred_at(),
            event.position,
            it.body_digest,
            super::activity::pack(it.clear)
        ]);
    }
    tx.insert_many(
        "INSERT INTO interaction
             (tenant, source_id, message_id, interaction_id, party_id, name, occurred_at, position, body_digest,
              clear)",
        rows,
        "ON CONFLICT (tenant, source_id, message_id) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Where a page ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) occurred_at: Timestamp,
    pub(crate) position: i64,
}

impl Place {
    /// Before everything.
    pub(crate) const START: Self = Self { occurred_at: Timestamp(i64::MIN), position: 0 };

    /// Reads what `Display` wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (occurred_at, position) = text.split_once('/')?;
        Some(Self {
            occurred_at: Timestamp(occurred_at.parse().ok()?),
            position: position.parse().ok()?,
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.occurred_at.0, self.position)
    }
}

pub(crate) const LIST: &str = "SELECT interaction_id, occurred_at, position
     FROM interaction
     WHERE tenant = $1 AND party_id = $2 AND (occurred_at, position) > ($3, $4)
     ORDER BY occurred_at, position
     LIMIT $5";

pub(crate) const LIST_OF_NAME: &str = "SELECT interaction_id, occurred_at, position
     FROM interaction
     WHERE tenant = $1 AND party_id = $2 AND name = $6 AND (occurred_at, position) > ($3, $4)
     ORDER BY occurred_at, position
     LIMIT $5";

/// Ids and places of a party's interactions after a place, oldest first; only those of a name if one is given.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    party_id: &str,
    name: &str,
    after: Place,
    limit: u32,
) -> Result<Vec<(String, Place)>, Error> {
    let Place { occurred_at, position } = after;
    let rows = match name {
        "" => {
            let wanted = values![tenant, party_id, occurred_at, position, limit];
            database.query(LIST, wanted).await?
        }
        name => {
            let wanted = values![tenant, party_id, occurred_at, position, limit, name];
            database.query(LIST_OF_NAME, wanted).await?
        }
    };
    (rows.iter())
        .map(|row| {
            let place = Place { occurred_at: row.time(1)?, position: row.int(2)? };
            Ok((row.text(0)?.to_owned(), place))
        })
        .collect()
}

/// A message that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) position: u64,
    pub(crate) body_digest: Vec<u8>,
}

/// Which of a source's messages were recorded up to a position, by message id.
pub(crate) async fn kept(
    database: &Database,
    tenant: &str,
    source_id: &str,
    message_ids: impl Iterator<Item = &str>,
    up_to: u64,
) -> Result<BTreeMap<String, Kept>, Error> {
    let keys: Vec<Vec<Value>> = message_ids.map(|id| values![tenant, source_id, id]).collect();
    let rows = database
        .query_keys(
            "k(tenant, source_id, message_id)",
            &keys,
            "SELECT i.message_id, i.position, i.body_digest
             FROM k
             JOIN interaction i ON i.tenant = k.tenant AND i.source_id = k.source_id
                 AND i.message_id = k.message_id",
        )
        .await?;
    let mut found = BTreeMap::new();
    for row in rows {
        let kept = Kept { position: row.count(1)?, body_digest: row.blob(2)?.to_vec() };
        if kept.position <= up_to {
            found.insert(row.text(0)?.to_owned(), kept);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_page_token() {
        let place = Place { occurred_at: Timestamp(-5), position: 7 };
        assert_eq!(Place::parse(&place.to_string()), Some(place));
        assert_eq!(Place::parse("x/7"), None);
    }
}
