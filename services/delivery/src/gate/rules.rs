//! The sections of a country's rule pack that `delivery` evaluates: enabled kinds, quiet hours, calendar. A pack that
//! was activated carries what it inherits, nearest first; for each question the nearest layer that says something
//! answers.

use authored::calendar::{Calendar, QuietHours};
use rapport_proto::decisioning::v1::{RulePack, RulePackActivated};
use rapport_proto::types::{Channel, PartyKind};

/// A layer of a pack: its name, version and document.
struct Layer<'a> {
    pack: &'a str,
    version: u32,
    document: &'a RulePack,
}

fn layers(pack: &RulePackActivated) -> impl Iterator<Item = Layer<'_>> {
    let own = pack.document.as_ref().map(|document| Layer {
        pack: pack.market.as_str(),
        version: pack.version,
        document,
    });
    let inherited = pack.inherited.iter().filter_map(|it| {
        let document = it.document.as_ref()?;
        Some(Layer { pack: it.pack.as_str(), version: it.version, document })
    });
    own.into_iter().chain(inherited)
}

/// The line that refuses a kind of party.
pub(super) struct Refused<'a> {
    pub(super) pack: &'a str,
    pub(super) version: u32,
}

/// Which layer says that this kind may not be contacted; where no layer lists kinds, none does.
pub(super) fn kind_refused(pack: &RulePackActivated, kind: PartyKind) -> Option<Refused<'_>> {
    let layer = layers(pack).find(|it| !it.document.enabled_kinds.is_empty())?;
    let enabled = layer.document.enabled_kinds.contains(&kind.into());
    (!enabled).then_some(Refused { pack: layer.pack, version: layer.version })
}

/// The quiet hours of a market on a channel.
pub(super) struct Quiet<'a> {
    pub(super) pack: &'a str,
    pub(super) version: u32,
    /// `None` when they cannot be read: a pack is checked before it is approved, so this fails closed.
    pub(super) parsed: Option<(QuietHours, Calendar)>,
}

/// The quiet hours that hold on a channel; `None` when there are none.
pub(super) fn quiet_hours(pack: &RulePackActivated, channel: Channel) -> Option<Quiet<'_>> {
    let (layer, hours) =
        layers(pack).find_map(|it| it.document.quiet_hours.as_ref().map(|hours| (it, hours)))?;
    if !hours.channels.contains(&channel.into()) {
        return None;
    }
    let calendar = layers(pack).find_map(|it| it.document.calendar.as_ref());
    let parse = || {
        let hours = QuietHours::parse(&hours.from, &hours.to, &hours.also).ok()?;
        let calendar = match calendar {
            Some(it) => Calendar::parse(&it.time_zones, &it.weekend, &it.holidays).ok()?,
            None => Calendar::default(),
        };
        Some((hours, calendar))
    };
    Some(Quiet { pack: layer.pack, version: layer.version, parsed: parse() })
}
