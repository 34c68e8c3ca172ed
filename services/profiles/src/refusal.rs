//! Refusals on the wire: the reasons this service answers with, and which refusal has which.

use chassis::command::of_command;
use chassis::reasons;
use chassis::status::{
    CONFLICT, ETAG_MISMATCH, FIELD_INVALID, NOT_FOUND, Problem, Reason, Violation,
};
use eventstore::{Error, ExecuteError};

use crate::domain::{
    Invalid, consent, interaction, party, relation, segment, source, trait_definition,
};
use crate::view;

reasons! {
    /// What `profiles` answers beside the reasons of the chassis.
    pub REASONS {
        KIND_CONFLICT: FailedPrecondition, "parties of these kinds cannot be joined or named in this way", "Check the kinds of the parties; a kind never changes.";
        IDENTIFIER_INVALID: InvalidArgument, "the identifier cannot exist in its system", "Check the identifier for a typing error.";
        IDENTIFIER_TAKEN: AlreadyExists, "another party holds the identifier", "Look the party up by the identifier, or remove it there first.";
        PARTY_ERASED: FailedPrecondition, "the party is erased", "Register the person again as a new party if there is a lawful basis.";
        PARTY_FULL: FailedPrecondition, "the party has as many attributes, identifiers, contact points or preferences as a party can have", "Remove some that no longer hold.";
        MARKET_UNKNOWN: InvalidArgument, "there is no such market", "Use an ISO 3166-1 alpha-2 code in capitals.";
        CONSENT_IN_FUTURE: InvalidArgument, "the statement was captured more than five minutes ahead of the clock", "Check the clock of the system that captured it.";
        CONSENT_INVALID: InvalidArgument, "the statement about consent contradicts itself or lacks what shows it", "Correct the fields listed in the violations.";
        RULE_INVALID: InvalidArgument, "a rule cannot be run where it stands", "Correct the rule at the column given in the violations.";
        RELATION_INVALID: InvalidArgument, "the relation contradicts itself", "Correct the fields listed in the violations.";
        SOURCE_EXISTS: AlreadyExists, "the source is registered with another content", "Choose another source id, or extend the schema of this one.";
        SOURCE_DISABLED: FailedPrecondition, "the source is disabled", "Register another source.";
        SCHEMA_FIXED: FailedPrecondition, "a declared property keeps its kind, and a source declares 500 at most", "Declare a property with another name.";
        WRONG_STATE: FailedPrecondition, "the thing is not in a state in which this can be done", "Read it again.";
    }
}

impl From<party::Refusal> for Problem {
    fn from(refusal: party::Refusal) -> Self {
        use party::Refusal as R;
        let told = |reason| Self::new(reason, refusal.to_string());
        match &refusal {
            R::Unknown => told(NOT_FOUND).violation("name", "Name a registered party."),
            R::OtherKind => told(KIND_CONFLICT)
                .violation("kind", "Keep the kind; use a new request_id for another party."),
            R::NotForKind => {
                told(KIND_CONFLICT).violation("system", "Use npi for HCP, HCO and PHARMACIST only.")
            }
            R::Erased => told(PARTY_ERASED),
            R::Changed => {
                told(ETAG_MISMATCH).violation("etag", "Read the party again and use its etag.")
            }
            R::NoIdentifier => {
                told(NOT_FOUND).violation("number", "Use the number of an identifier of the party.")
            }
            R::NoContactPoint => told(NOT_FOUND)
                .violation("contact_point_id", "Use the id of a contact point of the party."),
            R::Full(_) => told(PARTY_FULL),
        }
    }
}

impl From<consent::Refusal> for Problem {
    fn from(refusal: consent::Refusal) -> Self {
        use consent::Refusal as R;
        let told = |reason| Self::new(reason, refusal.to_string());
        match &refusal {
            R::InFuture => told(CONSENT_IN_FUTURE)
                .violation("captured_time", "Use a time at most 5 minutes ahead of now."),
            R::BeforeCapture => told(CONSENT_INVALID).violation(
                "effective_time",
                "Use the captured time or a later one, or leave it empty.",
            ),
            R::ExpiresFirst => told(CONSENT_INVALID).violation(
                "expire_time",
                "Use a time after the effective time, or leave it empty.",
            ),
            R::NoText => told(CONSENT_INVALID)
                .violation("text_version", "Name the version of the text the party saw."),
            R::NoGrant => told(WRONG_STATE),
        }
    }
}

impl From<relation::Refusal> for Problem {
    fn from(refusal: relation::Refusal) -> Self {
        use relation::Refusal as R;
        let told = |reason| Self::new(reason, refusal.to_string());
        match &refusal {
            R::Unknown => told(NOT_FOUND).violation("name", "Name a recorded relation."),
            R::KindConflict => told(KIND_CONFLICT).violation(
                "relation.kind",
                "AFFILIATED leads from HCP, PHARMACIST or EMPLOYEE to HCO, COVERED_BY to EMPLOYEE, TREATS from HCP \
                 to PATIENT, CAREGIVER_OF from CAREGIVER to PATIENT.",
            ),
            R::ToItself => {
                told(RELATION_INVALID).violation("relation.to_party_id", "Name another party than the first.")
            }
            R::Other => told(WRONG_STATE),
            R::EndsFirst => {
                told(RELATION_INVALID).violation("end_time", "Use a time at or after the start of the relation.")
            }
        }
    }
}

