//! Looking at everybody, page by page: a new version of a segment or of a trait that segments use concerns everybody, a
//! rule pack that begins or ends everybody in its market.
//!
//! The work is one timer, stated by the event. It ends with the unit that fires the timer. A version that is replaced
//! meanwhile ends it: its successor looks at everybody. Each page is committed in units of its own, and who was moved
//! before is not moved again: after a crash the sweep starts over and only reading is repeated.
//!
//! A party is judged by what the reactor has followed, never by what it will follow later: it would take that back,
//! event by event. While the sweep stands the reactor does for each party that it comes to what the sweep would do, so
//! that of the two, which may look at a party at the same time, the later one finds that it was moved.

use eventstore::{Error, Metadata, Outcome, Store, Timer, Timestamp, consumer, values};

use super::definitions::{Definitions, Live, LiveSegment, Moment};
use super::facts::{self, Asked, Needs};
use super::path::Occasion;
use super::reactor::CONSUMER;
use super::settle::{self, Step, horizon};
use crate::view;
use crate::view::definition::Kind;
use crate::view::membership::Memberships;
use crate::view::pack::JUDGE;
use crate::view::party::Filter;
use crate::view::segments::RECOMPUTE;

/// Parties in a page.
const PAGE: u32 = 100;
/// How often a page is looked at again after somebody else changed a membership of it.
const TRIES: usize = 20;

/// Looks at everybody whom a timer's cause concerns.
pub(crate) async fn sweep(
    definitions: &Definitions,
    store: &Store,
    timer: &Timer,
    meta: Metadata,
) -> Result<(), Error> {
    let reason = Reason::of(&timer.kind, &timer.key.id, &timer.stream)
        .ok_or_else(|| Error::corrupt(format!("no reason for a sweep: {}", timer.key.id)))?;
    let market = if let Reason::Pack { market } = reason { market } else { "" };
    let filter = Filter { market, ..Filter::EVERYBODY };
    let mut after = 0;
    loop {
        let page = view::party::list(store.database(), &meta.tenant, &filter, after, PAGE).await?;
        let Some((_, last)) = page.last() else { break };
        after = *last;
        let party_ids: Vec<_> = page.into_iter().map(|(id, _)| id).collect();
        // A long sweep goes with the time.
        let meta = Metadata { at: store.clock().now(), ..meta.clone() };
        let over =
            !look_at(definitions, store, &meta, (reason, timer.key.due_at), &party_ids).await?;
        if over {
            break;
        }
    }
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

/// Looks at a page of parties; `false` when nothing is wanted of it any more.
async fn look_at(
    definitions: &Definitions,
    store: &Store,
    meta: &Metadata,
    (reason, due_at): (Reason<'_>, Timestamp),
    party_ids: &[String],
) -> Result<bool, Error> {
    for _ in 0..TRIES {
        let live = definitions.live(&meta.tenant).await?;
        let Some(sweep) = Sweep::new(reason, due_at, &live) else { return Ok(false) };
        let pairs = sweep.pairs(party_ids);
        let held = view::membership::of(store.database(), &meta.tenant, &pairs).await?;
        if !definitions.are_still(&live, &meta.tenant).await? {
            continue;
        }
        let steps = steps(store, &live, &meta.tenant, &sweep, (party_ids, held)).await?;
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

/// What is new about the memberships of a page. They were read before: who is moved meanwhile is looked at again.
async fn steps<'l>(
    store: &Store,
    live: &'l Live,
    tenant: &str,
    sweep: &Sweep<'l>,
    (party_ids, mut held): (&[String], Memberships),
) -> Result<Vec<Step<'l>>, Error> {
    let segments = &sweep.segments;
    let followed = consumer::read_checkpoint(store, CONSUMER, store.source()).await?.position;
    let until = followed.max(sweep.cause.position);
    let needs = Needs::of_party(segments.iter().map(|it| &*it.needs));
    let asked: Vec<_> = party_ids.iter().map(|id| Asked::new(id, &needs)).collect();
    let (seen, (facts, _)) = futures::try_join!(
        last_seen(store, tenant, party_ids, until),
        facts::load_until(store, live, tenant, &asked, (sweep.cause.at, until))
    )?;
    let (horizon, mut steps) = (horizon(store), Vec::new());
    for (facts, seen) in facts.iter().zip(seen) {
        let Moment { position, at } = sweep.cause;
        let occasion = Occasion::Event { at: at.max(seen), position };
        for segment in segments {
            let key = (facts.party_id.clone(), segment.definition.id.clone());
            let mut held = held.remove(&key).unwrap_or_default();
            steps.extend(Step::of(facts, segment, &mut held, occasion, horizon));
        }
    }
    Ok(steps)
}

/// Over keys `k(number, tenant, party_id, until)`.
pub(crate) const LAST_SEEN: &str = "SELECT k.number, COALESCE((SELECT e.recorded_at FROM event e
         WHERE e.tenant = k.tenant AND e.party_id = k.party_id AND e.party_id <> ''
             AND e.position <= k.until AND e.stream NOT LIKE 'membership/%'
         ORDER BY e.position DESC LIMIT 1), 0)
     FROM k";

