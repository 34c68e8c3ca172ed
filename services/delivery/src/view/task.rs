//! Which tasks that are not done yet carry which modules, and what ends a module.

use std::pin::Pin;

use eventstore::{Database, Error, Recorded, TimerOp, Tx, Value, View, values};
use rapport_proto::content::v1::module_event;
use rapport_proto::delivery::v1::TouchReady;

/// A work item, due at once: a module has ended, and the tasks that carry it are withdrawn.
pub(crate) const RECALL: &str = "touch.recall";

/// Rows of a task that is placed: one for each module its message is made of.
pub(super) fn rows_of(tenant: &str, touch_id: &str, it: &TouchReady) -> Vec<Vec<Value>> {
    let modules = it.content.iter().filter(|part| part.kind == "module");
    modules.map(|part| values![tenant, &part.id, touch_id, part.version]).collect()
}

/// Adds tasks that are placed, then forgets those that are over.
pub(super) async fn apply(
    tx: &mut Tx,
    placed: Vec<Vec<Value>>,
    over: Vec<Vec<Value>>,
) -> Result<(), Error> {
    tx.insert_many(
        "INSERT INTO task_module (tenant, module_id, touch_id, version)",
        placed,
        "ON CONFLICT (tenant, module_id, touch_id) DO NOTHING",
    )
    .await?;
    tx.exec_keys(
        "k(tenant, touch_id)",
        &over,
        "DELETE FROM task_module
         WHERE EXISTS (
             SELECT 1 FROM k
             WHERE k.tenant = task_module.tenant AND k.touch_id = task_module.touch_id
         )",
    )
    .await
    .map(drop)
}

/// A module that has ended, in one version or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) module_id: String,
    /// 0: all.
    pub(crate) version: u32,
    /// As the gate calls it.
    pub(crate) reason: &'static str,
}

const WITHDRAWN: &str = "content_withdrawn";
const EXPIRED: &str = "content_expired";

impl Ended {
    /// Reads the id of a timer.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("recall/")?.split('/');
        let (module_id, version, reason) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            module_id: module_id.to_owned(),
            version: version.parse().ok()?,
            reason: [WITHDRAWN, EXPIRED].into_iter().find(|it| *it == reason)?,
        })
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "recall/{}/{}/{}", self.module_id, self.version, self.reason)
    }
}

/// Ids of the tasks that carry a module which has ended, after one, in their order.
pub(crate) async fn carrying(
    database: &Database,
    tenant: &str,
    ended: &Ended,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT touch_id FROM task_module
             WHERE tenant = $1 AND module_id = $2 AND touch_id > $3 AND ($4 = 0 OR version = $4)
             ORDER BY touch_id
             LIMIT $5",
            values![tenant, &ended.module_id, after, ended.version, limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// Follows `content`: keeps no table, states a timer when a module ends.
pub(crate) struct Recalls;

impl View for Recalls {
    fn name(&self) -> &'static str {
        "delivery.recalls"
    }

    fn tables(&self) -> &'static [&'static str] {
        &[]
    }

    fn apply<'a>(
        &'a self,
        _tx: &'a mut Tx,
        _events: &'a [Recorded],
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>> {
        Box::pin(async { Ok(()) })
    }

    fn timers(&self, event: &Recorded) -> Result<Vec<TimerOp>, Error> {
        use module_event::Event;
        if event.aggregate() != "module" {
            return Ok(Vec::new());
        }
        let (version, reason) = match event.decode()? {
            Some(Event::Withdrawn(it)) => (it.version, WITHDRAWN),
            Some(Event::Expired(it)) => (it.version, EXPIRED),
            Some(
                Event::DraftSaved(_)
                | Event::Submitted(_)
                | Event::VerdictRecorded(_)
                | Event::ChangesRequested(_)
                | Event::Approved(_)
                // A task that carries what was superseded is done with what is approved then, or not at all.
                | Event::Superseded(_),
            )
            | None => return Ok(Vec::new()),
        };
        let ended = Ended { module_id: event.id().to_owned(), version, reason };
        Ok(vec![TimerOp::Set {
            id: ended.to_string(),
            kind: RECALL,
            stream: format!("recall/{}", ended.module_id),
            due_at: event.recorded_at(),
        }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_stands_in_the_id_of_its_timer() {
        let ended = Ended { module_id: "letter".into(), version: 2, reason: EXPIRED };
        assert_eq!(Ended::parse(&ended.to_string()), Some(ended));
        for nonsense in
            ["tch_1", "recall/letter", "recall/letter/x/content_expired", "recall/letter/1/other"]
        {
            assert_eq!(Ended::parse(nonsense), None, "{nonsense}");
        }
    }
}
