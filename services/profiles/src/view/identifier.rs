//! Which party an identifier names, by a blind index of system and value.
//!
//! An identifier names at most one party while it holds. The batch runs under the head lock of the store, so what is
//! read here is what stands, and a second claim is a refusal of its unit.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Keyring, Recorded, Row, Timestamp, Tx, Value, values};
use rapport_proto::Personal;
use rapport_proto::profiles::v1::party_event::Event;

use crate::domain::identifier::Identifier;
use crate::domain::validity::Validity;

/// The reason by which a unit is refused, and by which the caller is told.
pub(crate) const TAKEN: &str = "IDENTIFIER_TAKEN";

/// Tenant and blind index.
type Key = (String, Vec<u8>);

/// Who claims an identifier.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Holder {
    pub(crate) party_id: String,
    number: u32,
    pub(crate) valid: Validity,
}

impl Holder {
    /// Whether the party cannot have the identifier: another one has it until its end, also before its start.
    pub(crate) fn excludes(&self, party_id: &str, at: Timestamp) -> bool {
        self.party_id != party_id && !self.valid.has_ended(at)
    }
}

/// What a batch says, in order.
enum Change {
    Added { key: Key, holder: Holder, at: Timestamp },
    Removed { tenant: String, party_id: String, number: u32 },
}

pub(super) async fn apply(tx: &mut Tx, keys: &Keyring, events: &[&Recorded]) -> Result<(), Error> {
    let mut changes = Vec::new();
    for event in events.iter().filter(|event| event.envelope.r#type.contains(".PartyIdentifier")) {
        changes.extend(change(keys, event)?);
    }
    if changes.is_empty() {
        return Ok(());
    }
    let before = load(tx, &changes).await?;
    let mut holders = before.clone();
    for change in changes {
        fold(&mut holders, change)?;
    }
    write(tx, &before, &holders).await
}

fn change(keys: &Keyring, event: &Recorded) -> Result<Option<Change>, Error> {
    let tenant = event.envelope.tenant.clone();
    Ok(match event.decode()? {
        Some(Event::IdentifierAdded(it)) => {
            // Erased with its subject's key: nobody finds the party by it any more.
            let Some(value) = it.value.as_ref().and_then(Personal::as_text) else {
                return Ok(None);
            };
            let value_index =
                keys.blind_index(&tenant, &["identifier", &it.system, value]).to_vec();
            let holder = Holder {
                party_id: event.id().to_owned(),
                number: it.number,
                valid: Validity::of(it.valid.as_ref()),
            };
            Some(Change::Added { key: (tenant, value_index), holder, at: event.recorded_at() })
        }
        Some(Event::IdentifierRemoved(it)) => {
            Some(Change::Removed { tenant, party_id: event.id().to_owned(), number: it.number })
        }
        _ => None,
    })
}

async fn load(tx: &mut Tx, changes: &[Change]) -> Result<BTreeMap<Key, Holder>, Error> {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for change in changes {
        match change {
            Change::Added { key, .. } => added.push(values![&key.0, key.1.clone()]),
            Change::Removed { tenant, party_id, number } => {
                removed.push(values![tenant, party_id, *number]);
            }
        }
    }
    let mut rows = tx
        .query_keys(
            "k(tenant, value_index)",
            &added,
            "SELECT i.tenant, i.value_index, i.party_id, i.number, i.valid_from, i.valid_until
             FROM k
             JOIN identifier i ON i.tenant = k.tenant AND i.value_index = k.value_index",
        )
        .await?;
    rows.extend(
        tx.query_keys(
            "k(tenant, party_id, number)",
            &removed,
            "SELECT i.tenant, i.value_index, i.party_id, i.number, i.valid_from, i.valid_until
             FROM k
             JOIN identifier i
                 ON i.tenant = k.tenant AND i.party_id = k.party_id AND i.number = k.number",
        )
        .await?,
    );
    let mut holders = BTreeMap::new();
    for row in rows {
        holders.insert((row.text(0)?.to_owned(), row.blob(1)?.to_vec()), holder(&row)?);
    }
    Ok(holders)
}

/// Columns `tenant, value_index, party_id, number, valid_from, valid_until`.
fn holder(row: &Row) -> Result<Holder, Error> {
    let number = u32::try_from(row.int(3)?).unwrap_or_default();
    let valid = Validity::of_ends(row.time(4)?, row.time(5)?);
    Ok(Holder { party_id: row.text(2)?.to_owned(), number, valid })
}

fn fold(holders: &mut BTreeMap<Key, Holder>, change: Change) -> Result<(), Error> {
    match change {
        Change::Added { key, holder, at } => {
            if holders.get(&key).is_some_and(|it| it.excludes(&holder.party_id, at)) {
                return Err(Error::refused(TAKEN));
            }
            holders.insert(key, holder);
        }
        Change::Removed { tenant, party_id, number } => holders.retain(|key, held| {
            (&key.0, &held.party_id, held.number) != (&tenant, &party_id, number)
        }),
    }
    Ok(())
}

async fn write(
    tx: &mut Tx,
    before: &BTreeMap<Key, Holder>,
    after: &BTreeMap<Key, Holder>,
) -> Result<(), Error> {
    let gone: Vec<_> = (before.keys())
        .filter(|key| !after.contains_key(*key))
        .map(|key| values![&key.0, key.1.clone()])
        .collect();
    tx.exec_keys(
        "k(tenant, value_index)",
        &gone,
        "DELETE FROM identifier
         WHERE EXISTS (
             SELECT 1 FROM k
             WHERE k.tenant = identifier.tenant AND k.value_index = identifier.value_index
         )",
    )
    .await?;
    let rows = (after.iter())
        .filter(|(key, holder)| before.get(*key) != Some(holder))
        .map(|(key, it)| {
            let (from, until) = it.valid.ends();
            values![&key.0, key.1.clone(), &it.party_id, it.number, from, until]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO identifier (tenant, value_index, party_id, number, valid_from, valid_until)",
        rows,
        "ON CONFLICT (tenant, value_index) DO UPDATE SET party_id = excluded.party_id,
             number = excluded.number, valid_from = excluded.valid_from,
             valid_until = excluded.valid_until",
    )
    .await
    .map(drop)
}

/// Who claims identifiers, in the order asked; `None` where nobody does.
pub(crate) async fn find(
    database: &Database,
    keys: &Keyring,
    tenant: &str,
    identifiers: &[Identifier],
) -> Result<Vec<Option<Holder>>, Error> {
    let index =
        |it: &Identifier| keys.blind_index(tenant, &["identifier", it.system(), it.value()]);
    let indexes: Vec<_> = identifiers.iter().map(index).collect();
    let wanted: Vec<Vec<Value>> = indexes.iter().map(|it| values![tenant, it.to_vec()]).collect();
    let rows = database
        .query_keys(
            "k(tenant, value_index)",
            &wanted,
            "SELECT i.tenant, i.value_index, i.party_id, i.number, i.valid_from, i.valid_until
             FROM k
             JOIN identifier i ON i.tenant = k.tenant AND i.value_index = k.value_index",
        )
        .await?;
    let mut found = BTreeMap::new();
    for row in rows {
        found.insert(row.hash(1)?, holder(&row)?);
    }
    Ok(indexes.iter().map(|index| found.get(index).cloned()).collect())
}
