//! From looks to units of membership events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use eventstore::{Error, Metadata, Outcome, Store, Timestamp, Unit, UnitError};
use rapport_proto::profiles::v1::membership_event::Event;

use super::definitions::{Live, LiveSegment};
use super::facts::Facts;
use super::path::{Occasion, look};
use crate::domain::membership::{self, Membership, State};
use crate::domain::segment::{self, SegmentDefinition};
use crate::domain::trait_definition::{self, TraitDefinition};
use crate::view::membership::Held;

/// Events in a unit.
const MOST_EVENTS: usize = 256;
/// A timer that is due within this time may fire before what is found now is written.
const SOON: Duration = Duration::from_secs(60);

/// Timers that are due after this instant are certain to stand when what is found now is written.
pub(super) fn horizon(store: &Store) -> Timestamp {
    store.clock().now().plus(SOON)
}

/// What is to be appended to one membership.
pub(super) struct Step<'l> {
    segment: &'l LiveSegment,
    id: String,
    /// Version and state of the stream before.
    version: u64,
    state: State,
    events: Vec<Event>,
}

impl<'l> Step<'l> {
    /// Looks at a party and segment, and moves the membership on; nothing when nothing is new.
    pub(super) fn of(
        facts: &Facts<'_>,
        segment: &'l LiveSegment,
        held: &mut Held,
        occasion: Occasion,
        horizon: Timestamp,
    ) -> Option<Self> {
        let (version, state) = (held.stream_version, held.state.clone());
        let events = look(facts, segment, &mut held.state, occasion, horizon);
        held.stream_version += events.len() as u64;
        held.timer_stands |= events.iter().any(|it| matches!(it, Event::CrossingExpected(_)));
        let id = || membership::id(&facts.party_id, &segment.definition.id);
        (!events.is_empty()).then(|| Self { segment, id: id(), version, state, events })
    }

    /// Takes what the next look at the same membership found.
    pub(super) fn join(&mut self, next: Self) {
        self.events.extend(next.events);
    }
}

/// Cuts steps into units' worth.
pub(super) fn cut<'s, 'l>(mut steps: &'s [Step<'l>]) -> Vec<&'s [Step<'l>]> {
    let mut parts = Vec::new();
    while !steps.is_empty() {
        let mut events = 0;
        let fits = steps.iter().take_while(|step| {
            events += step.events.len();
            events <= MOST_EVENTS
        });
        let (part, rest) = steps.split_at(fits.count().max(1));
        parts.push(part);
        steps = rest;
    }
    parts
}

/// The unit of some steps. It holds only while the definitions they were found by are live: whoever replaces one looks
/// at everybody afterwards.
pub(super) async fn unit(
    store: &Store,
    live: &Live,
    meta: Metadata,
    steps: &[Step<'_>],
) -> Result<Unit, Error> {
    let mut unit = store.unit(meta);
    for Step { id, version, state, events, .. } in steps {
        unit.push::<Membership>(id, *version, state, events.clone()).await.map_err(refused)?;
    }
    let segments: BTreeMap<_, _> =
        steps.iter().map(|it| (&it.segment.definition.id, it.segment.version)).collect();
    for (id, version) in segments {
        let state = segment::State::default();
        unit.push::<SegmentDefinition>(id, version.into(), &state, Vec::new())
            .await
            .map_err(refused)?;
    }
    let traits: BTreeSet<_> = steps.iter().flat_map(|it| &it.segment.needs.traits).collect();
    for (id, it) in traits.into_iter().filter_map(|id| live.traits.get_key_value(id)) {
        let state = trait_definition::State::default();
        unit.push::<TraitDefinition>(id, it.version.into(), &state, Vec::new())
            .await
            .map_err(refused)?;
    }
    unit.finish().map_err(refused)
}

/// Appends a part of a larger work: its request id follows from what it expects, so that only the very same part is
/// ever taken for a repeat. `false` when somebody else was faster.
pub(super) async fn append_part(
    store: &Store,
    live: &Live,
    meta: &Metadata,
    steps: &[Step<'_>],
) -> Result<bool, Error> {
    let expected: Vec<_> = steps.iter().map(|it| format!("{}@{}", it.id, it.version)).collect();
    let digest = eventstore::hex(&eventstore::digest(expected.join(" ").as_bytes()));
    let meta = Metadata {
        request_id: format!("{}/p{}", meta.request_id, &digest[..16]),
        fires: None,
        moves: None,
        ..meta.clone()
    };
    match store.append(unit(store, live, meta, steps).await?).await {
        Outcome::Committed { .. } | Outcome::Repeated { .. } | Outcome::RequestReused => Ok(true),
        Outcome::Conflict | Outcome::Superseded => Ok(false),
        Outcome::Refused(reason) => Err(Error::refused(reason)),
        Outcome::Failed(error) => Err(error),
    }
}

fn refused(error: UnitError) -> Error {
    match error {
        UnitError::Store(error) => error,
        other => Error::corrupt(format!("memberships make no unit: {other}")),
    }
}
