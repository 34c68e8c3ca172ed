//! What came of decisions: facts of touches by the decision they carry out, interactions by the last decision of the
//! party that waits for them.
//!
//! Which decision a touch carries out, its first event tells. This consumer reads that event before all others of the
//! touch, and remembers it. Of a touch that was asked for before this replica took over, a table of the other consumer
//! tells it; where that one has not read as far yet, the event is read again later.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use eventstore::consumer::read_checkpoint;
use eventstore::{AsOf, Decider as _, Error, Metadata, Reactor, Recorded, Store, Unit, UnitError};
use futures::future::BoxFuture;
use rapport_proto::delivery::v1::touch_event::Event as Fact;
use rapport_proto::delivery::v1::{DismissReason, ProviderFact};
use rapport_proto::profiles::v1::interaction_event;

use crate::domain::decision::{Command, Decision, Seen};
use crate::domain::instant;
use crate::view;
use crate::view::outside::{CONSUMER, interaction, touch};

/// Where the types of delivery's events begin.
pub(crate) const DELIVERY: &str = "rapport.delivery.v1.";
const REQUESTED: &str = "rapport.delivery.v1.TouchRequested";
/// Touches that are remembered, at most: the newest.
const REMEMBERED: usize = 10_000;

/// Notes what came of decisions.
#[derive(Default)]
pub(crate) struct Outcomes {
    asked_for: Mutex<AskedFor>,
}

/// The decision of each touch that was asked for lately; empty when it carries out none.
#[derive(Default)]
struct AskedFor {
    decisions: HashMap<TouchName, String>,
    order: VecDeque<TouchName>,
}

/// Tenant and touch.
type TouchName = (String, String);

impl Reactor for Outcomes {
    fn reads(&self, type_name: &str) -> bool {
        type_name == REQUESTED || type_name == interaction::READ || is_one(type_name)
    }

    /// A decision is about one party, and so is all that comes of it.
    fn lane<'e>(&self, event: &'e Recorded) -> Option<&'e str> {
        Some(event.envelope.party_id.as_str()).filter(|it| !it.is_empty())
    }

    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        Box::pin(async move {
            let found = match event.aggregate() {
                "touch" => self.of_touch(store, event).await?,
                "interaction" => of_interaction(store, event).await?,
                _ => None,
            };
            let Some((decision_id, seen)) = found else { return Ok(None) };
            observe(store, &decision_id, seen, meta).await
        })
    }
}

impl Outcomes {
    /// The decision that a touch carries out, and what was seen of it.
    async fn of_touch(
        &self,
        store: &Store,
        event: &Recorded,
    ) -> Result<Option<(String, Seen)>, Error> {
        let Some(fact) = event.decode::<Fact>()? else { return Ok(None) };
        let name = (event.envelope.tenant.clone(), event.id().to_owned());
        if let Fact::Requested(it) = fact {
            self.asked_for().remember(name, it.decision_id);
            return Ok(None);
        }
        let Some(seen) = seen(&fact, event) else { return Ok(None) };
        let known = self.asked_for().decisions.get(&name).cloned();
        let decision_id = match known {
            Some(known) => known,
            None => in_tables(store, event).await?,
        };
        Ok(Some((decision_id, seen)).filter(|(it, _)| !it.is_empty()))
    }

