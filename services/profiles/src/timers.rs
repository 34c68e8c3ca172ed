//! Notes the end of grants when their time comes.
//!
//! The timer is a row that followed from the grant. Firing it is a command like any other; the commit that handles the
//! firing deletes the row, so it fires once, whichever replica claims it.

use std::time::Duration;

use chassis::deps::Deps;
use eventstore::{Error, ExecuteError, Head, Metadata, Store, TIMER_METHOD, Timer, Timestamp};
use rapport_proto::types::{Actor, actor};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::domain::consent::{Command, Consent};
use crate::view::CONSENT_EXPIRY;
use crate::view::consent::Expiry;

/// Timers claimed at once.
const BATCH: u32 = 64;
/// At most this long between two looks: another replica may have set a timer, or given one back.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Under load the store grows all the time: it is asked for new timers at most this often.
const GATHER: Duration = Duration::from_millis(10);

/// Fires timers as they fall due until told to stop.
pub(crate) async fn run(deps: Deps, stop: CancellationToken) -> Result<(), Error> {
    let store = &deps.store;
    let mut head = store.watch();
    while !stop.is_cancelled() {
        head.mark_unchanged();
        let wait = match look(store).await {
            Ok(Look::Fired) => continue,
            Ok(Look::Nothing { next }) => Some(next),
            Ok(Look::Claimed) => None,
            Err(error) => {
                tracing::warn!(error = error.chain(), "look for timers again");
                None
            }
        };
        let woken = async {
            match wait {
                Some(next) => due_or_grown(store, &mut head, next).await,
                None => std::future::pending().await,
            }
        };
        // Nothing is held while waiting, so each of these may be dropped.
        tokio::select! {
            () = stop.cancelled() => {}
            () = woken => {}
            () = sleep(LOOK_AGAIN) => {}
        }
    }
    Ok(())
}

/// What a look found.
enum Look {
    /// Timers were due and have fired.
    Fired,
    /// None is due before `next`, if there is one at all.
    Nothing { next: Option<Timestamp> },
    /// What is due is somebody else's to fire.
    Claimed,
}

async fn look(store: &Store) -> Result<Look, Error> {
    // Reading first keeps idle services from writing: a claim is a transaction.
    let next = store.next_due().await?;
    if next.is_none_or(|due_at| due_at > store.clock().now()) {
        return Ok(Look::Nothing { next });
    }
    let fired = fire_due(store).await?;
    Ok(if fired > 0 { Look::Fired } else { Look::Claimed })
}

async fn due_or_grown(store: &Store, head: &mut watch::Receiver<Head>, next: Option<Timestamp>) {
    let due = async {
        match next {
            Some(due_at) => store.clock().reach(due_at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = due => {}
        _ = head.changed() => sleep(GATHER).await,
    }
}

/// Fires what is due now; returns how many were claimed.
async fn fire_due(store: &Store) -> Result<usize, Error> {
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
    let Some(Expiry { consent_id, granted_at, .. }) = expiry else {
        return Err(Error::corrupt(format!("no such timer: {} {}", timer.kind, timer.key.id)));
    };
    let meta = metadata(store, timer);
    match store.execute::<Consent>(consent_id, &meta, Command::Expire { granted_at }).await {
        // Superseded: another replica fired it.
        Ok(_) | Err(ExecuteError::Superseded) => Ok(()),
        Err(ExecuteError::Store(error)) => Err(error),
        Err(error) => Err(Error::corrupt(format!("note the end of {consent_id}: {error}"))),
    }
}

fn metadata(store: &Store, timer: &Timer) -> Metadata {
    Metadata {
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
    }
}
