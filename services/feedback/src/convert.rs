//! Between messages and domain values; the only files that see both. Requests are parsed whole: every field that is
//! wrong is told at once.

use chassis::name;
use chassis::status::Problem;
use chassis::text::Check;
use eventstore::{Metadata, Timestamp, derive_id};

use crate::domain::is_code;

pub(crate) mod case;
pub(crate) mod feedback;
pub(crate) mod safety;
pub(crate) mod survey;

/// An id that a retry derives again: from who asked for what, with which request id.
fn derived(prefix: &str, meta: &Metadata) -> String {
    let parts = [&meta.tenant, &meta.actor.subject, &meta.method, &meta.request_id, prefix, "0"];
    derive_id(prefix, &parts.map(AsRef::as_ref))
}

/// An enum value that must be stated.
fn choice<E>(check: &mut Check, field: &str, value: i32) -> E
where
    E: TryFrom<i32> + Default + PartialEq,
{
    let known = E::try_from(value).ok().filter(|it| *it != E::default());
    check.require(known.is_some(), field, "Choose one of the values, not the unspecified one.");
    known.unwrap_or_default()
}

/// An enum value that may be unspecified.
fn choice_or_none<E: TryFrom<i32> + Default>(check: &mut Check, field: &str, value: i32) -> E {
    let known = E::try_from(value).ok();
    check.require(known.is_some(), field, "Choose one of the enum's values.");
    known.unwrap_or_default()
}

/// An id made by the platform or chosen by people.
fn id(check: &mut Check, field: &str, value: &str) -> String {
    let remedy =
        "Use an id: 1 to 63 of A-Z, a-z, 0-9, '_' and '-', starting with a letter or digit.";
    check.require(name::is_id(value), field, remedy);
    value.to_owned()
}

/// An id that may be absent.
fn optional_id(check: &mut Check, field: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { id(check, field, value) }
}

/// An id that people chose.
fn authored_id(check: &mut Check, field: &str, value: &str) -> String {
    check.keep(name::authored_id(field, value)).map(str::to_owned).unwrap_or_default()
}

/// The language of a text, as far as it is known.
fn language(check: &mut Check, value: &str) -> String {
    let fits = value.is_empty()
        || (value.len() <= 35 && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
    check.require(fits, "language", "Use a BCP 47 language, for example de or pt-BR.");
    value.to_owned()
}

/// A reason or an outcome.
pub(crate) fn code(field: &str, value: &str) -> Result<String, Problem> {
    let remedy = "Use a code: 1 to 64 of A-Z, a-z, 0-9, '.', '_', ':' and '-'.";
    if is_code(value) { Ok(value.to_owned()) } else { Err(Problem::field(field, remedy)) }
}

/// Survey and party by which a list is narrowed; empty: any.
pub(crate) fn filter(survey: &str, party_id: &str) -> Result<(String, String), Problem> {
    let mut check = Check::default();
    let survey = optional_id(&mut check, "survey", survey);
    let party_id = optional_id(&mut check, "party_id", party_id);
    check.finish().map(|()| (survey, party_id))
}

fn time(at: Option<Timestamp>) -> Option<prost_types::Timestamp> {
    at.map(Timestamp::to_proto)
}
