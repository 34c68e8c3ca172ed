//! Whether a task may still be done. It waits for a person, and what it says may end meanwhile: the gate judges it again.

use std::time::Duration;

use chassis::status::{PEER_UNAVAILABLE, Problem, chain};
use eventstore::Metadata;

use super::Api;
use crate::domain::touch::{Command, Judged};
use crate::refusal::TASK_WITHDRAWN;

impl Api {
    /// What the gate finds of a task now. What it stops is withdrawn, and the call refused.
    pub(super) async fn still_lawful(
        &self,
        touch_id: &str,
        meta: &Metadata,
    ) -> Result<Judged, Problem> {
        let touch = self.find(&meta.tenant, touch_id).await?;
        // Of a task that is over, or of a repeated call, the decider tells.
        if !touch.state.is_open_task() {
            return Ok(Judged::default());
        }
        let store = &self.deps.store;
        let judged = Box::pin(self.worker.judge_again(store, meta, &touch)).await;
        let judged = judged.map_err(|error| {
            tracing::warn!(error = %chain(&error), "a task cannot be judged again");
            Problem::of(PEER_UNAVAILABLE).retry_after(Duration::from_secs(1))
        })?;
        let withdrawal = match judged {
            Ok(judged) => return Ok(judged),
            Err(withdrawal) => withdrawal,
        };
        // Another command than the person's own, which is refused and may be sent again.
        let meta = Metadata {
            method: "recall".into(),
            request_id: format!("{}/{touch_id}", meta.request_id),
            ..meta.clone()
        };
        let (withdrawn, _) = self.settle(touch_id, &meta, Command::Withdraw(withdrawal)).await?;
        let remedy = format!("Do not use it: the gate stops it with {}.", withdrawn.reason);
        Err(Problem::of(TASK_WITHDRAWN).violation("name", remedy))
    }
}
