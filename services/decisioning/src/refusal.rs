//! Refusals on the wire: the reasons this service answers with, and which refusal has which.

use std::time::Duration;

use authored::version;
use chassis::command::of_command;
use chassis::reasons;
use chassis::status::{CONFLICT, FIELD_INVALID, NOT_FOUND, PEER_UNAVAILABLE, Problem, Violation};
use eventstore::ExecuteError;
use rapport_proto::types::Finding;
use tonic::Status;

use crate::domain::{decision, holdout, policy, rule_pack};

reasons! {
    /// What `decisioning` answers beside the reasons of the chassis.
    pub REASONS {
        NO_LIVE_POLICY: FailedPrecondition, "the tenant has no policy in force", "Draft, simulate, approve and activate a policy.";
        PACK_UNSIGNED: FailedPrecondition, "the rule pack was not approved by a second person", "Have somebody other than the author approve it.";
        SIMULATION_STALE: FailedPrecondition, "what was simulated is not what is to be approved or activated", "Simulate it again, and have it approved again.";
        LEVER_EXPIRED: InvalidArgument, "a lever's time is over", "Give every lever an end in the future.";
        RULE_INVALID: InvalidArgument, "a rule does not parse, or names something that does not exist", "Correct the rules listed in the violations.";
        POLICY_INVALID: InvalidArgument, "the policy contradicts itself or names something that does not exist", "Correct what the violations list.";
        PACK_INVALID: InvalidArgument, "the rule pack contradicts itself, or one of its tests fails", "Correct what the violations list.";
        PACK_TOO_SOON: InvalidArgument, "a rule pack counts a minute after it is activated at the earliest", "Leave the time empty, or choose a later one.";
        AUTHOR_MAY_NOT_APPROVE: FailedPrecondition, "the author of a version cannot approve it", "Ask somebody else.";
        WRONG_STATE: FailedPrecondition, "the version is not in a state in which this can be done", "Read it again.";
        HOLDOUT_EXISTS: AlreadyExists, "a holdout with this id was started with another content", "Choose another id.";
    }
}

fn of_life(refusal: &version::Refusal) -> Problem {
    use version::Refusal as R;
    let told = |reason| Problem::new(reason, refusal.to_string());
    match refusal {
        R::UnknownVersion { .. } => {
            told(NOT_FOUND).violation("version", "Name a version that was saved.")
        }
        R::WrongState { needs, .. } => {
            told(WRONG_STATE).violation("version", format!("Name a version that is {needs}."))
        }
        R::AuthorMayNotApprove { .. } => told(AUTHOR_MAY_NOT_APPROVE),
        R::CheckStale { .. } => {
            told(SIMULATION_STALE).violation("hash", "Give the hash of what was simulated.")
        }
    }
}

impl From<policy::Refusal> for Problem {
    fn from(refusal: policy::Refusal) -> Self {
        match refusal {
            policy::Refusal::Life(it) => of_life(&it),
        }
    }
}

impl From<rule_pack::Refusal> for Problem {
    fn from(refusal: rule_pack::Refusal) -> Self {
        use rule_pack::Refusal as R;
        let told = |reason| Self::new(reason, refusal.to_string());
        match &refusal {
            R::Life(it) => of_life(it),
            R::Unsigned { .. } => told(PACK_UNSIGNED),
            R::ArchetypeChanged { .. } => told(SIMULATION_STALE),
            R::TooSoon => told(PACK_TOO_SOON)
                .violation("effective_time", "Use a time a minute ahead or more, or none."),
        }
    }
}

impl From<holdout::Refusal> for Problem {
    fn from(refusal: holdout::Refusal) -> Self {
        use holdout::Refusal as R;
        let told = |reason| Self::new(reason, refusal.to_string());
        match &refusal {
            R::Unknown => told(NOT_FOUND).violation("name", "Name a holdout that was started."),
            R::Exists => told(HOLDOUT_EXISTS).violation("holdout.holdout_id", "Choose another id."),
        }
    }
}

impl From<decision::Refusal> for Problem {
    fn from(refusal: decision::Refusal) -> Self {
        match refusal {
            decision::Refusal::Unknown => Self::of(NOT_FOUND),
        }
    }
}

/// What a command that had no effect answers.
pub(crate) fn of<R>(error: ExecuteError<R>) -> Problem
where
    R: Into<Problem> + std::error::Error + 'static,
{
    of_command(error, Into::into, |what| {
        tracing::error!(what, "a view refused, and none of this service does");
        Problem::of(CONFLICT)
    })
}

/// The findings of a document as a refusal; a reason of its own is told if it is the only one.
pub(crate) fn of_findings(
    document: &str,
    otherwise: chassis::status::Reason,
    findings: &[Finding],
) -> Problem {
    let all = |code: &str| findings.iter().all(|it| it.code == code);
    let reason = match () {
        () if all("lever_expired") => LEVER_EXPIRED,
        () if all("rule_invalid") => RULE_INVALID,
        () => otherwise,
    };
    let places: Vec<&str> = findings.iter().map(|it| it.place.as_str()).collect();
    let message = format!("the document is invalid in: {}", places.join(", "));
    findings.iter().fold(Problem::new(reason, message), |told, it| {
        let remedy = match it.column {
            0 => format!("{}: {}", it.code, it.text),
            column => format!("{}: column {column}: {}", it.code, it.text),
        };
        told.violation(format!("{document}.{}", it.place), remedy)
    })
}

/// What a document's parser found, as a refusal.
pub(crate) fn of_document(problems: Vec<authored::document::Problem>) -> Problem {
    let violations = problems.into_iter().map(|it| Violation::new("yaml", it.to_string()));
    let mut violations = violations.peekable();
    if violations.peek().is_none() {
        return Problem::new(FIELD_INVALID, "the document cannot be read");
    }
    Problem::from(violations.collect::<Vec<_>>())
}

/// What a peer answered instead of facts: what the caller named and does not exist is the caller's, everything else is
/// no answer.
pub(crate) fn of_peer(status: &Status) -> Problem {
    match status.code() {
        tonic::Code::NotFound => {
            Problem::of(NOT_FOUND).violation("parent", "Name a party that exists in your tenant.")
        }
        _ => {
            tracing::warn!(status = %status, "profiles gave no facts");
            Problem::of(PEER_UNAVAILABLE).retry_after(Duration::from_secs(1))
        }
    }
}
