//! Touches: whose they are and which decision they carry out.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Row, Tx, Value, values};

/// A touch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Touch {
    pub(crate) party_id: String,
    /// Empty: none.
    pub(crate) decision_id: String,
    pub(crate) channel: i64,
}

/// Tenant and touch.
pub(super) type Key = (String, String);

const FIND: &str = "SELECT t.tenant, t.touch_id, t.party_id, t.decision_id, t.channel
     FROM k
     JOIN touch t ON t.tenant = k.tenant AND t.touch_id = k.touch_id";

pub(super) async fn load(tx: &mut Tx, keys: &[Vec<Value>]) -> Result<BTreeMap<Key, Touch>, Error> {
    tx.query_keys("k(tenant, touch_id)", keys, FIND).await?.iter().map(read).collect()
}

pub(super) async fn write(tx: &mut Tx, touches: &BTreeMap<Key, Touch>) -> Result<(), Error> {
    let rows = (touches.iter())
        .map(|((tenant, id), it)| values![tenant, id, &it.party_id, &it.decision_id, it.channel])
        .collect();
    tx.insert_many(
        "INSERT INTO touch (tenant, touch_id, party_id, decision_id, channel)",
        rows,
        "ON CONFLICT (tenant, touch_id) DO NOTHING",
    )
    .await
    .map(drop)
}

/// A touch, as far as the consumer has read.
pub(crate) async fn find(
    database: &Database,
    tenant: &str,
    touch_id: &str,
) -> Result<Option<Touch>, Error> {
    let rows =
        database.query_keys("k(tenant, touch_id)", &[values![tenant, touch_id]], FIND).await?;
    Ok(rows.first().map(read).transpose()?.map(|(_, it)| it))
}

fn read(row: &Row) -> Result<(Key, Touch), Error> {
    let touch = Touch {
        party_id: row.text(2)?.to_owned(),
        decision_id: row.text(3)?.to_owned(),
        channel: row.int(4)?,
    };
    Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), touch))
}
