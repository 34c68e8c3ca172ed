//! The sections of a country's rule pack that `delivery` evaluates: enabled kinds, quiet hours, calendar. A pack that
//! was activated carries what it inherits, nearest first; for each question the nearest layer that says something
//! answers. A version never changes, so it is read once.

use authored::calendar::{Calendar, QuietHours};
use rapport_proto::decisioning::v1::{RulePack, RulePackActivated};
use rapport_proto::types::{Channel, PartyKind};

/// A version of a market's pack with what it inherits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pack {
    kinds: Option<Kinds>,
    quiet: Option<Quiet>,
}

/// The kinds that may be contacted, and the layer that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kinds {
    pub(super) pack: String,
    pub(super) version: u32,
    enabled: Vec<i32>,
}

/// The quiet hours of a market, and the layer that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Quiet {
    pub(super) pack: String,
    pub(super) version: u32,
    channels: Vec<i32>,
    /// `None` when they cannot be read: a pack is checked before it is approved, so this fails closed.
    pub(super) parsed: Option<(QuietHours, Calendar)>,
}

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

impl Pack {
    pub(crate) fn compile(pack: &RulePackActivated) -> Self {
        let kinds = layers(pack).find(|it| !it.document.enabled_kinds.is_empty());
        let quiet =
            layers(pack).find_map(|it| it.document.quiet_hours.as_ref().map(|hours| (it, hours)));
        let calendar = layers(pack).find_map(|it| it.document.calendar.as_ref());
        Self {
            kinds: kinds.map(|layer| Kinds {
                pack: layer.pack.to_owned(),
                version: layer.version,
                enabled: layer.document.enabled_kinds.clone(),
            }),
            quiet: quiet.map(|(layer, hours)| Quiet {
                pack: layer.pack.to_owned(),
                version: layer.version,
                channels: hours.channels.clone(),
                parsed: parse(hours, calendar),
            }),
        }
    }

    /// Which layer says that this kind may not be contacted; where no layer lists kinds, none does.
    pub(super) fn kind_refused(&self, kind: PartyKind) -> Option<&Kinds> {
        self.kinds.as_ref().filter(|it| !it.enabled.contains(&kind.into()))
    }

    /// The quiet hours that hold on a channel; `None` when there are none.
    pub(super) fn quiet_hours(&self, channel: Channel) -> Option<&Quiet> {
        self.quiet.as_ref().filter(|it| it.channels.contains(&channel.into()))
    }
}

fn parse(
    hours: &rapport_proto::decisioning::v1::QuietHours,
    calendar: Option<&rapport_proto::decisioning::v1::Calendar>,
) -> Option<(QuietHours, Calendar)> {
    let hours = QuietHours::parse(&hours.from, &hours.to, &hours.also).ok()?;
    let calendar = match calendar {
        Some(it) => Calendar::parse(&it.time_zones, &it.weekend, &it.holidays).ok()?,
        None => Calendar::default(),
    };
    Some((hours, calendar))
}
