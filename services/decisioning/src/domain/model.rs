//! What groups of parties are like: the priors of their affinities. Stream `model/<day>`, for example
//! `model/2026-11-22`: nobody reads yesterday's to publish today's.
//!
//! Empirical Bayes over all parties of a (market, channel, topic): the mean is shrunk towards the channel's, the
//! strength κ follows by moments from how much parties differ. Everything is summed in millionths, so any order of
//! arrival gives the same bits.

use std::collections::BTreeMap;
use std::convert::Infallible;

use eventstore::{Decider, Timestamp};
use prost::Message as _;
use rapport_proto::decisioning::v1 as proto;
use rapport_proto::decisioning::v1::Prior;
use rapport_proto::decisioning::v1::model_event::Event;
use rapport_proto::types::Channel;

/// The model of a midnight: its day.
pub(crate) fn id(as_of: Timestamp) -> String {
    as_of.to_string().chars().take_while(|it| *it != 'T').collect()
}

const MILLION: i64 = 1_000_000;
const DAY: i64 = 86_400 * MILLION;
/// Strength with which a topic's mean is drawn to its channel's, and a channel's to one half.
const SHRINK: i64 = 20;
/// Below this many parties how much they differ says nothing.
const FEW: i64 = 10;
/// Where κ is clamped, in millionths (`data.md` 1.4).
const KAPPA: (i64, i64) = (2 * MILLION, 200 * MILLION);
/// Priors that are published, at most: they are one event.
const MOST: usize = 1_500;

/// The aggregate.
pub(crate) enum Model {}

/// Publish the priors as of a midnight.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) as_of: Timestamp,
    pub(crate) priors: Vec<Prior>,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) published: bool,
}

impl Decider for Model {
    const AGGREGATE: &'static str = "model";
    type Command = Publish;
    type State = State;
    type Event = Event;
    type Refusal = Infallible;

    fn decide(state: &State, command: Publish, _at: Timestamp) -> Result<Vec<Event>, Infallible> {
        if state.published {
            return Ok(Vec::new());
        }
        Ok(vec![Event::Published(proto::ModelSnapshotPublished {
            as_of: Some(command.as_of.to_proto()),
            hash: hash(&command.priors).to_vec(),
            priors: command.priors,
        })])
    }

    fn evolve(_: State, Event::Published(_): &Event) -> State {
        State { published: true }
    }
}

/// The first midnight UTC after an instant.
pub(crate) fn next_midnight(at: Timestamp) -> Timestamp {
    Timestamp((at.0.div_euclid(DAY) + 1).saturating_mul(DAY))
}

fn hash(priors: &[Prior]) -> [u8; 32] {
    let whole = proto::ModelSnapshotPublished { priors: priors.to_vec(), ..Default::default() };
    eventstore::digest(&whole.encode_to_vec())
}

/// What closed rewards of a group add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Parties.
    pub(crate) parties: i64,
    /// Rewards, in millionths.
    pub(crate) successes: i64,
    /// Decisions whose reward was closed, in millionths.
    pub(crate) total: i64,
    /// Sum of each party's rate, in millionths.
    pub(crate) rates: i64,
    /// Sum of the squares of each party's rate, in millionths.
    pub(crate) squares: i64,
}

/// A group: market, channel, topic; the topic is empty for the channel as a whole.
pub(crate) type Group = (String, i32, String);

/// The priors of groups, by market, channel, topic. Of too many those of which most is known: whom one is missing has
/// its channel's.
pub(crate) fn priors(groups: &BTreeMap<Group, Sums>) -> Vec<Prior> {
    let half = MILLION / 2;
    let mut known: Vec<_> = groups.iter().collect();
    if known.len() > MOST {
        known.sort_by_key(|(group, sums)| (!group.2.is_empty(), std::cmp::Reverse(sums.total)));
        known.truncate(MOST);
        known.sort_by_key(|it| it.0);
    }
    known
        .into_iter()
        .map(|((market, channel, topic), sums)| {
            let whole = groups.get(&(market.clone(), *channel, String::new()));
            let towards = match whole {
                Some(whole) if !topic.is_empty() => shrunk(whole, half),
                _ => half,
            };
            let mean = shrunk(sums, towards);
            Prior {
                market: market.clone(),
                channel: Channel::try_from(*channel).unwrap_or_default().into(),
                topic: topic.clone(),
                mean_millionths: mean,
                strength_millionths: strength(sums, mean),
            }
        })
        .collect()
}

/// The mean in millionths, drawn towards another one.
fn shrunk(sums: &Sums, towards: i64) -> i64 {
    let above = i128::from(sums.successes) + i128::from(SHRINK) * i128::from(towards);
    let below = i128::from(sums.total) + i128::from(SHRINK) * i128::from(MILLION);
    i64::try_from(above * i128::from(MILLION) / below).unwrap_or(MILLION / 2)
}

/// κ = m(1 − m)/s² − 1, in millionths.
fn strength(sums: &Sums, mean: i64) -> i64 {
    if sums.parties < FEW {
        return KAPPA.0;
    }
    let parties = i128::from(sums.parties);
    let million = i128::from(MILLION);
    let (mean, average) = (i128::from(mean), i128::from(sums.rates) / parties);
    let variance = i128::from(sums.squares) / parties - average * average / million;
    if variance <= 0 {
        return KAPPA.1;
    }
    let kappa = mean * (million - mean) / variance - million;
    i64::try_from(kappa).unwrap_or(KAPPA.1).clamp(KAPPA.0, KAPPA.1)
}

#[cfg(test)]
mod tests;
