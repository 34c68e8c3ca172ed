//! What is true of touches and of those they reach, without a clock, a database or a network: one file per aggregate,
//! each with its commands, its refusals, `decide` and `evolve`.

pub(crate) mod pressure;
pub(crate) mod recipient;
pub(crate) mod report;
pub(crate) mod sender;
pub(crate) mod touch;

use eventstore::Timestamp;
use rapport_proto::types::Channel;

/// Channels on which a touch is a task that a person or a portal takes up, and nothing is handed to a provider.
pub(crate) fn is_task(channel: Channel) -> bool {
    match channel {
        Channel::FieldTask | Channel::Portal | Channel::Phone => true,
        Channel::Unspecified | Channel::Email | Channel::Sms | Channel::Webhook => false,
    }
}

/// `EMAIL` for `CHANNEL_EMAIL`, as lines of a policy name it.
pub(crate) fn channel_name(channel: Channel) -> &'static str {
    channel.as_str_name().trim_start_matches("CHANNEL_")
}

/// The channel of such a name.
pub(crate) fn channel_of(name: &str) -> Option<Channel> {
    let known = Channel::from_str_name(&format!("CHANNEL_{name}"));
    known.filter(|it| *it != Channel::Unspecified)
}

/// A time of an event; the beginning of time when it lacks one.
pub(crate) fn instant(time: Option<&prost_types::Timestamp>) -> Timestamp {
    time.and_then(Timestamp::from_proto).unwrap_or_default()
}
