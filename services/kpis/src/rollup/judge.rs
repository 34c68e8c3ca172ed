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

/// What there is to say of a closed bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Met,
    /// Why it misses its target.
    Missed(&'static str),
    /// Nothing: an alert neither begins nor ends.
    Silent,
}

/// Judges a closed bucket beside the one before it. Missing data is told before anything else, because a figure of too
/// few says nothing.
pub(crate) fn judge(target: &Target, now: &Judged, before: &Judged) -> Judgement {
    use Judgement::{Met, Missed, Silent};
    if now.suppressed {
        return Silent;
    }
    if now.n < u64::from(target.n_at_least) {
        return Missed("missing_data");
    }
    let Some(value) = now.value else { return Silent };
    if target.at_least.is_some_and(|least| value < least) {
        return Missed("below");
    }
    if target.at_most.is_some_and(|most| value > most) {
        return Missed("above");
    }
    match (target.change_at_most, before.value) {
        (Some(most), Some(before)) if (value - before).abs() > most * before.abs() => {
            Missed("changed")
        }
        // Only the change was asked for, and there is nothing that it is a change of.
        (Some(_), None) if target.at_least.or(target.at_most).is_none() => Silent,
        _ => Met,
    }
}
