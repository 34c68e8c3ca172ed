//! The view of traits and segments: their definitions, who is in, and the timers that follow.

use eventstore::{Error, Recorded, TimerOp, Timestamp, Tx, View};
use futures::future::BoxFuture;
use rapport_proto::profiles::v1::membership_event;

use super::{definition, instant, membership};

/// What fires when time alone may move a party.
pub(crate) const CROSSING: &str = "segment.crossing";
/// What fires when a definition is new: everybody is looked at.
pub(crate) const RECOMPUTE: &str = "segment.recompute";

/// The view.
pub(crate) struct Segments;

impl View for Segments {
    fn name(&self) -> &'static str {
        "segments"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["definition", "membership", "segment_size"]
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            definition::apply(tx, events).await?;
            membership::apply(tx, events).await
        })
    }

    /// One timer for each party and segment, moved by the next statement, and one for each version of a definition.
    fn timers(&self, event: &Recorded) -> Result<Vec<TimerOp>, Error> {
        let set = |kind, due_at: Timestamp, id: String| {
            let stream = event.envelope.stream.clone();
            vec![TimerOp::Set { id, kind, stream, due_at }]
        };
        Ok(match event.aggregate() {
            "trait" | "segment" => {
                let id = format!("{}/{}", event.envelope.stream, event.envelope.version);
                set(RECOMPUTE, event.recorded_at(), id)
            }
            "membership" => match event.decode()? {
                Some(membership_event::Event::CrossingExpected(it)) => {
                    let due_at = instant(it.due_at.as_ref())
                        .ok_or_else(|| Error::corrupt("a crossing is expected at no instant"))?;
                    set(CROSSING, due_at, event.envelope.stream.clone())
                }
                Some(membership_event::Event::Entered(_) | membership_event::Event::Exited(_))
                | None => Vec::new(),
            },
            _ => Vec::new(),
        })
    }
}
