//! What parties did, as traits see it: the rows of `interaction` by party and name.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Row, Timestamp, Together, Value, values};
use prost::Message as _;
use rapport_proto::profiles::v1::InteractionRecorded;
use rapport_proto::types::Clear;

use crate::domain::trait_definition::series::Activity;

/// The clear values of an interaction as the table keeps them.
pub(super) fn pack(clear: BTreeMap<String, Clear>) -> Vec<u8> {
    InteractionRecorded { clear, ..InteractionRecorded::default() }.encode_to_vec()
}

/// Interactions of a party with a name, from an instant on.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) party_id: String,
    pub(crate) name: String,
    pub(crate) since: Timestamp,
}

/// What somebody wants of a tenant's parties, as far as it was recorded up to a position.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) tenant: String,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) until: u64,
}

/// By party, in the order in which they occurred.
type Done = BTreeMap<String, Vec<Activity>>;

/// Over keys `k(number, tenant, party_id, name, since, until)`.
pub(crate) const READ: &str = "SELECT k.number, i.party_id, i.name, i.source_id, i.occurred_at,
         i.position, CAST(i.clear AS blob)
     FROM k
     JOIN interaction i ON i.tenant = k.tenant AND i.party_id = k.party_id AND i.name = k.name
         AND i.occurred_at >= k.since AND i.position <= k.until";

/// Reads what parties did, for many who want it at the same time.
#[derive(Clone, Debug)]
pub(crate) struct Activities(Together<Asked, Done>);

impl Activities {
    pub(crate) fn of(database: &Database) -> Self {
        Self(Together::new(database.clone(), |database, asked: Vec<Asked>| async move {
            of_parties(&database, &asked).await
        }))
    }

    pub(crate) async fn read(&self, asked: Asked) -> Result<Done, Error> {
        self.0.read(asked).await
    }
}

async fn of_parties(database: &Database, asked: &[Asked]) -> Result<Vec<Done>, Error> {
    let keys: Vec<Vec<Value>> = (0_u64..)
        .zip(asked)
        .flat_map(|(number, it)| {
            let Asked { tenant, wanted, until } = it;
            let key = move |wanted: &Wanted| {
                values![number, tenant, &wanted.party_id, &wanted.name, wanted.since, *until]
            };
            wanted.iter().map(key)
        })
        .collect();
    let over = "k(number, tenant, party_id, name, since, until)";
    let rows = database.query_keys(over, &keys, READ).await?;
    let mut found: Vec<Done> = asked.iter().map(|_| Done::new()).collect();
    for row in &rows {
        let number = usize::try_from(row.count(0)?).unwrap_or(usize::MAX);
        if let Some(found) = found.get_mut(number) {
            found.entry(row.text(1)?.to_owned()).or_default().push(read(row)?);
        }
    }
    for activities in found.iter_mut().flat_map(Done::values_mut) {
        activities.sort_by_key(|it| (it.occurred_at, it.position));
    }
    Ok(found)
}

fn read(row: &Row) -> Result<Activity, Error> {
    let position = row.count(5)?;
    let kept = InteractionRecorded::decode(row.blob(6)?)
        .map_err(|error| Error::corrupt(format!("clear values at position {position}: {error}")))?;
    Ok(Activity {
        name: row.text(2)?.to_owned(),
        source: row.text(3)?.to_owned(),
        occurred_at: row.time(4)?,
        position,
        clear: kept.clear,
    })
}
