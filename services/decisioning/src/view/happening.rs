//! The past of a party, as far as a policy looks.

use eventstore::{Database, Error, Row, Timestamp, values};
use rapport_proto::decisioning::v1::{Happening, HappeningKind};
use rapport_proto::types::Channel;

use super::past::Asked;
use crate::domain::policy::check::MOST_COUNTED;

/// Of each name not much more than the 100 newest are read, however many there are; several may have happened at the
/// instant of the last of them.
pub(crate) const FIND: &str =
    "SELECT k.number, h.kind, h.name, h.happened_at, h.reason, h.product_id, h.channel,
         COALESCE(d.action, ''), COALESCE(d.action_group, ''), h.happening_id
     FROM k
     JOIN happening h ON h.tenant = k.tenant AND h.party_id = k.party_id AND h.kind = k.kind
         AND h.name = k.name AND h.happened_at >= COALESCE(
             (SELECT x.happened_at FROM happening x
              WHERE x.tenant = k.tenant AND x.party_id = k.party_id AND x.kind = k.kind
                  AND x.name = k.name
              ORDER BY x.happened_at DESC LIMIT 1 OFFSET 99),
             k.since)
     LEFT JOIN decision d ON d.tenant = h.tenant AND d.decision_id = h.decision_id";

/// Something that happened, its place in the order of all, and since when such counts.
struct Found {
    at: Timestamp,
    id: String,
    happening: Happening,
}

/// What happened to each of several parties, newest first; of each name 100 at most.
pub(super) async fn of_parties(
    database: &Database,
    asked: &[Asked],
) -> Result<Vec<Vec<Happening>>, Error> {
    let mut keys = Vec::new();
    for (number, it) in (0_u64..).zip(asked) {
        for ((kind, name), back) in &it.policy.wanted {
            let since = it.at.0.saturating_sub(*back);
            keys.push(values![number, &it.tenant, &it.party_id, i32::from(*kind), name, since]);
        }
    }
    let rows =
        database.query_keys("k(number, tenant, party_id, kind, name, since)", &keys, FIND).await?;
    let mut found: Vec<Vec<Found>> = asked.iter().map(|_| Vec::new()).collect();
    for row in &rows {
        let number = usize::try_from(row.count(0)?).unwrap_or(usize::MAX);
        let one = read(row)?;
        let Some(asked) = asked.get(number) else { continue };
        let name = (one.happening.kind(), one.happening.name.clone());
        let back = asked.policy.wanted.get(&name).copied().unwrap_or_default();
        if one.at.0 > asked.at.0.saturating_sub(back) {
            found[number].push(one);
        }
    }
    Ok(found.into_iter().map(newest).collect())
}

fn newest(mut found: Vec<Found>) -> Vec<Happening> {
    found.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
    let mut counts = std::collections::HashMap::new();
    let mut counted = |it: &Happening| {
        let count = counts.entry((it.kind, it.name.clone())).or_insert(0);
        *count += 1;
        *count <= MOST_COUNTED
    };
    found.into_iter().map(|it| it.happening).filter(|it| counted(it)).collect()
}

fn read(row: &Row) -> Result<Found, Error> {
    let channel = i32::try_from(row.int(6)?).ok().and_then(|it| Channel::try_from(it).ok());
    let kind = i32::try_from(row.int(1)?).ok().and_then(|it| HappeningKind::try_from(it).ok());
    let at = row.time(3)?;
    let happening = Happening {
        kind: kind.unwrap_or_default().into(),
        name: row.text(2)?.to_owned(),
        at: Some(at.to_proto()),
        reason: row.text(4)?.to_owned(),
        product_id: row.text(5)?.to_owned(),
        action: row.text(7)?.to_owned(),
        group: row.text(8)?.to_owned(),
        channel: channel.unwrap_or_default().into(),
    };
    Ok(Found { at, id: row.text(9)?.to_owned(), happening })
}
