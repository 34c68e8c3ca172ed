//! Refusals on the wire: the reasons this service answers with, and which refusal has which.

use chassis::reasons;
use chassis::status::{NOT_FOUND, Problem};

use crate::domain::{pressure, recipient, sender, touch};

reasons! {
    /// What `delivery` answers beside the reasons of the chassis.
    pub REASONS {
        WRONG_STATE: FailedPrecondition, "the thing is not in a state in which this can be done", "Read it again.";
        TOUCH_EXISTS: AlreadyExists, "the touch was asked for with another content", "Use another request_id.";
        TASK_WITHDRAWN: FailedPrecondition, "what the task says, or to whom, is not allowed any more", "Do not use it; its reason tells why.";
        REPORT_TOO_EARLY: Unavailable, "a report names a message that no touch is known to be yet; it is kept, and the others are recorded", "Send the same again after the delay given; what never finds its touch is listed by ListReports.";
        SENDER_UNKNOWN: InvalidArgument, "there is no such sender", "Register the sender first.";
    }
}

impl From<touch::Refusal> for Problem {
    fn from(refusal: touch::Refusal) -> Self {
        use touch::Refusal as R;
        let told = |reason| Self::new(reason, refusal.to_string());
        match refusal {
            R::Unknown => told(NOT_FOUND).violation("name", "Name a touch of your tenant."),
            R::WrongState | R::NotSent => told(WRONG_STATE),
            R::Exists => told(TOUCH_EXISTS),
        }
    }
}

impl From<recipient::Refusal> for Problem {
    fn from(refusal: recipient::Refusal) -> Self {
        match refusal {
            recipient::Refusal::Unknown => Self::new(NOT_FOUND, refusal.to_string())
                .violation("suppression_ids", "Name suppressions that hold, or none for all."),
        }
    }
}

impl From<sender::Refusal> for Problem {
    fn from(refusal: sender::Refusal) -> Self {
        match refusal {}
    }
}

impl From<pressure::Refusal> for Problem {
    fn from(refusal: pressure::Refusal) -> Self {
        match refusal {}
    }
}
