//! A decision and what came of it. Stream `decision/dec_…`.
//!
//! ```text
//! MADE ──outcomes──▶ MADE ──longest window over, or reward 1──▶ CLOSED ──later facts──▶ CORRECTED
//! ```
//!
//! The reward is the sum of the rewards whose event happened within its window, each once, at most 1. A decision whose
//! treatment never reached the party is censored: nothing is learnt from it.

use std::collections::BTreeSet;

use eventstore::{About, Decider, Timestamp};
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::decision_event::Event;
use rapport_proto::decisioning::v1::{Chosen, DecisionMade, OutcomeObserved, Reward};

use super::policy::compiled::micros;
use super::{DO_NOTHING, instant};

/// Outcomes kept of one decision, at most: beyond them only what changes what is learnt from it.
const MOST_OUTCOMES: usize = 200;

/// Outcomes that show that the treatment reached the party.
const REACHED: [&str; 8] = [
    "TouchSent",
    "TouchDelivered",
    "TouchOpened",
    "TouchClicked",
    "TouchComplained",
    "TouchUnsubscribed",
    "TaskAccepted",
    "TaskCompleted",
];

/// The aggregate.
pub(crate) enum Decision {}

/// What can be wished of a decision.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Record it.
    Make(Box<DecisionMade>),
    /// Record what was seen of it.
    Observe(Seen),
    /// Settle its reward.
    Close,
}

/// Something that came of a decision.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) kind: String,
    pub(crate) occurred_at: Timestamp,
    pub(crate) source: String,
    pub(crate) position: u64,
    pub(crate) reason: String,
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the decision is not known")]
    Unknown,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) made: Option<Box<DecisionMade>>,
    pub(crate) outcomes: Vec<OutcomeObserved>,
    pub(crate) closed: bool,
    pub(crate) reward: f64,
    pub(crate) censored: bool,
}

impl Decider for Decision {
    const AGGREGATE: &'static str = "decision";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
        match (command, &state.made) {
            (Command::Make(made), None) => Ok(vec![Event::Made(*made)]),
            (Command::Make(_), Some(_)) => Ok(Vec::new()),
            (Command::Observe(_) | Command::Close, None) => Err(Refusal::Unknown),
            (Command::Observe(seen), Some(made)) => Ok(observe(state, made, seen)),
            (Command::Close, Some(_)) if state.closed => Ok(Vec::new()),
            (Command::Close, Some(made)) => Ok(vec![close(state, made)]),
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Made(it) => state.made = Some(Box::new(it.clone())),
            Event::OutcomeObserved(it) => state.outcomes.push(it.clone()),
            Event::RewardClosed(it) => {
                state.closed = true;
                state.reward = it.reward;
                state.censored = it.censored;
            }
            Event::RewardCorrected(it) => state.reward = it.reward,
        }
        state
    }

    fn about(_id: &str, state: &State, _event: &Event) -> About {
        let Some(made) = &state.made else { return About::default() };
        About { party_id: made.party_id.clone(), market: made.market.clone(), ..About::default() }
    }
}

fn observe(state: &State, made: &DecisionMade, seen: Seen) -> Vec<Event> {
    let known = |it: &OutcomeObserved| it.source == seen.source && it.position == seen.position;
    if state.outcomes.iter().any(known) {
        return Vec::new();
    }
    let observed = OutcomeObserved {
        value: worth(made, &seen.kind, seen.occurred_at).map_or(0.0, |(_, value)| value),
        kind: seen.kind,
        occurred_at: Some(seen.occurred_at.to_proto()),
        source: seen.source,
        position: seen.position,
        reason: seen.reason,
    };
    let mut after = state.clone();
    after.outcomes.push(observed.clone());
    let earned = reward(made, &state.outcomes);
    let reward = reward(made, &after.outcomes);
    let tells =
        reward.total_cmp(&earned).is_ne() || reached(&after.outcomes) != reached(&state.outcomes);
    if !tells && state.outcomes.len() >= MOST_OUTCOMES {
        return Vec::new();
    }
    let mut events = vec![Event::OutcomeObserved(observed)];
    if state.closed {
        if reward.total_cmp(&state.reward).is_ne() {
            events.push(Event::RewardCorrected(proto::RewardCorrected { reward }));
        }
    } else if reward >= 1.0 && reached(&after.outcomes) {
        events.push(close(&after, made));
    }
    events
}

fn close(state: &State, made: &DecisionMade) -> Event {
    Event::RewardClosed(proto::RewardClosed {
        reward: reward(made, &state.outcomes),
        censored: !reached(&state.outcomes),
    })
}

/// Whether the treatment reached the party, as far as outcomes tell.
fn reached(outcomes: &[OutcomeObserved]) -> bool {
    outcomes.iter().any(|it| REACHED.contains(&it.kind.as_str()))
}

/// The rewards of what was drawn first: the only one that is learnt from.
pub(crate) fn rewards(chosen: &[Chosen]) -> &[Reward] {
    chosen.first().filter(|it| it.action != DO_NOTHING).map_or(&[], |it| &it.rewards)
}

/// Which reward an event is worth, if it happened within its window.
fn worth(made: &DecisionMade, kind: &str, occurred_at: Timestamp) -> Option<(usize, f64)> {
    let decided_at = instant(made.decided_at.as_ref())?;
    let after = occurred_at.0.checked_sub(decided_at.0).filter(|it| *it >= 0)?;
    let fits = |it: &Reward| it.event == kind && after <= micros(&it.within);
    let (index, reward) = rewards(&made.chosen).iter().enumerate().find(|(_, it)| fits(it))?;
    Some((index, reward.value))
}

/// r = min(1, Σ v_k · 1[outcome k within W_k]) (`data.md` 1.6).
fn reward(made: &DecisionMade, outcomes: &[OutcomeObserved]) -> f64 {
    let mut counted = BTreeSet::new();
    let mut sum = 0.0;
    for outcome in outcomes {
        let occurred_at = instant(outcome.occurred_at.as_ref()).unwrap_or_default();
        if let Some((index, value)) = worth(made, &outcome.kind, occurred_at)
            && counted.insert(index)
        {
            sum += value;
        }
    }
    f64::min(sum, 1.0)
}

#[cfg(test)]
mod tests;
