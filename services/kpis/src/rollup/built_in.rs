//! The metrics that come with the platform: documents of this crate, in force for every tenant as version 1 and signed
//! off by the release that holds them. They have no events of their own; their id cannot be drafted.

use std::sync::{Arc, LazyLock};

use rapport_proto::kpis::v1::Metric;
use rapport_proto::types::{VersionInfo, VersionState};

use super::definition::Definition;

/// Author and approver of what comes with the platform.
const PLATFORM: &str = "platform";
/// The version of all of them.
pub(crate) const VERSION: u32 = 1;

macro_rules! documents {
    ($($name:literal),* $(,)?) => {
        [$(include_str!(concat!("../../metrics/", $name, ".yaml"))),*]
    };
}

static DOCUMENTS: [&str; 28] = documents![
    "case-resolutions",
    "ces",
    "click-rate",
    "consent-withdrawal-time",
    "csat",
    "decision-acceptance",
    "decisions",
    "delivery-rate",
    "nps",
    "open-rate",
    "order-value",
    "ordering-parties",
    "orders",
    "portal-time",
    "portal-visits",
    "response-rate",
    "review-cycle-time",
    "review-cycle-time-p90",
    "safety-escalations",
    "safety-late-hand-offs",
    "suggestion-acceptance",
    "suggestion-dismissals",
    "time-to-resolution",
    "time-to-resolution-p90",
    "touches-requested",
    "touches-sent",
    "touches-skipped",
    "unsubscribes",
];

/// All of them, by id.
pub(crate) fn all() -> &'static [Arc<Definition>] {
    static ALL: LazyLock<Vec<Arc<Definition>>> = LazyLock::new(|| {
        let mut all: Vec<_> = DOCUMENTS.iter().map(|it| Arc::new(compiled(it))).collect();
        all.sort_by(|a, b| a.metric.metric.cmp(&b.metric.metric));
        all
    });
    &ALL
}

fn compiled(text: &str) -> Definition {
    let metric: Metric =
        authored::document::parse(text).expect("a document of this crate, which a test reads");
    Definition::compile(&metric, VERSION).expect("a document of this crate, which a test compiles")
}

/// One of them.
pub(crate) fn find(metric: &str) -> Option<&'static Arc<Definition>> {
    all().iter().find(|it| it.metric.metric == metric)
}

/// Its version, as the API shows it.
pub(crate) fn info(definition: &Definition) -> VersionInfo {
    VersionInfo {
        version: VERSION,
        state: VersionState::Live.into(),
        hash: eventstore::hex(&definition.hash),
        author: PLATFORM.to_owned(),
        approver: PLATFORM.to_owned(),
        ..VersionInfo::default()
    }
}
