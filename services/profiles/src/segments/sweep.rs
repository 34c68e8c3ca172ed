//! Going over parties, page by page: what changed concerns everybody.
//!
//! Each page is committed in units of its own, and who was moved before is not moved again: after a crash the sweep
//! starts over and only reading is repeated.

use eventstore::{Error, Metadata, Store};

use super::definitions::{Definitions, Live, LiveSegment};
use super::facts::Needs;
use super::path::Occasion;
use super::settle::{self, Look};
use crate::view;
use crate::view::party::Filter;

/// Parties in a page.
const PAGE: u32 = 100;
/// How often a page is looked at again after somebody else changed a membership of it.
const TRIES: usize = 5;

/// What a sweep looks at, and why.
pub(super) type Wanted<'l> = (Occasion, Vec<&'l LiveSegment>);

/// Evaluates segments for every party that the filter lets through. `wanted` is asked for each page, because
/// definitions change meanwhile; nothing ends the sweep.
pub(super) async fn sweep(
    definitions: &Definitions,
    store: &Store,
    meta: &Metadata,
    filter: &Filter<'_>,
    wanted: impl for<'l> Fn(&'l Live) -> Option<Wanted<'l>>,
) -> Result<(), Error> {
    let mut after = 0;
    loop {
        let page = view::party::list(store.database(), &meta.tenant, filter, after, PAGE).await?;
        let Some((_, last)) = page.last() else { return Ok(()) };
        after = *last;
        let party_ids: Vec<_> = page.into_iter().map(|(id, _)| id).collect();
        // A long sweep goes with the time.
        let meta = Metadata { at: store.clock().now(), ..meta.clone() };
        if !look_at(definitions, store, &meta, &party_ids, &wanted).await? {
            return Ok(());
        }
    }
}

/// Looks at a page of parties; `false` when nothing is wanted of it.
async fn look_at(
    definitions: &Definitions,
    store: &Store,
    meta: &Metadata,
    party_ids: &[String],
    wanted: &impl for<'l> Fn(&'l Live) -> Option<Wanted<'l>>,
) -> Result<bool, Error> {
    for _ in 0..TRIES {
        let live = definitions.live(&meta.tenant).await?;
        let Some((occasion, segments)) = wanted(&live) else { return Ok(false) };
        let needs = Needs { party: true, ..Needs::of(segments.iter().map(|it| &it.needs)) };
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
