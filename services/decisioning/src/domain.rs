//! What is best and what is allowed, without a clock, a database or a network.
//!
//! The aggregates [`policy`], [`rule_pack`], [`holdout`], [`decision`] and [`model`] decide and fold; beside them
//! stands what they are made of: [`pack`] answers a country's questions, [`decide`] makes a decision, [`explore`]
//! turns scores into probabilities, [`explain`] puts a record into words.

pub(crate) mod authored;
pub(crate) mod decide;
pub(crate) mod decision;
pub(crate) mod explain;
pub(crate) mod explore;
pub(crate) mod holdout;
pub(crate) mod model;
pub(crate) mod names;
pub(crate) mod normal;
pub(crate) mod pack;
pub(crate) mod policy;
pub(crate) mod rule_pack;
pub(crate) mod simulate;

use eventstore::Timestamp;

/// The action that does nothing.
pub(crate) const DO_NOTHING: &str = "DO_NOTHING";

/// A time as protobuf states it; absent and malformed are the same.
pub(crate) fn instant(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.and_then(Timestamp::from_proto)
}

/// An instant later by microseconds.
pub(crate) fn later(at: Timestamp, micros: i64) -> Timestamp {
    Timestamp(at.0.saturating_add(micros))
}
