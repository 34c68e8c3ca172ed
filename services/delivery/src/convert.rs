//! Between messages and domain values; the only files that see both. Requests are parsed whole: every field that is
//! wrong is told at once.

use chassis::status::{Problem, Violation};
use chassis::text::{self, Check};
use chassis::{name, status};
use eventstore::Timestamp;

pub(crate) mod provider;
pub(crate) mod sender;
pub(crate) mod touch;

/// An enum value that must be stated.
pub(crate) fn choice<E>(check: &mut Check, field: &str, value: i32) -> Option<E>
where
    E: TryFrom<i32> + Default + PartialEq,
{
    let known = E::try_from(value).ok().filter(|it| *it != E::default());
    check.require(known.is_some(), field, "Choose one of the values, not the unspecified one.");
    known
}

/// A time that may be absent: the outer option is whether it could be read.
pub(crate) fn time(
    check: &mut Check,
    field: &str,
    value: Option<&prost_types::Timestamp>,
) -> Option<Option<Timestamp>> {
    const YEARS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;
    let Some(value) = value else {
        return Some(None);
    };
    let parsed = Timestamp::from_proto(value).filter(|_| YEARS.contains(&value.seconds));
    check.require(parsed.is_some(), field, "Use a time between the years 1 and 9999.");
    parsed.map(Some)
}

/// An id made by the platform or chosen by people.
pub(crate) fn id(check: &mut Check, field: &str, value: &str) -> String {
    let remedy =
        "Use an id: 1 to 63 of A-Z, a-z, 0-9, '_' and '-', starting with a letter or digit.";
    check.require(name::is_id(value), field, remedy);
    value.to_owned()
}

/// An id that may be absent.
pub(crate) fn optional_id(check: &mut Check, field: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { id(check, field, value) }
}

/// An id that people chose.
pub(crate) fn authored_id(check: &mut Check, field: &str, value: &str) -> String {
    check.keep(name::authored_id(field, value)).map(str::to_owned).unwrap_or_default()
}

/// A short code: 1 to 64 of letters, digits, '.', '_', ':' and '-'.
pub(crate) fn code(check: &mut Check, field: &str, value: &str) -> String {
    let fits = (1..=64).contains(&value.len())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
    check.require(fits, field, "Use a code: 1 to 64 of A-Z, a-z, 0-9, '.', '_', ':' and '-'.");
    value.to_owned()
}

/// A code that may be absent.
pub(crate) fn optional_code(check: &mut Check, field: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { code(check, field, value) }
}

/// One line that may be empty.
pub(crate) fn line(check: &mut Check, field: &str, value: &str, most: usize) -> String {
    match text::line(field, value, 0..=most) {
        Ok(line) => line.to_owned(),
        Err(Violation { field, remedy }) => {
            check.refuse(&field, remedy);
            String::new()
        }
    }
}

/// The part of a request that must be there.
pub(crate) fn required<'a, T>(field: &str, value: Option<&'a T>) -> Result<&'a T, Problem> {
    value.ok_or_else(|| status::Problem::field(field, "Give it: it is required."))
}
