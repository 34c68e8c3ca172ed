//! The tables that lists, look-ups and the gate read: one file per table.
//!
//! [`Delivery`] follows from own events, in the transaction that appends them. [`rules::Rules`] and
//! [`contact::Contacts`] follow from `decisioning` and `profiles`. What a name leads to is not copied here: a touch is
//! folded from its stream. The one exception is [`pressure`], whose streams grow for ever.

use std::pin::Pin;

use eventstore::{Error, Recorded, TimerOp, Timestamp, Tx, View};
use rapport_proto::delivery::v1::report_event;
use rapport_proto::delivery::v1::touch_event::Event;

use crate::domain::instant;
use crate::worker::GIVES_UP;

pub(crate) mod contact;
pub(crate) mod contact_point;
pub(crate) mod pressure;
pub(crate) mod provider_event;
pub(crate) mod report;
pub(crate) mod rules;
pub(crate) mod sender;
pub(crate) mod suppression;
pub(crate) mod task;
pub(crate) mod touch;

/// What fires when a touch has to be looked at: the gate, an attempt's time-out, the end of doubt.
pub(crate) const STEP: &str = "touch.step";
/// What fires when a touch or task is out of date.
pub(crate) const EXPIRY: &str = "touch.expiry";

/// What fires when a report that is kept is looked at again.
pub(crate) const REPORT: &str = "report.placing";

/// The one view of own events.
pub(crate) struct Delivery;

pub(crate) type Applied<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

impl View for Delivery {
    fn name(&self) -> &'static str {
        "delivery"
    }

    fn tables(&self) -> &'static [&'static str] {
        &[
            "sender",
            "touch",
            "suppression",
            "contact_point",
            "pressure",
            "provider_event",
            "report",
            "task_module",
        ]
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            let of = |aggregate: &str| -> Vec<&Recorded> {
                events.iter().filter(|event| event.aggregate() == aggregate).collect()
            };
            let touches = of("touch");
            sender::apply(tx, &of("sender")).await?;
            provider_event::apply(tx, &touches).await?;
            touch::apply(tx, &touches).await?;
            contact_point::apply(tx, &touches).await?;
            pressure::apply(tx, &of("pressure")).await?;
            suppression::apply(tx, &of("recipient")).await?;
            report::apply(tx, &of("report")).await
        })
    }

    /// One timer carries a touch from step to step, another one ends it when it is out of date. A report about an
    /// unknown message is looked at again when every hand-over has ended that ran while it was being kept.
    fn timers(&self, event: &Recorded) -> Result<Vec<TimerOp>, Error> {
        match event.aggregate() {
            "touch" => {}
            "report" => return placing(event),
            _ => return Ok(Vec::new()),
        }
        let Some(fact) = event.decode::<Event>()? else {
            return Ok(Vec::new());
        };
        let step = |due_at: Timestamp| TimerOp::Set {
            id: event.id().to_owned(),
            kind: STEP,
            stream: event.envelope.stream.clone(),
            due_at,
        };
        let no_step = TimerOp::Cancel { id: event.id().to_owned() };
        let no_expiry = TimerOp::Cancel { id: expiry_id(event.id()) };
        Ok(match fact {
            Event::Requested(it) => vec![
                step(event.recorded_at()),
                TimerOp::Set {
                    id: expiry_id(event.id()),
                    kind: EXPIRY,
                    stream: event.envelope.stream.clone(),
                    due_at: instant(it.expires_at.as_ref()),
                },
            ],
            Event::Ready(_) => vec![step(event.recorded_at())],
            Event::Deferred(it) => vec![step(instant(it.until.as_ref()))],
            Event::RetryScheduled(it) => vec![step(instant(it.retry_at.as_ref()))],
            Event::Attempted(it) => vec![step(instant(it.gives_up_at.as_ref()))],
            Event::Unresolved(it) => vec![step(instant(it.counts_as_sent_at.as_ref())), no_expiry],
            // A task that was placed still has to be done in time.
            Event::Sent(it) if it.adapter == crate::adapters::TASK => vec![no_step],
            Event::Sent(_)
            | Event::Skipped(_)
            | Event::Failed(_)
            | Event::Resolved(_)
            | Event::TaskCompleted(_)
            | Event::TaskDismissed(_)
            | Event::TaskExpired(_)
            | Event::TaskWithdrawn(_) => vec![no_step, no_expiry],
            Event::Delivered(_)
            | Event::Opened(_)
            | Event::Clicked(_)
            | Event::Bounced(_)
            | Event::Complained(_)
            | Event::Unsubscribed(_)
            | Event::TaskAccepted(_) => Vec::new(),
        })
    }
}

fn placing(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    let id = event.id().to_owned();
    Ok(match event.decode::<report_event::Event>()? {
        Some(report_event::Event::Kept(it)) if !it.provider_id.is_empty() => vec![TimerOp::Set {
            id,
            kind: REPORT,
            stream: event.envelope.stream.clone(),
            due_at: event.recorded_at().plus(GIVES_UP),
        }],
        Some(report_event::Event::Placed(_)) => vec![TimerOp::Cancel { id }],
        Some(report_event::Event::Kept(_)) | None => Vec::new(),
    })
}

fn expiry_id(touch_id: &str) -> String {
    format!("{touch_id}/expiry")
}

/// The touch a timer is about.
pub(crate) fn touch_of(timer_id: &str) -> &str {
    timer_id.split_once('/').map_or(timer_id, |it| it.0)
}
