//! Which suppressions hold, by party.

use eventstore::{Database, Error, Recorded, Tx, values};
use rapport_proto::delivery::v1::recipient_event::Event;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    for event in events {
        let tenant = &event.envelope.tenant;
        match event.decode::<Event>()? {
            Some(Event::Suppressed(it)) => {
                tx.insert_many(
                    "INSERT INTO suppression (tenant, party_id, suppression_id)",
                    vec![values![tenant, event.id(), it.suppression_id]],
                    "ON CONFLICT (tenant, party_id, suppression_id) DO NOTHING",
                )
                .await?;
            }
            Some(Event::Released(it)) => {
                let ids = it.suppression_ids.iter();
                let keys: Vec<_> = ids.map(|id| values![tenant, event.id(), id]).collect();
                tx.exec_keys(
                    "k(tenant, party_id, suppression_id)",
                    &keys,
                    "DELETE FROM suppression WHERE (tenant, party_id, suppression_id) IN
                         (SELECT tenant, party_id, suppression_id FROM k)",
                )
                .await?;
            }
            None => {}
        }
    }
    Ok(())
}

/// A suppression by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) party_id: String,
    pub(crate) suppression_id: String,
}

impl Key {
    /// Reads what `Display` wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (party_id, suppression_id) = text.split_once('/')?;
        Some(Self { party_id: party_id.to_owned(), suppression_id: suppression_id.to_owned() })
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.party_id, self.suppression_id)
    }
}

/// Suppressions after one, by party and id; of one party if one is given.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    party_id: &str,
    after: &Key,
    limit: u32,
) -> Result<Vec<Key>, Error> {
    let rows = database
        .query(
            "SELECT party_id, suppression_id FROM suppression
             WHERE tenant = $1 AND ($2 = '' OR party_id = $2)
                 AND (party_id > $3 OR (party_id = $3 AND suppression_id > $4))
             ORDER BY party_id, suppression_id
             LIMIT $5",
            values![tenant, party_id, &after.party_id, &after.suppression_id, limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Key { party_id: row.text(0)?.to_owned(), suppression_id: row.text(1)?.to_owned() })
        })
        .collect()
}
