//! What an operator sees of the gate, beside the events it leaves.

use eventstore::metric::{Counter, Metric, Metrics};
use rapport_proto::purpose_of;

use crate::domain;
use crate::gate::{Gathered, Outcome};

static VERDICTS: Metric<Counter, 3> = Metric::counter(
    "rapport.gate.verdicts",
    ["verdict", "channel", "purpose"],
    "Runs of the send gate by what they came to: passed, deferred, or the reason of a skip",
);

/// Every metric of this crate.
pub static METRICS: Metrics = &[&VERDICTS];

/// Notes what a run of the gate came to, once it is durable.
pub(crate) fn judged(outcome: &str, gathered: &Gathered) {
    let purpose = purpose_of(gathered.class()).as_str_name().trim_start_matches("PURPOSE_");
    VERDICTS.add(1, [outcome, domain::channel_name(gathered.channel()), purpose]);
}

/// What a run of the gate comes to, as a label.
pub(crate) fn verdict(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ready(_) => "passed".to_owned(),
        Outcome::Defer { .. } => "deferred".to_owned(),
        Outcome::Skip { reason, .. } => reason.clone(),
    }
}
