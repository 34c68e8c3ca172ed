//! Who must not be reached. A suppression stands beside consent: it holds from the commit that noted it, before
//! `profiles` has read of it.

use std::collections::BTreeMap;

use eventstore::{About, Decider, Timestamp};
use rapport_proto::delivery::v1::recipient_event::Event;
use rapport_proto::delivery::v1::{RecipientReleased, RecipientSuppressed, SuppressionCause};
use rapport_proto::types::{Channel, Purpose};

use super::instant;

/// The aggregate; stream `recipient/<party_id>`.
pub(crate) enum Recipient {}

/// What can be wished of a recipient.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Reach it no longer.
    Suppress(RecipientSuppressed),
    /// A consent was captured: what was said before it no longer counts for what it allows.
    Consented(Consented),
    /// A person ends suppressions; none named: all.
    Release { suppression_ids: Vec<String>, reason: String },
}

/// A grant, as `profiles` recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Consented {
    pub(crate) consent_id: String,
    pub(crate) purpose: Purpose,
    pub(crate) channel: Channel,
    pub(crate) sender_id: String,
    pub(crate) captured_at: Timestamp,
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the party has no such suppression")]
    Unknown,
}

/// The suppressions that hold, by id.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) suppressions: BTreeMap<String, RecipientSuppressed>,
}

/// Whether a suppression stops a touch. What it leaves open it stops altogether; a purpose nobody knows is stopped.
pub(crate) fn stops(
    it: &RecipientSuppressed,
    channel: Channel,
    sender_id: &str,
    purpose: Purpose,
) -> bool {
    let any_sender = it.sender_id.is_empty() || it.sender_id == sender_id;
    let of_purpose = it.purpose() == Purpose::Unspecified
        || purpose == Purpose::Unspecified
        || it.purpose() == purpose;
    it.channel() == channel && any_sender && of_purpose
}

/// A grant releases the unsubscription from that very sender and purpose that was said before it. A complaint spoke of
/// every sender, so no sender's form takes it back, and no grant revives a dead address: those are a person's to release.
fn releases(grant: &Consented, it: &RecipientSuppressed) -> bool {
    it.cause() == SuppressionCause::Unsubscribed
        && it.channel() == grant.channel
        && it.sender_id == grant.sender_id
        && it.purpose() == grant.purpose
        && grant.captured_at > instant(it.suppressed_at.as_ref())
}

impl Decider for Recipient {
    const AGGREGATE: &'static str = "recipient";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _at: Timestamp) -> Result<Vec<Event>, Refusal> {
        let released = match command {
            Command::Suppress(it) => {
                // What is said later counts anew: a consent of meanwhile, which nobody here may have read of yet, must
                // not outlast it.
                let said_at = instant(it.suppressed_at.as_ref());
                let held = state.suppressions.get(&it.suppression_id);
                let known = held.is_some_and(|it| said_at <= instant(it.suppressed_at.as_ref()));
                return Ok(if known { Vec::new() } else { vec![Event::Suppressed(it)] });
            }
            Command::Consented(grant) => RecipientReleased {
                suppression_ids: (state.suppressions.iter())
                    .filter(|(_, it)| releases(&grant, it))
                    .map(|(id, _)| id.clone())
                    .collect(),
                by: "consent".to_owned(),
                consent_id: grant.consent_id,
                reason: String::new(),
            },
            Command::Release { suppression_ids, reason } => {
                if !suppression_ids.iter().all(|it| state.suppressions.contains_key(it)) {
                    return Err(Refusal::Unknown);
                }
                let all = || state.suppressions.keys().cloned().collect();
                RecipientReleased {
                    suppression_ids: if suppression_ids.is_empty() {
                        all()
                    } else {
                        suppression_ids
                    },
                    by: "person".to_owned(),
                    consent_id: String::new(),
                    reason,
                }
            }
        };
        let nothing = released.suppression_ids.is_empty();
        Ok(if nothing { Vec::new() } else { vec![Event::Released(released)] })
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Suppressed(it) => {
                state.suppressions.insert(it.suppression_id.clone(), it.clone());
            }
            Event::Released(it) => {
                state.suppressions.retain(|id, _| !it.suppression_ids.contains(id));
            }
        }
        state
    }

    fn about(party_id: &str, _state: &State, _event: &Event) -> About {
        About { party_id: party_id.to_owned(), ..About::default() }
    }
}

#[cfg(test)]
mod tests;
