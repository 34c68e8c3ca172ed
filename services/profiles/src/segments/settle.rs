//! From evaluations to units of membership events.

use std::collections::{BTreeMap, BTreeSet};

use eventstore::{Decider as _, Error, Metadata, Outcome, Store, Timestamp, Unit, UnitError};
use rapport_proto::profiles::v1::membership_event::Event;

use super::definitions::{Live, LiveSegment};
use super::facts::{self, Needs};
use super::path::{Occasion, follow};
use crate::domain::membership::{self, Command, Membership};
use crate::domain::segment::{self, SegmentDefinition};
use crate::domain::trait_definition::{self, TraitDefinition};
use crate::view;
use crate::view::membership::Held;

/// Events in a unit.
const MOST_EVENTS: usize = 256;

/// What is to be appended to one membership.
pub(crate) struct Step<'l> {
    segment: &'l LiveSegment,
    id: String,
    held: Held,
    events: Vec<Event>,
}

/// Who is looked at, and why.
pub(crate) struct Look<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) party_ids: &'a [String],
    pub(crate) occasion: Occasion,
    pub(crate) now: Timestamp,
}

/// Evaluates segments for parties: what is new about their memberships.
pub(crate) async fn steps<'l>(
    store: &Store,
    live: &'l Live,
    segments: &[&'l LiveSegment],
    needs: &Needs,
    look: &Look<'_>,
) -> Result<Vec<Step<'l>>, Error> {
    let Look { tenant, party_ids, occasion, now } = *look;
    let mut held = view::membership::of_parties(store.database(), tenant, party_ids).await?;
    let (until, seen) = match occasion {
        Occasion::Event { at, position } => {
            forget_fired(store, tenant, &mut held, (at, now)).await?;
            (position, at)
        }
        Occasion::Time { due_at } => (recorded(store, tenant, party_ids, due_at).await?, due_at),
        Occasion::Sweep { .. } => (u64::MAX, now),
    };
    let reach = (occasion.at(), until);
    let facts = facts::load_until(store, live, tenant, party_ids, needs, reach).await?;
    let mut steps = Vec::new();
    for facts in &facts {
        for segment in segments {
            let (party_id, segment_id) = (&facts.party_id, &segment.definition.id);
            let held = held.remove(&(party_id.clone(), segment_id.clone())).unwrap_or_default();
            let found = follow(facts, segment, &held.state, occasion, now);
            let events = match Membership::decide(&held.state, Command::Settle(found), seen) {
                Ok(events) => events,
                Err(never) => match never {},
            };
            if !events.is_empty() {
                let id = membership::id(party_id, segment_id);
                steps.push(Step { segment, id, held, events });
            }
        }
    }
    Ok(steps)
}

type Memberships = BTreeMap<(String, String), Held>;

/// Forgets timers that were due between an event and now and have fired: they expect nothing any more.
async fn forget_fired(
    store: &Store,
    tenant: &str,
    held: &mut Memberships,
    (at, now): (Timestamp, Timestamp),
) -> Result<(), Error> {
    let due = |it: &Held| it.state.due_at.is_some_and(|due_at| at < due_at && due_at <= now);
    if !held.values().any(due) {
        return Ok(());
    }
    let standing = standing(store, tenant, held).await?;
    for (key, it) in held.iter_mut().filter(|(_, it)| due(it)) {
        it.state.due_at = it.state.due_at.filter(|due_at| standing.get(key) == Some(due_at));
    }
    Ok(())
}

/// The timers of these memberships that have not fired.
async fn standing(
    store: &Store,
    tenant: &str,
    held: &Memberships,
) -> Result<BTreeMap<(String, String), Timestamp>, Error> {
    let timer = |(party_id, segment_id): &(String, String)| {
        format!("{}/{}", Membership::AGGREGATE, membership::id(party_id, segment_id))
    };
    let names: BTreeMap<String, _> = held.keys().map(|it| (timer(it), it)).collect();
    let keys: Vec<_> = names.keys().map(|it| eventstore::values![tenant, it]).collect();
    let rows = store
        .database()
        .query_keys(
            "k(tenant, id)",
            &keys,
            "SELECT t.id, t.due_at FROM k JOIN timer t ON t.tenant = k.tenant AND t.id = k.id",
        )
        .await?;
    let mut standing = BTreeMap::new();
    for row in &rows {
        if let Some(key) = names.get(row.text(0)?) {
            standing.insert((*key).clone(), row.time(1)?);
        }
    }
    Ok(standing)
}

/// Which of these segments were to be looked at by an instant and were not yet, and when.
pub(crate) async fn overdue<'l>(
    store: &Store,
    tenant: &str,
    party_id: &str,
    segments: &[&'l LiveSegment],
    at: Timestamp,
) -> Result<Vec<(&'l LiveSegment, Timestamp)>, Error> {
    let mut held =
        view::membership::of_parties(store.database(), tenant, &[party_id.to_owned()]).await?;
    let concerned = |id: &str| segments.iter().any(|it| it.definition.id == id);
    held.retain(|(_, segment_id), it| {
        let due = it.state.due_at.is_some_and(|due_at| due_at <= at && it.state.since < due_at);
        due && concerned(segment_id)
    });
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let standing = standing(store, tenant, &held).await?;
    let due = segments.iter().filter_map(|it| {
        let key = (party_id.to_owned(), it.definition.id.clone());
        Some((*it, *standing.get(&key).filter(|due_at| **due_at <= at)?))
    });
    Ok(due.collect())
}

/// Position of the last event about these parties that was recorded before an instant.
async fn recorded(
    store: &Store,
    tenant: &str,
    party_ids: &[String],
    before: Timestamp,
) -> Result<u64, Error> {
    let mut last = 0;
    for party_id in party_ids {
        let rows = store
            .query(
                "SELECT position FROM event
                 WHERE tenant = $1 AND party_id = $2 AND party_id <> '' AND recorded_at < $3
                 ORDER BY position DESC LIMIT 1",
                eventstore::values![tenant, party_id, before],
            )
            .await?;
        last = rows.first().map_or(Ok(0), |row| row.count(0))?.max(last);
    }
    Ok(last)
}

/// Cuts steps into units' worth.
pub(crate) fn cut<'s, 'l>(mut steps: &'s [Step<'l>]) -> Vec<&'s [Step<'l>]> {
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
pub(crate) async fn unit(
    store: &Store,
    live: &Live,
    meta: Metadata,
    steps: &[Step<'_>],
) -> Result<Unit, Error> {
    let mut unit = store.unit(meta);
    for Step { id, held, events, .. } in steps {
        unit.push::<Membership>(id, held.stream_version, &held.state, events.clone())
            .await
            .map_err(refused)?;
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
pub(crate) async fn append_part(
    store: &Store,
    live: &Live,
    meta: &Metadata,
    steps: &[Step<'_>],
) -> Result<bool, Error> {
    let expected: Vec<_> =
        steps.iter().map(|it| format!("{}@{}", it.id, it.held.stream_version)).collect();
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
