//! What a decision reads of a party, known before the party is: what `profiles` is asked for, and nothing else.

use std::collections::BTreeSet;

use ::authored::rule::Name;
use rapport_proto::purpose_of;
use rapport_proto::types::{Channel, Purpose};

use super::content::Modules;
use crate::domain::names;
use crate::domain::pack::Pack;
use crate::domain::policy::compiled::Compiled;

/// What rules and gates read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reads {
    pub(crate) attributes: BTreeSet<String>,
    pub(crate) traits: BTreeSet<String>,
    pub(crate) segments: bool,
    /// Consents that rules name, with their senders.
    pub(crate) consents: BTreeSet<(Purpose, Channel, String)>,
    /// What could be said by which channel: each needs the consent for the sender of the decision.
    pub(crate) contacts: BTreeSet<(Purpose, Channel)>,
}

impl Reads {
    /// Of a policy where these packs are in force.
    pub(crate) fn new<'a>(
        policy: &Compiled,
        packs: impl Iterator<Item = &'a Pack>,
        modules: &Modules,
    ) -> Self {
        let treatments = policy.actions.iter().flat_map(|it| &it.treatments);
        let contacts = treatments.filter_map(|treatment| {
            let module = modules.newest(&treatment.module, u64::MAX)?;
            Some((purpose_of(module.class), treatment.channel()))
        });
        let mut reads = Self { contacts: contacts.collect(), ..Self::default() };
        policy.names().iter().for_each(|it| reads.name(it));
        packs.flat_map(|it| &it.reads).for_each(|it| reads.name(it));
        reads
    }

    /// What some rules read.
    pub(crate) fn of<'a>(names: impl IntoIterator<Item = &'a Name>) -> Self {
        let mut reads = Self::default();
        names.into_iter().for_each(|it| reads.name(it));
        reads
    }

    fn name(&mut self, name: &Name) {
        match name.root() {
            "attributes" => drop(self.attributes.insert(name.key().to_owned())),
            "traits" => drop(self.traits.insert(name.key().to_owned())),
            "segments" => self.segments = true,
            "consent" => self.consents.extend(consent_named(name.key())),
            // What every answer tells, what came with the request, and the instant.
            _ => {}
        }
    }
}

/// `PROMOTIONAL/EMAIL/northwind`.
fn consent_named(key: &str) -> Option<(Purpose, Channel, String)> {
    let (purpose, rest) = key.split_once('/')?;
    let (channel, sender_id) = rest.split_once('/')?;
    Some((names::purpose_of(purpose)?, names::channel_of(channel)?, sender_id.to_owned()))
}
