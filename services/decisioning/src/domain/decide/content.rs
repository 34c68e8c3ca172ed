//! Which modules may be used: the list that `decisioning` keeps from the facts of `content`. The gate asks again.

use std::collections::{BTreeMap, BTreeSet};

use eventstore::Timestamp;
use rapport_proto::types::{Audience, Channel, ContentClass};

use super::Stopped;
use crate::domain::names;

/// A version of a module that was approved.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Module {
    pub(crate) version: u32,
    pub(crate) class: ContentClass,
    pub(crate) markets: Vec<String>,
    pub(crate) audiences: Vec<Audience>,
    pub(crate) channels: Vec<Channel>,
    pub(crate) product_id: String,
    pub(crate) topic: String,
    pub(crate) usable_from: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    /// Position of `content` at which it was approved.
    pub(crate) approved_position: u64,
    /// Position at which it ended, and how: `withdrawn`, `expired`, `superseded`.
    pub(crate) ended: Option<(u64, String)>,
}

/// Every version of every module that was approved, by id and version.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Modules(BTreeMap<String, Vec<Module>>);

/// Where and when a module is to be used.
pub(crate) struct Place<'a> {
    pub(crate) market: &'a str,
    pub(crate) audience: Audience,
    pub(crate) channel: Channel,
    pub(crate) at: Timestamp,
    /// Position of `content` up to which facts count.
    pub(crate) position: u64,
}

impl Modules {
    pub(crate) fn add(&mut self, id: &str, module: Module) {
        let versions = self.0.entry(id.to_owned()).or_default();
        versions.push(module);
        versions.sort_by_key(|it| it.version);
    }

    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }

    /// The version approved last as of a position, whether or not it has ended since: what a module is about.
    pub(crate) fn newest(&self, id: &str, position: u64) -> Option<&Module> {
        let versions = self.0.get(id)?;
        versions.iter().rev().find(|it| it.approved_position <= position)
    }

    /// A version that may be used there and then, or why none may: what is wrong with the newest.
    pub(crate) fn usable(&self, id: &str, place: &Place<'_>) -> Result<&Module, Stopped> {
        let versions = self.0.get(id).map(Vec::as_slice).unwrap_or_default();
        let approved = || versions.iter().rev().filter(|it| it.approved_position <= place.position);
        if let Some(found) = approved().find(|it| it.stopped(id, place).is_none()) {
            return Ok(found);
        }
        let newest = approved().next().and_then(|it| it.stopped(id, place));
        Err(newest.unwrap_or_else(|| never_approved(id)))
    }
}

/// No version of it was ever approved.
pub(super) fn never_approved(id: &str) -> Stopped {
    stopped(id, "not approved", "an approved version")
}

impl Module {
    fn stopped(&self, id: &str, place: &Place<'_>) -> Option<Stopped> {
        let clause = || format!("{id}@{}", self.version);
        match &self.ended {
            Some((position, how)) if *position <= place.position => {
                return Some(stopped(&clause(), how, "an approved version"));
            }
            Some(_) | None => {}
        }
        if let Some(from) = self.usable_from.filter(|it| *it > place.at) {
            let mut early = stopped(&clause(), "not usable yet", &format!("from {from}"));
            early.next_allowed_at = Some(from);
            return Some(early);
        }
        if self.expires_at.is_some_and(|it| it <= place.at) {
            return Some(stopped(&clause(), "expired", "an approved version"));
        }
        if !self.markets.iter().any(|it| it == place.market) {
            let value = format!("not for market {}", place.market);
            return Some(stopped(&clause(), &value, &self.markets.join(", ")));
        }
        if !self.audiences.contains(&place.audience) {
            let value = format!("not for audience {}", names::audience(place.audience));
            let audiences: Vec<_> = self.audiences.iter().map(|it| names::audience(*it)).collect();
            return Some(stopped(&clause(), &value, &audiences.join(", ")));
        }
        if !self.channels.contains(&place.channel) {
            let value = format!("no variant for {}", names::channel(place.channel));
            let channels: Vec<_> = self.channels.iter().map(|it| names::channel(*it)).collect();
            return Some(stopped(&clause(), &value, &channels.join(", ")));
        }
        None
    }
}

fn stopped(clause: &str, value: &str, required: &str) -> Stopped {
    Stopped {
        clause: clause.to_owned(),
        value: value.to_owned(),
        required: required.to_owned(),
        next_allowed_at: None,
    }
}
