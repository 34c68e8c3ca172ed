//! Where the versions of claims and modules stand.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Tx, values};
use rapport_proto::content::v1::{State, claim_event, module_event};

use crate::domain::review::Fact;
use crate::domain::{claim, module};

/// A fact of the review of a claim or module.
pub(super) struct Move<'a> {
    pub(super) tenant: &'a str,
    /// The aggregate.
    pub(super) kind: &'a str,
    pub(super) id: &'a str,
    pub(super) fact: Fact,
}

/// The facts of reviews among events.
pub(super) fn moves(events: &[Recorded]) -> Result<Vec<Move<'_>>, Error> {
    let mut moves = Vec::new();
    for event in events {
        let fact = match event.aggregate() {
            "claim" => event.decode::<claim_event::Event>()?.map(|it| claim::fact(&it)),
            "module" => event.decode::<module_event::Event>()?.map(|it| module::fact(&it)),
            _ => None,
        };
        let of = |fact| Move {
            tenant: &event.envelope.tenant,
            kind: event.aggregate(),
            id: event.id(),
            fact,
        };
        moves.extend(fact.map(of));
    }
    Ok(moves)
}

type Key = (String, String, String);
type States = BTreeMap<Key, BTreeMap<u32, State>>;

pub(super) async fn apply(tx: &mut Tx, moves: &[Move<'_>]) -> Result<(), Error> {
    if moves.is_empty() {
        return Ok(());
    }
    let mut states = load(tx, moves).await?;
    for it in moves {
        let key = (it.tenant.to_owned(), it.kind.to_owned(), it.id.to_owned());
        fold(states.entry(key).or_default(), &it.fact);
    }
    let rows = (states.iter())
        .flat_map(|((tenant, kind, id), versions)| {
            versions
                .iter()
                .map(move |(version, state)| values![tenant, kind, id, *version, *state as i32])
        })
        .collect();
    tx.insert_many(
        "INSERT INTO version (tenant, kind, id, version, state)",
        rows,
        "ON CONFLICT (tenant, kind, id, version) DO UPDATE SET state = excluded.state",
    )
    .await
    .map(drop)
}

async fn load(tx: &mut Tx, moves: &[Move<'_>]) -> Result<States, Error> {
    let mut keys: Vec<_> = moves.iter().map(|it| (it.tenant, it.kind, it.id)).collect();
    keys.sort_unstable();
    keys.dedup();
    let keys: Vec<_> =
        keys.into_iter().map(|(tenant, kind, id)| values![tenant, kind, id]).collect();
    let rows = tx
        .query_keys(
            "k(tenant, kind, id)",
            &keys,
            "SELECT v.tenant, v.kind, v.id, v.version, v.state
             FROM k
             JOIN version v ON v.tenant = k.tenant AND v.kind = k.kind AND v.id = k.id",
        )
        .await?;
    let mut states = States::new();
    for row in rows {
        let key = (row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.text(2)?.to_owned());
        let state = i32::try_from(row.int(4)?).ok().and_then(|it| State::try_from(it).ok());
        let version = u32::try_from(row.count(3)?).unwrap_or(u32::MAX);
        states.entry(key).or_default().insert(version, state.unwrap_or_default());
    }
    Ok(states)
}

fn fold(versions: &mut BTreeMap<u32, State>, fact: &Fact) {
    let (version, state) = match fact {
        Fact::Drafted { version, .. } => (*version, State::Draft),
        Fact::Submitted { version, .. } => (*version, State::InReview),
        Fact::ChangesRequested { version, .. } => (*version, State::ChangesRequested),
        Fact::Approved { version, .. } => (*version, State::Approved),
        Fact::Superseded { version, .. } => (*version, State::Superseded),
        Fact::Expired { version } => (*version, State::Expired),
        Fact::Reviewed(_) => return,
        Fact::Withdrawn { version, .. } => {
            let named = |it: u32| *version == 0 || it == *version;
            for (_, state) in versions.iter_mut().filter(|(number, _)| named(**number)) {
                if !matches!(state, State::Expired | State::Superseded) {
                    *state = State::Withdrawn;
                }
            }
            return;
        }
    };
    versions.insert(version, state);
}

/// Ids of claims or modules after one, in their order; of those whose newest version stands in a state, if it is given.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    kind: &str,
    state: State,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT v.id
             FROM version v
             WHERE v.tenant = $1 AND v.kind = $2 AND v.id > $3 AND ($4 = 0 OR v.state = $4)
               AND v.version = (
                   SELECT MAX(n.version) FROM version n
                   WHERE n.tenant = v.tenant AND n.kind = v.kind AND n.id = v.id
               )
             ORDER BY v.id
             LIMIT $5",
            values![tenant, kind, after, i64::from(state as i32), limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// Ids of modules with an approved version after one, in their order.
pub(crate) async fn approved_modules(
    database: &Database,
    tenant: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT DISTINCT id
             FROM version
             WHERE tenant = $1 AND kind = 'module' AND state = $2 AND id > $3
             ORDER BY id
             LIMIT $4",
            values![tenant, State::Approved as i32, after, limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