    fn asked_for(&self) -> std::sync::MutexGuard<'_, AskedFor> {
        self.asked_for.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AskedFor {
    fn remember(&mut self, name: TouchName, decision_id: String) {
        if self.decisions.insert(name.clone(), decision_id).is_none() {
            self.order.push_back(name);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.decisions.remove(&oldest);
        }
    }
}

/// The decision of a touch as the other consumer's tables tell it; empty when there is none.
async fn in_tables(store: &Store, event: &Recorded) -> Result<String, Error> {
    // Read before the table: what it has read by then stands there.
    let read = read_checkpoint(store, CONSUMER, &event.envelope.source).await?;
    let found = touch::find(store.database(), &event.envelope.tenant, event.id()).await?;
    match found {
        Some(found) => Ok(found.decision_id),
        None if read.position >= event.position => Ok(String::new()),
        None => Err(Error::unavailable(format!(
            "{CONSUMER} has read {} up to {} only",
            event.envelope.source, read.position
        ))),
    }
}

async fn observe(
    store: &Store,
    decision_id: &str,
    seen: Seen,
    meta: Metadata,
) -> Result<Option<Unit>, Error> {
    let loaded = store.load::<Decision>(&meta.tenant, decision_id, AsOf::Now).await?;
    // A touch may name a decision that never was: that is the asker's mistake, and nothing is learnt from it.
    let Ok(events) = Decision::decide(&loaded.state, Command::Observe(seen), meta.at) else {
        return Ok(None);
    };
    if events.is_empty() {
        return Ok(None);
    }
    let mut unit = store.unit(meta);
    let pushed = unit.push::<Decision>(decision_id, loaded.version, &loaded.state, events).await;
    pushed.and_then(|()| unit.finish()).map(Some).map_err(|error| match error {
        UnitError::Store(error) => error,
        other => Error::corrupt(format!("note an outcome of {decision_id}: {other}")),
    })
}

async fn of_interaction(store: &Store, event: &Recorded) -> Result<Option<(String, Seen)>, Error> {
    let party_id = &event.envelope.party_id;
    if party_id.is_empty() {
        return Ok(None);
    }
    let Some(interaction_event::Event::Recorded(it)) = event.decode()? else { return Ok(None) };
    let (tenant, at) = (&event.envelope.tenant, event.occurred_at());
    let decision =
        view::decision::awaiting(store.database(), tenant, party_id, &it.name, at).await?;
    let seen = Seen {
        kind: it.name,
        occurred_at: at,
        source: event.envelope.source.clone(),
        position: event.position,
        reason: String::new(),
    };
    Ok(decision.map(|id| (id, seen)))
}

/// Whether an event of a type may be an outcome: whether [`seen`] may tell something.
pub(crate) fn is_one(type_name: &str) -> bool {
    const NONE: [&str; 6] =
        ["Requested", "Deferred", "Ready", "Attempted", "RetryScheduled", "Unresolved"];
    let Some(name) = type_name.strip_prefix(DELIVERY) else { return false };
    name.strip_prefix("Touch").map_or(name.starts_with("Task"), |it| !NONE.contains(&it))
}

/// What a fact of a touch tells about its decision. What a machine did does not count.
pub(crate) fn seen(fact: &Fact, event: &Recorded) -> Option<Seen> {
    let mut reason = String::new();
    let mut provider: Option<&ProviderFact> = None;
    let mut kind = event.envelope.r#type.rsplit('.').next().unwrap_or_default();
    match fact {
        Fact::Requested(_)
        | Fact::Deferred(_)
        | Fact::Ready(_)
        | Fact::Attempted(_)
        | Fact::RetryScheduled(_)
        | Fact::Unresolved(_) => return None,
        Fact::Opened(it) if it.machine => return None,
        Fact::Clicked(it) if it.machine => return None,
        Fact::Skipped(it) => reason.clone_from(&it.reason),
        Fact::Failed(it) => reason.clone_from(&it.code),
        Fact::Resolved(it) => kind = if it.sent { "TouchSent" } else { "TouchFailed" },
        Fact::Delivered(it) => provider = it.fact.as_ref(),
        Fact::Opened(it) => provider = it.fact.as_ref(),
        Fact::Clicked(it) => provider = it.fact.as_ref(),
        Fact::Bounced(it) => {
            provider = it.fact.as_ref();
            reason.clone_from(&it.code);
        }
        Fact::Complained(it) => provider = it.fact.as_ref(),
        Fact::Unsubscribed(it) => provider = it.fact.as_ref(),
        Fact::TaskDismissed(it) => reason = dismissed(it.reason()).to_owned(),
        Fact::TaskCompleted(it) => reason.clone_from(&it.outcome),
        Fact::TaskWithdrawn(it) => reason.clone_from(&it.reason),
        Fact::Sent(_) | Fact::TaskAccepted(_) | Fact::TaskExpired(_) => {}
    }
    let occurred_at = provider.and_then(|it| instant(it.occurred_at.as_ref()));
    Some(Seen {
        kind: kind.to_owned(),
        occurred_at: occurred_at.unwrap_or_else(|| event.occurred_at()),
        source: event.envelope.source.clone(),
        position: event.position,
        reason,
    })
}

/// `NOT_RELEVANT`.
fn dismissed(reason: DismissReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("DISMISS_REASON_").unwrap_or(name)
}
