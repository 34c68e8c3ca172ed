//! What is true of journeys and of parties on their way through them, without a clock, a database or a network.
//!
//! | file | stream | decides |
//! |---|---|---|
//! | [`journey`] | `journey/<id>` | which version lets parties in, what stands still |
//! | [`entry`] | `entry/<journey>.<party>` | whether a party enters, across versions |
//! | [`instance`] | `instance/ins_…` | one party's way; [`instance::walk`] is the interpreter |

pub(crate) mod entry;
pub(crate) mod instance;
pub(crate) mod journey;

use eventstore::Timestamp;
use rapport_proto::journeys::v1::Cause;

/// An instant as an event has it.
pub(crate) fn instant(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.and_then(Timestamp::from_proto)
}

/// The instant by which a cause stands in line with timers.
pub(crate) fn recorded_at(cause: Option<&Cause>) -> Timestamp {
    cause.and_then(|it| instant(it.recorded_at.as_ref())).unwrap_or_default()
}
