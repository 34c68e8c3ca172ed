//! A membership's timer: time alone may have moved the party.

use eventstore::{Error, Metadata, Outcome, Store, Timer, Timestamp, consumer, values};

use super::definitions::{Definitions, Live, LiveSegment};
use super::facts::{self, Asked, Needs};
use super::path::Occasion;
use super::reactor::CONSUMER;
use super::settle::{self, Step, horizon};
use crate::domain::membership;
use crate::view;
use crate::view::membership::Held;

/// How often the membership is looked at again after somebody else changed it.
const TRIES: usize = 5;

/// Looks at a party and segment at the instant the timer was due.
pub(crate) async fn cross(
    definitions: &Definitions,
    store: &Store,
    timer: &Timer,
    meta: Metadata,
) -> Result<(), Error> {
    let id = timer.stream.split_once('/').map(|it| it.1).and_then(membership::parts);
    let (party_id, segment_id) =
        id.ok_or_else(|| Error::corrupt(format!("no membership: {}", timer.stream)))?;
    let (tenant, due_at) = (meta.tenant.as_str(), timer.key.due_at);
    if is_awaited(store, tenant, party_id, due_at).await? {
        return Err(Error::unavailable("what happened before is not followed yet"));
    }
    for _ in 0..TRIES {
        // Read before the definitions and the rule packs: whoever moved it knew no newer ones.
        let held =
            view::membership::of(store.database(), tenant, &[(party_id, segment_id)]).await?;
        let held = held.into_values().next().unwrap_or_default();
        let live = definitions.live(tenant).await?;
        // What stands only since then looks at everybody itself.
        let segment = live.segments.get(segment_id).filter(|it| it.stands.at < due_at);
        let step = match segment {
            Some(segment) => step(store, &live, tenant, (party_id, segment, held), due_at).await?,
            None => None,
        };
        let unit = settle::unit(store, &live, meta.clone(), step.as_slice()).await?;
        match store.append(unit).await {
            Outcome::Committed { .. }
            | Outcome::Repeated { .. }
            | Outcome::RequestReused
            // Moved, or another replica fired it.
            | Outcome::Superseded => return Ok(()),
            Outcome::Conflict => {}
            Outcome::Refused(reason) => return Err(Error::refused(reason)),
            Outcome::Failed(error) => return Err(error),
        }
    }
    Err(Error::unavailable(format!("{} kept changing", timer.stream)))
}

/// What is new about a membership at an instant: what was recorded before it is seen.
async fn step<'l>(
    store: &Store,
    live: &'l Live,
    tenant: &str,
    (party_id, segment, mut held): (&str, &'l LiveSegment, Held),
    due_at: Timestamp,
) -> Result<Option<Step<'l>>, Error> {
    // Who crossed since was followed past this instant.
    if held.state.since >= due_at {
        return Ok(None);
    }
    let until = recorded(store, tenant, party_id, due_at).await?;
    let needs = Needs::of_party(std::iter::once(&*segment.needs));
    let asked = [Asked::new(party_id, &needs)];
    let (facts, _) = facts::load_until(store, live, tenant, &asked, (due_at, until)).await?;
    let look =
        |facts| Step::of(facts, segment, &mut held, Occasion::Time { due_at }, horizon(store));
    Ok(facts.first().and_then(look))
}

/// Position of the last event about a party that was recorded before an instant.
async fn recorded(
    store: &Store,
    tenant: &str,
    party_id: &str,
    before: Timestamp,
) -> Result<u64, Error> {
    let rows = store
        .query(
            "SELECT position FROM event
             WHERE tenant = $1 AND party_id = $2 AND party_id <> '' AND recorded_at < $3
             ORDER BY position DESC LIMIT 1",
            values![tenant, party_id, before],
        )
        .await?;
    rows.first().map_or(Ok(0), |row| row.count(0))
}

/// Whether the reactor has still to follow something about the party that was recorded before an instant: what that
/// moves crosses first, whoever is late.
async fn is_awaited(
    store: &Store,
    tenant: &str,
    party_id: &str,
    before: Timestamp,
) -> Result<bool, Error> {
    let followed = consumer::read_checkpoint(store, CONSUMER, store.source()).await?.position;
    let rows = store
        .query(
            "SELECT recorded_at FROM event
             WHERE tenant = $1 AND party_id = $2 AND party_id <> '' AND position > $3
                 AND stream NOT LIKE 'membership/%'
             ORDER BY position LIMIT 1",
            values![tenant, party_id, followed],
        )
        .await?;
    rows.first().map_or(Ok(false), |row| Ok(row.time(0)? < before))
}
