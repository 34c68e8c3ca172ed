//! Interactions of parties, as `profiles` recorded them: lines of the contact policy count them by name.

use eventstore::{Database, Error, Recorded, Row, Timestamp, Tx, View, values};
use rapport_proto::profiles::v1::interaction_event::Event;

use super::Applied;
use crate::gate::caps::{Policy, Seen};

const RECORDED: &str = "rapport.profiles.v1.InteractionRecorded";

/// Follows `profiles`.
pub(crate) struct Contacts;

impl View for Contacts {
    fn name(&self) -> &'static str {
        "delivery.contacts"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["interaction"]
    }

    fn reads(&self, type_name: &str) -> bool {
        type_name == RECORDED
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            let mut rows = Vec::new();
            for event in events {
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

/// Interactions of a party that lines may count at an instant: of each name the newest, no more than lines look for.
pub(crate) async fn of_party(
    database: &Database,
    tenant: &str,
    party_id: &str,
    policy: &Policy,
    at: Timestamp,
) -> Result<Vec<Seen>, Error> {
    let reads = policy.looks().into_iter().map(|(name, look)| async move {
        let since = Timestamp(at.0.saturating_sub(look.back));
        let rows = database
            .query(
                "SELECT occurred_at FROM interaction
                 WHERE tenant = $1 AND party_id = $2 AND name = $3 AND occurred_at > $4
                 ORDER BY occurred_at DESC
                 LIMIT $5",
                values![tenant, party_id, name, since, look.most],
            )
            .await?;
        let one = |row: &Row| Ok(Seen { name: name.to_owned(), at: row.time(0)? });
        rows.iter().map(one).collect::<Result<Vec<_>, Error>>()
    });
    Ok(futures::future::try_join_all(reads).await?.concat())
}
