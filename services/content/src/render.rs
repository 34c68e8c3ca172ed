//! Rendering: from approved content, values and an instant to bytes. Pure; the same input gives the same bytes.
//!
//! In two steps. [`select`](select::select) answers whether everything that would be printed is approved now, for this
//! market, audience, channel and language, and intact: the hash of the bytes at hand is the one that was signed.
//! [`message`] prints it: slots are filled once, escaped for where they stand, and what was filled in is never read as
//! a template. The assembly rules of every module that is printed are checked on the result.
//!
//! What must not be found here: a cache, a clock, a default that prints something when a part is missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use eventstore::Timestamp;
use rapport_proto::types::{Audience, Channel};

use crate::domain::{asset, reference, review::Versions};

mod body;
mod choice;
mod rules;
mod select;

pub(crate) use body::{Rendered, message};
pub(crate) use select::{Part, PartKind, Selection, select};

/// Modules may stand in modules this deep below the root.
pub(crate) const DEEPEST: u32 = 4;

/// For whom, where and when.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) market: String,
    pub(crate) audience: Audience,
    pub(crate) channel: Channel,
    /// Empty: the market's default.
    pub(crate) language: String,
    /// Empty: the plain one.
    pub(crate) tone: String,
    pub(crate) at: Timestamp,
}

/// What fills the slots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    pub(crate) slots: BTreeMap<String, String>,
    pub(crate) party_fields: BTreeMap<String, String>,
}

/// Everything that rendering reads, folded from events. What was looked for and is unknown is there, empty.
#[derive(Debug, Default)]
pub(crate) struct Library {
    pub(crate) modules: BTreeMap<String, Arc<Versions>>,
    pub(crate) claims: BTreeMap<String, Arc<Versions>>,
    pub(crate) references: BTreeMap<String, reference::State>,
    pub(crate) assets: BTreeMap<String, asset::State>,
}

/// What must be read before an answer can be given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) modules: Vec<String>,
    pub(crate) claims: Vec<String>,
    pub(crate) references: Vec<String>,
    pub(crate) assets: Vec<String>,
}

impl Wanted {
    pub(crate) fn is_empty(&self) -> bool {
        self.modules.is_empty()
            && self.claims.is_empty()
            && self.references.is_empty()
            && self.assets.is_empty()
    }

    /// Adds what else is wanted, each once.
    pub(crate) fn join(&mut self, more: Self) {
        let lists = [
            (&mut self.modules, more.modules),
            (&mut self.claims, more.claims),
            (&mut self.references, more.references),
            (&mut self.assets, more.assets),
        ];
        for (wanted, more) in lists {
            wanted.extend(more);
            wanted.sort_unstable();
            wanted.dedup();
        }
    }
}

/// Why something may not be used now: a gate reason and its detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

pub(crate) const NOT_APPROVED: &str = "content_not_approved";
pub(crate) const EXPIRED: &str = "content_expired";
pub(crate) const WITHDRAWN: &str = "content_withdrawn";

impl Unusable {
    pub(crate) fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// The same, said of a part of what was asked for.
    fn of_part(self, part: &Part) -> Self {
        Self { detail: format!("{part}: {}", self.detail), ..self }
    }
}

/// Why approved content could not be printed: a gate reason and its detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unprintable {
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

pub(crate) const RENDER_ERROR: &str = "render_error";
pub(crate) const FAIR_BALANCE: &str = "fair_balance";

impl Unprintable {
    fn error(detail: impl Into<String>) -> Self {
        Self { reason: RENDER_ERROR, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests;
