//! A source that substantiates claims, for as long as it counts: VALID → EXPIRED.

use eventstore::{Decider, Timestamp};
use rapport_proto::content::v1 as proto;
use rapport_proto::content::v1::reference_event::Event;

use super::instant;
use super::wrong::Findings;

/// The aggregate; stream `reference/<id>`.
pub(crate) enum Reference {}

/// What can be wished of a reference.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Add(proto::Reference),
    /// End it; the timer does so with reason `expired`.
    Expire {
        reason: String,
    },
}

/// Why a wish was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the reference is not known")]
    Unknown,
    #[error("the reference is known with another content")]
    Exists,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) reference: Option<proto::Reference>,
    /// When it was ended; before that the reference itself says until when it counts.
    pub(crate) ended_at: Option<Timestamp>,
}

impl State {
    /// Whether it substantiates anything at an instant.
    pub(crate) fn counts_at(&self, at: Timestamp) -> bool {
        let stated = self.reference.as_ref();
        let over = |until: Option<Timestamp>| until.is_some_and(|it| it <= at);
        stated.is_some()
            && self.ended_at.is_none()
            && !over(stated.and_then(|it| instant(it.expires_at.as_ref())))
    }

    /// The reference with its end as it came about.
    pub(crate) fn told(self) -> Option<proto::Reference> {
        let mut reference = self.reference?;
        let stated = instant(reference.expires_at.as_ref());
        if let Some(ended_at) = self.ended_at {
            let end = stated.map_or(ended_at, |it| it.min(ended_at));
            reference.expires_at = Some(end.to_proto());
        }
        Some(reference)
    }
}

impl Decider for Reference {
    const AGGREGATE: &'static str = "reference";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        match (command, &state.reference) {
            (Command::Add(reference), None) => {
                Ok(vec![Event::Added(proto::ReferenceAdded { reference: Some(reference) })])
            }
            (Command::Add(reference), Some(known)) if reference == *known => Ok(Vec::new()),
            (Command::Add(_), Some(_)) => Err(Refusal::Exists),
            (Command::Expire { .. }, None) => Err(Refusal::Unknown),
            (Command::Expire { .. }, Some(_)) if state.ended_at.is_some() => Ok(Vec::new()),
            (Command::Expire { reason }, Some(_)) => {
                let expired_at = Some(at.to_proto());
                Ok(vec![Event::Expired(proto::ReferenceExpired { reason, expired_at })])
            }
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Added(it) => state.reference.clone_from(&it.reference),
            Event::Expired(it) => {
                state.ended_at.get_or_insert(instant(it.expired_at.as_ref()).unwrap_or_default());
            }
        }
        state
    }
}

/// What is wrong with a reference that is added at an instant.
pub(crate) fn check(reference: &proto::Reference, at: Timestamp) -> Findings {
    let mut found = Findings::default();
    found.keep(chassis::name::authored_id("reference.reference_id", &reference.reference_id));
    found.keep(chassis::text::line("reference.citation", &reference.citation, 1..=1000));
    found.keep(chassis::text::line("reference.locator", &reference.locator, 0..=1000));
    super::wrong::ends_later(&mut found, "reference.expires_at", reference.expires_at.as_ref(), at);
    found
}

#[cfg(test)]
mod tests {
    use eventstore::testing::given;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    fn study() -> proto::Reference {
        proto::Reference {
            reference_id: "study".into(),
            citation: "Doe 2024".into(),
            ..Default::default()
        }
    }

    fn added(reference: proto::Reference) -> Event {
        Event::Added(proto::ReferenceAdded { reference: Some(reference) })
    }

    fn expire() -> Command {
        Command::Expire { reason: "retracted".into() }
    }

    fn expired() -> Event {
        Event::Expired(proto::ReferenceExpired {
            reason: "retracted".into(),
            expired_at: Some(NOW.to_proto()),
        })
    }

    #[test]
    fn a_reference_is_added_once_and_ended_once() {
        given::<Reference>(vec![]).at(NOW).when(Command::Add(study())).then(vec![added(study())]);
        given::<Reference>(vec![]).at(NOW).when(expire()).refused(|it| *it == Refusal::Unknown);
        let known = || given::<Reference>(vec![added(study())]).at(NOW);
        known().when(Command::Add(study())).then(vec![]);
        let other = proto::Reference { citation: "Roe 2025".into(), ..study() };
        known().when(Command::Add(other)).refused(|it| *it == Refusal::Exists);
        known().when(expire()).then(vec![expired()]);
        let ended = || given::<Reference>(vec![added(study()), expired()]).at(NOW);
        ended().when(expire()).then(vec![]);
        ended().when(Command::Add(study())).then(vec![]);
    }

    #[test]
    fn it_counts_until_its_end_whether_or_not_the_end_was_noted() {
        let end = NOW.plus(std::time::Duration::from_secs(5));
        let timed = proto::Reference { expires_at: Some(end.to_proto()), ..study() };
        let state = eventstore::fold::<Reference>(&[added(timed.clone())]);
        assert!(state.counts_at(NOW) && !state.counts_at(end));
        let ended = eventstore::fold::<Reference>(&[added(timed), expired()]);
        assert!(!ended.counts_at(NOW));
        assert_eq!(ended.told().and_then(|it| it.expires_at), Some(NOW.to_proto()));
        assert!(!State::default().counts_at(NOW));
    }
}
