//! What was read of a source and is not handled yet.

use prost::Message as _;

use crate::error::Error;
use crate::event::{Head, Stored};
use crate::time::Timestamp;

/// The part of an envelope that tells whether an event is read at all, and whether the checkpoint may go
/// behind it. The rest is skipped over; most events of a source are nobody's business.
#[derive(Clone, PartialEq, prost::Message)]
struct Glance {
    #[prost(string, tag = "6")]
    type_name: String,
    #[prost(message, optional, tag = "9")]
    recorded_at: Option<prost_types::Timestamp>,
    #[prost(uint32, tag = "14")]
    unit_index: u32,
    #[prost(uint32, tag = "15")]
    unit_size: u32,
}

/// Events that follow on the checkpoint, in order; those that are passed over left only their place.
pub(super) struct Pending {
    /// The last event that was read.
    end: Head,
    /// The last end of a unit among them, and when it was recorded.
    whole: Head,
    recorded_at: Timestamp,
    waiting: Vec<Waiting>,
}

/// An event to be handled.
pub(super) struct Waiting {
    pub(super) stored: Stored,
    /// Where the checkpoint may go once it is handled: to the last end of a unit before the next event
    /// that waits. None yet while its unit is not read to the end.
    pub(super) to: Option<Head>,
}

impl Pending {
    pub(super) fn after(checkpoint: Head, at: Timestamp) -> Self {
        Self { end: checkpoint, whole: checkpoint, recorded_at: at, waiting: Vec::new() }
    }

    /// What the next event must follow.
    pub(super) fn end(&self) -> Head {
        self.end
    }

    /// Up to where everything is handled once [`Pending::take_whole`] is, and when that was recorded.
    pub(super) fn whole(&self) -> (Head, Timestamp) {
        (self.whole, self.recorded_at)
    }

    /// Takes an event that follows on; it waits to be handled if its type is read.
    pub(super) fn push(
        &mut self,
        stored: Stored,
        reads: impl FnOnce(&str) -> bool,
    ) -> Result<(), Error> {
        let position = stored.position;
        let glance = Glance::decode(&*stored.envelope)
            .map_err(|it| Error::corrupt(format!("envelope at position {position}: {it}")))?;
        self.end = Head { position, chain: stored.chain };
        if reads(&glance.type_name) {
            self.waiting.push(Waiting { stored, to: None });
        }
        if glance.unit_index + 1 == glance.unit_size {
            self.whole = self.end;
            let recorded_at = glance.recorded_at.as_ref().and_then(Timestamp::from_proto);
            self.recorded_at = recorded_at.unwrap_or_default();
            if let Some(last) = self.waiting.last_mut() {
                last.to = Some(self.end);
            }
        }
        Ok(())
    }

    /// Takes the events of units that are read to the end.
    pub(super) fn take_whole(&mut self) -> Vec<Waiting> {
        let whole = self.waiting.iter().rposition(|it| it.to.is_some()).map_or(0, |it| it + 1);
        self.waiting.drain(..whole).collect()
    }
}

#[cfg(test)]
mod tests {
    use rapport_proto::types::Envelope;

    use super::*;

    fn event(position: u64, type_name: &str, unit: (u32, u32)) -> Stored {
        let envelope = Envelope {
            r#type: type_name.to_owned(),
            recorded_at: Some(Timestamp(7).to_proto()),
            unit_index: unit.0,
            unit_size: unit.1,
            payload: vec![1, 2, 3],
            ..Envelope::default()
        };
        let envelope = envelope.encode_to_vec().into();
        Stored { position, chain: [0; 32], envelope, hop: String::new() }
    }

    #[test]
    fn a_glance_sees_what_the_envelope_says() {
        let mut pending = Pending::after(Head::default(), Timestamp(0));
        let mut seen = String::new();
        let read = |type_name: &str| {
            seen = type_name.to_owned();
            true
        };
        pending.push(event(1, "a.B", (0, 1)), read).expect("an envelope");
        assert_eq!((seen.as_str(), pending.whole().1), ("a.B", Timestamp(7)));
    }

    #[test]
    fn the_checkpoint_goes_behind_what_is_passed_over_at_ends_of_units() {
        let mut pending = Pending::after(Head::default(), Timestamp(0));
        let units = [(0, 1), (0, 3), (1, 3), (2, 3), (0, 1), (0, 2), (1, 2), (0, 2)];
        for (position, unit) in (1..).zip(units) {
            let type_name = if [3, 6, 8].contains(&position) { "read" } else { "not" };
            pending.push(event(position, type_name, unit), |it| it == "read").expect("taken");
        }
        let taken = pending.take_whole();
        let places: Vec<_> =
            taken.iter().map(|it| (it.stored.position, it.to.map(|it| it.position))).collect();
        assert_eq!(places, [(3, Some(5)), (6, Some(7))]);
        assert_eq!((pending.whole().0.position, pending.end().position), (7, 8));
        pending.push(event(9, "not", (1, 2)), |it| it == "read").expect("taken");
        assert_eq!(pending.take_whole().len(), 1, "its unit is read to the end");
    }
}
