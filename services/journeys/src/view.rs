//! The tables that lists and look-ups read, and the timers that events state.
//!
//! | timer | stated by | does |
//! |---|---|---|
//! | `e/<entry>/<version>` | InstanceEntryRequested | lets the party in or not |
//! | `a/<instance>/<version>` | InstanceWoken, InstanceResumed | looks at the instance |
//! | `w/<instance>/<node>/<visit>` | what begins a wait | ends it, or asks for the decision |
//! | `j/<journey>/<version>` | a pause, its end, a retirement | makes the instances follow |

pub(crate) mod concerned;
pub(crate) mod instance;
pub(crate) mod journey;
pub(crate) mod refusal;
mod request;
pub(crate) mod zone;

use std::pin::Pin;

use eventstore::{Error, Recorded, TimerOp, Timestamp, Tx, View};
use rapport_proto::journeys::v1::{entry_event, instance_event, journey_event};

use crate::domain::instance::walk;
use crate::domain::instant;

/// What fires when an entry was asked for.
pub(crate) const ENTRY: &str = "entry";
/// What fires when an instance is to be looked at.
pub(crate) const LOOK: &str = "look";
/// What fires when a decision is to be asked for.
pub(crate) const DECIDE: &str = "decide";
/// What fires when the instances of a version are to follow it.
pub(crate) const FOLLOW: &str = "follow";

/// The one view of the service.
pub(crate) struct Journeys;

type Applied<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

impl View for Journeys {
    fn name(&self) -> &'static str {
        "journeys"
    }

    fn tables(&self) -> &'static [&'static str] {
        &[
            "journey",
            "journey_version",
            "entry_trigger",
            "instance",
            "entry_request",
            "entry_refusal",
        ]
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            let of = |aggregate: &str| -> Vec<&Recorded> {
                events.iter().filter(|event| event.aggregate() == aggregate).collect()
            };
            journey::apply(tx, &of("journey")).await?;
            instance::apply(tx, &of("instance")).await?;
            request::apply(tx, &of("entry")).await?;
            refusal::apply(tx, &of("entry")).await
        })
    }

    fn timers(&self, event: &Recorded) -> Result<Vec<TimerOp>, Error> {
        match event.aggregate() {
            "journey" => of_journey(event),
            "entry" => of_entry(event),
            "instance" => of_instance(event),
            _ => Ok(Vec::new()),
        }
    }
}

fn set(event: &Recorded, kind: &'static str, id: String, due_at: Timestamp) -> TimerOp {
    TimerOp::Set { id, kind, stream: event.envelope.stream.clone(), due_at }
}

/// A work item: due at once, named by the event that states it.
fn now(event: &Recorded, prefix: &str, kind: &'static str) -> TimerOp {
    let id = format!("{prefix}/{}/{}", event.id(), event.envelope.version);
    set(event, kind, id, event.recorded_at())
}

fn of_journey(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    use journey_event::Event;
    Ok(match event.decode::<Event>()? {
        Some(Event::Paused(_) | Event::Resumed(_) | Event::Retired(_)) => {
            vec![now(event, "j", FOLLOW)]
        }
        _ => Vec::new(),
    })
}

fn of_entry(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    use entry_event::Event;
    Ok(match event.decode::<Event>()? {
        Some(Event::Requested(_)) => vec![now(event, "e", ENTRY)],
        _ => Vec::new(),
    })
}

fn of_instance(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    use instance_event::Event;
    let id = |node: &str, visit: u32| format!("w/{}/{node}/{visit}", event.id());
    let due = |time: &Option<prost_types::Timestamp>| instant(time.as_ref());
    let waits = |node: &str, visit: u32, kind, at: Option<Timestamp>| {
        at.map(|at| set(event, kind, id(node, visit), at)).into_iter().collect::<Vec<_>>()
    };
    let over = |node: &str, visit: u32| vec![TimerOp::Cancel { id: id(node, visit) }];
    let Some(decoded) = event.decode::<Event>()? else { return Ok(Vec::new()) };
    Ok(match decoded {
        Event::WaitStarted(it) => waits(&it.node, it.visit, LOOK, due(&it.due_at)),
        Event::FeedbackRequested(it) => waits(&it.node, it.visit, LOOK, due(&it.expires_at)),
        Event::DecisionRequested(it) => {
            waits(&it.node, it.visit, DECIDE, Some(event.recorded_at()))
        }
        Event::Woken(it) if it.reason == walk::KEPT => Vec::new(),
        Event::Woken(_) => vec![now(event, "a", LOOK)],
        Event::Resumed(it) => {
            let kind = if it.decides { DECIDE } else { LOOK };
            let mut timers = waits(&it.node, it.visit, kind, due(&it.due_at));
            timers.push(now(event, "a", LOOK));
            timers
        }
        Event::TimerFired(it) => over(&it.node, it.visit),
        Event::EventMatched(it) => over(&it.node, it.visit),
        Event::TimedOut(it) => over(&it.node, it.visit),
        Event::Decided(it) => over(&it.node, it.visit),
        Event::FeedbackSettled(it) => over(&it.node, it.visit),
        Event::Completed(it) => over(&it.node, it.visit),
        Event::Exited(it) => over(&it.node, it.visit),
        Event::Ejected(it) => over(&it.node, it.visit),
        Event::Paused(it) => over(&it.node, it.visit),
        Event::Started(_)
        | Event::Branched(_)
        | Event::Split(_)
        | Event::TouchRequested(_)
        | Event::TouchSettled(_)
        | Event::AttributeSet(_)
        | Event::GoalReached(_)
        | Event::Migrated(_) => Vec::new(),
    })
}
