//! What parties did: contact lines may count it.

use eventstore::{Error, Recorded, Tx, values};
use rapport_proto::decisioning::v1::HappeningKind;
use rapport_proto::profiles::v1::interaction_event::Event;

use super::delivery::INSERT;

pub(crate) const READ: &str = "rapport.profiles.v1.InteractionRecorded";

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut rows = Vec::new();
    let recorded = (events.iter())
        .filter(|it| it.envelope.r#type == READ)
        .filter(|it| !it.envelope.party_id.is_empty());
    for event in recorded {
        let Some(Event::Recorded(it)) = event.decode()? else { continue };
        rows.push(values![
            &event.envelope.tenant,
            format!("{}/{}", event.envelope.source, event.position),
            &event.envelope.party_id,
            i32::from(HappeningKind::Interaction),
            it.name,
            event.occurred_at(),
            "",
            "",
            "",
            0_i64
        ]);
    }
    tx.insert_many(INSERT, rows, "ON CONFLICT (tenant, happening_id) DO NOTHING").await.map(drop)
}
