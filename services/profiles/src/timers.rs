//! What happens when its time comes: grants run out, parties cross the borders of segments, a new definition is
//! applied to everybody.
//!
//! A timer is a row that followed from an event. Firing it is a command like any other; the commit that handles the
//! firing deletes the row, so it fires once, whichever replica claims it.

use eventstore::{Error, ExecuteError, Metadata, Store, Timer, TimerHandler};
use futures::future::BoxFuture;

use crate::domain::consent::{Command, Consent};
use crate::segments::{self, Definitions};
use crate::view::CONSENT_EXPIRY;
use crate::view::consent::Expiry;
use crate::view::pack::JUDGE;
use crate::view::segments::{CROSSING, RECOMPUTE};

/// Handles every timer of the service.
pub(crate) struct Timers {
    pub(crate) definitions: Definitions,
}

impl TimerHandler for Timers {
    fn fire<'a>(
        &'a self,
        store: &'a Store,
        timer: &'a Timer,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            match timer.kind.as_str() {
                CONSENT_EXPIRY => expire(store, timer, meta).await,
                CROSSING => segments::cross(&self.definitions, store, timer, meta).await,
                RECOMPUTE | JUDGE => segments::sweep(&self.definitions, store, timer, meta).await,
                _ => Err(unknown(timer)),
            }
        })
    }
}

/// Notes that a grant ran out.
async fn expire(store: &Store, timer: &Timer, meta: Metadata) -> Result<(), Error> {
    let Some(Expiry { consent_id, granted_at, .. }) = Expiry::parse(&timer.key.id) else {
        return Err(unknown(timer));
    };
    match store.execute::<Consent>(consent_id, &meta, Command::Expire { granted_at }).await {
        // Superseded: another replica fired it.
        Ok(_) | Err(ExecuteError::Superseded) => Ok(()),
        Err(ExecuteError::Store(error)) => Err(error),
        Err(ExecuteError::Conflict) => {
            Err(Error::unavailable(format!("{consent_id} kept changing")))
        }
        Err(error) => Err(Error::corrupt(format!("note the end of {consent_id}: {error}"))),
    }
}

fn unknown(timer: &Timer) -> Error {
    Error::corrupt(format!("no such timer: {} {}", timer.kind, timer.key.id))
}
