//! What other services' events lead to: a journey asks for a touch, or moves again after a pause; an invitation is
//! carried by a touch; a consent captured later releases a recipient.

use eventstore::{AsOf, Decider as _, Error, Metadata, Reactor, Recorded, Store, Unit, UnitError};
use futures::future::BoxFuture;
use rapport_proto::delivery::v1::{TouchCause, TouchRequested};
use rapport_proto::feedback::v1::invitation_event;
use rapport_proto::journeys::v1::instance_event;
use rapport_proto::profiles::v1::consent_event;

use crate::domain::instant;
use crate::domain::recipient::{self, Consented, Recipient};
use crate::domain::touch::{self, Touch};
use crate::link;
use crate::worker::SOON;

const TOUCH_REQUESTED: &str = "rapport.journeys.v1.InstanceTouchRequested";
const RESUMED: &str = "rapport.journeys.v1.InstanceResumed";
const INVITATION_ISSUED: &str = "rapport.feedback.v1.InvitationIssued";
const CONSENT_GRANTED: &str = "rapport.profiles.v1.ConsentGranted";

/// Reacts to `feedback`, `journeys` and `profiles`.
pub(crate) struct Reactions;

impl Reactor for Reactions {
    fn reads(&self, type_name: &str) -> bool {
        [TOUCH_REQUESTED, RESUMED, INVITATION_ISSUED, CONSENT_GRANTED].contains(&type_name)
    }

    /// What a party's events lead to stands in its own streams and in those of its own touches.
    fn lane<'e>(&self, event: &'e Recorded) -> Option<&'e str> {
        Some(event.envelope.party_id.as_str()).filter(|it| !it.is_empty())
    }

    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        Box::pin(async move {
            match event.envelope.r#type.as_str() {
                TOUCH_REQUESTED => request(store, event, meta).await,
                RESUMED => resumed(store, event, meta).await,
                INVITATION_ISSUED => invite(store, event, meta).await,
                CONSENT_GRANTED => consented(store, event, meta).await,
                _ => Ok(None),
            }
        })
    }
}

/// Takes on the touch a journey asks for.
async fn request(store: &Store, event: &Recorded, meta: Metadata) -> Result<Option<Unit>, Error> {
    let Some(instance_event::Event::TouchRequested(it)) = event.decode()? else {
        return Ok(None);
    };
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
    open(store, request, meta).await
}

/// Opens the touch that carries an invitation. The gate looks at the invitation alone: the instance that asked goes on
/// without waiting for it.
async fn invite(store: &Store, event: &Recorded, meta: Metadata) -> Result<Option<Unit>, Error> {
    let Some(invitation_event::Event::Issued(it)) = event.decode()? else {
        return Ok(None);
    };
    let request = TouchRequested {
        touch_id: it.touch_id,
        cause: TouchCause::Invitation.into(),
        party_id: it.party_id,
        module: it.module,
        channel: it.channel,
        sender_id: it.sender_id,
        decision_id: String::new(),
        instance_id: String::new(),
        invitation_id: it.invitation_id,
        expires_at: it.expires_at,
        slots: [(link::SLOT.to_owned(), link::PLACEHOLDER.to_owned())].into(),
        positions: [(event.envelope.source.clone(), event.position)].into(),
        journey_id: it.journey_id,
    };
    open(store, request, meta).await
}

/// Opens a touch. The id comes with the request, so a repeat is nothing.
async fn open(
    store: &Store,
    request: TouchRequested,
    meta: Metadata,
) -> Result<Option<Unit>, Error> {
    let touch_id = request.touch_id.clone();
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

/// Has the gate judge a touch now that was put off while its journey stood still. One that is being judged at this
/// moment, by what was true a moment ago, is judged again too: whatever that came to conflicts with this.
async fn resumed(store: &Store, event: &Recorded, meta: Metadata) -> Result<Option<Unit>, Error> {
    let Some(instance_event::Event::Resumed(it)) = event.decode()? else {
        return Ok(None);
    };
    if it.touch_id.is_empty() {
        return Ok(None);
    }
    let loaded = store.load::<Touch>(&meta.tenant, &it.touch_id, AsOf::Now).await?;
    if !loaded.state.awaits_gate() {
        return Ok(None);
    }
    // Another firing than those that led here.
    let until = meta.at.max(loaded.updated_at.plus(SOON));
    let (verdicts, time_zone) = (loaded.state.verdicts.clone(), String::new());
    let market = String::new();
    let again = touch::Command::Defer { until, verdicts, time_zone, market };
    let events = Touch::decide(&loaded.state, again, meta.at)
        .map_err(|refusal| Error::corrupt(format!("{}: {refusal}", it.touch_id)))?;
    let mut unit = store.unit(meta);
    unit.push::<Touch>(&it.touch_id, loaded.version, &loaded.state, events)
        .await
        .map_err(failed)?;
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
