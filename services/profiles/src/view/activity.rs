//! What parties did, as traits see it: the rows of `interaction` by party and name.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Row, Timestamp, Value, values};
use prost::Message as _;
use rapport_proto::profiles::v1::InteractionRecorded;
use rapport_proto::types::Clear;

use crate::domain::trait_definition::series::Activity;

/// The clear values of an interaction as the table keeps them.
pub(super) fn pack(clear: BTreeMap<String, Clear>) -> Vec<u8> {
    InteractionRecorded { clear, ..InteractionRecorded::default() }.encode_to_vec()
}

/// Interactions of a party with a name, from an instant on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) party_id: &'a str,
    pub(crate) name: &'a str,
    pub(crate) since: Timestamp,
}

/// Over keys `k(tenant, party_id, name, since, until)`.
pub(crate) const READ: &str = "SELECT i.party_id, i.name, i.source_id, i.occurred_at, i.position,
         CAST(i.clear AS blob)
     FROM k
     JOIN interaction i ON i.tenant = k.tenant AND i.party_id = k.party_id AND i.name = k.name
         AND i.occurred_at >= k.since AND i.position <= k.until";

/// Activities by party, in the order in which they occurred, as far as they were recorded up to a position. One
/// statement for all that is wanted.
pub(crate) async fn of_parties(
    database: &Database,
    tenant: &str,
    wanted: &[Wanted<'_>],
    until: u64,
) -> Result<BTreeMap<String, Vec<Activity>>, Error> {
    let keys: Vec<Vec<Value>> =
        wanted.iter().map(|it| values![tenant, it.party_id, it.name, it.since, until]).collect();
    let rows = database.query_keys("k(tenant, party_id, name, since, until)", &keys, READ).await?;
    let mut found: BTreeMap<String, Vec<Activity>> = BTreeMap::new();
    for row in &rows {
        found.entry(row.text(0)?.to_owned()).or_default().push(read(row)?);
    }
    for activities in found.values_mut() {
        activities.sort_by_key(|it| (it.occurred_at, it.position));
    }
    Ok(found)
}

fn read(row: &Row) -> Result<Activity, Error> {
    let position = row.count(4)?;
    let kept = InteractionRecorded::decode(row.blob(5)?)
        .map_err(|error| Error::corrupt(format!("clear values at position {position}: {error}")))?;
    Ok(Activity {
        name: row.text(1)?.to_owned(),
        source: row.text(2)?.to_owned(),
        occurred_at: row.time(3)?,
        position,
        clear: kept.clear,
    })
}
