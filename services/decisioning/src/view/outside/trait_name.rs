//! Names of traits, with their types as far as a definition tells.

use std::collections::BTreeMap;

use authored::rule::Type;
use eventstore::{Database, Error, Recorded, Tx, values};
use rapport_proto::profiles::v1::TraitKind;
use rapport_proto::profiles::v1::trait_event::Event;

pub(super) const READ: &str = "rapport.profiles.v1.TraitVersionActivated";

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut rows = Vec::new();
    for event in events {
        if let Some(Event::Activated(it)) = event.decode()? {
            let kind = it.r#trait.unwrap_or_default().kind;
            rows.push(values![&event.envelope.tenant, event.id(), kind]);
        }
    }
    for row in rows {
        tx.insert_many(
            "INSERT INTO trait_name (tenant, trait_id, kind)",
            vec![row],
            "ON CONFLICT (tenant, trait_id) DO UPDATE SET kind = excluded.kind",
        )
        .await?;
    }
    Ok(())
}

/// The traits that are live, by name.
pub(crate) async fn all(
    database: &Database,
    tenant: &str,
) -> Result<BTreeMap<String, Type>, Error> {
    let rows = database
        .query("SELECT trait_id, kind FROM trait_name WHERE tenant = $1", values![tenant])
        .await?;
    (rows.iter())
        .map(|row| {
            let kind = i32::try_from(row.int(1)?).ok().and_then(|it| TraitKind::try_from(it).ok());
            Ok((row.text(0)?.to_owned(), type_of(kind.unwrap_or_default())))
        })
        .collect()
}

/// The value of a property has the type that its source declared, which shows only when a rule runs.
fn type_of(kind: TraitKind) -> Type {
    match kind {
        TraitKind::Count | TraitKind::Sum | TraitKind::DaysSince | TraitKind::DecayedCount => {
            Type::Number
        }
        TraitKind::Last | TraitKind::First | TraitKind::Unspecified => Type::Any,
    }
}
