//! The tables that lists and look-ups read: one file per table.
//!
//! [`Feedback`] follows from own events, in the transaction that appends them. [`product::Products`] and
//! [`party::Parties`] follow from `content` and `profiles`. What a name leads to is not copied here: it is folded from
//! its stream, where a text is sealed.

use std::pin::Pin;

use eventstore::{Error, Recorded, TimerOp, Timestamp, Tx, View};
use rapport_proto::feedback::v1::{case_event, invitation_event, text_event};

use crate::domain::case::{FIRST_RESPONSE, RESOLUTION};
use crate::domain::instant;
use crate::domain::text::{LEVELS, escalates_at};

pub(crate) mod candidate;
pub(crate) mod case;
pub(crate) mod invitation;
pub(crate) mod module;
pub(crate) mod party;
pub(crate) mod product;
pub(crate) mod response;
pub(crate) mod survey;

/// What fires when an invitation has to be decided.
pub(crate) const DECIDE: &str = "invitation.decide";
/// What fires when an invitation is no longer open to answers.
pub(crate) const EXPIRY: &str = "invitation.expiry";
/// What fires when a text has to be screened.
pub(crate) const SCREEN: &str = "text.screen";
/// What fires when so much of a candidate's time is gone; the level ends its id.
pub(crate) const ESCALATE: &str = "text.escalate";
/// What fires when a target's time has come.
pub(crate) const RESPOND_BY: &str = "case.respond_by";
pub(crate) const RESOLVE_BY: &str = "case.resolve_by";

pub(crate) type Applied<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// The one view of own events.
pub(crate) struct Feedback;

impl View for Feedback {
    fn name(&self) -> &'static str {
        "feedback"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["survey", "invitation", "response", "customer_case", "candidate"]
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            let of = |aggregate: &str| -> Vec<&Recorded> {
                events.iter().filter(|event| event.aggregate() == aggregate).collect()
            };
            let invitations = of("invitation");
            let counted = invitation::apply(tx, &invitations).await?;
            survey::apply(tx, &of("survey"), &counted).await?;
            response::apply(tx, &of("response")).await?;
            case::apply(tx, &of("case")).await?;
            candidate::apply(tx, &of("text")).await
        })
    }

    fn timers(&self, event: &Recorded) -> Result<Vec<TimerOp>, Error> {
        match event.aggregate() {
            "invitation" => of_invitation(event),
            "text" => of_text(event),
            "case" => of_case(event),
            _ => Ok(Vec::new()),
        }
    }
}

/// The timer of a stream for a purpose.
fn id(event: &Recorded, what: &str) -> String {
    format!("{}/{what}", event.envelope.stream)
}

fn set(
    event: &Recorded,
    what: &str,
    kind: &'static str,
    due_at: Option<Timestamp>,
) -> Vec<TimerOp> {
    let stream = event.envelope.stream.clone();
    let set = |due_at| TimerOp::Set { id: id(event, what), kind, stream, due_at };
    due_at.map(set).into_iter().collect()
}

fn cancel(event: &Recorded, what: &str) -> TimerOp {
    TimerOp::Cancel { id: id(event, what) }
}

fn of_invitation(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    use invitation_event::Event;
    Ok(match event.decode::<Event>()? {
        Some(Event::Requested(_)) => set(event, "decide", DECIDE, Some(event.recorded_at())),
        Some(Event::Issued(it)) => set(event, "expiry", EXPIRY, instant(it.answer_until.as_ref())),
        Some(Event::Answered(_) | Event::Declined(_) | Event::Expired(_)) => {
            vec![cancel(event, "expiry")]
        }
        Some(Event::Sent(_)) | None => Vec::new(),
    })
}

fn of_text(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    use text_event::Event;
    let levels = || 1..=u32::try_from(LEVELS.len()).unwrap_or_default();
    let stop = || levels().map(|level| cancel(event, &level.to_string())).collect();
    Ok(match event.decode::<Event>()? {
        // A text that cannot be screened has its time, too.
        Some(Event::Received(it)) => {
            let received_at = instant(it.received_at.as_ref()).unwrap_or_default();
            let timer = |level: u32| {
                set(event, &level.to_string(), ESCALATE, escalates_at(received_at, level))
            };
            let screen = set(event, "screen", SCREEN, Some(event.recorded_at()));
            screen.into_iter().chain(levels().flat_map(timer)).collect()
        }
        Some(Event::Screened(it)) if it.clear => stop(),
        Some(Event::HandedOff(_) | Event::Dismissed(_)) => stop(),
        Some(
            Event::Screened(_) | Event::Opened(_) | Event::Escalated(_) | Event::Reconciled(_),
        )
        | None => Vec::new(),
    })
}

fn of_case(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    use case_event::Event;
    let respond = |at: &Option<prost_types::Timestamp>| {
        set(event, FIRST_RESPONSE, RESPOND_BY, instant(at.as_ref()))
    };
    let resolve = |at: &Option<prost_types::Timestamp>| {
        set(event, RESOLUTION, RESOLVE_BY, instant(at.as_ref()))
    };
    Ok(match event.decode::<Event>()? {
        Some(Event::Opened(it)) => [respond(&it.respond_by), resolve(&it.resolve_by)].concat(),
        Some(Event::Resumed(it)) => [respond(&it.respond_by), resolve(&it.resolve_by)].concat(),
        Some(Event::Reopened(it)) => resolve(&it.resolve_by),
        Some(Event::Responded(_)) => vec![cancel(event, FIRST_RESPONSE)],
        Some(Event::Breached(it)) => vec![cancel(event, &it.target)],
        Some(Event::Paused(_) | Event::Resolved(_)) => {
            vec![cancel(event, FIRST_RESPONSE), cancel(event, RESOLUTION)]
        }
        None => Vec::new(),
    })
}

/// Where a page of a list by due time ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) due_at: Timestamp,
    pub(crate) id: String,
}

impl Place {
    /// Before everything.
    pub(crate) const START: Self = Self { due_at: Timestamp(i64::MIN), id: String::new() };

    /// Reads what `Display` wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (due_at, id) = text.split_once('/')?;
        Some(Self { due_at: Timestamp(due_at.parse().ok()?), id: id.to_owned() })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.due_at.0, self.id)
    }
}
