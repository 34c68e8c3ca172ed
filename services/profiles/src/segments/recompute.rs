//! A new version of a segment, or of a trait that segments use: everybody is looked at.
//!
//! The work is one timer, stated by the version's own event. It goes over the parties page by page, each page in units
//! of its own, and ends with the unit that fires the timer. After a crash it starts over: who was moved before is not
//! moved again, so only reading is repeated.

use eventstore::{Error, Metadata, Outcome, Store, Timer, Timestamp};
use rapport_proto::profiles::v1::party;
use rapport_proto::types::PartyKind;

use super::definitions::{Definitions, Live, LiveSegment};
use super::facts::Needs;
use super::path::Occasion;
use super::settle::{self, Look};
use crate::view;
use crate::view::definition::Kind;
use crate::view::party::Filter;

/// Parties in a page.
const PAGE: u32 = 100;
/// How often a page is looked at again after somebody else changed a membership of it.
const TRIES: usize = 5;
/// Every party.
const EVERYBODY: Filter<'_> =
    Filter { kind: PartyKind::Unspecified, market: "", state: party::State::Unspecified };

/// Looks at everybody for a version that is new.
pub(crate) async fn recompute(
    definitions: &Definitions,
    store: &Store,
    timer: &Timer,
    meta: Metadata,
) -> Result<(), Error> {
    let version = Version::parse(&timer.key.id)
        .ok_or_else(|| Error::corrupt(format!("no version: {}", timer.key.id)))?;
    let mut after = 0;
    loop {
        let page = view::party::list(store.database(), &meta.tenant, &EVERYBODY, after, PAGE).await?;
        let Some((_, last)) = page.last() else { break };
        after = *last;
        let party_ids: Vec<_> = page.into_iter().map(|(id, _)| id).collect();
        let meta = Metadata { at: store.clock().now(), ..meta.clone() };
        if !look_at(definitions, store, version, &meta, &party_ids).await? {
            break;
        }
    }
    let done = store.unit(meta).finish();
    let done = done.map_err(|error| Error::corrupt(format!("nothing makes no unit: {error}")))?;
    match store.append(done).await {
        Outcome::Failed(error) => Err(error),
        Outcome::Refused(reason) => Err(Error::refused(reason)),
        Outcome::Committed { .. }
        | Outcome::Repeated { .. }
        | Outcome::RequestReused
        | Outcome::Conflict
        | Outcome::Superseded => Ok(()),
    }
}

/// Looks at a page of parties; `false` when the version is no longer live, and its successor looks at everybody.
async fn look_at(
    definitions: &Definitions,
    store: &Store,
    version: Version<'_>,
    meta: &Metadata,
    party_ids: &[String],
) -> Result<bool, Error> {
    for _ in 0..TRIES {
        let live = definitions.live(&meta.tenant).await?;
        let Some((at, position)) = version.activation(&live) else { return Ok(false) };
        let segments = version.segments(&live);
        let needs = Needs { party: true, ..Needs::of(segments.iter().map(|it| &it.needs)) };
        let occasion = Occasion::Event { at, position };
        let look = Look { tenant: &meta.tenant, party_ids, occasion, now: meta.at };
        let steps = settle::steps(store, &live, &segments, &needs, &look).await?;
        let mut done = true;
        for part in settle::cut(&steps) {
            done &= settle::append_part(store, &live, meta, part).await?;
        }
        if done {
            return Ok(true);
        }
    }
    Err(Error::unavailable("memberships kept changing"))
}

/// The version that is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version<'a> {
    kind: Kind,
    id: &'a str,
    version: u32,
}

impl<'a> Version<'a> {
    /// Reads the id of a timer: `<stream>/<version>`.
    fn parse(timer_id: &'a str) -> Option<Self> {
        let (stream, version) = timer_id.rsplit_once('/')?;
        let (kind, id) = stream.split_once('/')?;
        Some(Self { kind: Kind::parse(kind)?, id, version: version.parse().ok()? })
    }

    /// When and where it went live; nothing when another version is.
    fn activation(&self, live: &Live) -> Option<(Timestamp, u64)> {
        let (version, at, position) = match self.kind {
            Kind::Trait => {
                live.traits.get(self.id).map(|it| (it.version, it.live_at, it.position))?
            }
            Kind::Segment => {
                live.segments.get(self.id).map(|it| (it.version, it.live_at, it.position))?
            }
        };
        (version == self.version).then_some((at, position))
    }

    fn segments<'l>(&self, live: &'l Live) -> Vec<&'l LiveSegment> {
        let uses = |it: &&LiveSegment| match self.kind {
            Kind::Trait => it.needs.traits.contains(self.id),
            Kind::Segment => it.definition.id == self.id,
        };
        live.segments.values().map(|it| &**it).filter(uses).collect()
    }
}
