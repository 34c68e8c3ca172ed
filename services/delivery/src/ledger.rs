//! The streams a command is about, open: touches, and what the parties they reach have reserved and suppressed. What
//! happens to a touch has consequences for its party, and both are committed in one unit:
//!
//! | touch | pressure | recipient |
//! |---|---|---|
//! | let through | a place is taken | |
//! | skipped, put off, failed, expired, withdrawn | the place is given back | |
//! | unsubscribed, complained, bounced for good | | suppressed |

use std::collections::{BTreeMap, BTreeSet};

use eventstore::{AsOf, Decider, Error, Loaded, Metadata, Store, Timestamp, Unit, UnitError};
use rapport_proto::delivery::v1::{
    ContactReserved, RecipientSuppressed, SuppressionCause, touch_event,
};
use rapport_proto::types::{ContentClass, Purpose};

use crate::domain::pressure::{self, Pressure};
use crate::domain::recipient::{self, Recipient};
use crate::domain::report::{self, Report};
use crate::domain::touch::{self, Touch, provider_fact};
use crate::{convert, view};

/// A stream with what is added to it.
struct Stream<D: Decider> {
    version: u64,
    before: D::State,
    state: D::State,
    added: Vec<D::Event>,
}

impl<D: Decider> Stream<D> {
    fn new(version: u64, state: D::State) -> Self {
        Self { version, before: state.clone(), state, added: Vec::new() }
    }

    fn loaded(it: Loaded<D::State>) -> Self {
        Self::new(it.version, it.state)
    }

    fn decide(&mut self, command: D::Command, at: Timestamp) -> Result<usize, D::Refusal> {
        let events = D::decide(&self.state, command, at)?;
        let state = std::mem::take(&mut self.state);
        self.state = events.iter().fold(state, D::evolve);
        let added = events.len();
        self.added.extend(events);
        Ok(added)
    }

    /// What was added stands in the store now.
    fn committed(&mut self) {
        self.version += self.added.len() as u64;
        if !self.added.is_empty() {
            self.before = self.state.clone();
            self.added.clear();
        }
    }
}

type Streams<D> = BTreeMap<String, Stream<D>>;

/// Open streams.
pub(crate) struct Ledger {
    touches: Streams<Touch>,
    pressures: Streams<Pressure>,
    recipients: Streams<Recipient>,
    reports: Streams<Report>,
    /// Also insist on what was only read.
    insists: bool,
}

impl Ledger {
    /// Opens touches and what belongs to their parties.
    pub(crate) async fn open(
        store: &Store,
        tenant: &str,
        touch_ids: &[String],
    ) -> Result<Self, Error> {
        Self::around(store, tenant, streams::<Touch>(store, tenant, touch_ids.to_vec()).await?)
            .await
    }

    /// Opens what belongs to the party of a touch that was read already.
    pub(crate) async fn of(
        store: &Store,
        tenant: &str,
        touch: Loaded<touch::State>,
    ) -> Result<Self, Error> {
        let touch_id = touch.state.request.touch_id.clone();
        Self::around(store, tenant, [(touch_id, Stream::loaded(touch))].into()).await
    }

    async fn around(store: &Store, tenant: &str, touches: Streams<Touch>) -> Result<Self, Error> {
        let parties: BTreeSet<String> = touches
            .values()
            .map(|it| it.state.request.party_id.clone())
            .filter(|it| !it.is_empty())
            .collect();
        let parties: Vec<String> = parties.into_iter().collect();
        let (standing, recipients) = futures::try_join!(
            view::pressure::of_parties(store.database(), tenant, &parties),
            streams::<Recipient>(store, tenant, parties.clone()),
        )?;
        let pressures = standing.into_iter().map(|it| Stream::new(it.version, it.state));
        let pressures = parties.into_iter().zip(pressures).collect();
        Ok(Self { touches, pressures, recipients, reports: Streams::new(), insists: false })
    }

    /// Opens, beside a party's own stream, those of everybody else who was ever reached at one of these contact points:
    /// one address, and what one of them said about it holds for all. Returns whose they are. What is found is insisted
    /// on like the party's own, so that whatever is said there meanwhile is seen before anything is committed.
    pub(crate) async fn open_neighbours(
        &mut self,
        store: &Store,
        tenant: &str,
        (own, same_address): (&str, &[String]),
    ) -> Result<Vec<String>, Error> {
        // A contact point is one party's: where nobody else has the address, nobody is asked.
        if same_address.iter().all(|it| it == own) {
            return Ok(Vec::new());
        }
        let parties =
            view::contact_point::parties_of(store.database(), tenant, same_address).await?;
        let others = parties.into_iter().filter(|it| !self.recipients.contains_key(it));
        let others: Vec<String> = others.collect();
        self.recipients.extend(streams::<Recipient>(store, tenant, others.clone()).await?);
        Ok(others)
    }

