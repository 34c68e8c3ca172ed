//! Names of products, as `content` registered them: the screening looks for them in every text.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Tx, View, values};
use rapport_proto::EventSet as _;
use rapport_proto::content::v1::product_event;

use super::{Applied, module};
use crate::consumers::PRODUCTS;
use crate::lexicon::Product;

/// Follows `content`: names of products, and classes of modules.
pub(crate) struct Products;

impl View for Products {
    fn name(&self) -> &'static str {
        PRODUCTS
    }

    fn tables(&self) -> &'static [&'static str] {
        &["product", "module"]
    }

    fn reads(&self, type_name: &str) -> bool {
        product_event::Event::TYPES.contains(&type_name) || module::reads(type_name)
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            module::apply(tx, events).await?;
            let mut brands = BTreeMap::new();
            for event in events.iter().filter(|it| it.aggregate() == "product") {
                if let Some(product_event::Event::Registered(it)) = event.decode()? {
                    let product = it.product.unwrap_or_default();
                    let key = (event.envelope.tenant.clone(), product.product_id);
                    brands.insert(key, product.brand);
                }
            }
            let rows = brands.into_iter().map(|((tenant, id), brand)| values![tenant, id, brand]);
            tx.insert_many(
                "INSERT INTO product (tenant, product_id, brand)",
                rows.collect(),
                "ON CONFLICT (tenant, product_id) DO UPDATE SET brand = excluded.brand",
            )
            .await
            .map(drop)
        })
    }
}

/// All of a tenant's.
pub(crate) async fn of_tenant(database: &Database, tenant: &str) -> Result<Vec<Product>, Error> {
    let rows = database
        .query("SELECT product_id, brand FROM product WHERE tenant = $1", values![tenant])
        .await?;
    rows.iter()
        .map(|row| Ok(Product { id: row.text(0)?.to_owned(), name: row.text(1)?.to_owned() }))
        .collect()
}

/// Whether something that was said of a tenant's products could not be read.
pub(crate) async fn is_parked(database: &Database, tenant: &str) -> Result<bool, Error> {
    let rows = database
        .query(
            "SELECT position FROM parked
             WHERE consumer = $1 AND source = 'content' AND tenant = $2 LIMIT 1",
            values![PRODUCTS, tenant],
        )
        .await?;
    Ok(!rows.is_empty())
}
