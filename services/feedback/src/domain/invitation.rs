//! One question to one party.
//!
//! ```text
//! REQUESTED ─┬→ DECLINED(cooldown_family | cooldown_global | quota | not_live | not_survey)
//!            └→ ISSUED ─┬→ SENT ─┬→ ANSWERED
//!                       │        └→ EXPIRED
//!                       └→ DECLINED(not_sent)
//! ```
//!
//! An answer or the end of time may come before the news that the touch was sent. Then that news is noted, as it is of
//! every invitation that went out, and moves nothing.

use eventstore::{About, Decider, Timestamp};
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::invitation::State as Status;
use rapport_proto::feedback::v1::invitation_event::Event;

use super::instant;

/// Why an invitation is declined whose touch was not sent.
pub(crate) const NOT_SENT: &str = "not_sent";
/// Why one is declined whose survey has no version in force.
pub(crate) const NOT_LIVE: &str = "not_live";
/// Why one is declined whose module is no survey's.
pub(crate) const NOT_SURVEY: &str = "not_survey";
/// Why one is declined when enough were issued.
pub(crate) const QUOTA: &str = "quota";
/// What invitations and answers are processed for.
pub(crate) const PURPOSE: &str = "RESEARCH";

/// The aggregate; stream `invitation/inv_…`.
pub(crate) enum Invitation {}

/// What can be wished of an invitation.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Request(Box<proto::InvitationRequested>),
    Issue(Box<proto::InvitationIssued>),
    Decline {
        reason: &'static str,
        next_allowed_at: Option<Timestamp>,
    },
    /// What became of its touch; `detail` says why it was not sent.
    Settle {
        sent: bool,
        detail: String,
    },
    Answer {
        response_id: String,
    },
    Expire,
}

/// Why a wish was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the invitation was asked for with another content")]
    Exists,
    #[error("the invitation was never issued")]
    NotIssued,
    #[error("the invitation was answered before")]
    Used,
    #[error("the invitation is no longer open to answers")]
    Expired,
}

/// What the facts add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) status: Status,
    pub(crate) requested: proto::InvitationRequested,
    /// What was issued; nothing before.
    pub(crate) issued: Option<proto::InvitationIssued>,
    /// Its touch was sent, and that was noted.
    sent: bool,
    pub(crate) reason: String,
    pub(crate) detail: String,
    pub(crate) response_id: String,
}

impl State {
    /// Not answered later than this.
    pub(crate) fn answer_until(&self) -> Option<Timestamp> {
        instant(self.issued.as_ref()?.answer_until.as_ref())
    }

    /// Whether an answer would be taken now, and what was issued.
    pub(crate) fn open_at(&self, at: Timestamp) -> Result<&proto::InvitationIssued, Refusal> {
        match self.status {
            Status::Answered => return Err(Refusal::Used),
            Status::Expired => return Err(Refusal::Expired),
            Status::Unspecified | Status::Requested | Status::Declined => {
                return Err(Refusal::NotIssued);
            }
            Status::Issued | Status::Sent => {}
        }
        let over = self.answer_until().is_some_and(|until| at > until);
        if over { Err(Refusal::Expired) } else { self.issued.as_ref().ok_or(Refusal::NotIssued) }
    }
}

impl Decider for Invitation {
    const AGGREGATE: &'static str = "invitation";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        let invitation_id = state.requested.invitation_id.clone();
        let instance_id = state.requested.instance_id.clone();
        let touch_id = || state.issued.as_ref().map(|it| it.touch_id.clone()).unwrap_or_default();
        Ok(match (command, state.status) {
            (Command::Request(it), Status::Unspecified) => vec![Event::Requested(*it)],
            (Command::Request(it), _) if *it == state.requested => Vec::new(),
            (Command::Request(_), _) => return Err(Refusal::Exists),
            (Command::Issue(it), Status::Requested) => vec![Event::Issued(*it)],
            (Command::Decline { reason, next_allowed_at }, Status::Requested) => {
                vec![Event::Declined(proto::InvitationDeclined {
                    invitation_id,
                    reason: reason.to_owned(),
                    detail: String::new(),
                    next_allowed_at: next_allowed_at.map(Timestamp::to_proto),
                    instance_id,
                })]
            }
            (
                Command::Settle { sent: true, .. },
                Status::Issued | Status::Answered | Status::Expired,
            ) if !state.sent => {
                let touch_id = touch_id();
                vec![Event::Sent(proto::InvitationSent { invitation_id, touch_id, instance_id })]
            }
            (Command::Settle { sent: false, detail }, Status::Issued) => {
                vec![Event::Declined(proto::InvitationDeclined {
                    invitation_id,
                    reason: NOT_SENT.to_owned(),
                    detail,
                    next_allowed_at: None,
                    instance_id,
                })]
            }
            (Command::Answer { response_id }, _) => {
                state.open_at(at)?;
                vec![Event::Answered(proto::InvitationAnswered {
                    invitation_id,
                    response_id,
                    instance_id,
                })]
            }
            (Command::Expire, Status::Issued | Status::Sent)
                if state.answer_until().is_some_and(|it| it <= at) =>
            {
                vec![Event::Expired(proto::InvitationExpired { invitation_id, instance_id })]
            }
            // Decided before, or settled by something faster.
            (
                Command::Issue(_)
                | Command::Decline { .. }
                | Command::Settle { .. }
                | Command::Expire,
                _,
            ) => Vec::new(),
        })
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Requested(it) => {
                state.status = Status::Requested;
                state.requested = it.clone();
            }
            Event::Issued(it) => {
                state.status = Status::Issued;
                state.issued = Some(it.clone());
            }
            Event::Declined(it) => {
                state.status = Status::Declined;
                state.reason.clone_from(&it.reason);
                state.detail.clone_from(&it.detail);
            }
            Event::Sent(_) => {
                state.sent = true;
                if state.status == Status::Issued {
                    state.status = Status::Sent;
                }
            }
            Event::Answered(it) => {
                state.status = Status::Answered;
                state.response_id.clone_from(&it.response_id);
            }
            Event::Expired(_) => state.status = Status::Expired,
        }
        state
    }

    fn about(_: &str, state: &State, _: &Event) -> About {
        About {
            party_id: state.requested.party_id.clone(),
            market: state.requested.market.clone(),
            purpose: PURPOSE.to_owned(),
            ..About::default()
        }
    }
}

#[cfg(test)]
mod tests;