    /// The unit is refused if any of these streams changed meanwhile, those it adds nothing to included.
    pub(crate) fn insist(&mut self) {
        self.insists = true;
    }

    /// What was added stands in the store now, and more may be added. Nothing that was only read is insisted on any
    /// more: it was right when it counted.
    pub(crate) fn committed(&mut self) {
        self.insists = false;
        self.touches.values_mut().for_each(Stream::committed);
        self.pressures.values_mut().for_each(Stream::committed);
        self.recipients.values_mut().for_each(Stream::committed);
        self.reports.values_mut().for_each(Stream::committed);
    }

    pub(crate) fn touch(&self, touch_id: &str) -> touch::State {
        self.touches.get(touch_id).map(|it| it.state.clone()).unwrap_or_default()
    }

    pub(crate) fn pressure(&self, party_id: &str) -> pressure::State {
        self.pressures.get(party_id).map(|it| it.state.clone()).unwrap_or_default()
    }

    pub(crate) fn recipient(&self, party_id: &str) -> recipient::State {
        self.recipients.get(party_id).map(|it| it.state.clone()).unwrap_or_default()
    }

    /// Whether something was added.
    pub(crate) fn is_changed(&self) -> bool {
        self.touches.values().any(|it| !it.added.is_empty())
            || self.reports.values().any(|it| !it.added.is_empty())
    }

    /// The id under which a provider took a touch's message, when that is added here.
    pub(crate) fn taken_as(&self, touch_id: &str) -> Option<&str> {
        let id = self.touches.get(touch_id)?.added.iter().find_map(|it| match it {
            touch_event::Event::Sent(it) => Some(it.provider_id.as_str()),
            touch_event::Event::Resolved(it) => Some(it.provider_id.as_str()),
            _ => None,
        });
        id.filter(|it| !it.is_empty())
    }

    /// Lays reports that are kept to the touch that they are about.
    pub(crate) async fn lay(
        &mut self,
        store: &Store,
        tenant: &str,
        touch_id: &str,
        report_ids: Vec<String>,
        at: Timestamp,
    ) -> Result<(), Error> {
        let mut reports = streams::<Report>(store, tenant, report_ids).await?;
        let kept: Vec<_> = reports.values().filter_map(|it| it.state.kept()).collect();
        let keys = kept.iter().filter_map(|it| it.fact.as_ref());
        let keys = keys.map(|it| (it.provider.as_str(), it.provider_event_id.as_str()));
        let known = view::provider_event::known(store.database(), tenant, keys).await?;
        for stream in reports.values_mut() {
            let Some(fact) = stream.state.kept().and_then(convert::provider::fact) else {
                continue;
            };
            let key = (fact.source.provider.clone(), fact.source.provider_event_id.clone());
            let touch_id = match known.get(&key) {
                // It was recorded while it was being kept.
                Some(it) => it.touch_id.clone(),
                None => match self.decide(touch_id, touch::Command::Observe(fact), at) {
                    Ok(()) => touch_id.to_owned(),
                    Err(_) => continue,
                },
            };
            match stream.decide(report::Command::Place { touch_id }, at) {
                Ok(_) => {}
                Err(never) => match never {},
            }
        }
        self.reports = reports;
        Ok(())
    }

    /// Keeps reports, or keeps them no longer.
    pub(crate) async fn keep(
        &mut self,
        store: &Store,
        tenant: &str,
        wishes: BTreeMap<String, report::Command>,
        at: Timestamp,
    ) -> Result<(), Error> {
        if wishes.is_empty() {
            return Ok(());
        }
        let ids = wishes.keys().cloned().collect();
        self.reports = streams::<Report>(store, tenant, ids).await?;
        for (stream, wish) in self.reports.values_mut().zip(wishes.into_values()) {
            match stream.decide(wish, at) {
                Ok(_) => {}
                Err(never) => match never {},
            }
        }
        Ok(())
    }

    /// Decides a command on a touch, and what follows from it for its party.
    pub(crate) fn decide(
        &mut self,
        touch_id: &str,
        command: touch::Command,
        at: Timestamp,
    ) -> Result<(), touch::Refusal> {
        let stream = self.touches.get_mut(touch_id).ok_or(touch::Refusal::Unknown)?;
        let added = stream.decide(command, at)?;
        let state = stream.state.clone();
        let events = stream.added[stream.added.len() - added..].to_vec();
        for event in &events {
            self.follow(&state, event, at);
        }
        Ok(())
    }

    fn follow(&mut self, state: &touch::State, event: &touch_event::Event, at: Timestamp) {
        let party_id = &state.request.party_id;
        if let (Some(command), Some(stream)) =
            (pressure_of(state, event, at), self.pressures.get_mut(party_id))
        {
            match stream.decide(command, at) {
                Ok(_) => {}
                Err(never) => match never {},
            }
        }
        if let (Some(command), Some(stream)) =
            (suppression_of(state, event), self.recipients.get_mut(party_id))
        {
            // Suppressing is never refused; it may be so already.
            let _ = stream.decide(recipient::Command::Suppress(command), at);
        }
    }

