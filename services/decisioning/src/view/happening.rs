//! The past of a party, as far as a policy looks.

use eventstore::{Database, Error, Timestamp, values};
use rapport_proto::decisioning::v1::{Happening, HappeningKind};
use rapport_proto::types::Channel;

use crate::domain::policy::check::MOST_COUNTED;
use crate::domain::policy::compiled::Wanted;

/// What happened to a party, newest first; of each name 100 at most.
pub(crate) async fn of_party(
    database: &Database,
    tenant: &str,
    party_id: &str,
    wanted: &Wanted,
    at: Timestamp,
) -> Result<Vec<Happening>, Error> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<_> = (wanted.iter())
        .map(|((kind, name), back)| {
            let since = at.0.saturating_sub(*back);
            values![tenant, party_id, i32::from(*kind), name, since, MOST_COUNTED]
        })
        .collect();
    let rows = database
        .query_keys(
            "k(tenant, party_id, kind, name, since, most)",
            &keys,
            "SELECT h.kind, h.name, h.happened_at, h.reason, h.product_id, h.channel,
                 COALESCE(d.action, ''), COALESCE(d.action_group, ''), h.happening_id
             FROM (
                 SELECT h.*, k.most, ROW_NUMBER() OVER (
                     PARTITION BY h.kind, h.name ORDER BY h.happened_at DESC, h.happening_id DESC
                 ) AS number
                 FROM k
                 JOIN happening h ON h.tenant = k.tenant AND h.party_id = k.party_id
                     AND h.kind = k.kind AND h.name = k.name AND h.happened_at > k.since
             ) h
             LEFT JOIN decision d ON d.tenant = h.tenant AND d.decision_id = h.decision_id
             WHERE h.number <= h.most",
        )
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let channel = i32::try_from(row.int(5)?).ok().and_then(|it| Channel::try_from(it).ok());
        let kind = i32::try_from(row.int(0)?).ok().and_then(|it| HappeningKind::try_from(it).ok());
        let happening = Happening {
            kind: kind.unwrap_or_default().into(),
            name: row.text(1)?.to_owned(),
            at: Some(row.time(2)?.to_proto()),
            reason: row.text(3)?.to_owned(),
            product_id: row.text(4)?.to_owned(),
            action: row.text(6)?.to_owned(),
            group: row.text(7)?.to_owned(),
            channel: channel.unwrap_or_default().into(),
        };
        found.push((row.time(2)?, row.text(8)?.to_owned(), happening));
    }
    found.sort_by(|a, b| (b.0, &b.1).cmp(&(a.0, &a.1)));
    Ok(found.into_iter().map(|(_, _, it)| it).collect())
}
