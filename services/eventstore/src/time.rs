//! The domain clock: stamps facts and drives timers, windows, consent and caps. Leases, deadlines and
//! tokens use real time instead.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// An instant in microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The last instant that can be told; stands for "never ends" in tables.
    pub const MAX: Self = Self(i64::MAX);

    /// The instant of the operating system's clock.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system clock")]
    pub fn real() -> Self {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
    }

    /// From whole seconds and nanoseconds, as in `google.protobuf.Timestamp`; `None` out of range.
    pub fn from_parts(seconds: i64, nanos: i32) -> Option<Self> {
        if !(0..1_000_000_000).contains(&nanos) {
            return None;
        }
        seconds.checked_mul(1_000_000)?.checked_add(i64::from(nanos) / 1_000).map(Self)
    }

    /// Whole seconds and nanoseconds.
    pub fn to_parts(self) -> (i64, i32) {
        let nanos = i32::try_from(self.0.rem_euclid(1_000_000) * 1_000).unwrap_or_default();
        (self.0.div_euclid(1_000_000), nanos)
    }

    /// From the protobuf type; `None` when malformed.
    pub fn from_proto(time: &prost_types::Timestamp) -> Option<Self> {
        Self::from_parts(time.seconds, time.nanos)
    }

    /// As the protobuf type.
    pub fn to_proto(self) -> prost_types::Timestamp {
        let (seconds, nanos) = self.to_parts();
        prost_types::Timestamp { seconds, nanos }
    }

    /// Later by a duration.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Earlier by a duration.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Time since an earlier instant; zero when it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// RFC 3339 with microseconds, UTC.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = self.to_parts();
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
            second / 3_600,
            second / 60 % 60,
            second % 60,
            nanos / 1_000
        )
    }
}

/// Days since the epoch to a proleptic Gregorian date (Howard Hinnant, `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The domain clock. Cheap to clone; clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    System,
    Manual { now: AtomicI64, fires: watch::Sender<i64>, settles: bool },
}

impl Clock {
    /// The operating system's clock.
    pub fn system() -> Self {
        Self(Arc::new(Kind::System))
    }

    /// A clock that stands until it is moved: for tests and simulation.
    pub fn manual(start: Timestamp) -> Self {
        Self::moved_by_hand(start, false)
    }

    /// A manual clock whose timers fire only when told to ([`Clock::settle`]): so that all inputs of an instant can
    /// precede its timers.
    pub fn simulated(start: Timestamp) -> Self {
        Self::moved_by_hand(start, true)
    }

    fn moved_by_hand(start: Timestamp, settles: bool) -> Self {
        let fires = watch::channel(start.0).0;
        Self(Arc::new(Kind::Manual { now: AtomicI64::new(start.0), fires, settles }))
    }

    /// Up to when timers may fire: the time it shows, on a simulated clock that of the last [`Clock::settle`].
    pub fn fires_until(&self) -> Timestamp {
        match &*self.0 {
            Kind::System => Timestamp::real(),
            Kind::Manual { fires, .. } => Timestamp(*fires.borrow()),
        }
    }

    /// Lets everything fire that is due at the time it shows.
    pub fn settle(&self) {
        if let Kind::Manual { now, fires, .. } = &*self.0 {
            fires.send_replace(now.load(Ordering::SeqCst));
        }
    }

    /// The time it shows.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Kind::System => Timestamp::real(),
            Kind::Manual { now, .. } => Timestamp(now.load(Ordering::SeqCst)),
        }
    }

    /// Whether it is moved by hand.
    pub fn is_manual(&self) -> bool {
        matches!(&*self.0, Kind::Manual { .. })
    }

    /// Moves a manual clock to a later instant; returns whether it moved. A clock never goes back.
    pub fn set(&self, to: Timestamp) -> bool {
        match &*self.0 {
            Kind::System => false,
            Kind::Manual { now, settles, .. } => {
                let before = now.fetch_max(to.0, Ordering::SeqCst);
                if !settles {
                    self.settle();
                }
                to.0 >= before
            }
        }
    }

    /// Moves a manual clock on.
    pub fn advance(&self, by: Duration) -> bool {
        self.set(self.now().plus(by))
    }

    /// Waits until what is due then may fire: real time on the system clock, a move on a manual one.
    /// Cancel-safe.
    pub async fn reach(&self, due: Timestamp) {
        match &*self.0 {
            Kind::System => tokio::time::sleep(due.since(Timestamp::real())).await,
            Kind::Manual { fires, .. } => {
                let mut moves = fires.subscribe();
                // The sender lives as long as this clock, so the wait cannot fail.
                let _ = moves.wait_for(|now| *now >= due.0).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_print_as_rfc_3339() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert_eq!(Timestamp(951_782_400_000_001).to_string(), "2000-02-29T00:00:00.000001Z");
        assert_eq!(Timestamp(-1).to_string(), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn a_simulated_clock_fires_when_it_is_told_to() {
        let clock = Clock::simulated(Timestamp(10));
        assert!(clock.set(Timestamp(20)));
        assert_eq!((clock.now(), clock.fires_until()), (Timestamp(20), Timestamp(10)));
        clock.settle();
        assert_eq!(clock.fires_until(), Timestamp(20));
        let by_hand = Clock::manual(Timestamp(10));
        assert!(by_hand.set(Timestamp(20)));
        assert_eq!(by_hand.fires_until(), Timestamp(20));
    }

    #[test]
    fn a_manual_clock_never_goes_back() {
        let clock = Clock::manual(Timestamp(10));
        assert!(!clock.set(Timestamp(9)));
        assert_eq!(clock.now(), Timestamp(10));
        assert!(clock.advance(Duration::from_micros(5)));
        assert_eq!(clock.now(), Timestamp(15));
    }
}
