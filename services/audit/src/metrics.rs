//! What an operator sees of verification.

use eventstore::metric::{Counter, Gauge, Metric, Metrics};
use rapport_proto::audit::v1::VerifiedSource;

static VERIFIED: Metric<Gauge, 1> = Metric::gauge(
    "rapport.audit.verified_position",
    ["source"],
    "Position up to which the last verification read a source",
);
static FAILURES: Metric<Counter, 1> = Metric::counter(
    "rapport.audit.verify.failures",
    ["source"],
    "Verifications that found a gap, a broken chain, or an index that says something else",
);

/// Every metric of this crate.
pub static METRICS: Metrics = &[&VERIFIED, &FAILURES];

/// Notes a verification.
pub(crate) fn verified(found: &VerifiedSource) {
    VERIFIED.set_count(found.head, [&found.source]);
    FAILURES.add(u64::from(!found.fault.is_empty()), [&found.source]);
}
