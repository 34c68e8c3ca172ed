//! A new version of a segment, or of a trait that segments use: everybody is looked at. A rule pack that begins or
//! ends: everybody in its market.
//!
//! The work is one timer, stated by the event. It ends with the unit that fires the timer. A version that is replaced
//! meanwhile ends it: its successor looks at everybody.

use eventstore::{Error, Metadata, Outcome, Store, Timer, Timestamp};

use super::definitions::{Definitions, Live, LiveSegment};
use super::path::Occasion;
use super::sweep::sweep;
use crate::view::definition::Kind;
use crate::view::party::Filter;

/// Looks at everybody for a version that is new.
pub(crate) async fn recompute(
    definitions: &Definitions,
    store: &Store,
    timer: &Timer,
    meta: Metadata,
) -> Result<(), Error> {
    let version = Version::parse(&timer.key.id)
        .ok_or_else(|| Error::corrupt(format!("no version: {}", timer.key.id)))?;
    sweep(definitions, store, &meta, &Filter::EVERYBODY, |live| {
        let (at, position) = version.activation(live)?;
        Some((Occasion::Sweep { at, position }, version.segments(live)))
    })
    .await?;
    finish(store, meta).await
}

/// Looks at everybody in the market of a rule pack that begins or ends. When it does so later, that is a turn like any
/// other that time brings. Its position is none of this service's, so it is no cause in a crossing.
pub(crate) async fn judge(
    definitions: &Definitions,
    store: &Store,
    timer: &Timer,
    meta: Metadata,
) -> Result<(), Error> {
    let market = timer.stream.split_once('/').map(|it| it.1);
    let market = market.ok_or_else(|| Error::corrupt(format!("no rule pack: {}", timer.stream)))?;
    let filter = Filter { market, ..Filter::EVERYBODY };
    let occasion = Occasion::Sweep { at: timer.key.due_at, position: 0 };
    sweep(definitions, store, &meta, &filter, |live| {
        let asking = live.segments.values().filter(|it| !it.needs.questions.is_empty());
        let asking: Vec<_> = asking.map(|it| &**it).collect();
        (!asking.is_empty()).then_some((occasion, asking))
    })
    .await?;
    finish(store, meta).await
}

/// Nothing is left to do: the timer has fired.
async fn finish(store: &Store, meta: Metadata) -> Result<(), Error> {
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
