//! Relations, from either end.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Timestamp, Tx, values};
use rapport_proto::profiles::v1::{RelationKind, relation_event::Event};

use crate::domain::validity::Validity;

struct Entry {
    kind: i64,
    from_party_id: String,
    to_party_id: String,
    product_id: String,
    valid_from: Timestamp,
    valid_until: Timestamp,
}

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let mut entries = load(tx, events).await?;
    for event in events {
        let key = (event.envelope.tenant.clone(), event.id().to_owned());
        match event.decode()? {
            Some(Event::Recorded(it)) => {
                let (valid_from, valid_until) = Validity::of(it.valid.as_ref()).ends();
                let entry = Entry {
                    kind: it.kind.into(),
                    from_party_id: it.from_party_id,
                    to_party_id: it.to_party_id,
                    product_id: it.product_id,
                    valid_from,
                    valid_until,
                };
                entries.insert(key, entry);
            }
            Some(Event::Ended(it)) => {
                let ended_at =
                    super::instant(it.ended_at.as_ref()).unwrap_or_else(|| event.recorded_at());
                // An end after the stated one does not make the relation hold for longer.
                entries.entry(key).and_modify(|it| it.valid_until = it.valid_until.min(ended_at));
            }
            None => {}
        }
    }
    write(tx, entries).await
}

async fn load(
    tx: &mut Tx,
    events: &[&Recorded],
) -> Result<BTreeMap<(String, String), Entry>, Error> {
    let known: Vec<_> = events
        .iter()
        .filter(|event| event.envelope.version > 1)
        .map(|event| values![&event.envelope.tenant, event.id()])
        .collect();
    let rows = tx
        .query_keys(
            "k(tenant, relation_id)",
            &known,
            "SELECT r.tenant, r.relation_id, r.from_party_id, r.to_party_id, r.valid_from, r.valid_until,
                 r.kind, r.product_id
             FROM k
             JOIN relation r ON r.tenant = k.tenant AND r.relation_id = k.relation_id",
        )
        .await?;
    let mut entries = BTreeMap::new();
    for row in rows {
        let entry = Entry {
            from_party_id: row.text(2)?.to_owned(),
            to_party_id: row.text(3)?.to_owned(),
            valid_from: row.time(4)?,
            valid_until: row.time(5)?,
            kind: row.int(6)?,
            product_id: row.text(7)?.to_owned(),
        };
        entries.insert((row.text(0)?.to_owned(), row.text(1)?.to_owned()), entry);
    }
    Ok(entries)
}

async fn write(tx: &mut Tx, entries: BTreeMap<(String, String), Entry>) -> Result<(), Error> {
    let rows = (entries.into_iter())
        .map(|((tenant, relation_id), it)| {
            values![
                tenant,
                relation_id,
                it.from_party_id,
                it.to_party_id,
                it.valid_from,
                it.valid_until,
                it.kind,
                it.product_id
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO relation (tenant, relation_id, from_party_id, to_party_id, valid_from, valid_until,
             kind, product_id)",
        rows,
        "ON CONFLICT (tenant, relation_id) DO UPDATE SET valid_until = excluded.valid_until",
    )
    .await
    .map(drop)
}

/// One index for each end.
pub(crate) const LIST: &str = "SELECT relation_id FROM (
         SELECT relation_id FROM relation
         WHERE tenant = $1 AND from_party_id = $2 AND relation_id > $3
             AND ($4 = 1 OR (valid_from <= $5 AND valid_until > $5))
         ORDER BY relation_id LIMIT $6) starts
     UNION
     SELECT relation_id FROM (
         SELECT relation_id FROM relation
         WHERE tenant = $1 AND to_party_id = $2 AND relation_id > $3
             AND ($4 = 1 OR (valid_from <= $5 AND valid_until > $5))
         ORDER BY relation_id LIMIT $6) ends
     ORDER BY relation_id
     LIMIT $6";

/// Ids of a party's relations after one, in their order; only those valid at an instant if one is given.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    party_id: &str,
    valid_at: Option<Timestamp>,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let any_time = valid_at.is_none();
    let rows = database
        .query(
            LIST,
            values![tenant, party_id, after, any_time, valid_at.unwrap_or_default(), limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// The employee who covers a party at an instant. With a product, one who covers it for that product comes before one
/// who covers it for every product; of several the one who has done so for longest.
pub(crate) async fn covering(
    database: &Database,
    tenant: &str,
    party_id: &str,
    product_id: &str,
    at: Timestamp,
) -> Result<Option<String>, Error> {
    let kind = i32::from(RelationKind::CoveredBy);
    let rows = database
        .query(
            "SELECT to_party_id
             FROM relation
             WHERE tenant = $1 AND from_party_id = $2 AND kind = $3
                 AND valid_from <= $4 AND valid_until > $4
                 AND ($5 = '' OR product_id = $5 OR product_id = '')
             ORDER BY CASE WHEN product_id = $5 THEN 0 ELSE 1 END, valid_from, relation_id
             LIMIT 1",
            values![tenant, party_id, kind, at, product_id],
        )
        .await?;
    rows.first().map(|row| row.text(0).map(str::to_owned)).transpose()
}
