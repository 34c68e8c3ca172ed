//! What a check finds: closed codes, each with the place and the remedy.

use authored::document;
use authored::rule;
use rapport_proto::types::Finding;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $text;)*
        /// Every code that a check of a journey can answer with.
        pub const CODES: &[&str] = &[$($text),*];
    };
}

codes! {
    /// The text is no journey: a field is unknown, a value has the wrong shape.
    SHAPE = "shape";
    /// The definition or a part of it is too large.
    TOO_LARGE = "too_large";
    /// An id breaks the form of ids.
    ID_INVALID = "id_invalid";
    /// Something that must be there is missing.
    FIELD_MISSING = "field_missing";
    /// Something contradicts itself or breaks a rule of its field.
    FIELD_INVALID = "field_invalid";
    /// No re-entry rule.
    REENTRY_MISSING = "reentry_missing";
    /// The start is missing or names no node.
    NO_START = "no_start";
    /// Something names a node that does not exist, or one of another kind than it needs.
    DANGLING = "dangling";
    /// No way leads to a node.
    UNREACHABLE = "unreachable";
    /// A way leads back without waiting in between.
    CYCLE_WITHOUT_WAIT = "cycle_without_wait";
    /// A way out of a node is missing: `else`, `timed_out`, `unavailable` and so on.
    OUTCOME_MISSING = "outcome_missing";
    /// A duration cannot be read or is not allowed there.
    DURATION_INVALID = "duration_invalid";
    /// A local time or a weekday cannot be read.
    TIME_INVALID = "time_invalid";
    /// A rule does not parse or does not type-check.
    RULE_INVALID = "rule_invalid";
    /// A touch carries out a decision that is not made on every way to it.
    DECISION_NOT_MADE = "decision_not_made";
    /// A trait that is not live.
    UNKNOWN_TRAIT = "unknown_trait";
    /// A segment that is not live.
    UNKNOWN_SEGMENT = "unknown_segment";
    /// A module that may not be used in a market it would be used in.
    CONTENT_NOT_USABLE = "content_not_usable";
    /// A market whose rules forbid what a touch would say.
    COUNTRY_RULE = "country_rule";
}

/// Collects findings, in the order of the document.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    pub(crate) fn note(&mut self, place: impl Into<String>, code: &str, text: impl Into<String>) {
        let (place, text) = (place.into(), text.into());
        self.0.push(Finding { place, code: code.to_owned(), text, column: 0, line: 0 });
    }

    /// A rule that is none, with the column in the rule's text.
    pub(super) fn rule(&mut self, place: impl Into<String>, problem: &rule::Problem) {
        self.note(place, RULE_INVALID, format!("{}; {}", problem.text, problem.remedy));
        if let Some(finding) = self.0.last_mut() {
            finding.column = u32::try_from(problem.column).unwrap_or(u32::MAX);
        }
    }
}

/// A text that could not be read.
pub(super) fn of_problem(problem: document::Problem) -> Finding {
    Finding {
        place: problem.path,
        code: SHAPE.to_owned(),
        text: problem.text,
        column: problem.column,
        line: problem.line,
    }
}
