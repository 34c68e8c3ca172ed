//! What was reported about a message before it was noted as sent. It counts from the commit that notes it, whether the
//! provider says it again or not.

use std::iter;

use eventstore::{AsOf, Error, Metadata, Store};

use super::{Appended, TRIES, append};
use crate::domain::report::{Report, State};
use crate::ledger::Ledger;
use crate::view;
use crate::view::touch::by_provider;

/// As many are laid to a message in the commit that notes it. What is left each report's own timer brings.
pub(super) const MOST: u32 = 32;

/// Lays what is kept about a message to its touch, when a ledger adds under which id the provider took it.
pub(super) async fn place(
    store: &Store,
    ledger: &mut Ledger,
    touch_id: &str,
    meta: &Metadata,
) -> Result<(), Error> {
    let Some(provider_id) = ledger.taken_as(touch_id).map(str::to_owned) else {
        return Ok(());
    };
    let (database, tenant) = (store.database(), meta.tenant.as_str());
    let reports = view::report::of_message(database, tenant, &provider_id, MOST).await?;
    if reports.is_empty() {
        return Ok(());
    }
    // An id that another message has as well names none of them.
    let found = by_provider(database, tenant, iter::once(provider_id.as_str())).await?;
    match found.is_empty() {
        true => ledger.lay(store, tenant, touch_id, reports, meta.at).await,
        false => Ok(()),
    }
}

/// Looks once more for the touch of a report that is kept: its message may have been noted while it was being kept.
pub(super) async fn look_again(
    store: &Store,
    report_id: &str,
    meta: Metadata,
) -> Result<(), Error> {
    let tenant = meta.tenant.as_str();
    for _ in 0..TRIES {
        let report = store.load::<Report>(tenant, report_id, AsOf::Now).await?;
        let State::Kept(kept) = report.state else {
            return Ok(());
        };
        let message = iter::once(kept.provider_id.as_str());
        let found = by_provider(store.database(), tenant, message).await?;
        let Some(touch_id) = found.into_values().flatten().next() else {
            return Ok(());
        };
        let mut ledger = Ledger::open(store, tenant, std::slice::from_ref(&touch_id)).await?;
        ledger.lay(store, tenant, &touch_id, vec![report_id.to_owned()], meta.at).await?;
        if !ledger.is_changed() {
            return Ok(());
        }
        match append(store, &ledger, meta.clone()).await? {
            Appended::Yes | Appended::Elsewhere => return Ok(()),
            Appended::Conflict => {}
        }
    }
    Err(Error::unavailable(format!("{report_id} kept changing")))
}
