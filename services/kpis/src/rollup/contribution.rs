//! What an event adds to a series, and the sums of many.

use authored::rule::Value;
use eventstore::Timestamp;

/// Separates the parts of a key and the values of dimensions; it cannot be part of one.
pub(crate) const PART: char = '\u{1f}';
/// Characters of a part, at most.
const LONGEST: usize = 128;
/// Values are integers in millionths. Beyond nine thousand million units a float states no single millionth any more, but
/// the amount all the same: a large order in a small currency is not left out.
const MOST: f64 = 1e12;
const MOST_MILLIONTHS: u64 = 9_007_199_254_000_000;
const MILLION: f64 = 1e6;

/// What a contribution is to its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// What is measured, the numerator, what begins a span, the outcome of an experiment.
    Main,
    /// The denominator, what ends a span, the index instant of an experiment's party.
    Other,
    /// An instance of the journey whose split an experiment is about.
    Instance,
    /// What stops the clock of a span that has not ended.
    Paused,
    /// What makes the clock of a span go on.
    Resumed,
}

impl Role {
    pub(crate) fn number(self) -> i64 {
        match self {
            Self::Main => 0,
            Self::Other => 1,
            Self::Instance => 2,
            Self::Paused => 3,
            Self::Resumed => 4,
        }
    }

    pub(crate) fn of(number: i64) -> Self {
        match number {
            0 => Self::Main,
            1 => Self::Other,
            3 => Self::Paused,
            4 => Self::Resumed,
            _ => Self::Instance,
        }
    }
}

/// What one element of one event adds to a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contribution {
    pub(crate) role: Role,
    pub(crate) position: u64,
    pub(crate) element: u32,
    pub(crate) event_id: String,
    pub(crate) at: Timestamp,
    pub(crate) bucket: Timestamp,
    pub(crate) dims: String,
    pub(crate) key: String,
    /// In millionths.
    pub(crate) value: i64,
    pub(crate) currency: String,
    pub(crate) party_id: String,
}

/// A number as an integer of millionths; `None` when it is no amount that anybody pays.
pub(crate) fn millionths(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "bounded far below")]
    (number.is_finite() && number.abs() <= MOST).then(|| (number * MILLION).round() as i64)
}

/// A measured value in millionths: a number, or a duration in seconds.
pub(crate) fn measured(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => millionths(*number),
        // Microseconds are millionths of a second.
        Value::Duration(micros) => Some(*micros).filter(|it| it.unsigned_abs() <= MOST_MILLIONTHS),
        Value::Bool(_) | Value::Text(_) | Value::Time(_) | Value::List(_) => None,
    }
}

/// A value as a part of a key or a dimension.
pub(crate) fn part(value: &Value) -> String {
    let text = match value {
        Value::Text(text) => text.to_string(),
        Value::Time(time) => time.to_string(),
        Value::Bool(_) | Value::Number(_) | Value::Duration(_) | Value::List(_) => {
            value.to_string()
        }
    };
    text.chars().filter(|it| *it != PART && *it != '\0').take(LONGEST).collect()
}

/// Sums of contributions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) n: u64,
    /// Millionths.
    pub(crate) sum: i128,
    /// Millionths of millionths.
    pub(crate) squares: i128,
}

impl Sums {
    pub(crate) fn add(&mut self, value: i64) {
        let value = i128::from(value);
        self.merge(&Self { n: 1, sum: value, squares: value * value });
    }

    /// No sum can overflow: a value is below 2^60. Squares can, where many values are as large as that; they stay at the
    /// most there is then, which is the same in every order, and tell no spread.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.n = self.n.wrapping_add(other.n);
        self.sum = self.sum.wrapping_add(other.sum);
        self.squares = self.squares.saturating_add(other.squares);
    }

    /// The sum in units.
    pub(crate) fn total(&self) -> f64 {
        ratio(self.sum, 1_000_000)
    }

    pub(crate) fn mean(&self) -> Option<f64> {
        (self.n > 0).then(|| ratio(self.sum, i128::from(self.n) * 1_000_000))
    }

    /// Variance of the sample (n − 1), from integers: nothing cancels.
    pub(crate) fn variance(&self) -> Option<f64> {
        if self.n < 2 || self.squares == i128::MAX {
            return None;
        }
        let n = i128::from(self.n);
        // Σ(x−m)² = (n·Σx² − (Σx)²)/n. Where the product does not fit, floats are exact enough.
        let spread = n
            .checked_mul(self.squares)
            .zip(self.sum.checked_mul(self.sum))
            .and_then(|(all, whole)| all.checked_sub(whole));
        #[expect(clippy::cast_precision_loss, reason = "rounded once, at the end")]
        let spread = match spread {
            Some(exact) => exact as f64,
            None => n as f64 * self.squares as f64 - self.sum as f64 * self.sum as f64,
        };
        #[expect(clippy::cast_precision_loss, reason = "rounded once, at the end")]
        let divisor = n as f64 * (n - 1) as f64 * 1e12;
        Some(spread.max(0.0) / divisor)
    }
}

/// The quotient of integers, rounded once.
#[expect(clippy::cast_precision_loss, reason = "rounded once, at the end")]
pub(crate) fn ratio(above: i128, below: i128) -> f64 {
    let (whole, rest) = (above / below, above % below);
    whole as f64 + rest as f64 / below as f64
}
