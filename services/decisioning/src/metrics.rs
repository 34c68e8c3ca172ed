//! What an operator sees of decisions, beside the events they leave.

use std::time::Duration;

use eventstore::metric::{Histogram, Metric, Metrics};
use rapport_proto::decisioning::v1::DecisionMade;

use crate::domain::DO_NOTHING;

/// Seconds; the largest that is asked for is 15 ms.
const BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

static DURATION: Metric<Histogram, 1> = Metric::seconds(
    "rapport.decision.duration",
    ["outcome"],
    BUCKETS,
    "Time to gather what a decision needs and to make it: chosen, nothing, or refused",
);

/// Every metric of this crate.
pub static METRICS: Metrics = &[&DURATION];

/// Notes a decision, or that none could be made.
pub(crate) fn decided(made: Option<&DecisionMade>, took: Duration) {
    let acts = |it: &DecisionMade| it.chosen.iter().any(|it| it.action != DO_NOTHING);
    let outcome = made.map_or("refused", |it| if acts(it) { "chosen" } else { "nothing" });
    DURATION.record(took, [outcome]);
}
