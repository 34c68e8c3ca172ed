//! What providers reported, once for ever: the key is the provider's own id of the event.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Tx, values};
use rapport_proto::delivery::v1::touch_event::Event;

use crate::domain::touch::provider_fact;

/// What the view refuses a unit with when another one recorded an event of it first.
pub(crate) const TAKEN: &str = "a provider's event was recorded before";

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut rows = Vec::new();
    for event in events {
        let Some(fact) = event.decode::<Event>()? else {
            continue;
        };
        if let Some(source) = provider_fact(&fact) {
            rows.push(values![
                &event.envelope.tenant,
                &source.provider,
                &source.provider_event_id,
                event.id(),
                &event.envelope.request_id
            ]);
        }
    }
    let wanted = rows.len() as u64;
    let inserted = tx
        .insert_many(
            "INSERT INTO provider_event (tenant, provider, provider_event_id, touch_id, request_id)",
            rows,
            "ON CONFLICT (tenant, provider, provider_event_id) DO NOTHING",
        )
        .await?;
    if inserted == wanted { Ok(()) } else { Err(Error::refused(TAKEN)) }
}

/// An event that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) touch_id: String,
    pub(crate) request_id: String,
}

/// Which of these events were recorded, by provider and event id.
pub(crate) async fn known(
    database: &Database,
    tenant: &str,
    events: impl Iterator<Item = (&str, &str)>,
) -> Result<BTreeMap<(String, String), Known>, Error> {
    let keys: Vec<_> = events.map(|(provider, id)| values![tenant, provider, id]).collect();
    let rows = database
        .query_keys(
            "k(tenant, provider, provider_event_id)",
            &keys,
            "SELECT p.provider, p.provider_event_id, p.touch_id, p.request_id FROM k
             JOIN provider_event p ON p.tenant = k.tenant AND p.provider = k.provider
                 AND p.provider_event_id = k.provider_event_id",
        )
        .await?;
    rows.iter()
        .map(|row| {
            let key = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
            let (touch_id, request_id) = (row.text(2)?.to_owned(), row.text(3)?.to_owned());
            Ok((key, Known { touch_id, request_id }))
        })
        .collect()
}
