//! What other services' events lead to: a journey asks for a touch; a consent captured later releases a recipient.

use eventstore::{AsOf, Decider as _, Error, Metadata, Reactor, Recorded, Store, Unit, UnitError};
use futures::future::BoxFuture;
use rapport_proto::delivery::v1::{TouchCause, TouchRequested};
use rapport_proto::journeys::v1::instance_event;
use rapport_proto::profiles::v1::consent_event;

use crate::domain::instant;
use crate::domain::recipient::{self, Consented, Recipient};
use crate::domain::touch::{self, Touch};

const TOUCH_REQUESTED: &str = "rapport.journeys.v1.InstanceTouchRequested";
const CONSENT_GRANTED: &str = "rapport.profiles.v1.ConsentGranted";

/// Reacts to `journeys` and `profiles`.
pub(crate) struct Reactions;

impl Reactor for Reactions {
    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        Box::pin(async move {
            match event.envelope.r#type.as_str() {
                TOUCH_REQUESTED => request(store, event, meta).await,
                CONSENT_GRANTED => consented(store, event, meta).await,
                _ => Ok(None),
            }
        })
    }
}

/// Takes on the touch a journey asks for. The id comes with it, so a repeat is nothing.
async fn request(store: &Store, event: &Recorded, meta: Metadata) -> Result<Option<Unit>, Error> {
    let Some(instance_event::Event::TouchRequested(it)) = event.decode()? else {
        return Ok(None);
    };
    let touch_id = it.touch_id.clone();
    let request = TouchRequested {
        touch_id: it.touch_id,
        cause: TouchCause::Instance.into(),
        party_id: it.party_id,
        module: it.module,
        channel: it.channel,
        sender_id: it.sender_id,
        decision_id: it.decision_id,
        instance_id: it.instance_id,
        invitation_id: String::new(),
        expires_at: it.expires_at,
        slots: it.slots,
        positions: [(event.envelope.source.clone(), event.position)].into(),
        journey_id: it.journey_id,
    };
    let loaded = store.load::<Touch>(&meta.tenant, &touch_id, AsOf::Now).await?;
    if loaded.version > 0 {
        return Ok(None);
    }
    let events = Touch::decide(&loaded.state, touch::Command::Request(request), meta.at)
        .map_err(|refusal| Error::corrupt(format!("{touch_id}: {refusal}")))?;
    let mut unit = store.unit(meta);
    unit.push::<Touch>(&touch_id, loaded.version, &loaded.state, events).await.map_err(failed)?;
    unit.finish().map(Some).map_err(failed)
}

async fn consented(store: &Store, event: &Recorded, meta: Metadata) -> Result<Option<Unit>, Error> {
    let Some(consent_event::Event::Granted(it)) = event.decode()? else {
        return Ok(None);
    };
    let key = it.key.unwrap_or_default();
    let loaded = store.load::<Recipient>(&meta.tenant, &key.party_id, AsOf::Now).await?;
    let grant = Consented {
        consent_id: event.id().to_owned(),
        purpose: key.purpose(),
        channel: key.channel(),
        captured_at: instant(it.proof.as_ref().and_then(|it| it.captured_at.as_ref())),
        sender_id: key.sender_id,
    };
    let decided = Recipient::decide(&loaded.state, recipient::Command::Consented(grant), meta.at);
    let events = decided.unwrap_or_default();
    if events.is_empty() {
        return Ok(None);
    }
    let mut unit = store.unit(meta);
    let pushed = unit.push::<Recipient>(&key.party_id, loaded.version, &loaded.state, events);
    pushed.await.map_err(failed)?;
    unit.finish().map(Some).map_err(failed)
}

fn failed(error: UnitError) -> Error {
    match error {
        UnitError::Store(it) => it,
        other => Error::corrupt(other.to_string()),
    }
}
