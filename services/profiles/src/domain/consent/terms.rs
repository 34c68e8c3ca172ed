//! By what a contact is judged: the consent section of the rule pack of the party's market.

use std::cmp::Reverse;

use eventstore::Timestamp;
use rapport_proto::decisioning::v1::{ConsentLine, RulePack, RulePackActivated};
use rapport_proto::types::{Channel, Purpose, Regime};

use super::Statement;

/// What counts for a purpose and a channel in a market at an instant. The default is what counts where nothing is
/// known: opt-in, without a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) regime: Regime,
    /// Whether a grant counts only once the contact point used is verified.
    pub(crate) double_opt_in: bool,
    /// How long after it took effect a grant runs out, in microseconds.
    pub(crate) expires_after: Option<i64>,
    /// Pack whose line says so; empty when none does.
    pub(crate) pack: String,
    pub(crate) pack_version: u32,
    /// Whether a pack is in force at all.
    pub(crate) has_pack: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            regime: Regime::OptIn,
            double_opt_in: false,
            expires_after: None,
            pack: String::new(),
            pack_version: 0,
            has_pack: false,
        }
    }
}

impl Terms {
    /// What the pack in force says, if there is one: the nearest layer with a line answers, the document before what
    /// it inherits. Where no layer has one it is opt-in.
    pub(crate) fn of(pack: Option<&RulePackActivated>, purpose: Purpose, channel: Channel) -> Self {
        let Some(pack) = pack else { return Self::default() };
        let unmapped = Self { has_pack: true, ..Self::default() };
        layers(pack)
            .find_map(|(name, version, document)| {
                let line = strictest(document, purpose, channel)?;
                Some(Self {
                    regime: regime(line),
                    double_opt_in: line.double_opt_in,
                    expires_after: expires_after(line),
                    pack: name.to_owned(),
                    pack_version: version,
                    has_pack: true,
                })
            })
            .unwrap_or(unmapped)
    }

    /// The same, no laxer than a regime that the asker states. An unspecified one states nothing.
    pub(crate) fn tightened(self, stated: Regime) -> Self {
        if stated == Regime::Unspecified || strictness(stated) <= strictness(self.regime) {
            return self;
        }
        // The line still says when a grant counts, but it is not what makes one necessary.
        Self { regime: stated, pack: String::new(), pack_version: 0, ..self }
    }

    /// Whether a grant ran out by these terms.
    pub(super) fn have_ended(&self, grant: &Statement, at: Timestamp) -> bool {
        self.expires_after.is_some_and(|after| grant.effective_at.0.saturating_add(after) <= at.0)
    }
}

/// Name, version and document of each layer, nearest first.
fn layers(pack: &RulePackActivated) -> impl Iterator<Item = (&str, u32, &RulePack)> {
    let own = pack.document.iter().map(|it| (pack.market.as_str(), pack.version, it));
    let inherited = pack.inherited.iter().filter_map(|it| {
        let document = it.document.as_ref()?;
        Some((it.pack.as_str(), it.version, document))
    });
    own.chain(inherited)
}

/// The line of a document; of several the one that asks for most.
fn strictest(document: &RulePack, purpose: Purpose, channel: Channel) -> Option<&ConsentLine> {
    let fits = |it: &&ConsentLine| it.purpose() == purpose && it.channels().any(|it| it == channel);
    let demand = |it: &&ConsentLine| {
        let lasts = expires_after(it).unwrap_or(i64::MAX);
        (strictness(regime(it)), it.double_opt_in, Reverse(lasts))
    };
    document.consent.iter().filter(fits).max_by_key(demand)
}

/// A regime that is not stated is opt-in: what cannot be read allows nothing.
fn regime(line: &ConsentLine) -> Regime {
    if line.regime() == Regime::Unspecified { Regime::OptIn } else { line.regime() }
}

/// A duration that cannot be read has passed: `decisioning` approves no such pack, and here it must not widen a grant.
fn expires_after(line: &ConsentLine) -> Option<i64> {
    let stated = Some(line.expires_after.as_str()).filter(|it| !it.is_empty())?;
    Some(authored::calendar::duration(stated).unwrap_or(0))
}

fn strictness(regime: Regime) -> u8 {
    match regime {
        Regime::NotRequired => 0,
        Regime::OptOut => 1,
        Regime::OptIn | Regime::Unspecified => 2,
    }
}

#[cfg(test)]
mod tests;
