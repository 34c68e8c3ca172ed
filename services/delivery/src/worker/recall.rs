//! Tasks that were placed and are not done yet: nobody may say what has been withdrawn since.
//!
//! Twice it is seen to. When content ends, a timer due at once withdraws the tasks that carry it, each in a unit of its
//! own. And before a task is taken on or done, the gate judges it again: whatever has not arrived here yet is asked for.

use eventstore::{Error, Loaded, Metadata, Store, Timer};
use rapport_proto::delivery::v1::{TouchCause, TouchRequested, VerdictOutcome};

use super::{FRESH, RUNS, Worker, commit};
use crate::domain::touch::{Command, Judged, State, Withdrawal};
use crate::gate::{self, Judgement, Outcome};
use crate::ledger::Ledger;
use crate::view::task::{self, Ended};

/// Tasks read at once.
const PAGE: u32 = 200;

impl Worker {
    /// What the gate finds of a task now, or why it is withdrawn.
    pub(crate) async fn judge_again(
        &self,
        store: &Store,
        meta: &Metadata,
        touch: &Loaded<State>,
    ) -> Result<Result<Judged, Withdrawal>, Error> {
        // Whoever asked for the task has gone on since it was placed.
        let request = TouchRequested {
            cause: TouchCause::Api.into(),
            instance_id: String::new(),
            ..touch.state.request.clone()
        };
        for _ in 0..RUNS {
            let gathered_at = store.clock().now();
            let position = store.head().position;
            let (mut facts, mut ledger) = futures::try_join!(
                Box::pin(self.gatherer.gather(meta, &request, gathered_at)),
                Ledger::of(store, &meta.tenant, touch.clone()),
            )?;
            let address = (facts.contact_point_id(), facts.same_address());
            let neighbours = ledger.open_neighbours(store, &meta.tenant, address).await?;
            facts.gathered.position = position;
            facts.complete(request.clone(), &ledger, &neighbours);
            let at = store.clock().now();
            if at.since(gathered_at) <= FRESH {
                return Ok(judged(gate::judge_again(&facts.gathered, at)));
            }
        }
        Err(Error::unavailable("what the gate needs takes longer than it stays true"))
    }
}

fn judged(judgement: Judgement) -> Result<Judged, Withdrawal> {
    let Judgement { mut verdicts, outcome } = judgement;
    let reason = match outcome {
        Outcome::Ready(it) => {
            verdicts.pop();
            return Ok(Judged { verdicts, content: it.content, render_hash: it.render_hash });
        }
        Outcome::Skip { reason, .. } => reason,
        // No hour stops a task that was placed.
        Outcome::Defer { .. } => "deferred".to_owned(),
    };
    let failed = verdicts.iter().find(|it| it.outcome() == VerdictOutcome::Fail);
    let detail = failed.map(|it| it.detail.clone()).unwrap_or_default();
    Err(Withdrawal { reason, detail, verdicts })
}

/// Withdraws the tasks that carry a module which has ended.
pub(super) async fn recall(store: &Store, timer: &Timer, meta: Metadata) -> Result<(), Error> {
    let Some(ended) = Ended::parse(&timer.key.id) else {
        return Err(Error::corrupt(format!("no such timer: {} {}", timer.kind, timer.key.id)));
    };
    let mut after = String::new();
    loop {
        let ids = task::carrying(store.database(), &meta.tenant, &ended, &after, PAGE).await?;
        let Some(last) = ids.last() else { return Ok(()) };
        after.clone_from(last);
        for id in &ids {
            let ledger = Ledger::open(store, &meta.tenant, std::slice::from_ref(id)).await?;
            let withdraw = Command::Withdraw(Withdrawal {
                reason: ended.reason.to_owned(),
                detail: format!("module/{}", ended.module_id),
                verdicts: Vec::new(),
            });
            let meta = Metadata {
                method: "recall".into(),
                request_id: format!("{}/{id}", meta.request_id),
                fires: None,
                ..meta.clone()
            };
            commit(store, ledger, id, meta, withdraw).await?;
        }
    }
}
