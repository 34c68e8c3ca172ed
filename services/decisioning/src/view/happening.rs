//! The past of a party, as far as a policy looks.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use eventstore::{Database, Error, Row, Timestamp, values};
use rapport_proto::decisioning::v1::{Happening, HappeningKind};
use rapport_proto::types::Channel;

use super::past::Asked;
use crate::domain::policy::check::MOST_COUNTED;
use crate::domain::policy::compiled::Want;

/// Of each thing that is wanted not much more than the 100 newest are read, however many there are, and of outcomes (3)
/// the 1,000 newest, because each action and channel is counted for itself; several may have happened at the instant of
/// the last of them. [`newest`] keeps as many as a line may count.
pub(crate) const FIND: &str =
    "SELECT k.number, h.kind, h.name, h.happened_at, h.reason, h.product_id, h.channel,
         COALESCE(d.action, ''), COALESCE(d.action_group, ''), h.happening_id, k.product_id, k.reason
     FROM k
     JOIN happening h ON h.tenant = k.tenant AND h.party_id = k.party_id AND h.kind = k.kind
         AND h.name = k.name AND (k.product_id = '' OR h.product_id = k.product_id)
         AND (k.reason = '' OR h.reason = k.reason)
         AND h.happened_at >= COALESCE(
             CASE WHEN k.kind <> 3 THEN
                 (SELECT x.happened_at FROM happening x
                  WHERE x.tenant = k.tenant AND x.party_id = k.party_id AND x.kind = k.kind
                      AND x.name = k.name AND (k.product_id = '' OR x.product_id = k.product_id)
                      AND x.happened_at >= k.since
                  ORDER BY x.happened_at DESC LIMIT 1 OFFSET 99)
             ELSE
                 (SELECT x.happened_at FROM happening x
                  WHERE x.tenant = k.tenant AND x.party_id = k.party_id AND x.kind = k.kind
                      AND x.name = k.name AND (k.reason = '' OR x.reason = k.reason)
                      AND x.happened_at >= k.since
                  ORDER BY x.happened_at DESC LIMIT 1 OFFSET 999)
             END,
             k.since)
     LEFT JOIN decision d ON d.tenant = h.tenant AND d.decision_id = h.decision_id";

/// What was found of a party, of each thing that is wanted; by instant and id, newest first.
type Found = BTreeMap<Want, Newest>;
type Newest = BTreeMap<Reverse<(Timestamp, String)>, Happening>;

/// What happened to each of several parties, newest first; of each thing that is wanted as many as a line may count.
pub(super) async fn of_parties(
    database: &Database,
    asked: &[Asked],
) -> Result<Vec<Vec<Happening>>, Error> {
    let mut keys = Vec::new();
    for (number, it) in (0_u64..).zip(asked) {
        for (Want { kind, name, product_id, reason }, back) in &it.policy.wanted {
            let (kind, since) = (i32::from(*kind), it.at.0.saturating_sub(*back));
            let (tenant, party) = (&it.tenant, &it.party_id);
            keys.push(values![number, tenant, party, kind, name, product_id, reason, since]);
        }
    }
    let columns = "k(number, tenant, party_id, kind, name, product_id, reason, since)";
    let rows = database.query_keys(columns, &keys, FIND).await?;
    let mut found: Vec<Found> = asked.iter().map(|_| Found::new()).collect();
    for row in &rows {
        let number = usize::try_from(row.count(0)?).unwrap_or(usize::MAX);
        let happening = read(row)?;
        let (at, id) = (row.time(3)?, row.text(9)?.to_owned());
        let (kind, name) = (happening.kind(), happening.name.clone());
        let (product_id, reason) = (row.text(10)?.to_owned(), row.text(11)?.to_owned());
        let want = Want { kind, name, product_id, reason };
        let Some(asked) = asked.get(number) else { continue };
        let back = asked.policy.wanted.get(&want).copied().unwrap_or_default();
        if at.0 > asked.at.0.saturating_sub(back) {
            found[number].entry(want).or_default().insert(Reverse((at, id)), happening);
        }
    }
    Ok(found.into_iter().map(newest).collect())
}

/// The 100 newest of each thing, of an outcome for each action and channel that it came of. What is wanted twice, as any
/// contact and as one of a product, is told once.
fn newest(found: Found) -> Vec<Happening> {
    let mut counted = Newest::new();
    for (want, all) in found {
        let mut seen: BTreeMap<(String, i32), u32> = BTreeMap::new();
        for (place, it) in all {
            let of = match want.kind {
                HappeningKind::Outcome => (it.action.clone(), it.channel),
                _ => Default::default(),
            };
            let seen = seen.entry(of).or_default();
            *seen += 1;
            if *seen <= MOST_COUNTED {
                counted.insert(place, it);
            }
        }
    }
    counted.into_values().collect()
}

fn read(row: &Row) -> Result<Happening, Error> {
    let channel = i32::try_from(row.int(6)?).ok().and_then(|it| Channel::try_from(it).ok());
    let kind = i32::try_from(row.int(1)?).ok().and_then(|it| HappeningKind::try_from(it).ok());
    Ok(Happening {
        kind: kind.unwrap_or_default().into(),
        name: row.text(2)?.to_owned(),
        at: Some(row.time(3)?.to_proto()),
        reason: row.text(4)?.to_owned(),
        product_id: row.text(5)?.to_owned(),
        action: row.text(7)?.to_owned(),
        group: row.text(8)?.to_owned(),
        channel: channel.unwrap_or_default().into(),
    })
}
