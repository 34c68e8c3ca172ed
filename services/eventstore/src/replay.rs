//! Reading everything again: rebuild a view, verify a store.

use std::collections::HashMap;

use crate::error::Error;
use crate::event::{Head, Recorded};
use crate::store::Store;
use crate::view::View;

const PAGE: usize = 2_000;

/// What a rebuild did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// Events replayed.
    pub events: u64,
    /// Head at which the view now stands.
    pub head: Head,
}

/// What is wrong with a store, and where first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Position of the first fault.
    pub position: u64,
    /// What is wrong.
    pub what: String,
}

impl Store {
    /// Empties a view's tables and replays every event into them, in one transaction under the head
    /// lock: readers see the old view or the new one, writers wait.
    pub async fn rebuild(&self, view: &dyn View) -> Result<Rebuilt, Error> {
        let mut tx = self.database().begin().await?;
        let head = crate::commit::lock_head(&mut tx).await?;
        for table in view.tables() {
            tx.script(&format!("DELETE FROM {table}")).await?;
        }
        let mut done = 0;
        while done < head.position {
            let page = self.read_for_replay(done).await?;
            let Some(last) = page.last() else { break };
            done = last.position;
            view.apply(&mut tx, &page).await?;
        }
        tx.commit().await?;
        Ok(Rebuilt { events: done, head })
    }

    async fn read_for_replay(&self, after: u64) -> Result<Vec<Recorded>, Error> {
        let page = self.read(after, PAGE).await?;
        self.recorded(page).await
    }

    /// Re-reads every event: positions without a gap, versions without a gap, the chain, the head.
    /// Returns the head, or the first fault.
    pub async fn verify(&self) -> Result<Result<Head, Fault>, Error> {
        let mut head = Head::default();
        let mut versions: HashMap<(String, String), u64> = HashMap::new();
        loop {
            let page = self.read(head.position, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for event in page {
                let fault = |what: String| Fault { position: head.position + 1, what };
                if event.position != head.position + 1 {
                    return Ok(Err(fault(format!("the next event is {}", event.position))));
                }
                if !event.follows(head.position, &head.chain) {
                    return Ok(Err(fault("the chain is broken".to_owned())));
                }
                let envelope = match event.envelope() {
                    Ok(it) => it,
                    Err(error) => return Ok(Err(fault(error.to_string()))),
                };
                let stream = (envelope.tenant, envelope.stream);
                let version = versions.entry(stream).or_default();
                if envelope.version != *version + 1 {
                    let what = format!("version {} follows {version}", envelope.version);
                    return Ok(Err(fault(what)));
                }
                *version = envelope.version;
                head = Head { position: event.position, chain: event.chain };
            }
        }
        let claimed = self.read_head().await?;
        Ok(if claimed == head {
            Ok(head)
        } else {
            let what = format!("the head row says {}", claimed.position);
            Err(Fault { position: head.position + 1, what })
        })
    }
}
