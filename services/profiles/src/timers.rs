//! Notes the end of grants when their time comes.
//!
//! The timer is a row that followed from the grant. Firing it is a command like any other; the commit that handles the
//! firing deletes the row, so it fires once, whichever replica claims it.

use eventstore::{Error, ExecuteError, Metadata, Store, Timer, TimerHandler};
use futures::future::BoxFuture;

use crate::domain::consent::{Command, Consent};
use crate::view::CONSENT_EXPIRY;
use crate::view::consent::Expiry;

/// Notes that a grant ran out.
pub(crate) struct Expiries;

impl TimerHandler for Expiries {
    fn fire<'a>(
        &'a self,
        store: &'a Store,
        timer: &'a Timer,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let expiry = Expiry::parse(&timer.key.id).filter(|_| timer.kind == CONSENT_EXPIRY);
            let Some(Expiry { consent_id, granted_at, .. }) = expiry else {
                return Err(Error::corrupt(format!(
                    "no such timer: {} {}",
                    timer.kind, timer.key.id
                )));
            };
            let expire = Command::Expire { granted_at };
            match store.execute::<Consent>(consent_id, &meta, expire).await {
                // Superseded: another replica fired it.
                Ok(_) | Err(ExecuteError::Superseded) => Ok(()),
                Err(ExecuteError::Store(error)) => Err(error),
                Err(error) => Err(Error::corrupt(format!("note the end of {consent_id}: {error}"))),
            }
        })
    }
}
