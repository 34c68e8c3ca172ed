//! Reading everything again: rebuild a view, verify a store.

use std::collections::HashMap;

use tokio::sync::mpsc;

use crate::error::Error;
use crate::event::{Head, Recorded};
use crate::store::Store;
use crate::view::View;

const PAGE: usize = 5_000;

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
    /// lock: readers see the old view or the new one. Writers wait for a few seconds and are then refused
    /// as unavailable until it is done.
    pub async fn rebuild(&self, view: &dyn View) -> Result<Rebuilt, Error> {
        let mut tx = self.database().begin().await?;
        let head = crate::commit::lock_head(&mut tx).await?;
        for table in view.tables() {
            tx.script(&format!("DELETE FROM {table}")).await?;
        }
        let mut done = 0;
        let mut pages = self.read_ahead();
        while let Some(page) = pages.recv().await {
            let page = page?;
            view.apply(&mut tx, &page).await?;
            done = page.last().map_or(done, |it| it.position);
        }
        tx.commit().await?;
        Ok(Rebuilt { events: done, head })
    }

    /// Reads every event, page by page: while one page is applied, the next ones are read and decoded.
    fn read_ahead(&self) -> mpsc::Receiver<Result<Vec<Recorded>, Error>> {
        let (pages, ahead) = mpsc::channel(2);
        let store = self.clone();
        self.0.tasks.spawn(async move {
            let mut after = 0;
            loop {
                let page = store.read_for_replay(after).await;
                match &page {
                    Ok(events) if events.is_empty() => return,
                    Ok(events) => after = events.last().map_or(after, |it| it.position),
                    Err(_) => {}
                }
                let failed = page.is_err();
                // Nobody waits any more when the rebuild failed.
                if pages.send(page).await.is_err() || failed {
                    return;
                }
            }
        });
        ahead
    }

    async fn read_for_replay(&self, after: u64) -> Result<Vec<Recorded>, Error> {
        let page = self.read(after, PAGE).await?;
        self.recorded(page).await
    }

    /// Re-reads every event: positions without a gap, versions without a gap, the chain, the head.
    /// Returns the head, or the first fault.
    pub async fn verify(&self) -> Result<Result<Head, Fault>, Error> {
        // What is appended meanwhile is the next run's.
        let claimed = self.read_head().await?;
        let mut head = Head::default();
        let mut versions: HashMap<(String, String), u64> = HashMap::new();
        while head.position < claimed.position {
            let page = self.read(head.position, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for event in page.into_iter().filter(|it| it.position <= claimed.position) {
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
        Ok(if claimed == head {
            Ok(head)
        } else {
            let what = format!("the head row says {}", claimed.position);
            Err(Fault { position: head.position + 1, what })
        })
    }
}
