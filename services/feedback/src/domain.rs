//! What is true of asking and listening, without a clock, a database or a network.
//!
//! | file | stream | decides |
//! |---|---|---|
//! | [`survey`] | `survey/<id>` | which version is in force |
//! | [`invitation`] | `invitation/inv_…` | one question to one party, from being asked for to its end |
//! | [`asked`] | `asked/<party_id>` | cooldowns, exactly |
//! | [`response`] | `response/rsp_…` | – |
//! | [`text`] | `text/txt_…` | who may read a free text; what becomes of a candidate |
//! | [`case`] | `case/cas_…` | clocks and targets of a case |
//!
//! [`promise`] reads calendars and targets, [`answers`] holds answers against a survey.

pub(crate) mod answers;
pub(crate) mod asked;
pub(crate) mod case;
pub(crate) mod invitation;
pub(crate) mod promise;
pub(crate) mod response;
pub(crate) mod survey;
pub(crate) mod text;

use eventstore::Timestamp;

/// Microseconds of an hour.
pub(crate) const HOUR: i64 = 3_600 * 1_000_000;

/// An instant as an event has it.
pub(crate) fn instant(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    time.and_then(Timestamp::from_proto)
}

/// Later by so many microseconds.
pub(crate) fn later(at: Timestamp, micros: i64) -> Timestamp {
    Timestamp(at.0.saturating_add(micros))
}

/// What is wrong with a part of a request or of a document, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// The place, for example `calendar.hours[0].intervals[1]`.
    pub(crate) place: String,
    pub(crate) remedy: String,
}

/// Collects what is wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Wrong>);

impl Findings {
    pub(crate) fn note(&mut self, place: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Wrong { place: place.into(), remedy: remedy.into() });
    }

    pub(crate) fn require(&mut self, holds: bool, place: &str, remedy: &str) {
        if !holds {
            self.note(place, remedy);
        }
    }

    /// The value of a parse, or what is wrong with it noted.
    pub(crate) fn keep<T, E: std::fmt::Display>(
        &mut self,
        place: &str,
        parsed: Result<T, E>,
    ) -> Option<T> {
        parsed.map_err(|error| self.note(place, error.to_string())).ok()
    }
}

/// A code that people chose as a reason or an outcome: 1 to 64 of letters, digits, '.', '_', ':' and '-'.
pub(crate) fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"._:-".contains(&it))
}
