//! What the other services' facts change here: a recipient's "no" becomes a withdrawal, a journey sets an attribute,
//! a rule pack takes effect.

use std::sync::Arc;

use eventstore::{
    AsOf, Consumer, Decider, Error, Handler, Metadata, Reactor, Recorded, Store, Timestamp, Unit,
    UnitError,
};
use futures::future::BoxFuture;
use rapport_proto::delivery::v1::{ProviderFact, touch_event};
use rapport_proto::journeys::v1::{InstanceAttributeSet, instance_event};
use rapport_proto::types::{Channel, Purpose, Regime};

use crate::domain::attribute::{Changes, Name};
use crate::domain::code::Code;
use crate::domain::consent::{self, Consent, Key, Proof};
use crate::domain::instant;
use crate::domain::party::{self, Party, Status};
use crate::domain::place::Market;
use crate::view::pack::Packs;
use crate::view::uses::Uses;

/// Which consumer brings what a source says.
pub(crate) const FEEDS: [(&str, &str); 3] =
    [("decisioning", "packs"), ("delivery", "profiles"), ("journeys", "profiles")];

/// Keeps the rule packs of the markets.
pub(crate) fn packs() -> Consumer {
    consumer("packs", Handler::View(Arc::new(Packs)))
}

/// Keeps where traits and segments are used.
pub(crate) fn uses() -> Consumer {
    Consumer {
        name: "uses".to_owned(),
        sources: ["journeys", "decisioning"].map(str::to_owned).to_vec(),
        handler: Handler::View(Arc::new(Uses)),
    }
}

/// Turns other services' facts into own ones.
pub(crate) fn reactions() -> Consumer {
    consumer("profiles", Handler::Reactor(Arc::new(Reactions)))
}

fn consumer(name: &str, handler: Handler) -> Consumer {
    let sources = FEEDS.iter().filter(|(_, feeds)| *feeds == name);
    Consumer {
        name: name.to_owned(),
        sources: sources.map(|(source, _)| (*source).to_owned()).collect(),
        handler,
    }
}

/// A fact about a party that is not known or is erased changes nothing. One that makes no sense is parked with its
/// stream, so that a person sees it.
struct Reactions;

impl Reactor for Reactions {
    fn reads(&self, type_name: &str) -> bool {
        matches!(
            type_name,
            "rapport.delivery.v1.TouchUnsubscribed"
                | "rapport.delivery.v1.TouchComplained"
                | "rapport.journeys.v1.InstanceAttributeSet"
        )
    }

    /// What journeys and recipients say about one party does not matter to another.
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
            if let Some(said) = objection(event)? {
                return withdraw(store, event, said, meta).await;
            }
            match event.decode()? {
                Some(instance_event::Event::AttributeSet(it)) => set(store, it, meta).await,
                _ => Ok(None),
            }
        })
    }
}

/// A recipient's "no" to a touch.
struct Objection {
    reason: &'static str,
    party_id: String,
    purpose: Purpose,
    channel: Channel,
    sender_id: String,
    market: String,
    fact: Option<ProviderFact>,
}

fn objection(event: &Recorded) -> Result<Option<Objection>, Error> {
    macro_rules! of {
        ($reason:literal, $it:expr) => {
            Some(Objection {
                reason: $reason,
                purpose: $it.purpose(),
                channel: $it.channel(),
                party_id: $it.party_id,
                sender_id: $it.sender_id,
                market: $it.market,
                fact: $it.fact,
            })
        };
    }
    Ok(match event.decode()? {
        Some(touch_event::Event::Unsubscribed(it)) => of!("unsubscribed", it),
        Some(touch_event::Event::Complained(it)) => of!("complained", it),
        _ => None,
    })
}

/// Withdraws what the touch was sent under; where nothing was granted, it is an objection.
async fn withdraw(
    store: &Store,
    event: &Recorded,
    said: Objection,
    mut meta: Metadata,
) -> Result<Option<Unit>, Error> {
    if living(store, &meta.tenant, &said.party_id).await?.is_none() {
        return Ok(None);
    }
    let fact_at = said.fact.and_then(|it| instant(it.occurred_at.as_ref()?));
    // The provider's clock may be ahead of ours; nobody objects in the future.
    let said_at = fact_at.unwrap_or_else(|| event.recorded_at()).min(meta.at);
    let key = Key {
        party_id: said.party_id,
        purpose: said.purpose,
        channel: said.channel,
        sender_id: said.sender_id,
        market: Market::parse(&said.market).map_err(invalid)?,
    };
    let command = consent::Command::Withdraw {
        key: key.clone(),
        proof: proof(said_at)?,
        reason: Code::parse(said.reason).map_err(invalid)?,
    };
    said.reason.clone_into(&mut meta.reason);
    let consent_id = key.consent_id(&meta.tenant);
    let loaded = store.load::<Consent>(&meta.tenant, &consent_id, AsOf::Now).await?;
    let events = Consent::decide(&loaded.state, command, meta.at).map_err(invalid)?;
    unit::<Consent>(store, meta, &consent_id, loaded, events).await
}

fn proof(said_at: Timestamp) -> Result<Proof, Error> {
    Ok(Proof {
        // An objection answers no text: no regime was shown.
        regime_shown: Regime::Unspecified,
        source: Code::parse("delivery").map_err(invalid)?,
        evidence: None,
        text_version: None,
        language: None,
        captured_at: Some(said_at),
        effective_at: None,
    })
}

/// Sets the attribute; no value means that the rule was unknown and it stays as it is.
async fn set(
    store: &Store,
    said: InstanceAttributeSet,
    meta: Metadata,
) -> Result<Option<Unit>, Error> {
    let Some(value) = said.value else { return Ok(None) };
    let Some(loaded) = living(store, &meta.tenant, &said.party_id).await? else {
        return Ok(None);
    };
    let mut changes = Changes::default();
    let name = Name::parse(&said.attribute).map_err(invalid)?;
    changes.set_clear(name, value).map_err(invalid)?;
    let command = party::Command::SetAttributes { changes, seen: None };
    let events = Party::decide(&loaded.state, command, meta.at).map_err(invalid)?;
    unit::<Party>(store, meta, &said.party_id, loaded, events).await
}

type Loaded<D> = eventstore::Loaded<<D as Decider>::State>;

/// A party about which something can still be stated.
async fn living(
    store: &Store,
    tenant: &str,
    party_id: &str,
) -> Result<Option<Loaded<Party>>, Error> {
    let loaded = store.load::<Party>(tenant, party_id, AsOf::Now).await?;
    Ok(match loaded.state.status {
        Status::Active | Status::Suppressed => Some(loaded),
        Status::Unknown | Status::Erased => None,
    })
}

/// The unit of one stream; nothing when the fact says nothing new.
async fn unit<D: Decider>(
    store: &Store,
    meta: Metadata,
    id: &str,
    loaded: Loaded<D>,
    events: Vec<D::Event>,
) -> Result<Option<Unit>, Error> {
    if events.is_empty() {
        return Ok(None);
    }
    let mut unit = store.unit(meta);
    unit.push::<D>(id, loaded.version, &loaded.state, events).await.map_err(unbuilt)?;
    unit.finish().map(Some).map_err(unbuilt)
}

fn unbuilt(error: UnitError) -> Error {
    match error {
        UnitError::Store(error) => error,
        other => Error::corrupt(format!("build the unit: {other}")),
    }
}

fn invalid(error: impl std::error::Error) -> Error {
    Error::corrupt(format!("the fact cannot be taken: {error}"))
}
