//! What own tables know of a party, and up to which revision of the rules: what a decision reads here.
//!
//! Many are decided about at the same time, so what waits while one read runs is read together by the next: a few
//! statements, however many parties.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventstore::{Database, Error, Timestamp};
use futures::try_join;
use rapport_proto::decisioning::v1::Happening;
use tokio::sync::{Semaphore, oneshot};

use super::affinity::{self, Count};
use super::happening;
use super::shared::{Revision, revisions};
use crate::domain::policy::compiled::Compiled;

/// Parties read by one statement, at most.
const TOGETHER: usize = 64;
/// Reads on their way at once.
const AT_ONCE: usize = 2;

/// Whose past, as far as a policy looks, and when.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) tenant: String,
    pub(crate) party_id: String,
    pub(crate) policy: Arc<Compiled>,
    pub(crate) at: Timestamp,
}

/// A party's past.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Past {
    /// Of what decisions of the tenant share, when this was read.
    pub(crate) revision: Revision,
    /// Newest first; of each name 100 at most.
    pub(crate) happenings: Vec<Happening>,
    pub(crate) counts: Vec<Count>,
}

/// Reads pasts. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pasts(Arc<Inner>);

struct Inner {
    database: Database,
    waiting: Mutex<Vec<Waiting>>,
    turns: Semaphore,
}

struct Waiting {
    asked: Asked,
    reply: oneshot::Sender<Result<Past, Error>>,
}

impl Pasts {
    pub(crate) fn new(database: &Database) -> Self {
        let (waiting, turns) = (Mutex::default(), Semaphore::new(AT_ONCE));
        Self(Arc::new(Inner { database: database.clone(), waiting, turns }))
    }

    /// Reads one, together with those that wait.
    pub(crate) async fn read(&self, asked: &Asked) -> Result<Past, Error> {
        loop {
            let (reply, mut answer) = oneshot::channel();
            self.waiting().push(Waiting { asked: asked.clone(), reply });
            let answered = loop {
                tokio::select! {
                    biased;
                    answered = &mut answer => break answered,
                    Ok(_turn) = self.0.turns.acquire() => self.read_waiting().await,
                }
            };
            // Whoever read it for us may have been cancelled: then once more.
            if let Ok(past) = answered {
                return past;
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read_waiting(&self) {
        let batch: Vec<_> = {
            let mut waiting = self.waiting();
            let most = waiting.len().min(TOGETHER);
            waiting.drain(..most).collect()
        };
        let (asked, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|it| (it.asked, it.reply)).unzip();
        let pasts = of_parties(&self.0.database, &asked).await;
        // Of several, one may be damaged: that is not the others' affair.
        let one_by_one = asked.len() > 1 && pasts.as_ref().is_err_and(|it| !it.is_transient());
        if one_by_one {
            for (asked, reply) in asked.iter().zip(replies) {
                let past = of_parties(&self.0.database, std::slice::from_ref(asked)).await;
                let _ = reply.send(past.map(|mut it| it.pop().unwrap_or_default()));
            }
            return;
        }
        match pasts {
            // Whoever gave up does not listen.
            Ok(pasts) => {
                replies.into_iter().zip(pasts).for_each(|(reply, it)| drop(reply.send(Ok(it))))
            }
            Err(error) => {
                let text = error.chain();
                let mut first = Some(error);
                for reply in replies {
                    let error = first.take().unwrap_or_else(|| Error::unavailable(text.clone()));
                    let _ = reply.send(Err(error));
                }
            }
        }
    }
}

/// The pasts of several, in their order.
async fn of_parties(database: &Database, asked: &[Asked]) -> Result<Vec<Past>, Error> {
    let tenants: BTreeSet<&str> = asked.iter().map(|it| it.tenant.as_str()).collect();
    let (revisions, happenings, counts): (HashMap<_, _>, Vec<_>, Vec<_>) = try_join!(
        revisions(database, &tenants),
        happening::of_parties(database, asked),
        affinity::of_parties(database, asked),
    )?;
    let read = asked.iter().zip(happenings).zip(counts);
    let past = |((asked, happenings), counts): ((&Asked, _), _)| Past {
        revision: revisions.get(&asked.tenant).cloned().unwrap_or_default(),
        happenings,
        counts,
    };
    Ok(read.map(past).collect())
}
