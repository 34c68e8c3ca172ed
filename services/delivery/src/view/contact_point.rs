//! Whose a contact point is: known of every one that a touch was let through to. What a provider reports about such a
//! touch, its party's stream remembers; nobody else's can hold a suppression of it.

use std::collections::BTreeSet;

use eventstore::{Database, Error, Recorded, Tx, values};
use rapport_proto::delivery::v1::touch_event::Event;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut rows = BTreeSet::new();
    for event in events.iter().filter(|it| it.envelope.r#type.ends_with(".TouchReady")) {
        if let Some(Event::Ready(it)) = event.decode()? {
            let (tenant, party_id) = (&event.envelope.tenant, &event.envelope.party_id);
            rows.insert((tenant.clone(), it.contact_point_id, party_id.clone()));
        }
    }
    // A task needs no contact point.
    let rows = rows.into_iter().filter(|it| !it.1.is_empty());
    let rows = rows.map(|(tenant, id, party_id)| values![tenant, id, party_id]).collect();
    tx.insert_many(
        "INSERT INTO contact_point (tenant, contact_point_id, party_id)",
        rows,
        "ON CONFLICT (tenant, contact_point_id) DO NOTHING",
    )
    .await
    .map(drop)
}

/// The parties behind contact points, as far as a touch was ever let through to them.
pub(crate) async fn parties_of(
    database: &Database,
    tenant: &str,
    contact_point_ids: &[String],
) -> Result<BTreeSet<String>, Error> {
    let keys: Vec<_> = contact_point_ids.iter().map(|it| values![tenant, it]).collect();
    let rows = database
        .query_keys(
            "k(tenant, contact_point_id)",
            &keys,
            "SELECT c.party_id FROM k
             JOIN contact_point c ON c.tenant = k.tenant AND c.contact_point_id = k.contact_point_id",
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
