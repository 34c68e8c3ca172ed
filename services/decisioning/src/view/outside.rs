//! What other services said: usable modules and names of traits, touches, and the past of parties.

use std::collections::BTreeMap;

use eventstore::{Error, Recorded, Tx, View, values};

use super::Applied;

mod delivery;
pub(crate) mod interaction;
pub(crate) mod module;
pub(crate) mod touch;
pub(crate) mod trait_name;

/// The consumer that writes these tables.
pub(crate) const CONSUMER: &str = "decisioning";

/// Sources that the consumer reads.
pub(crate) const SOURCES: [&str; 3] = ["content", "delivery", "profiles"];

/// The view of the consumer.
pub(crate) struct Outside;

impl View for Outside {
    fn name(&self) -> &'static str {
        "decisioning.outside"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["outside_revision", "module_version", "trait_name", "touch", "happening"]
    }

    fn reads(&self, type_name: &str) -> bool {
        module::reads(type_name)
            || trait_name::READ == type_name
            || interaction::READ == type_name
            || delivery::reads(type_name)
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            let of = |aggregate: &str| -> Vec<&Recorded> {
                events.iter().filter(|event| event.aggregate() == aggregate).collect()
            };
            let mut modules = of("module");
            modules.retain(|it| module::reads(&it.envelope.r#type));
            module::apply(tx, &modules).await?;
            revise(tx, &modules).await?;
            trait_name::apply(tx, &of("trait")).await?;
            interaction::apply(tx, &of("interaction")).await?;
            delivery::apply(tx, events).await
        })
    }
}

/// Notes that what decisions share has changed.
async fn revise(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut latest = BTreeMap::new();
    for event in events {
        let name = (event.envelope.tenant.clone(), event.envelope.source.clone());
        latest.insert(name, event.position);
    }
    let rows = (latest.into_iter())
        .map(|((tenant, source), position)| values![tenant, source, position])
        .collect();
    tx.insert_many(
        "INSERT INTO outside_revision (tenant, source, number)",
        rows,
        "ON CONFLICT (tenant, source) DO UPDATE SET number = excluded.number",
    )
    .await
    .map(drop)
}

#[cfg(test)]
mod tests {
    use rapport_proto::EventSet as _;
    use rapport_proto::content::v1::module_event::Event as Module;
    use rapport_proto::delivery::v1::pressure_event::Event as Pressure;
    use rapport_proto::delivery::v1::touch_event::Event as Touch;
    use rapport_proto::profiles::v1::interaction_event::Event as Interaction;
    use rapport_proto::profiles::v1::party_event::Event as Party;
    use rapport_proto::profiles::v1::trait_event::Event as Trait;

    use super::*;

    #[test]
    fn what_the_tables_follow_is_read_and_nothing_else() {
        let read = [
            Module::Approved(Default::default()).type_name(),
            Module::Superseded(Default::default()).type_name(),
            Module::Expired(Default::default()).type_name(),
            Module::Withdrawn(Default::default()).type_name(),
            Trait::Activated(Default::default()).type_name(),
            Interaction::Recorded(Default::default()).type_name(),
            Touch::Requested(Default::default()).type_name(),
            Touch::Ready(Default::default()).type_name(),
            Touch::Skipped(Default::default()).type_name(),
            Touch::Failed(Default::default()).type_name(),
            Touch::Resolved(Default::default()).type_name(),
            Touch::TaskExpired(Default::default()).type_name(),
            Touch::TaskWithdrawn(Default::default()).type_name(),
            Touch::Clicked(Default::default()).type_name(),
            Pressure::Reserved(Default::default()).type_name(),
            Pressure::Released(Default::default()).type_name(),
        ];
        assert_eq!(read.into_iter().find(|it| !Outside.reads(it)), None);
        let unread = [
            Module::DraftSaved(Default::default()).type_name(),
            Module::VerdictRecorded(Default::default()).type_name(),
            Party::Registered(Default::default()).type_name(),
            Touch::Attempted(Default::default()).type_name(),
            Touch::Deferred(Default::default()).type_name(),
            Touch::RetryScheduled(Default::default()).type_name(),
        ];
        assert_eq!(unread.into_iter().find(|it| Outside.reads(it)), None);
    }
}
