//! Intervals and tests. Quantiles and tails of the distributions are `statrs`'s.

use statrs::distribution::{ChiSquared, ContinuousCDF as _, StudentsT};

use super::contribution::Sums;

/// The quantile of the normal distribution that everybody means by 95 %.
const Z: f64 = 1.96;
/// Below this p the sizes of the arms contradict the plan.
pub(crate) const MISMATCH: f64 = 0.001;

/// Mean ± 1.96·sd/√n.
pub(crate) fn mean_interval(sums: &Sums) -> Option<(f64, f64)> {
    let (mean, variance) = (sums.mean()?, sums.variance()?);
    #[expect(clippy::cast_precision_loss, reason = "a count of events")]
    let half = Z * (variance / sums.n as f64).sqrt();
    Some((mean - half, mean + half))
}

/// The interval of a share `k` of `n` (Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
/// Journal of the American Statistical Association 22, 1927).
pub(crate) fn wilson(k: u64, n: u64) -> Option<(f64, f64)> {
    if n == 0 {
        return None;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of events")]
    let (k, n) = (k as f64, n as f64);
    let (p, z2) = (k / n, Z * Z);
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Some(((centre - half).max(0.0), (centre + half).min(1.0)))
}

/// A difference and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Difference {
    pub(crate) value: f64,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl Difference {
    pub(crate) fn covers(&self, value: f64) -> bool {
        self.lower <= value && value <= self.upper
    }
}

/// Mean of the treated minus mean of the control, with unequal variances (Welch, "The Generalization of 'Student's'
/// Problem", Biometrika 34, 1947); needs two in each arm.
pub(crate) fn welch(control: &Sums, treated: &Sums) -> Option<Difference> {
    #[expect(clippy::cast_precision_loss, reason = "counts of parties")]
    let error = |it: &Sums| Some((it.variance()? / it.n as f64, (it.n - 1) as f64));
    let value = treated.mean()? - control.mean()?;
    let ((a, da), (b, db)) = (error(control)?, error(treated)?);
    let both = a + b;
    if both <= 0.0 {
        return Some(Difference { value, lower: value, upper: value });
    }
    let freedom = both * both / (a * a / da + b * b / db);
    let t = StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(0.975);
    let half = t * both.sqrt();
    Some(Difference { value, lower: value - half, upper: value + half })
}

/// p of the χ² test that `control` of `all` is what a planned share gives; 1 when there is nothing to test.
pub(crate) fn sample_ratio(control: u64, all: u64, share: f64) -> f64 {
    if all == 0 {
        return 1.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of parties")]
    let (control, all) = (control as f64, all as f64);
    let (first, second) = (all * share, all * (1.0 - share));
    let apart = (control - first) * (control - first);
    let statistic = apart / first + apart / second;
    ChiSquared::new(1.0).map_or(1.0, |it| it.sf(statistic))
}