    /// Everything that was added, as one unit.
    pub(crate) async fn unit(&self, store: &Store, meta: Metadata) -> Result<Unit, UnitError> {
        let mut unit = store.unit(meta);
        push(&mut unit, &self.touches, true).await?;
        push(&mut unit, &self.pressures, self.insists).await?;
        push(&mut unit, &self.recipients, self.insists).await?;
        push(&mut unit, &self.reports, self.insists).await?;
        unit.finish()
    }
}

async fn streams<D: Decider>(
    store: &Store,
    tenant: &str,
    ids: Vec<String>,
) -> Result<Streams<D>, Error> {
    let loaded = match ids.as_slice() {
        // Read together with those that other firings want at the same time.
        [only] => vec![store.load::<D>(tenant, only, AsOf::Now).await?],
        many => store.load_many::<D>(tenant, many).await?,
    };
    Ok(ids.into_iter().zip(loaded.into_iter().map(Stream::loaded)).collect())
}

async fn push<D: Decider>(
    unit: &mut eventstore::UnitBuilder,
    streams: &Streams<D>,
    insists: bool,
) -> Result<(), UnitError> {
    for (id, stream) in streams {
        if insists || !stream.added.is_empty() {
            let added = stream.added.clone();
            unit.push::<D>(id, stream.version, &stream.before, added).await?;
        }
    }
    Ok(())
}

/// What a fact about a touch does to the places it takes.
fn pressure_of(
    state: &touch::State,
    event: &touch_event::Event,
    at: Timestamp,
) -> Option<pressure::Command> {
    use touch_event::Event as E;
    let request = &state.request;
    let release = |reason: &str| {
        let (touch_id, reason) = (request.touch_id.clone(), reason.to_owned());
        Some(pressure::Command::Release { touch_id, reason })
    };
    match event {
        // Safety communication is no pressure: it takes no place.
        E::Ready(it) if it.content_class() == ContentClass::SafetyCommunication => None,
        E::Ready(it) => Some(pressure::Command::Reserve(ContactReserved {
            touch_id: request.touch_id.clone(),
            channel: request.channel,
            product_id: it.product_id.clone(),
            reserved: it.reserved.clone(),
            reserved_at: Some(at.to_proto()),
        })),
        E::Skipped(it) => release(&it.reason),
        // What may have gone out already counts until it is known.
        E::Deferred(_) if state.in_doubt => None,
        E::Deferred(_) => release("deferred"),
        E::Failed(it) => release(&it.code),
        E::Resolved(it) if !it.sent => release(&it.reason),
        E::TaskExpired(_) => release("expired"),
        // Who had taken it on may have said it.
        E::TaskWithdrawn(it) if !it.accepted => release(&it.reason),
        _ => None,
    }
}

/// Whom a fact about a touch suppresses. An unsubscription ends one sender's messages for one purpose, a complaint the
/// whole channel, a dead address everything that would go there.
fn suppression_of(state: &touch::State, event: &touch_event::Event) -> Option<RecipientSuppressed> {
    use touch_event::Event as E;
    let request = &state.request;
    let (cause, sender_id, purpose) = match event {
        E::Unsubscribed(it) => {
            (SuppressionCause::Unsubscribed, request.sender_id.clone(), it.purpose())
        }
        E::Complained(_) => (SuppressionCause::Complained, String::new(), Purpose::Unspecified),
        E::Bounced(it) if it.hard => {
            (SuppressionCause::Bounced, String::new(), Purpose::Unspecified)
        }
        _ => return None,
    };
    Some(RecipientSuppressed {
        suppression_id: suppression_id(cause, &request.touch_id),
        cause: cause.into(),
        party_id: request.party_id.clone(),
        channel: request.channel,
        contact_point_id: state.ready.contact_point_id.clone(),
        sender_id,
        touch_id: request.touch_id.clone(),
        purpose: purpose.into(),
        suppressed_at: provider_fact(event).and_then(|it| it.occurred_at),
    })
}

/// `unsubscribed/<touch id>`.
fn suppression_id(cause: SuppressionCause, touch_id: &str) -> String {
    let name = cause.as_str_name().trim_start_matches("SUPPRESSION_CAUSE_").to_ascii_lowercase();
    format!("{name}/{touch_id}")
}

#[cfg(test)]
mod tests {
    use rapport_proto::delivery::v1::TouchDeferred;

    use super::*;

    #[test]
    fn a_touch_that_may_have_left_keeps_its_place_while_it_is_put_off() {
        let deferred = touch_event::Event::Deferred(TouchDeferred::default());
        let place = |in_doubt| {
            let state = touch::State { in_doubt, ..touch::State::default() };
            pressure_of(&state, &deferred, Timestamp(1))
        };
        assert!(matches!(place(false), Some(pressure::Command::Release { .. })));
        assert!(place(true).is_none());
    }
}
