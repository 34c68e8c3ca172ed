//! Where the newest version of each claim and module stands.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Tx, values};
use rapport_proto::content::v1::State;

use super::review::{Move, OVER};

type Key = (String, String, String);
/// Version and state.
type Newest = (u32, State);

pub(super) async fn apply(tx: &mut Tx, moves: &[Move<'_>]) -> Result<(), Error> {
    if moves.is_empty() {
        return Ok(());
    }
    let mut rows = load(tx, moves).await?;
    for it in moves {
        let Some((version, state)) = it.leads_to() else { continue };
        let key = (it.tenant.to_owned(), it.kind.to_owned(), it.id.to_owned());
        let row = rows.entry(key).or_default();
        match state {
            State::Draft => *row = (version, state),
            _ if OVER.contains(&row.1) || (version != 0 && version != row.0) => {}
            _ => row.1 = state,
        }
    }
    let rows = (rows.into_iter())
        .map(|((tenant, kind, id), (version, state))| {
            values![tenant, kind, id, version, state as i32]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO newest (tenant, kind, id, version, state)",
        rows,
        "ON CONFLICT (tenant, kind, id) DO UPDATE SET version = excluded.version, state = excluded.state",
    )
    .await
    .map(drop)
}

async fn load(tx: &mut Tx, moves: &[Move<'_>]) -> Result<BTreeMap<Key, Newest>, Error> {
    let mut keys: Vec<_> = moves.iter().map(|it| (it.tenant, it.kind, it.id)).collect();
    keys.sort_unstable();
    keys.dedup();
    let keys: Vec<_> =
        keys.into_iter().map(|(tenant, kind, id)| values![tenant, kind, id]).collect();
    let rows = tx
        .query_keys(
            "k(tenant, kind, id)",
            &keys,
            "SELECT n.tenant, n.kind, n.id, n.version, n.state
             FROM k
             JOIN newest n ON n.tenant = k.tenant AND n.kind = k.kind AND n.id = k.id",
        )
        .await?;
    rows.iter()
        .map(|row| {
            let key = (row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.text(2)?.to_owned());
            let version = u32::try_from(row.count(3)?).unwrap_or(u32::MAX);
            Ok((key, (version, super::state(row.int(4)?))))
        })
        .collect()
}

pub(crate) const LIST: &str = "SELECT id
     FROM newest
     WHERE tenant = $1 AND kind = $2 AND id > $3
     ORDER BY id
     LIMIT $4";

pub(crate) const LIST_IN_STATE: &str = "SELECT id
     FROM newest
     WHERE tenant = $1 AND kind = $2 AND state = $3 AND id > $4
     ORDER BY id
     LIMIT $5";

/// Ids of claims or modules after one, in their order; of those whose newest version stands in a state, if it is given.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    kind: &str,
    state: State,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = match state {
        State::Unspecified => database.query(LIST, values![tenant, kind, after, limit]).await?,
        state => {
            let wanted = values![tenant, kind, state as i32, after, limit];
            database.query(LIST_IN_STATE, wanted).await?
        }
    };
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
