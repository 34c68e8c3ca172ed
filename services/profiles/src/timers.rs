//! Notes the end of grants when their time comes.
//!
//! The timer is a row that followed from the grant. Firing it is a command like any other; the commit that handles the
//! firing deletes the row, so it fires once, whichever replica claims it.

use std::time::Duration;

use chassis::deps::Deps;
use eventstore::{Error, ExecuteError, Metadata, Store, TIMER_METHOD, Timer};
use rapport_proto::types::{Actor, actor};
use tokio_util::sync::CancellationToken;

use crate::domain::consent::{Command, Consent};
use crate::view::CONSENT_EXPIRY;
use crate::view::consent::Expiry;

/// Timers claimed at once.
const BATCH: u32 = 64;
/// Pause after a failure of the store, and at most between two looks: another replica may have set a timer.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Fires timers as they fall due until told to stop.
pub(crate) async fn run(deps: Deps, stop: CancellationToken) -> Result<(), Error> {
    let store = &deps.store;
    loop {
        let fired = fire_due(store).await;
        let worked = matches!(fired, Ok(count) if count > 0);
        if let Err(error) = fired {
            tracing::warn!(error = error.chain(), "fire timers again");
        }
        if worked {
            continue;
        }
        // Cancel-safe: nothing is held while waiting.
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = due(store) => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// Waits until the earliest timer falls due, or until the store grows.
async fn due(store: &Store) {
    let mut head = store.watch();
    head.mark_unchanged();
    let next = store.next_due().await.ok().flatten();
    let reached = async {
        match next {
            // A timer that is due and was not fired is claimed by another replica: look again later.
            Some(due_at) if due_at > store.clock().now() => store.clock().reach(due_at).await,
            Some(_) | None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = reached => {}
        grown = head.changed() => {
            if grown.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Fires what is due now; returns how many.
pub(crate) async fn fire_due(store: &Store) -> Result<usize, Error> {
    let timers = store.claim_due(BATCH).await?;
    for (index, timer) in timers.iter().enumerate() {
        match fire(store, timer).await {
            Ok(()) => {}
            Err(error) if error.is_transient() => {
                for rest in &timers[index..] {
                    store.release_timer(&rest.key).await?;
                }
                return Err(error);
            }
            // It stays claimed for a while, so that it does not keep the others from firing.
            Err(error) => tracing::error!(error = error.chain(), "a timer cannot fire"),
        }
    }
    Ok(timers.len())
}

async fn fire(store: &Store, timer: &Timer) -> Result<(), Error> {
    let expiry = Expiry::parse(&timer.key.id).filter(|_| timer.kind == CONSENT_EXPIRY);
    let expiry = expiry
        .ok_or_else(|| Error::corrupt(format!("no such timer: {} {}", timer.kind, timer.key.id)))?;
    let meta = Metadata {
        tenant: timer.key.tenant.clone(),
        actor: Actor {
            subject: format!("service:{}", store.source()),
            kind: actor::Kind::System.into(),
            ..Actor::default()
        },
        method: TIMER_METHOD.to_owned(),
        request_id: timer.key.request_id(),
        correlation_id: timer.key.request_id(),
        at: store.clock().now(),
        fires: Some(timer.key.clone()),
        ..Metadata::default()
    };
    let command = Command::Expire {
        granted_at: expiry.granted_at,
    };
    match store
        .execute::<Consent>(expiry.consent_id, &meta, command)
        .await
    {
        // Superseded: another replica fired it.
        Ok(_) | Err(ExecuteError::Superseded) => Ok(()),
        Err(ExecuteError::Store(error)) => Err(error),
        Err(error) => Err(Error::corrupt(format!(
            "note the end of {}: {error}",
            expiry.consent_id
        ))),
    }
}
