//! Times to an end that not everything has reached (Kaplan and Meier, "Nonparametric Estimation from Incomplete
//! Observations", Journal of the American Statistical Association 53, 1958).

/// How long something took, or how long it has taken so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lasted {
    /// Microseconds.
    pub(crate) for_: i64,
    /// What ends and what is still open at the same time: what ends comes first, so what is open was at risk.
    pub(crate) open: bool,
}

/// The time at which the share `q` has ended; `None` when too much is still open to tell.
pub(crate) fn quantile(times: &mut [Lasted], q: f64) -> Option<i64> {
    times.sort_unstable();
    let mut surviving = 1.0;
    let mut index = 0;
    while index < times.len() {
        let at = times[index].for_;
        let at_risk = times.len() - index;
        let same = times[index..].iter().take_while(|it| it.for_ == at);
        let (ended, all) = same
            .fold((0_usize, 0_usize), |(ended, all), it| (ended + usize::from(!it.open), all + 1));
        #[expect(clippy::cast_precision_loss, reason = "counts of events")]
        let lost = ended as f64 / at_risk as f64;
        surviving *= 1.0 - lost;
        // A share is a decimal fraction: what is equal but for rounding is equal.
        if ended > 0 && surviving <= 1.0 - q + 1e-12 {
            return Some(at);
        }
        index += all;
    }
    None
}
