//! View consumers: a page is one transaction; what cannot be applied is found, parked, and left out.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::guarded;
use super::runner::{Page, QUEUED, Runner, StreamName, TRIES, stream_name};
use crate::error::Error;
use crate::event::Recorded;
use crate::failpoint;
use crate::sql::Tx;
use crate::view::View;

/// Streams found broken while a page is applied: the event that cannot be, and why.
type Broken = HashMap<StreamName, (u64, String)>;

impl Runner<'_> {
    /// Applies a page to a view; what cannot be applied is parked and the rest tried again.
    pub(super) async fn apply(&mut self, view: &dyn View, page: &Page) -> Result<(), Error> {
        let mut broken = Broken::new();
        loop {
            match self.apply_once(view, page, &broken).await {
                Ok(parked) => {
                    self.wrote(page.to);
                    failpoint::reach("consumer_after_commit").await;
                    return if parked { self.count_parked().await } else { Ok(()) };
                }
                Err(error) if error.is_outage() => return Err(error),
                Err(error) => {
                    let poison = self.find_poison(view, page, &broken).await?;
                    let Some((event, why)) = poison else { return Err(error) };
                    self.tell_parked(event, &why);
                    broken.insert(stream_name(event), (event.position, why.chain()));
                }
            }
        }
    }

    /// One transaction: the checkpoint moves, good events are applied, those of parked streams queue.
    /// The checkpoint's row is locked first, so that a retry of what is parked takes its turn. Undone by a power cut,
    /// all of it is done again.
    async fn apply_once(
        &mut self,
        view: &dyn View,
        page: &Page,
        broken: &Broken,
    ) -> Result<bool, Error> {
        let mut tx = self.store.database().begin_relaxed().await?;
        self.move_to(&mut tx, page.to).await?;
        let good = self.good(&mut tx, &page.events, broken).await?;
        if !good.is_empty() {
            guarded(apply(view, &mut tx, &good)).await?;
        }
        let parked = good.len() < page.events.len();
        if parked {
            let good: HashSet<u64> = good.iter().map(|it| it.position).collect();
            for (event, waiting) in page.events.iter().zip(&page.waiting) {
                if good.contains(&event.position) {
                    continue;
                }
                let why = broken.get(&stream_name(event)).filter(|it| it.0 == event.position);
                let why = why.map_or(QUEUED, |it| &it.1);
                self.park(&mut tx, event, &waiting.stored, why).await?;
            }
        }
        failpoint::reach("consumer_before_commit").await;
        tx.commit().await?;
        Ok(parked)
    }

    /// The events to apply: those whose stream is not parked.
    async fn good<'e>(
        &mut self,
        tx: &mut Tx,
        events: &'e [Recorded],
        broken: &Broken,
    ) -> Result<Cow<'e, [Recorded]>, Error> {
        let parked = self.parked_streams(tx).await?;
        if parked.is_empty() && broken.is_empty() {
            return Ok(Cow::Borrowed(events));
        }
        let good = events.iter().filter(|it| {
            let name = stream_name(it);
            !parked.contains(&name) && !broken.contains_key(&name)
        });
        Ok(good.cloned().collect())
    }

    /// Finds the first event that fails when events are applied one by one, and why.
    async fn find_poison<'p>(
        &mut self,
        view: &dyn View,
        page: &'p Page,
        broken: &Broken,
    ) -> Result<Option<(&'p Recorded, Error)>, Error> {
        for _ in 1..TRIES {
            let mut tx = self.store.database().begin().await?;
            let good = self.good(&mut tx, &page.events, broken).await?;
            let mut failed = None;
            for event in &*good {
                let one = std::slice::from_ref(event);
                if let Err(error) = guarded(apply(view, &mut tx, one)).await {
                    if error.is_outage() {
                        return Err(error);
                    }
                    failed = Some((event.position, error));
                    break;
                }
            }
            tx.rollback().await?;
            if let Some((position, why)) = failed {
                let event = page.events.iter().find(|it| it.position == position);
                return Ok(event.map(|it| (it, why)));
            }
        }
        Ok(None)
    }
}

/// Writes what a view makes of events, and the timers that follow from them.
pub(super) async fn apply(view: &dyn View, tx: &mut Tx, events: &[Recorded]) -> Result<(), Error> {
    view.apply(tx, events).await?;
    let mut operations = Vec::new();
    for event in events {
        let stated = view.timers(event)?.into_iter();
        operations.extend(stated.map(|it| (event.envelope.tenant.clone(), it)));
    }
    if operations.is_empty() {
        return Ok(());
    }
    crate::timers::apply(tx, &[], &operations).await
}
