//! Interactions of parties, as `profiles` recorded them: lines of the contact policy count them by name.

use eventstore::{Database, Error, Recorded, Timestamp, Tx, View, values};
use rapport_proto::profiles::v1::interaction_event::Event;

use super::Applied;
use crate::gate::caps::Seen;

/// Follows `profiles`.
pub(crate) struct Contacts;

impl View for Contacts {
    fn name(&self) -> &'static str {
        "delivery.contacts"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["interaction"]
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            let mut rows = Vec::new();
            for event in
                events.iter().filter(|it| it.envelope.r#type.ends_with(".InteractionRecorded"))
            {
                let (tenant, party_id) = (&event.envelope.tenant, &event.envelope.party_id);
                if let (Some(Event::Recorded(it)), false) = (event.decode()?, party_id.is_empty()) {
                    rows.push(values![
                        tenant,
                        event.position,
                        party_id,
                        it.name,
                        event.occurred_at()
                    ]);
                }
            }
            tx.insert_many(
                "INSERT INTO interaction (tenant, position, party_id, name, occurred_at)",
                rows,
                "ON CONFLICT (tenant, position) DO NOTHING",
            )
            .await
            .map(drop)
        })
    }
}

/// Interactions of a party by these names, after an instant.
pub(crate) async fn of_party(
    database: &Database,
    tenant: &str,
    party_id: &str,
    names: impl Iterator<Item = &str>,
    after: Timestamp,
) -> Result<Vec<Seen>, Error> {
    let keys: Vec<_> = names.map(|name| values![tenant, party_id, name, after]).collect();
    let rows = database
        .query_keys(
            "k(tenant, party_id, name, after)",
            &keys,
            "SELECT i.name, i.occurred_at FROM k
             JOIN interaction i ON i.tenant = k.tenant AND i.party_id = k.party_id AND i.name = k.name
                 AND i.occurred_at > k.after",
        )
        .await?;
    rows.iter().map(|row| Ok(Seen { name: row.text(0)?.to_owned(), at: row.time(1)? })).collect()
}
