//! What falls due: rewards are settled, priors are published. The commit that handles a firing deletes its row.

use std::error::Error as StdError;

use eventstore::{Error, ExecuteError, Metadata, Store, Timer, TimerHandler};
use futures::future::BoxFuture;

use crate::domain::decision::{self, Decision};
use crate::domain::model::{self, Model, Publish, priors};
use crate::view::{MODEL_SNAPSHOT, REWARD_CLOSE, affinity};

/// Everything that falls due.
pub(crate) struct Due;

impl TimerHandler for Due {
    fn fire<'a>(
        &'a self,
        store: &'a Store,
        timer: &'a Timer,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            match timer.kind.as_str() {
                REWARD_CLOSE => {
                    let close = decision::Command::Close;
                    done(store.execute::<Decision>(&timer.key.id, &meta, close).await)
                }
                MODEL_SNAPSHOT => {
                    let groups = affinity::groups(store.database(), &meta.tenant).await?;
                    let as_of = timer.key.due_at;
                    let publish = Publish { as_of, priors: priors(&groups) };
                    done(store.execute::<Model>(&model::id(as_of), &meta, publish).await)
                }
                kind => Err(Error::corrupt(format!("no such timer: {kind} {}", timer.key.id))),
            }
        })
    }
}

fn done<S, R: StdError + 'static>(
    result: Result<eventstore::Executed<S>, ExecuteError<R>>,
) -> Result<(), Error> {
    match result {
        // Superseded: another replica fired it.
        Ok(_) | Err(ExecuteError::Superseded) => Ok(()),
        Err(ExecuteError::Store(error)) => Err(error),
        Err(error) => Err(Error::corrupt(format!("fire a timer: {error}"))),
    }
}
