//! Whether a figure is what it should be.

use rapport_proto::kpis::v1::Target;

/// A figure as it is judged; without a value when there is nothing to compute it from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Judged {
    pub(crate) value: Option<f64>,
    pub(crate) n: u64,
    /// Hidden, so neither good nor bad, nor missing.
    pub(crate) suppressed: bool,
}

/// Why a closed bucket misses its target; empty when it does not. Missing data is told before anything else, because a
/// figure of too few says nothing.
pub(crate) fn miss(target: &Target, now: &Judged, before: &Judged) -> &'static str {
    if now.suppressed {
        return "";
    }
    if now.n < u64::from(target.n_at_least) {
        return "missing_data";
    }
    let Some(value) = now.value else { return "" };
    if target.at_least.is_some_and(|least| value < least) {
        return "below";
    }
    if target.at_most.is_some_and(|most| value > most) {
        return "above";
    }
    let changed = target
        .change_at_most
        .zip(before.value)
        .is_some_and(|(most, before)| (value - before).abs() > most * before.abs());
    if changed { "changed" } else { "" }
}
