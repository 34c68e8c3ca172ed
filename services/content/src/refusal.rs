//! Refusals on the wire: the reasons this service answers with, and which refusal has which.

use chassis::command::of_command;
use chassis::reasons;
use chassis::status::{CONFLICT, FIELD_INVALID, NOT_FOUND, Problem, Reason};
use eventstore::ExecuteError;

use crate::domain::wrong::{Findings, Rule};
use crate::domain::{asset, product, reference, review};

reasons! {
    /// What `content` answers beside the reasons of the chassis.
    pub REASONS {
        WRONG_STATE: FailedPrecondition, "the thing is not in a state in which this can be done", "Read it again.";
        CLAIM_WITHOUT_REFERENCE: FailedPrecondition, "the claim cites no reference that counts", "Cite at least one reference that exists and is valid.";
        ROLE_MISSING: FailedPrecondition, "the review does not ask for this role", "Sign in one of the roles that the version lists.";
        ROLE_NOT_HELD: PermissionDenied, "the token does not name the role in which the caller wants to sign", "Sign in a role that your token names.";
        ALREADY_SIGNED: FailedPrecondition, "the role is filled, or the person has signed in another one", "Let another person fill the role.";
        AUTHOR_MAY_NOT_SIGN: FailedPrecondition, "the author of a version may not sign it", "Let another person sign.";
        HASH_MISMATCH: FailedPrecondition, "the hash that was signed is not the hash of the version", "Read the version again and sign the hash it shows.";
        COMMENT_REQUIRED: InvalidArgument, "a rejection says what must change", "Give a comment.";
        SLOT_UNKNOWN: InvalidArgument, "a template names a slot that is not declared", "Declare the slot or correct its name.";
        MODULE_CYCLE: FailedPrecondition, "the module would contain itself, or modules would stand more than four deep", "Remove the slot that leads back.";
        REFERENCE_EXISTS: AlreadyExists, "the reference is known with another content", "Choose another id; what was cited never changes.";
        ASSET_EXISTS: AlreadyExists, "the asset is known with another content", "Choose another id; what was approved never changes.";
        VERSIONS_FULL: FailedPrecondition, "the claim or module has as many versions as there can be", "Go on under another id.";
    }
}

impl From<review::Refusal> for Problem {
    fn from(refusal: review::Refusal) -> Self {
        use review::Refusal as R;
        let told = |reason| Self::new(reason, refusal.to_string());
        match &refusal {
            R::Unknown => told(NOT_FOUND).violation("version", "Name a version that was saved."),
            R::WrongStage { .. } => told(WRONG_STATE).violation(
                "version",
                "Read the versions again and choose one in the state it needs.",
            ),
            R::Overtaken { .. } => {
                told(WRONG_STATE).violation("version", "Save the content as a new version.")
            }
            R::TimeOver => {
                told(WRONG_STATE).violation("version", "Save a version that expires later.")
            }
            R::RoleMissing => {
                told(ROLE_MISSING).violation("role", "Use a role that the version lists.")
            }
            R::AlreadySigned => told(ALREADY_SIGNED)
                .violation("role", "Let another person fill a role that is open."),
            R::AuthorMayNotSign => {
                told(AUTHOR_MAY_NOT_SIGN).violation("role", "Let another person sign.")
            }
            R::HashMismatch => told(HASH_MISMATCH)
                .violation("content_hash", "Use the hash of the version that was read."),
            R::CommentRequired => {
                told(COMMENT_REQUIRED).violation("comment", "Say what must change.")
            }
            R::Full => told(VERSIONS_FULL),
        }
    }
}

impl From<product::Refusal> for Problem {
    fn from(refusal: product::Refusal) -> Self {
        match refusal {}
    }
}

impl From<reference::Refusal> for Problem {
    fn from(refusal: reference::Refusal) -> Self {
        use reference::Refusal as R;
        let told = |reason| Self::new(reason, refusal.to_string());
        match refusal {
            R::Unknown => told(NOT_FOUND).violation("name", "Name a reference that was added."),
            R::Exists => {
                told(REFERENCE_EXISTS).violation("reference.reference_id", "Choose another id.")
            }
        }
    }
}

impl From<asset::Refusal> for Problem {
    fn from(refusal: asset::Refusal) -> Self {
        use asset::Refusal as R;
        let told = |reason| Self::new(reason, refusal.to_string());
        match refusal {
            R::Unknown => told(NOT_FOUND).violation("name", "Name an asset that was stored."),
            R::Exists => told(ASSET_EXISTS).violation("asset.asset_id", "Choose another id."),
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

impl Findings {
    /// Everything that is wrong, as one answer. A reason of its own is told if it is the only one.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let Some(first) = self.0.first() else { return Ok(()) };
        let alone = self.0.iter().all(|it| it.rule == first.rule);
        let reason = if alone { reason_of(first.rule) } else { FIELD_INVALID };
        let named: Vec<&str> = self.0.iter().map(|it| it.field.as_str()).collect();
        let message = format!("the request is invalid in: {}", named.join(", "));
        let problem = Problem::new(reason, message);
        Err(self.0.into_iter().fold(problem, |told, it| told.violation(it.field, it.remedy)))
    }
}

fn reason_of(rule: Rule) -> Reason {
    match rule {
        Rule::Field => FIELD_INVALID,
        Rule::SlotUnknown => SLOT_UNKNOWN,
        Rule::NoReference => CLAIM_WITHOUT_REFERENCE,
        Rule::Cycle => MODULE_CYCLE,
    }
}
