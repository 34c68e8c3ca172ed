//! Surveys by id, with how many invitations of each count. The count refuses what a quota does not allow, under the
//! lock of the commit: so no two invitations take the last place.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Tx, values};

use super::invitation::Counted;

/// What refuses a unit.
pub(crate) const FULL: &str = "the quota of the survey is reached";

type Key = (String, String);

pub(super) async fn apply(
    tx: &mut Tx,
    events: &[&Recorded],
    counted: &[Counted],
) -> Result<(), Error> {
    let named = events.iter().map(|it| (it.envelope.tenant.clone(), it.id().to_owned()));
    let asked = counted.iter().map(|it| (it.tenant.clone(), it.survey_id.clone()));
    let mut issued: BTreeMap<Key, i64> = named.chain(asked).map(|key| (key, 0)).collect();
    let keys: Vec<_> = issued.keys().map(|(tenant, id)| values![tenant, id]).collect();
    let rows = tx
        .query_keys(
            "k(tenant, survey_id)",
            &keys,
            "SELECT s.tenant, s.survey_id, s.issued FROM k
             JOIN survey s ON s.tenant = k.tenant AND s.survey_id = k.survey_id",
        )
        .await?;
    for row in &rows {
        issued.insert((row.text(0)?.to_owned(), row.text(1)?.to_owned()), row.int(2)?);
    }
    for it in counted {
        let count = issued.entry((it.tenant.clone(), it.survey_id.clone())).or_insert(0);
        *count += it.by;
        if it.by > 0 && it.quota > 0 && *count > i64::from(it.quota) {
            return Err(Error::refused(FULL));
        }
    }
    let rows = issued.into_iter().map(|((tenant, id), issued)| values![tenant, id, issued]);
    tx.insert_many(
        "INSERT INTO survey (tenant, survey_id, issued)",
        rows.collect(),
        "ON CONFLICT (tenant, survey_id) DO UPDATE SET issued = excluded.issued",
    )
    .await
    .map(drop)
}

/// How many invitations of a survey count.
pub(crate) async fn issued(database: &Database, tenant: &str, id: &str) -> Result<u64, Error> {
    let rows = database
        .query(
            "SELECT issued FROM survey WHERE tenant = $1 AND survey_id = $2",
            values![tenant, id],
        )
        .await?;
    rows.first().map_or(Ok(0), |row| row.count(0))
}

/// Ids after an id.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT survey_id FROM survey
             WHERE tenant = $1 AND survey_id > $2
             ORDER BY survey_id LIMIT $3",
            values![tenant, after, limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
