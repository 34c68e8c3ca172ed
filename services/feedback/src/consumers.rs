//! What other services' events lead to: a journey asks a question, a touch that carries one ends, parties and products
//! are known.

use std::sync::Arc;

use eventstore::{
    AsOf, Consumer, Decider as _, Error, Handler, Metadata, Reactor, Recorded, Store, Unit,
};
use futures::future::BoxFuture;
use rapport_proto::delivery::v1::touch_event;
use rapport_proto::feedback::v1::InvitationRequested;
use rapport_proto::journeys::v1::instance_event;

use crate::domain::invitation::{self, Invitation};
use crate::units::{self, unbuilt};
use crate::view;
use crate::view::party::Parties;
use crate::view::product::Products;

/// The consumer that hears of products.
pub(crate) const PRODUCTS: &str = "feedback.products";

/// Which consumer brings what a source says.
pub(crate) const FEEDS: [(&str, &str); 4] = [
    ("journeys", "feedback"),
    ("delivery", "feedback"),
    ("profiles", "feedback.parties"),
    ("content", PRODUCTS),
];

const ASKS: &str = "rapport.journeys.v1.InstanceFeedbackRequested";
const SENT: &str = "rapport.delivery.v1.TouchSent";
const SKIPPED: &str = "rapport.delivery.v1.TouchSkipped";
const FAILED: &str = "rapport.delivery.v1.TouchFailed";
const RESOLVED: &str = "rapport.delivery.v1.TouchResolved";

/// Turns other services' facts into own ones.
pub(crate) fn reactions() -> Consumer {
    consumer("feedback", Handler::Reactor(Arc::new(Reactions)))
}

/// Keeps where parties are.
pub(crate) fn parties() -> Consumer {
    consumer("feedback.parties", Handler::View(Arc::new(Parties)))
}

/// Keeps the names of products.
pub(crate) fn products() -> Consumer {
    consumer(PRODUCTS, Handler::View(Arc::new(Products)))
}

fn consumer(name: &str, handler: Handler) -> Consumer {
    let sources = FEEDS.iter().filter(|(_, feeds)| *feeds == name);
    Consumer {
        name: name.to_owned(),
        sources: sources.map(|(source, _)| (*source).to_owned()).collect(),
        handler,
    }
}

struct Reactions;

impl Reactor for Reactions {
    fn reads(&self, type_name: &str) -> bool {
        [ASKS, SENT, SKIPPED, FAILED, RESOLVED].contains(&type_name)
    }

    /// A party's invitations stand in streams of their own, and so does how often it was asked.
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
                ASKS => request(store, event, meta).await,
                SENT | SKIPPED | FAILED | RESOLVED => settle(store, event, meta).await,
                _ => Ok(None),
            }
        })
    }
}

/// Takes on the question that a journey asks. The id comes with it, so a repeat is nothing.
async fn request(store: &Store, event: &Recorded, meta: Metadata) -> Result<Option<Unit>, Error> {
    let Some(instance_event::Event::FeedbackRequested(it)) = event.decode()? else {
        return Ok(None);
    };
    let requested = InvitationRequested {
        invitation_id: it.invitation_id,
        survey: it.survey,
        party_id: it.party_id,
        channel: it.channel,
        sender_id: it.sender_id,
        about_touch_id: it.about_touch_id,
        instance_id: it.instance_id,
        journey_id: it.journey_id,
        expires_at: it.expires_at,
        market: event.envelope.market.clone(),
    };
    let id = requested.invitation_id.clone();
    let loaded = store.load::<Invitation>(&meta.tenant, &id, AsOf::Now).await?;
    let request = invitation::Command::Request(Box::new(requested));
    let events = Invitation::decide(&loaded.state, request, meta.at)
        .map_err(|refusal| Error::corrupt(format!("{id}: {refusal}")))?;
    if events.is_empty() {
        return Ok(None);
    }
    let mut unit = store.unit(meta);
    let pushed = unit.push::<Invitation>(&id, loaded.version, &loaded.state, events);
    pushed.await.map_err(unbuilt)?;
    unit.finish().map(Some).map_err(unbuilt)
}

/// Notes the end of a touch that carries an invitation.
async fn settle(store: &Store, event: &Recorded, meta: Metadata) -> Result<Option<Unit>, Error> {
    let database = store.database();
    let carried = view::invitation::of_touch(database, &meta.tenant, event.id()).await?;
    let Some(invitation_id) = carried else { return Ok(None) };
    let (sent, detail) = match event.decode()? {
        Some(touch_event::Event::Sent(_)) => (true, String::new()),
        Some(touch_event::Event::Skipped(it)) => (false, it.reason),
        Some(touch_event::Event::Failed(it)) => (false, it.code),
        Some(touch_event::Event::Resolved(it)) => (it.sent, it.by),
        _ => return Ok(None),
    };
    units::settle(store, meta, &invitation_id, sent, detail).await
}
