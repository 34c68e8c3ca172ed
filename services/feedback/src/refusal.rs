//! Refusals on the wire: the reasons this service answers with, and which refusal has which.

use authored::version;
use chassis::command::of_command;
use chassis::reasons;
use chassis::status::{COMMAND_TOO_LARGE, CONFLICT, NOT_FOUND, Problem, REQUEST_ID_REUSED, Reason};
use eventstore::{Error, ExecuteError};

use crate::domain::{Wrong, case, invitation, text};
use crate::units::Failure;

reasons! {
    /// What `feedback` answers beside the reasons of the chassis.
    pub REASONS {
        SURVEY_INVALID: InvalidArgument, "the survey cannot be asked as it is written", "Correct the places listed in the violations.";
        AUTHOR_MAY_NOT_APPROVE: FailedPrecondition, "the author may not approve the own version", "Ask someone else.";
        CHECK_STALE: FailedPrecondition, "the version was checked with other bytes than are to be approved", "Read the version and approve its hash.";
        INVITATION_EXISTS: AlreadyExists, "the invitation was asked for with another content", "Use another request_id.";
        MODULE_NOT_SURVEY: FailedPrecondition, "the survey's module is approved for another content class than SURVEY", "Have a module of class SURVEY approved, and put a version of the survey in force that names it.";
        LINK_USED: FailedPrecondition, "the personal link was used before", "Nothing is left to do: an invitation has one answer.";
        LINK_EXPIRED: FailedPrecondition, "the personal link is no longer open to answers", "Ask for another invitation.";
        ANSWER_INVALID: InvalidArgument, "the answers do not fit the survey", "Correct the answers listed in the violations.";
        RECEIPT_REQUIRED: InvalidArgument, "a hand-off needs the receipt of the safety database", "Give the receipt, 1 to 128 characters.";
        PERSON_REQUIRED: PermissionDenied, "only a person can say that a candidate is no case", "Let a person decide.";
        PARTY_UNKNOWN: NotFound, "nobody registered the party", "Register the party first, or name one of your tenant.";
        PARTY_ERASED: FailedPrecondition, "the party is erased", "Register the person again as a new party if there is a lawful basis.";
        WRONG_STATE: FailedPrecondition, "the thing is not in a state in which this can be done", "Read it again.";
    }
}

/// What is wrong, as a refusal that names the places.
pub(crate) fn of_wrongs(reason: Reason, wrongs: Vec<Wrong>) -> Problem {
    let told = Problem::of(reason);
    wrongs.into_iter().fold(told, |told, it| told.violation(it.place, it.remedy))
}

/// What a command that had no effect answers.
pub(crate) fn of<R: std::error::Error + 'static>(
    error: ExecuteError<R>,
    told: impl FnOnce(R) -> Problem,
) -> Problem {
    match error {
        // Nothing in this service refuses a single stream but a key that is gone.
        ExecuteError::Store(Error::Refused(_)) => erased(),
        error => of_command(error, told, |what| {
            tracing::error!(what, "a view refused for a reason without a name");
            Problem::of(CONFLICT)
        }),
    }
}

fn erased() -> Problem {
    Problem::of(PARTY_ERASED).violation("party_id", PARTY_ERASED.remedy)
}

#[expect(clippy::needless_pass_by_value, reason = "passed on as the others are")]
pub(crate) fn of_version(refusal: version::Refusal) -> Problem {
    use version::Refusal as R;
    let told = |reason| Problem::new(reason, refusal.to_string());
    match refusal {
        R::UnknownVersion { .. } => {
            told(NOT_FOUND).violation("version", "Name a version that was saved.")
        }
        R::WrongState { .. } => told(WRONG_STATE),
        R::AuthorMayNotApprove { .. } => told(AUTHOR_MAY_NOT_APPROVE),
        R::CheckStale { .. } => told(CHECK_STALE).violation("hash", CHECK_STALE.remedy),
    }
}

pub(crate) fn of_invitation(refusal: invitation::Refusal) -> Problem {
    use invitation::Refusal as R;
    match refusal {
        R::Exists => Problem::of(INVITATION_EXISTS),
        R::NotIssued => Problem::new(WRONG_STATE, refusal.to_string()),
        R::Used => Problem::of(LINK_USED),
        R::Expired => Problem::of(LINK_EXPIRED),
    }
}

pub(crate) fn of_case(refusal: case::Refusal) -> Problem {
    use case::Refusal as R;
    let told = |reason| Problem::new(reason, refusal.to_string());
    match refusal {
        R::Unknown => told(NOT_FOUND).violation("name", "Name a case of your tenant."),
        R::Resolved | R::NotResolved | R::Paused | R::OtherOutcome | R::Calendar => {
            told(WRONG_STATE)
        }
    }
}

pub(crate) fn of_text(refusal: text::Refusal) -> Problem {
    use text::Refusal as R;
    let told = |reason| Problem::new(reason, refusal.to_string());
    match refusal {
        R::Unknown => told(NOT_FOUND).violation("name", "Name a candidate of your tenant."),
        R::WrongState(_) => told(WRONG_STATE),
        R::NotAPerson => Problem::of(PERSON_REQUIRED),
    }
}

/// What a unit of several streams that had no effect answers.
pub(crate) fn of_failure(failure: Failure) -> Problem {
    match failure {
        Failure::Unknown(field) => chassis::name::unknown(field),
        Failure::Invitation(refusal) => of_invitation(refusal),
        Failure::Case(refusal) => of_case(refusal),
        Failure::Answers(wrongs) => of_wrongs(ANSWER_INVALID, wrongs),
        Failure::RequestReused => {
            Problem::of(REQUEST_ID_REUSED).violation("request_id", REQUEST_ID_REUSED.remedy)
        }
        Failure::TooLarge(what) => Problem::new(COMMAND_TOO_LARGE, what),
        Failure::Store(Error::Refused(_)) => erased(),
        Failure::Store(error) => error.into(),
    }
}
