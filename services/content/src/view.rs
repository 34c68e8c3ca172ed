//! The tables that lists and look-ups read, written from events in the transaction that appends them, and the timers
//! that events state.
//!
//! One file per table. What decides (an approval, a reference that counts) is never read here: it is folded from its
//! stream. The tables say where to look.

use std::pin::Pin;

use eventstore::{Error, Recorded, TimerOp, Timestamp, Tx, View};
use rapport_proto::content::v1::{State, asset_event, claim_event, module_event, reference_event};

use crate::domain::instant;

pub(crate) mod library;
pub(crate) mod newest;
pub(crate) mod part_use;
pub(crate) mod plan_use;
mod review;
pub(crate) mod rule_pack;
pub(crate) mod usable;

/// What fires when the time of something is over.
pub(crate) const EXPIRY: &str = "content.expiry";
/// What fires when a version that was approved ahead of its time may be used.
pub(crate) const USABLE: &str = "content.usable";
/// A work item, due at once: something ended, and what prints it is withdrawn.
pub(crate) const CASCADE: &str = "content.cascade";

type Applied<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// The view of own events.
pub(crate) struct Content;

impl View for Content {
    fn name(&self) -> &'static str {
        "content"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["product", "reference", "newest", "usable", "part_use"]
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            library::apply(tx, events).await?;
            usable::apply(tx, events).await?;
            let moves = review::moves(events)?;
            newest::apply(tx, &moves).await?;
            part_use::apply(tx, &moves).await
        })
    }

    fn timers(&self, event: &Recorded) -> Result<Vec<TimerOp>, Error> {
        match event.aggregate() {
            "reference" => of_reference(event),
            "asset" => of_asset(event),
            "claim" => of_claim(event),
            "module" => of_module(event),
            _ => Ok(Vec::new()),
        }
    }
}

/// A state as a table holds it.
fn state(number: i64) -> State {
    i32::try_from(number).ok().and_then(|it| State::try_from(it).ok()).unwrap_or_default()
}

fn of_reference(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    use reference_event::Event;
    Ok(match event.decode()? {
        Some(Event::Added(it)) => {
            let end = it.reference.and_then(|it| instant(it.expires_at.as_ref()));
            at(event, 0, EXPIRY, end)
        }
        Some(Event::Expired(_)) => {
            let mut operations = cascade(event);
            operations.push(TimerOp::Cancel { id: timer_id(event, 0, EXPIRY) });
            operations
        }
        None => Vec::new(),
    })
}

fn of_asset(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    use asset_event::Event;
    Ok(match event.decode()? {
        Some(Event::Stored(it)) => {
            let end = it.asset.and_then(|it| instant(it.rights_until.as_ref()));
            at(event, 0, EXPIRY, end)
        }
        Some(Event::Expired(_)) | None => Vec::new(),
    })
}

fn of_claim(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    use claim_event::Event;
    Ok(match event.decode()? {
        Some(Event::Approved(it)) => {
            let end = it.content.and_then(|it| instant(it.expires_at.as_ref()));
            at(event, it.version, EXPIRY, end)
        }
        Some(Event::Withdrawn(_) | Event::Expired(_)) => cascade(event),
        Some(
            Event::DraftSaved(_)
            | Event::Submitted(_)
            | Event::VerdictRecorded(_)
            | Event::ChangesRequested(_)
            | Event::Superseded(_),
        )
        | None => Vec::new(),
    })
}

fn of_module(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    use module_event::Event;
    Ok(match event.decode()? {
        Some(Event::Approved(it)) => {
            let mut operations = at(event, it.version, EXPIRY, instant(it.expires_at.as_ref()));
            let later = instant(it.usable_from.as_ref()).filter(|from| *from > event.recorded_at());
            operations.extend(at(event, it.version, USABLE, later));
            operations
        }
        // What a claim took with it takes with it what prints it.
        Some(Event::Withdrawn(it)) if !it.cause.is_empty() => cascade(event),
        Some(
            Event::DraftSaved(_)
            | Event::Submitted(_)
            | Event::VerdictRecorded(_)
            | Event::ChangesRequested(_)
            | Event::Superseded(_)
            | Event::Withdrawn(_)
            | Event::Expired(_),
        )
        | None => Vec::new(),
    })
}

fn at(event: &Recorded, version: u32, kind: &'static str, due: Option<Timestamp>) -> Vec<TimerOp> {
    let set = |due_at| TimerOp::Set {
        id: timer_id(event, version, kind),
        kind,
        stream: event.envelope.stream.clone(),
        due_at,
    };
    due.map(set).into_iter().collect()
}

/// `<stream>/<version>/<kind>`: a version of a claim or module, 0 for what has none.
fn timer_id(event: &Recorded, version: u32, kind: &str) -> String {
    format!("{}/{version}/{kind}", event.envelope.stream)
}

/// One work item for each end: by the place of the event in its stream.
fn cascade(event: &Recorded) -> Vec<TimerOp> {
    vec![TimerOp::Set {
        id: format!("{}/{}/{CASCADE}", event.envelope.stream, event.envelope.version),
        kind: CASCADE,
        stream: event.envelope.stream.clone(),
        due_at: event.recorded_at(),
    }]
}