/// When the last thing that was recorded about each of these parties up to a position was: its memberships stand as
/// they are since then.
async fn last_seen(
    store: &Store,
    tenant: &str,
    party_ids: &[String],
    until: u64,
) -> Result<Vec<Timestamp>, Error> {
    let keys: Vec<_> =
        (0_u64..).zip(party_ids).map(|(number, id)| values![number, tenant, id, until]).collect();
    let rows =
        store.database().query_keys("k(number, tenant, party_id, until)", &keys, LAST_SEEN).await?;
    let mut seen = vec![Timestamp(0); party_ids.len()];
    for row in &rows {
        let number = usize::try_from(row.count(0)?).unwrap_or_default();
        if let Some(seen) = seen.get_mut(number) {
            *seen = row.time(1)?;
        }
    }
    Ok(seen)
}

/// By the beginnings of their ids, of which the timers have an index.
pub(crate) const STANDING: &str = "SELECT kind, id, stream, due_at FROM timer
     WHERE tenant = $1 AND kind IN ('segment.recompute', 'segment.judge')
         AND ((id >= 'rule_pack/' AND id < 'rule_pack0')
             OR (id >= 'segment/' AND id < 'segment0')
             OR (id >= 'trait/' AND id < 'trait0'))";

/// The sweeps of a tenant that are not over.
pub(super) async fn standing<'l>(
    store: &Store,
    live: &'l Live,
    tenant: &str,
) -> Result<Vec<Sweep<'l>>, Error> {
    let rows = store.query(STANDING, values![tenant]).await?;
    let mut standing = Vec::new();
    for row in &rows {
        if let Some(reason) = Reason::of(row.text(0)?, row.text(1)?, row.text(2)?) {
            standing.extend(Sweep::new(reason, row.time(3)?, live));
        }
    }
    Ok(standing)
}

/// Why parties are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason<'t> {
    /// A version is new.
    Version { kind: Kind, id: &'t str, version: u32 },
    /// A rule pack begins or ends.
    Pack { market: &'t str },
}

impl<'t> Reason<'t> {
    /// Reads a timer: `<stream>/<version>` names a version, and the stream of a rule pack its market.
    fn of(timer_kind: &str, timer_id: &'t str, stream: &'t str) -> Option<Self> {
        if timer_kind == JUDGE {
            return Some(Self::Pack { market: stream.split_once('/')?.1 });
        }
        let (stream, version) = timer_id.rsplit_once('/').filter(|_| timer_kind == RECOMPUTE)?;
        let (kind, id) = stream.split_once('/')?;
        Some(Self::Version { kind: Kind::parse(kind)?, id, version: version.parse().ok()? })
    }
}

/// A sweep, and what it looks at.
pub(super) struct Sweep<'l> {
    /// When it began to be needed, and which event is the cause. A rule pack is none of this service's events; when it
    /// takes effect later, that is a turn like any other that time brings.
    pub(super) cause: Moment,
    segments: Vec<&'l LiveSegment>,
}

impl<'l> Sweep<'l> {
    /// Nothing when another version is live, or no segment is concerned.
    fn new(reason: Reason<'_>, due_at: Timestamp, live: &'l Live) -> Option<Self> {
        let same = |version: u32, stated: u32| version == stated;
        let (cause, segments): (Moment, Vec<_>) = match reason {
            Reason::Version { kind: Kind::Trait, id, version } => {
                let known = live.traits.get(id).filter(|it| same(it.version, version))?;
                let using = live.segments.values().filter(|it| it.needs.traits.contains(id));
                (known.went_live, using.collect())
            }
            Reason::Version { kind: Kind::Segment, id, version } => {
                let known = live.segments.get(id).filter(|it| same(it.version, version))?;
                (known.went_live, vec![known])
            }
            Reason::Pack { .. } => {
                let asking = live.segments.values().filter(|it| !it.needs.questions.is_empty());
                (Moment { position: 0, at: due_at }, asking.collect())
            }
        };
        (!segments.is_empty()).then_some(Self { cause, segments })
    }

    /// Every party with every segment.
    fn pairs<'p>(&'p self, party_ids: &'p [String]) -> Vec<(&'p str, &'p str)> {
        let ids = self.segments.iter().map(|it| it.definition.id.as_str());
        party_ids.iter().flat_map(|id| ids.clone().map(move |it| (id.as_str(), it))).collect()
    }

    pub(super) fn looks_at(&self, segment: &LiveSegment) -> bool {
        self.segments.iter().any(|it| it.definition.id == segment.definition.id)
    }
}