impl From<source::Refusal> for Problem {
    fn from(refusal: source::Refusal) -> Self {
        use source::Refusal as R;
        let told = |reason| Self::new(reason, refusal.to_string());
        match &refusal {
            R::Unknown => told(NOT_FOUND).violation("name", "Name a registered source."),
            R::Exists => told(SOURCE_EXISTS).violation("source_id", "Choose another source id."),
            R::Disabled => told(SOURCE_DISABLED),
            R::KindFixed | R::Full => told(SCHEMA_FIXED)
                .violation("clear_fields", "Declare a property with another name."),
        }
    }
}

impl From<interaction::Refusal> for Problem {
    fn from(refusal: interaction::Refusal) -> Self {
        match refusal {}
    }
}

impl From<trait_definition::Refusal> for Problem {
    fn from(refusal: trait_definition::Refusal) -> Self {
        match refusal {}
    }
}

impl From<segment::Refusal> for Problem {
    fn from(refusal: segment::Refusal) -> Self {
        match refusal {}
    }
}

/// What a command that had no effect answers.
pub(crate) fn of<R>(error: ExecuteError<R>) -> Problem
where
    R: Into<Problem> + std::error::Error + 'static,
{
    match error {
        // The keyring alone refuses below the views: the subject's key is destroyed.
        ExecuteError::Store(Error::Refused(_)) => Problem::of(PARTY_ERASED),
        other => of_command(other, Into::into, taken),
    }
}

/// What a view found taken under the head lock.
pub(crate) fn taken(what: &str) -> Problem {
    if what == view::identifier::TAKEN {
        return Problem::of(IDENTIFIER_TAKEN);
    }
    tracing::error!(what, "a view refused for a reason without a name");
    Problem::of(CONFLICT)
}

/// Collects what is wrong with a request, so that its sender learns all of it at once.
#[derive(Default)]
pub(crate) struct Fields {
    wrong: Vec<(Violation, Reason)>,
}

impl Fields {
    /// The value, or what is wrong with the field noted.
    pub(crate) fn keep<T>(
        &mut self,
        field: impl Into<String>,
        parsed: Result<T, Invalid>,
    ) -> Option<T> {
        parsed
            .map_err(|invalid| {
                let reason = match &invalid {
                    Invalid::Value(_) => FIELD_INVALID,
                    Invalid::Rule(_) => RULE_INVALID,
                    Invalid::Market => MARKET_UNKNOWN,
                    Invalid::Identifier(_) => IDENTIFIER_INVALID,
                };
                self.wrong.push((Violation::new(field, invalid.to_string()), reason));
            })
            .ok()
    }

    pub(crate) fn refuse(&mut self, field: impl Into<String>, remedy: impl Into<String>) {
        self.wrong.push((Violation::new(field, remedy), FIELD_INVALID));
    }

    pub(crate) fn require(&mut self, holds: bool, field: &str, remedy: &'static str) {
        if !holds {
            self.refuse(field, remedy);
        }
    }

    /// The parsed request, or everything that is wrong with it. A reason of its own is told if it is the only one.
    pub(crate) fn finish<T>(self, parsed: Option<T>) -> Result<T, Problem> {
        match parsed {
            Some(parsed) if self.wrong.is_empty() => Ok(parsed),
            _ => Err(self.problem()),
        }
    }

    fn problem(self) -> Problem {
        let first = self.wrong.first().map(|(_, reason)| *reason);
        let alone = first.filter(|first| self.wrong.iter().all(|(_, reason)| reason == first));
        let named: Vec<&str> = self.wrong.iter().map(|(it, _)| it.field.as_str()).collect();
        let message = format!("the request is invalid in: {}", named.join(", "));
        let problem = Problem::new(alone.unwrap_or(FIELD_INVALID), message);
        self.wrong.into_iter().fold(problem, |told, (it, _)| told.violation(it.field, it.remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_its_own_is_told_only_when_it_is_the_only_one() {
        let mut fields = Fields::default();
        fields.keep("market", Err::<(), _>(Invalid::Market));
        assert_eq!(fields.problem().reason, MARKET_UNKNOWN);
        let mut fields = Fields::default();
        fields.keep("market", Err::<(), _>(Invalid::Market));
        fields.keep("kind", Err::<(), _>(Invalid::value("Choose a kind.")));
        let problem = fields.finish(None::<()>).expect_err("two are wrong");
        assert_eq!(problem.reason, FIELD_INVALID);
        let told: Vec<_> = problem.violations.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(told, ["market", "kind"]);
    }
}
