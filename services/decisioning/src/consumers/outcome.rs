//! What came of decisions: facts of touches by the decision they carry out, interactions by the last decision of the
//! party that waits for them.

use std::time::Duration;

use eventstore::consumer::read_checkpoint;
use eventstore::{AsOf, Decider as _, Error, Metadata, Reactor, Recorded, Store, Unit, UnitError};
use futures::future::BoxFuture;
use rapport_proto::delivery::v1::touch_event::Event as Fact;
use rapport_proto::delivery::v1::{DismissReason, ProviderFact};
use rapport_proto::profiles::v1::interaction_event;

use crate::domain::decision::{Command, Decision, Seen};
use crate::domain::instant;
use crate::view;
use crate::view::outside::{CONSUMER, touch};

/// How often, and how many times, the tables of the other consumer are waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LOOKS: usize = 100;

/// Notes what came of decisions.
pub(crate) struct Outcomes;

impl Reactor for Outcomes {
    fn react<'a>(
        &'a self,
        store: &'a Store,
        event: &'a Recorded,
        meta: Metadata,
    ) -> BoxFuture<'a, Result<Option<Unit>, Error>> {
        Box::pin(async move {
            let found = match event.aggregate() {
                "touch" => of_touch(store, event).await?,
                "interaction" => of_interaction(store, event).await?,
                _ => None,
            };
            let Some((decision_id, seen)) = found else { return Ok(None) };
            observe(store, &decision_id, seen, meta).await
        })
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

/// The decision that a touch carries out, and what was seen of it.
async fn of_touch(store: &Store, event: &Recorded) -> Result<Option<(String, Seen)>, Error> {
    let Some(seen) = event.decode()?.and_then(|fact| seen(&fact, event)) else { return Ok(None) };
    let tenant = &event.envelope.tenant;
    let mut found = touch::find(store.database(), tenant, event.id()).await?;
    if found.is_none() {
        wait_for_tables(store, event).await?;
        found = touch::find(store.database(), tenant, event.id()).await?;
    }
    let decision_id = found.map(|it| it.decision_id).filter(|it| !it.is_empty());
    Ok(decision_id.map(|it| (it, seen)))
}

/// Waits until the other consumer has read as far.
async fn wait_for_tables(store: &Store, event: &Recorded) -> Result<(), Error> {
    for _ in 0..LOOKS {
        let read = read_checkpoint(store, CONSUMER, &event.envelope.source).await?;
        if read.position >= event.position {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Err(Error::unavailable(format!("{CONSUMER} has not read as far as its reactor")))
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
