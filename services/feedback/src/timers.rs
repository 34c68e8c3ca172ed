//! What happens when its time comes: an invitation is decided, a text is screened, a candidate escalates, a target is
//! missed, an invitation is no longer open.
//!
//! A timer is a row that followed from an event. The commit that handles a firing deletes the row, so it fires once,
//! whichever replica claims it.

use eventstore::{
    AsOf, Decider, Error, ExecuteError, Metadata, Store, Timer, TimerHandler, consumer, derive_id,
};
use futures::future::BoxFuture;

use crate::consumers::PRODUCTS;
use crate::domain::case::{self, Case, FIRST_RESPONSE, RESOLUTION};
use crate::domain::invitation::{self, Invitation};
use crate::domain::text::{self, Reader, Screening, Text};
use crate::lexicon::{LEXICON, Product};
use crate::units::{self, Failure};
use crate::view;
use crate::view::{DECIDE, ESCALATE, EXPIRY, RESOLVE_BY, RESPOND_BY, SCREEN};

/// Handles every timer of the service.
pub(crate) struct Timers;

impl TimerHandler for Timers {
    fn fire<'a>(
        &'a self,
        store: &'a Store,
        timer: &'a Timer,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let (_, id) = timer.stream.split_once('/').ok_or_else(|| unknown(timer))?;
            match timer.kind.as_str() {
                DECIDE => units::decide(store, &meta, id).await.map_err(failed),
                EXPIRY => {
                    execute::<Invitation>(store, id, &meta, invitation::Command::Expire).await
                }
                SCREEN => screen(store, id, &meta).await,
                ESCALATE => {
                    let level = timer.key.id.rsplit_once('/').and_then(|it| it.1.parse().ok());
                    let level = level.ok_or_else(|| unknown(timer))?;
                    let candidate_id = candidate_of(&meta.tenant, id);
                    let escalate = text::Command::Escalate { level, candidate_id };
                    execute::<Text>(store, id, &meta, escalate).await
                }
                RESPOND_BY => {
                    let breach = case::Command::Breach { target: FIRST_RESPONSE };
                    execute::<Case>(store, id, &meta, breach).await
                }
                RESOLVE_BY => {
                    let breach = case::Command::Breach { target: RESOLUTION };
                    execute::<Case>(store, id, &meta, breach).await
                }
                _ => Err(unknown(timer)),
            }
        })
    }
}

/// The candidate that a text becomes.
fn candidate_of(tenant: &str, text_id: &str) -> String {
    derive_id("saf", &[tenant, "saf", text_id])
}

/// Reads a text that nobody has read, and says whether it may tell of harm. The one place outside safety that opens
/// one.
async fn screen(store: &Store, id: &str, meta: &Metadata) -> Result<(), Error> {
    let loaded = store.load::<Text>(&meta.tenant, id, AsOf::Now).await?.state;
    let heard = consumer::read_checkpoint(store, PRODUCTS, "content").await?.position;
    let mut products = view::product::of_tenant(store.database(), &meta.tenant).await?;
    let named = loaded.received.products.iter();
    products.extend(named.map(|it| Product { id: it.clone(), name: it.clone() }));
    // Of an erased party there is nothing left to read, and nobody who will.
    let found = loaded.open(Reader::Screening).map(|text| LEXICON.read(text, &products));
    let found = found.unwrap_or_default();
    let clear = !found.is_alarming(!loaded.received.products.is_empty());
    if clear {
        all_heard(store, &meta.tenant, heard).await?;
    }
    let screening = Screening {
        lexicon_version: LEXICON.version().to_owned(),
        content_position: heard,
        clear,
        hits: found.hits,
        products: found.products,
        candidate_id: candidate_of(&meta.tenant, id),
    };
    execute::<Text>(store, id, meta, text::Command::Screen(screening)).await
}

/// Nothing is clear while the name of a product may not have been heard of: the screening is tried again, until it can be
/// told or the text is a candidate because it was not.
async fn all_heard(store: &Store, tenant: &str, heard: u64) -> Result<(), Error> {
    let end = store.log().end("content").await?;
    if heard < end {
        return Err(Error::unavailable(format!("products are heard of up to {heard} of {end}")));
    }
    match view::product::is_parked(store.database(), tenant).await? {
        true => Err(Error::unavailable("what was said of a product is parked")),
        false => Ok(()),
    }
}

async fn execute<D: Decider>(
    store: &Store,
    id: &str,
    meta: &Metadata,
    command: D::Command,
) -> Result<(), Error> {
    match store.execute::<D>(id, meta, command).await {
        // Superseded: another replica fired it.
        Ok(_) | Err(ExecuteError::Superseded) => Ok(()),
        Err(ExecuteError::Store(error)) => Err(error),
        Err(ExecuteError::Conflict) => Err(Error::unavailable(format!("{id} kept changing"))),
        Err(error) => Err(Error::corrupt(format!("{id}: {error}"))),
    }
}

fn failed(failure: Failure) -> Error {
    match failure {
        Failure::Store(error) => error,
        other => Error::corrupt(other.to_string()),
    }
}

fn unknown(timer: &Timer) -> Error {
    Error::corrupt(format!("no such timer: {} {}", timer.kind, timer.key.id))
}
