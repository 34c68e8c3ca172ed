//! What is true of content, without a clock, a database or a network.
//!
//! Claims and modules share one review ([`review`]); [`claim`] and [`module`] say what is reviewed and how its facts
//! are named. Whether a content is well formed is checked here too, over values alone; whether what it names exists is
//! asked by the API.

pub(crate) mod review;

pub(crate) mod asset;
pub(crate) mod claim;
pub(crate) mod module;
pub(crate) mod product;
pub(crate) mod reference;

pub(crate) mod requirement;
pub(crate) mod template;
pub(crate) mod text;
pub(crate) mod value;
pub(crate) mod wrong;

use eventstore::Timestamp;

/// SHA-256 in the form reviewers sign: 64 hexadecimal digits.
pub(crate) fn hash_of(bytes: &[u8]) -> String {
    eventstore::hex(&eventstore::digest(bytes))
}

/// A time as protobuf states it, if it lies between the years 1 and 9999.
pub(crate) fn instant(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    const YEAR_1: i64 = -62_135_596_800;
    const YEAR_10000: i64 = 253_402_300_800;
    time.filter(|it| (YEAR_1..YEAR_10000).contains(&it.seconds)).and_then(Timestamp::from_proto)
}

/// From when and until when something counts: from the first instant, before the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
}

impl Window {
    /// Whether it has begun.
    pub(crate) fn has_begun(self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at)
    }

    /// Whether it is over.
    pub(crate) fn is_over(self, at: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= at)
    }
}
