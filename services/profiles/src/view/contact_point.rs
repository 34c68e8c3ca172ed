//! Which contact points are one address, by a blind index of channel and value.
//!
//! A contact point that was removed stays: whoever said "no" at an address said so for everybody who has or had it.

use eventstore::{Database, Error, Keyring, Recorded, Tx, values};
use rapport_proto::Personal;
use rapport_proto::profiles::v1::party_event::Event;
use rapport_proto::types::Channel;

use crate::domain::contact_point::matching;

pub(super) async fn apply(tx: &mut Tx, keys: &Keyring, events: &[&Recorded]) -> Result<(), Error> {
    let mut rows = Vec::new();
    for event in events.iter().filter(|it| it.envelope.r#type.ends_with(".PartyContactPointAdded"))
    {
        let Some(Event::ContactPointAdded(it)) = event.decode()? else {
            continue;
        };
        // Erased with its subject's key: the address is nobody's any more.
        let Some(value) = it.value.as_ref().and_then(Personal::as_text) else {
            continue;
        };
        let tenant = &event.envelope.tenant;
        let value_index = index(keys, tenant, it.channel(), value);
        rows.push(values![tenant, &it.contact_point_id, value_index.to_vec()]);
    }
    tx.insert_many(
        "INSERT INTO contact_point (tenant, contact_point_id, value_index)",
        rows,
        "ON CONFLICT (tenant, contact_point_id) DO NOTHING",
    )
    .await
    .map(drop)
}

fn index(keys: &Keyring, tenant: &str, channel: Channel, value: &str) -> [u8; 32] {
    let value = matching(channel, value);
    keys.blind_index(tenant, &["contact_point", channel.as_str_name(), &value])
}

/// Ids of every contact point that has or had a value on a channel, in their order.
pub(crate) async fn same(
    database: &Database,
    keys: &Keyring,
    tenant: &str,
    channel: Channel,
    value: &str,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT contact_point_id
             FROM contact_point
             WHERE tenant = $1 AND value_index = $2
             ORDER BY contact_point_id",
            values![tenant, index(keys, tenant, channel, value).to_vec()],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
