//! Half-open intervals of time.

use eventstore::Timestamp;
use rapport_proto::types;

use super::Invalid;

/// When something holds: from the first instant up to, not including, the second; an absent end is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

impl Validity {
    pub(crate) fn new(from: Option<Timestamp>, until: Option<Timestamp>) -> Result<Self, Invalid> {
        match (from, until) {
            (Some(from), Some(until)) if from >= until => {
                Err(Invalid::value("Let `until` be later than `from`."))
            }
            _ => Ok(Self { from, until }),
        }
    }

    /// From a table, where the smallest and the greatest instant stand for open ends.
    pub(crate) fn of_ends(from: Timestamp, until: Timestamp) -> Self {
        let open = |end: Timestamp| end == Timestamp(i64::MIN) || end == Timestamp::MAX;
        let closed = |end: Timestamp| (!open(end)).then_some(end);
        Self { from: closed(from), until: closed(until) }
    }

    /// As a table has it.
    pub(crate) fn ends(self) -> (Timestamp, Timestamp) {
        (self.from.unwrap_or(Timestamp(i64::MIN)), self.until.unwrap_or(Timestamp::MAX))
    }

    pub(crate) fn holds_at(&self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.until.is_none_or(|until| at < until)
    }

    /// Whether it never holds again: its end has come.
    pub(crate) fn has_ended(&self, at: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= at)
    }

    /// As an event states it; unreadable ends are open, because the fact was accepted once.
    pub(crate) fn of(stated: Option<&types::Validity>) -> Self {
        let end = |time: Option<prost_types::Timestamp>| time.as_ref().and_then(super::instant);
        stated.map_or_else(Self::default, |it| Self { from: end(it.from), until: end(it.until) })
    }

    /// As events and replies have it; absent when both ends are open.
    pub(crate) fn to_proto(self) -> Option<types::Validity> {
        (self != Self::default()).then(|| types::Validity {
            from: self.from.map(Timestamp::to_proto),
            until: self.until.map(Timestamp::to_proto),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_contains_its_start_and_not_its_end() {
        let interval = Validity::new(Some(Timestamp(10)), Some(Timestamp(20))).expect("ordered");
        assert!(!interval.holds_at(Timestamp(9)) && interval.holds_at(Timestamp(10)));
        assert!(interval.holds_at(Timestamp(19)) && !interval.holds_at(Timestamp(20)));
        assert!(!interval.has_ended(Timestamp(9)) && !interval.has_ended(Timestamp(19)));
        assert!(interval.has_ended(Timestamp(20)));
        assert!(Validity::default().holds_at(Timestamp(i64::MIN)));
    }

    #[test]
    fn an_interval_does_not_end_before_it_starts() {
        assert!(Validity::new(Some(Timestamp(2)), Some(Timestamp(2))).is_err());
    }

    #[test]
    fn an_interval_survives_its_event_and_its_row() {
        let interval = Validity { from: Some(Timestamp(-1_500_000)), until: None };
        assert_eq!(Validity::of(interval.to_proto().as_ref()), interval);
        let (from, until) = interval.ends();
        assert_eq!(Validity::of_ends(from, until), interval);
        assert_eq!(Validity::default().to_proto(), None);
    }
}
