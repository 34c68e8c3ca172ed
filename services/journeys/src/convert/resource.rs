//! Resources as the API shows them.

use eventstore::{Loaded, Timestamp};
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::instance;

use crate::domain::instance::{Life, State};

/// An instance as it stands.
pub(crate) fn instance(tenant: &str, loaded: &Loaded<State>) -> proto::Instance {
    let state = &loaded.state;
    let start = state.start();
    let wait = state.wait.as_ref().filter(|_| state.paused.is_none());
    proto::Instance {
        name: chassis::name::print(tenant, &[("instances", &start.instance_id)]),
        state: life(state).into(),
        node: state.node.clone(),
        due_time: wait.and_then(|it| it.due_at).map(Timestamp::to_proto),
        outcome: state.outcome.clone(),
        goals: state.goals.iter().cloned().collect(),
        start_time: start.started_at,
        end_time: state.is_ended().then(|| loaded.updated_at.to_proto()),
        instance_id: start.instance_id,
        journey_id: start.journey_id,
        version: start.version,
        party_id: start.party_id,
        entry_key: start.entry_key,
    }
}

fn life(state: &State) -> instance::State {
    match state.life {
        Life::Unknown => instance::State::Unspecified,
        Life::Running if state.paused.is_some() => instance::State::Paused,
        Life::Running if state.wait.is_some() => instance::State::Waiting,
        Life::Running => instance::State::Running,
        Life::Completed => instance::State::Completed,
        Life::Exited => instance::State::Exited,
        Life::Ejected => instance::State::Ejected,
    }
}
