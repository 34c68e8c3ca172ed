//! Entries that were asked for and are not answered.

use eventstore::{Error, Recorded, Tx, values};
use rapport_proto::journeys::v1::entry_event::Event;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for event in events {
        let (tenant, request) = (&event.envelope.tenant, event.envelope.version);
        match event.decode()? {
            Some(Event::Requested(it)) => {
                asked.push(values![tenant, it.party_id, it.journey_id, request, it.version]);
            }
            Some(Event::Refused(it)) => {
                answered.push(values![tenant, it.party_id, it.journey_id, it.request]);
            }
            Some(Event::Entered(it)) => {
                answered.push(values![tenant, it.party_id, it.journey_id, it.request]);
            }
            Some(Event::Heard(_) | Event::Closed(_)) | None => {}
        }
    }
    tx.insert_many(
        "INSERT INTO entry_request (tenant, party_id, journey_id, request, version)",
        asked,
        "ON CONFLICT (tenant, party_id, journey_id, request) DO NOTHING",
    )
    .await?;
    tx.exec_keys(
        "k(tenant, party_id, journey_id, request)",
        &answered,
        "DELETE FROM entry_request
         WHERE (tenant, party_id, journey_id, request)
             IN (SELECT tenant, party_id, journey_id, request FROM k)",
    )
    .await
    .map(drop)
}
