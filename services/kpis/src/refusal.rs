//! Refusals on the wire: the reasons this service answers with, and which refusal has which.

use authored::version;
use chassis::command::of_command;
use chassis::reasons;
use chassis::status::{CONFLICT, FIELD_INVALID, NOT_FOUND, Problem, Violation};
use eventstore::ExecuteError;
use rapport_proto::types::Finding;

use crate::domain::{experiment, metric};

reasons! {
    /// What `kpis` answers beside the reasons of the chassis.
    pub REASONS {
        RULE_INVALID: InvalidArgument, "a rule does not parse, or names something that does not exist", "Correct the rules listed in the violations.";
        METRIC_INVALID: InvalidArgument, "the metric contradicts itself or names something that does not exist", "Correct what the violations list.";
        EXPERIMENT_INVALID: InvalidArgument, "the experiment contradicts itself or names something that does not exist", "Correct what the violations list.";
        BUILT_IN: FailedPrecondition, "the metric came with the platform and changes with a release only", "Choose another id.";
        AUTHOR_MAY_NOT_APPROVE: FailedPrecondition, "the author of a version cannot approve it", "Ask somebody else.";
        HASH_MISMATCH: FailedPrecondition, "the hash is not that of the version", "Read the version again and give its hash.";
        WRONG_STATE: FailedPrecondition, "the version is not in a state in which this can be done", "Read it again.";
        NOT_LIVE: FailedPrecondition, "no version of the metric is in force", "Activate a version.";
        TOO_MANY_FIGURES: FailedPrecondition, "the answer has more than 10,000 figures", "Ask for less time, fewer dimensions or only some of their values.";
        SUPPRESSED: FailedPrecondition, "the cell is too small to be shown", "Ask for a larger cell.";
        TOO_MANY_TARGETS: FailedPrecondition, "the metric has as many targets as it may have", "Remove one that is not needed.";
        EXPERIMENT_EXISTS: AlreadyExists, "an experiment with this id was started with another content", "Choose another id.";
    }
}

impl From<metric::Refusal> for Problem {
    fn from(refusal: metric::Refusal) -> Self {
        use metric::Refusal as R;
        let told = |reason| Self::new(reason, refusal.to_string());
        match &refusal {
            R::Life(it) => of_life(it),
            R::UnknownTarget => {
                told(NOT_FOUND).violation("target.target", "Name a target of the metric.")
            }
            R::UnknownAlert => told(NOT_FOUND).violation("name", "Name an alert that was raised."),
            R::TooManyTargets { .. } => told(TOO_MANY_TARGETS),
        }
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
            told(HASH_MISMATCH).violation("hash", "Give the hash of the version.")
        }
    }
}

impl From<experiment::Refusal> for Problem {
    fn from(refusal: experiment::Refusal) -> Self {
        use experiment::Refusal as R;
        let told = |reason| Self::new(reason, refusal.to_string());
        match &refusal {
            R::Unknown => told(NOT_FOUND).violation("name", "Name an experiment that was started."),
            R::Exists => {
                told(EXPERIMENT_EXISTS).violation("experiment.experiment", "Choose another id.")
            }
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

/// The findings of a document as a refusal; rules that are wrong are told as such if nothing else is.
pub(crate) fn of_findings(
    document: &str,
    otherwise: chassis::status::Reason,
    findings: &[Finding],
) -> Problem {
    let rules = findings.iter().all(|it| it.code == "rule_invalid");
    let places: Vec<&str> = findings.iter().map(|it| it.place.as_str()).collect();
    let message = format!("the document is invalid in: {}", places.join(", "));
    let told = Problem::new(if rules { RULE_INVALID } else { otherwise }, message);
    findings.iter().fold(told, |told, it| {
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
