//! Classes of modules, as `content` approved them: what carries an invitation must be a survey's.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Tx, values};
use prost::Name as _;
use rapport_proto::content::v1::ModuleApproved;
use rapport_proto::content::v1::module_event::Event;
use rapport_proto::types::ContentClass;

/// Whether an event of a type says the class of a module.
pub(super) fn reads(type_name: &str) -> bool {
    type_name == ModuleApproved::full_name()
}

/// The newest version that was approved counts.
pub(super) async fn apply(tx: &mut Tx, events: &[Recorded]) -> Result<(), Error> {
    let mut classes = BTreeMap::new();
    for event in events.iter().filter(|it| reads(&it.envelope.r#type)) {
        if let Some(Event::Approved(it)) = event.decode()? {
            let key = (event.envelope.tenant.clone(), event.id().to_owned());
            classes.insert(key, it.content_class);
        }
    }
    let rows = classes.into_iter().map(|((tenant, id), class)| values![tenant, id, class]);
    tx.insert_many(
        "INSERT INTO module (tenant, module_id, content_class)",
        rows.collect(),
        "ON CONFLICT (tenant, module_id) DO UPDATE SET content_class = excluded.content_class",
    )
    .await
    .map(drop)
}

/// Whether a module is known to be of another class than a survey's. What is not known yet is left to the gate.
pub(crate) async fn is_no_survey(
    database: &Database,
    tenant: &str,
    module_id: &str,
) -> Result<bool, Error> {
    let rows = database
        .query(
            "SELECT content_class FROM module WHERE tenant = $1 AND module_id = $2",
            values![tenant, module_id],
        )
        .await?;
    let class = rows.first().map(|row| row.int(0)).transpose()?;
    Ok(class.is_some_and(|it| it != i64::from(ContentClass::Survey as i32)))
}
