//! An answer. There is one for an invitation, and it never changes.

use eventstore::{About, Decider, Timestamp};
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::response_event::Event;

use super::invitation::PURPOSE;

/// The aggregate; stream `response/rsp_…`.
pub(crate) enum Response {}

/// Keep an answer.
#[derive(Clone, Debug)]
pub(crate) struct Submit(pub(crate) Box<proto::ResponseSubmitted>);

/// An answer can always be kept: whether it may be given, its invitation decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) submitted: proto::ResponseSubmitted,
}

impl Decider for Response {
    const AGGREGATE: &'static str = "response";
    type Command = Submit;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, Submit(it): Submit, _: Timestamp) -> Result<Vec<Event>, Refusal> {
        let known = !state.submitted.response_id.is_empty();
        Ok(if known { Vec::new() } else { vec![Event::Submitted(*it)] })
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Submitted(it) => state.submitted = it.clone(),
        }
        state
    }

    fn about(_: &str, state: &State, _: &Event) -> About {
        About {
            party_id: state.submitted.party_id.clone(),
            market: state.submitted.market.clone(),
            purpose: PURPOSE.to_owned(),
            ..About::default()
        }
    }
}
