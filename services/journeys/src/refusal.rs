//! Refusals on the wire: the reasons this service answers with, and which refusal has which.

use chassis::command::of_command;
use chassis::reasons;
use chassis::status::{CONFLICT, NOT_FOUND, PEER_UNAVAILABLE, Problem, REQUEST_ID_REUSED};
use eventstore::ExecuteError;
use rapport_proto::types::Finding;
use tonic::Status;

use crate::domain::{instance, journey};
use crate::units::Failure;

reasons! {
    /// What `journeys` answers beside the reasons of the chassis.
    pub REASONS {
        GRAPH_INVALID: InvalidArgument, "the journey cannot be walked as it is written", "Correct the places listed in the violations; `rapport journey check FILE` lists them too.";
        NOT_APPROVED: FailedPrecondition, "the version is not approved", "Check it, then have someone other than its author approve it.";
        AUTHOR_MAY_NOT_APPROVE: FailedPrecondition, "the author may not approve the own version", "Ask someone else.";
        CHECK_STALE: FailedPrecondition, "the version was checked with other bytes than are to be approved", "Read the version, check it again, and approve the hash that the check names.";
        ALREADY_LIVE: FailedPrecondition, "the version is live already", "Nothing is left to do.";
        INSTANCE_ENDED: FailedPrecondition, "the instance ended", "Read it again.";
        ENTRY_REFUSED: FailedPrecondition, "parties do not enter this journey by a call", "Use a journey with entry api, or send what lets parties in.";
        WRONG_STATE: FailedPrecondition, "the thing is not in a state in which this can be done", "Read it again.";
    }
}

impl From<journey::Refusal> for Problem {
    fn from(refusal: journey::Refusal) -> Self {
        use authored::version::Refusal as V;
        use journey::Refusal as R;
        let told = |reason| Self::new(reason, refusal.to_string());
        match &refusal {
            R::Unknown | R::Version(V::UnknownVersion { .. }) => {
                told(NOT_FOUND).violation("version", "Name a version that was saved.")
            }
            R::Version(V::AuthorMayNotApprove { .. }) => told(AUTHOR_MAY_NOT_APPROVE),
            R::Version(V::CheckStale { .. }) => {
                told(CHECK_STALE).violation("hash", "Use the hash of the version that was checked.")
            }
            R::Version(V::WrongState { .. }) | R::WrongState { .. } => told(WRONG_STATE),
            R::AlreadyLive(_) => told(ALREADY_LIVE),
            R::NotApproved(_) => told(NOT_APPROVED),
        }
    }
}

impl From<instance::Refusal> for Problem {
    fn from(refusal: instance::Refusal) -> Self {
        match refusal {
            instance::Refusal::Unknown => Self::of(NOT_FOUND)
                .violation("name", "Name an instance that exists in your tenant."),
            instance::Refusal::Ended => Self::of(INSTANCE_ENDED),
        }
    }
}

/// What a command that had no effect answers.
pub(crate) fn of<R>(error: ExecuteError<R>) -> Problem
where
    R: Into<Problem> + std::error::Error + 'static,
{
    of_command(error, Into::into, |what| {
        tracing::error!(what, "a view refused for a reason without a name");
        Problem::of(CONFLICT)
    })
}

/// What a unit that had no effect answers.
pub(crate) fn of_failure(failure: Failure) -> Status {
    match failure {
        Failure::Store(error) => Problem::from(error).into_status(),
        Failure::Unit(error) => {
            Problem::new(chassis::status::COMMAND_TOO_LARGE, error.to_string()).into_status()
        }
        Failure::RequestReused => Problem::of(REQUEST_ID_REUSED)
            .violation("request_id", REQUEST_ID_REUSED.remedy)
            .into_status(),
        Failure::Peer(status) => of_peer(status),
    }
}

/// A peer that cannot be asked is told as such; what it refuses is our mistake, not the caller's.
pub(crate) fn of_peer(status: Status) -> Status {
    if chassis::status::is_transient(&status) {
        return status;
    }
    tracing::warn!(code = %status.code(), message = status.message(), "a peer refused a question");
    Problem::new(
        PEER_UNAVAILABLE,
        "another target that is needed for the answer refused the question",
    )
    .into_status()
}

/// Findings as a refusal that names their places.
pub(crate) fn of_findings(findings: &[Finding]) -> Problem {
    let problem = Problem::new(GRAPH_INVALID, format!("the check found {}", findings.len()));
    findings.iter().fold(problem, |told, it| {
        let at = |what: &str, n: u32| if n > 0 { format!("{what} {n}: ") } else { String::new() };
        let text =
            format!("{}: {}{}{}", it.code, at("line", it.line), at("column", it.column), it.text);
        told.violation(format!("definition.{}", it.place), text)
    })
}
