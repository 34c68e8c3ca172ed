//! Products and references by id.

use eventstore::{Database, Error, Recorded, Tx, values};

pub(super) async fn apply(tx: &mut Tx, events: &[Recorded]) -> Result<(), Error> {
    // Both are there for ever from their first fact.
    let rows = |aggregate: &str| {
        let first = |it: &&Recorded| it.aggregate() == aggregate && it.envelope.version == 1;
        events
            .iter()
            .filter(first)
            .map(|it| values![&it.envelope.tenant, it.id()])
            .collect::<Vec<_>>()
    };
    tx.insert_many(
        "INSERT INTO product (tenant, product_id)",
        rows("product"),
        "ON CONFLICT (tenant, product_id) DO NOTHING",
    )
    .await?;
    tx.insert_many(
        "INSERT INTO reference (tenant, reference_id)",
        rows("reference"),
        "ON CONFLICT (tenant, reference_id) DO NOTHING",
    )
    .await
    .map(drop)
}

/// Ids of products after one, in their order.
pub(crate) async fn products(
    database: &Database,
    tenant: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT product_id
             FROM product
             WHERE tenant = $1 AND product_id > $2
             ORDER BY product_id
             LIMIT $3",
            values![tenant, after, limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// Ids of references after one, in their order.
pub(crate) async fn references(
    database: &Database,
    tenant: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT reference_id
             FROM reference
             WHERE tenant = $1 AND reference_id > $2
             ORDER BY reference_id
             LIMIT $3",
            values![tenant, after, limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
