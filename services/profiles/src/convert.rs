//! Between messages and domain values; the only files that see both. Requests are parsed whole: every field that is
//! wrong is told at once.

use std::collections::BTreeMap;

use chassis::status::Problem;
use eventstore::Timestamp;
use prost_types::Timestamp as Time;
use rapport_proto::types;

use crate::domain::code::Code;
use crate::domain::place::{Language, Place, TimeZone};
use crate::domain::validity::Validity;
use crate::domain::{self, Invalid};
use crate::refusal::Fields;

pub(crate) mod consent;
pub(crate) mod facts;
pub(crate) mod party;
pub(crate) mod relation;
pub(crate) mod segment;
pub(crate) mod source;
pub(crate) mod timeline;

/// An enum value that must be stated.
fn choice<E>(fields: &mut Fields, field: &str, value: i32) -> Option<E>
where
    E: TryFrom<i32> + Default + PartialEq,
{
    let known = choice_or_none(fields, field, value)?;
    if known == E::default() {
        fields.refuse(field, "Choose one of the values, not the unspecified one.");
        return None;
    }
    Some(known)
}

/// An enum value that may be unspecified.
pub(crate) fn choice_or_none<E: TryFrom<i32>>(
    fields: &mut Fields,
    field: &str,
    value: i32,
) -> Option<E> {
    fields.keep(
        field,
        E::try_from(value).map_err(|_| Invalid::value("Choose one of the enum's values.")),
    )
}

/// A time that may be absent: the outer option is whether it could be read.
pub(crate) fn time(
    fields: &mut Fields,
    field: &str,
    value: Option<&Time>,
) -> Option<Option<Timestamp>> {
    let Some(value) = value else {
        return Some(None);
    };
    let parsed =
        domain::instant(value).ok_or(Invalid::value("Use a time between the years 1 and 9999."));
    fields.keep(field, parsed).map(Some)
}

fn validity(fields: &mut Fields, field: &str, value: Option<&types::Validity>) -> Option<Validity> {
    let stated = value.copied().unwrap_or_default();
    let from = time(fields, &format!("{field}.from"), stated.from.as_ref());
    let until = time(fields, &format!("{field}.until"), stated.until.as_ref());
    fields.keep(field, Validity::new(from?, until?))
}

fn code(fields: &mut Fields, field: &str, value: &str) -> Option<Code> {
    fields.keep(field, Code::parse(value))
}

fn place(fields: &mut Fields, market: &str, language: &str, time_zone: &str) -> Option<Place> {
    let market = fields.keep("market", domain::place::Market::parse(market));
    let language = fields.keep("language", optional(language, Language::parse));
    let time_zone = fields.keep("time_zone", optional(time_zone, TimeZone::parse));
    Some(Place { market: market?, language: language?, time_zone: time_zone? })
}

/// An empty text is an absent value.
fn optional<T>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, Invalid>,
) -> Result<Option<T>, Invalid> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

/// An id made by the platform or chosen by people, as a field of a request.
fn id(fields: &mut Fields, field: &str, value: &str) -> Option<String> {
    let parsed = if chassis::name::is_id(value) {
        Ok(value.to_owned())
    } else {
        Err(Invalid::value(
            "Use an id: 1 to 63 of A-Z, a-z, 0-9, '_' and '-', starting with a letter or digit.",
        ))
    };
    fields.keep(field, parsed)
}

/// An id that people chose.
fn authored_id(fields: &mut Fields, field: &str, value: &str) -> Option<String> {
    let parsed = if chassis::name::is_authored_id(value) {
        Ok(value.to_owned())
    } else {
        Err(Invalid::value("Start with a lower-case letter, then 1 to 62 of a-z, 0-9 and -."))
    };
    fields.keep(field, parsed)
}

/// The part of a request that must be there.
fn required<'a, T>(field: &str, value: Option<&'a T>) -> Result<&'a T, Problem> {
    value.ok_or_else(|| Problem::field(field, "Give it: it is required."))
}

/// The positions a caller wants to have been read, of the one source this service knows.
pub(crate) fn min_position(
    positions: &BTreeMap<String, u64>,
    source: &str,
) -> Result<u64, Problem> {
    if positions.keys().any(|it| it != source) {
        return Err(Problem::field("min_positions", format!("Name the source {source} only.")));
    }
    Ok(positions.get(source).copied().unwrap_or(0))
}
