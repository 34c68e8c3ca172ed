//! Requests, parsed whole: every field that is wrong is told at once.

use std::collections::BTreeMap;

use authored::document;
use chassis::status::Problem;
use chassis::text::Check;
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::TimerMode;
use rapport_proto::journeys::v1::draft_journey_request::Definition;
use rapport_proto::types::{Clear, Finding, clear};

use crate::graph::{Graph, Names, check};

/// Values an entry may have.
const MOST_VALUES: usize = 50;

/// The journey, as far as it can be read, with what is wrong with it.
pub(crate) fn definition(
    definition: Option<&Definition>,
) -> Result<(Option<proto::Journey>, Vec<Finding>), Problem> {
    match definition {
        None => Err(Problem::field("definition", "Give the journey as a message or as YAML text.")),
        Some(Definition::Journey(journey)) => {
            let found = Graph::compile(journey, &Names::default()).err().unwrap_or_default();
            Ok((Some(journey.clone()), found))
        }
        Some(Definition::Yaml(yaml)) => {
            let found = check(yaml);
            Ok((document::parse(yaml).ok(), found))
        }
    }
}

/// The hash a caller has read: 64 hexadecimal digits, or none.
pub(crate) fn hash(text: &str) -> Result<Option<Vec<u8>>, Problem> {
    let wrong = || {
        Problem::field(
            "hash",
            "Use the 64 hexadecimal digits of the version's hash, or leave it empty.",
        )
    };
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() != 64 || !text.is_ascii() {
        return Err(wrong());
    }
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16);
    (0..64).step_by(2).map(byte).collect::<Result<Vec<_>, _>>().map(Some).map_err(|_| wrong())
}

/// A reason code.
pub(crate) fn reason(text: &str) -> Result<String, Problem> {
    let mut check = Check::default();
    code(&mut check, "reason", text);
    check.finish().map(|()| text.to_owned())
}

fn code(check: &mut Check, field: &str, text: &str) {
    check.require(
        crate::graph::is_code(text),
        field,
        "Use a code: 1 to 64 of A-Z, a-z, 0-9, '.', '_', ':' and '-', starting with a letter or digit.",
    );
}

/// Mode and reason of a pause.
pub(crate) fn pause(request: &proto::PauseJourneyRequest) -> Result<(TimerMode, String), Problem> {
    let mut check = Check::default();
    let timers = TimerMode::try_from(request.timers).unwrap_or_default();
    check.require(
        timers != TimerMode::Unspecified,
        "timers",
        "Use TIMER_MODE_FREEZE or TIMER_MODE_RUN.",
    );
    code(&mut check, "reason", &request.reason);
    check.finish().map(|()| (timers, request.reason.clone()))
}

/// A comment, which may be empty.
pub(crate) fn comment(text: &str) -> Result<String, Problem> {
    let mut check = Check::default();
    let comment = check.prose("comment", text, 0..=2_000);
    check.finish().map(|()| comment)
}

/// Party, key and values of an entry.
pub(crate) fn entry(
    request: &proto::RequestEntryRequest,
) -> Result<(String, String, BTreeMap<String, Clear>), Problem> {
    let mut check = Check::default();
    check.require(
        chassis::name::is_id(&request.party_id),
        "party_id",
        "Use the id of a party, for example pty_….",
    );
    let key = check.text("entry_key", &request.entry_key, 0..=128);
    check.require(
        request.entry.len() <= MOST_VALUES,
        "entry",
        format!("Give at most {MOST_VALUES} values."),
    );
    for (name, value) in request.entry.iter().take(MOST_VALUES) {
        let field = "entry";
        check.text(field, name, 1..=64);
        check.require(is_value(value), field, "Give each name a value: a finite number, money, a code of at most 128 characters, a time or a flag.");
    }
    check
        .finish()
        .map(|()| (request.party_id.clone(), key, request.entry.clone().into_iter().collect()))
}

fn is_value(value: &Clear) -> bool {
    match &value.value {
        None => false,
        Some(clear::Value::Number(number)) => number.is_finite(),
        Some(clear::Value::Code(code)) => chassis::text::line("", code, 1..=128).is_ok(),
        Some(clear::Value::Time(time)) => eventstore::Timestamp::from_proto(time).is_some(),
        Some(clear::Value::Money(_) | clear::Value::Flag(_)) => true,
    }
}
