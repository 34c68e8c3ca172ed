//! What is decided: the life of metrics and experiments, targets, alerts. Without a clock, a database or a network.

pub(crate) mod experiment;
pub(crate) mod metric;

use eventstore::Timestamp;

/// A time as protobuf states it; absent and malformed are the same.
pub(crate) fn instant(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.and_then(Timestamp::from_proto)
}
