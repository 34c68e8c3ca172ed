//! The facts of reviews among events, and where they lead.

use eventstore::{Error, Recorded};
use rapport_proto::content::v1::{State, claim_event, module_event};

use crate::domain::review::Fact;
use crate::domain::{claim, module};

/// A fact of the review of a claim or module.
pub(super) struct Move<'a> {
    pub(super) tenant: &'a str,
    /// The aggregate.
    pub(super) kind: &'a str,
    pub(super) id: &'a str,
    pub(super) fact: Fact,
}

impl Move<'_> {
    /// The version it moves, and where that one stands then. Version 0 is every one that is not over.
    pub(super) fn leads_to(&self) -> Option<(u32, State)> {
        Some(match &self.fact {
            Fact::Drafted { version, .. } => (*version, State::Draft),
            Fact::Submitted { version, .. } => (*version, State::InReview),
            Fact::ChangesRequested { version, .. } => (*version, State::ChangesRequested),
            Fact::Approved { version, .. } => (*version, State::Approved),
            Fact::Superseded { version, .. } => (*version, State::Superseded),
            Fact::Expired { version } => (*version, State::Expired),
            Fact::Withdrawn { version, .. } => (*version, State::Withdrawn),
            Fact::Reviewed(_) => return None,
        })
    }
}

/// The states in which nothing can become of a version any more.
pub(super) const OVER: [State; 3] = [State::Expired, State::Withdrawn, State::Superseded];

/// The facts of reviews among events.
pub(super) fn moves(events: &[Recorded]) -> Result<Vec<Move<'_>>, Error> {
    let mut moves = Vec::new();
    for event in events {
        let fact = match event.aggregate() {
            "claim" => event.decode::<claim_event::Event>()?.map(|it| claim::fact(&it)),
            "module" => event.decode::<module_event::Event>()?.map(|it| module::fact(&it)),
            _ => None,
        };
        let of = |fact| Move {
            tenant: &event.envelope.tenant,
            kind: event.aggregate(),
            id: event.id(),
            fact,
        };
        moves.extend(fact.map(of));
    }
    Ok(moves)
}
