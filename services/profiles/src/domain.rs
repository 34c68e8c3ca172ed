//! What is true of customers, without a clock, a database or a network.
//!
//! One file per aggregate, each with its commands, its refusals, `decide` and `evolve`; beside them the value
//! types they share. A value type exists only in its valid, normalised form, so `decide` never checks it again.

pub(crate) mod consent;
pub(crate) mod interaction;
pub(crate) mod membership;
pub(crate) mod party;
pub(crate) mod relation;
pub(crate) mod segment;
pub(crate) mod source;
pub(crate) mod trait_definition;

pub(crate) mod attribute;
pub(crate) mod code;
pub(crate) mod contact_point;
pub(crate) mod identifier;
pub(crate) mod place;
pub(crate) mod validity;

use std::borrow::Cow;

use eventstore::Timestamp;

/// Why a value is not acceptable, as an instruction to whoever sent it. It never repeats the value, which may be
/// hostile or personal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Invalid {
    /// The value breaks a rule of its type.
    #[error("{0}")]
    Value(Cow<'static, str>),
    /// The rule cannot be run; the text names the column.
    #[error("{0}")]
    Rule(String),
    /// No such market.
    #[error("Use an ISO 3166-1 alpha-2 code in capitals, for example DE.")]
    Market,
    /// The identifier cannot exist.
    #[error("{0}")]
    Identifier(&'static str),
}

impl Invalid {
    /// A broken rule, told as what to do instead.
    pub(crate) const fn value(remedy: &'static str) -> Self {
        Self::Value(Cow::Borrowed(remedy))
    }
}

/// One line of acceptable text: no control characters, no bidirectional marks, a length in characters.
pub(crate) fn line(text: &str, length: std::ops::RangeInclusive<usize>) -> Result<&str, Invalid> {
    chassis::text::line("", text, length)
        .map_err(|violation| Invalid::Value(violation.remedy.into()))
}

/// A time as protobuf states it, if it lies between the years 1 and 9999.
pub(crate) fn instant(time: &prost_types::Timestamp) -> Option<Timestamp> {
    const YEAR_1: i64 = -62_135_596_800;
    const YEAR_10000: i64 = 253_402_300_800;
    let fits = (YEAR_1..YEAR_10000).contains(&time.seconds);
    if fits { Timestamp::from_proto(time) } else { None }
}
