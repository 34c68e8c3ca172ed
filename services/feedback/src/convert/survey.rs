//! Surveys.

use authored::document;
use chassis::status::Problem;
use chassis::text::Check;
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::draft_survey_request::Definition;
use rapport_proto::types::Finding;

use crate::domain::survey::{State, check};

/// Code of a finding: the text is no document, or what it says is wrong.
const MALFORMED: &str = "malformed";
const INVALID: &str = "invalid";

/// The survey, as far as it can be read, with what is wrong with it.
pub(crate) fn definition(
    definition: Option<&Definition>,
) -> Result<(Option<proto::Survey>, Vec<Finding>), Problem> {
    let survey = match definition {
        None => {
            let remedy = "Give the survey as a message or as YAML text.";
            return Err(Problem::field("definition", remedy));
        }
        Some(Definition::Survey(survey)) => survey.clone(),
        Some(Definition::Yaml(yaml)) => match document::parse(yaml) {
            Ok(survey) => survey,
            Err(problems) => {
                let findings = problems.into_iter().map(|it| Finding {
                    place: it.path,
                    code: MALFORMED.to_owned(),
                    text: it.text,
                    column: it.column,
                    line: it.line,
                });
                return Ok((None, findings.collect()));
            }
        },
    };
    let findings = check(&survey).0.into_iter().map(|it| Finding {
        place: it.place,
        code: INVALID.to_owned(),
        text: it.remedy,
        ..Finding::default()
    });
    let findings = findings.collect();
    Ok((Some(survey), findings))
}

/// The hash a caller has read: 64 hexadecimal digits, or none.
pub(crate) fn hash(text: &str) -> Result<Option<Vec<u8>>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let read: Option<Vec<u8>> = (0..64).step_by(2).map(byte).collect();
    let remedy = "Use the 64 hexadecimal digits of the version's hash, or leave it empty.";
    match read.filter(|_| text.len() == 64) {
        Some(hash) => Ok(Some(hash)),
        None => Err(Problem::field("hash", remedy)),
    }
}

/// A comment, which may be empty.
pub(crate) fn comment(text: &str) -> Result<String, Problem> {
    let mut check = Check::default();
    let comment = check.prose("comment", text, 0..=2_000);
    check.finish().map(|()| comment)
}

pub(crate) fn summary(survey: String, state: &State) -> proto::SurveySummary {
    let version = state.shown(0);
    let family = state.documents.get(&version).map(|it| it.family.clone());
    let version = state.versions.info(version);
    proto::SurveySummary { survey, family: family.unwrap_or_default(), version }
}
