//! What a trait comes to at an instant, and at which instants it changes by itself.
//!
//! A [`Series`] holds those interactions of a party that can count for one trait. Its value at an instant depends on
//! nothing else, so a recompute from the log gives the same value bit for bit: sums run in the order of occurrence.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use authored::calendar;
use authored::rule::{Name, Value};
use eventstore::Timestamp;
use rapport_proto::types::{Clear, Money, clear};

use super::{DAY, Kind, Trait, Window};

/// What a party did, as traits see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Activity {
    pub(crate) name: String,
    pub(crate) source: String,
    pub(crate) occurred_at: Timestamp,
    /// Position in the log: the order at equal instants.
    pub(crate) position: u64,
    pub(crate) clear: BTreeMap<String, Clear>,
}

/// The value of a trait at an instant; nothing when it has none. `activities` are those of one party, in any order.
#[cfg(test)]
pub(crate) fn compute(of: &Trait, activities: &[Activity], at: Timestamp) -> Option<Clear> {
    Series::new(of, activities).value(at)
}

/// The interactions that can count for a trait, in the order in which they occurred.
#[derive(Clone, Debug)]
pub(crate) struct Series<'t> {
    of: &'t Trait,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    at: Timestamp,
    position: u64,
    value: Option<clear::Value>,
}

/// On which side of some numbers a value stands, or what it is when it is no number.
#[derive(Clone, Debug, PartialEq)]
enum Side {
    Of(Vec<Option<Ordering>>),
    Is(Option<Value>),
}

impl Trait {
    /// Whether an interaction can count.
    pub(crate) fn counts(&self, activity: &Activity) -> bool {
        let fact = |name: &Name| activity.clear.get(name.key()).and_then(Value::from_clear);
        self.looks_at(&activity.name, &activity.source)
            && self.filter.as_ref().is_none_or(|rule| rule.check(&fact).is_true())
    }

    /// The first instant that counts at `at`; nothing when the calendar ends.
    pub(crate) fn start(&self, at: Timestamp) -> Option<Timestamp> {
        match &self.window {
            Window::Ever => Some(Timestamp(i64::MIN)),
            Window::Sliding(span) => Some(Timestamp(at.0.saturating_sub(*span).saturating_add(1))),
            Window::Calendar(zone, period) => calendar::start_of(zone, at, *period),
        }
    }
}

impl Entry {
    fn of(definition: &Trait, activity: &Activity) -> Option<Self> {
        let value = || activity.clear.get(definition.property()?)?.value.clone();
        definition.counts(activity).then(|| Self {
            at: activity.occurred_at,
            position: activity.position,
            value: value(),
        })
    }

    fn place(&self) -> (Timestamp, u64) {
        (self.at, self.position)
    }
}

impl<'t> Series<'t> {
    pub(crate) fn new(of: &'t Trait, activities: &[Activity]) -> Self {
        let mut entries: Vec<_> = activities.iter().filter_map(|it| Entry::of(of, it)).collect();
        entries.sort_by_key(Entry::place);
        Self { of, entries }
    }

    /// Adds one more interaction.
    pub(crate) fn add(&mut self, activity: &Activity) {
        if let Some(entry) = Entry::of(self.of, activity) {
            let index = self.entries.partition_point(|it| it.place() <= entry.place());
            self.entries.insert(index, entry);
        }
    }

    /// The value at an instant.
    pub(crate) fn value(&self, at: Timestamp) -> Option<Clear> {
        let counted = self.counted(at);
        let value = match &self.of.kind {
            Kind::Count => clear::Value::Number(count(counted.len())),
            Kind::Sum(_) => sum(counted)?,
            Kind::Last(_) => counted.last()?.value.clone()?,
            Kind::First(_) => counted.first()?.value.clone()?,
            Kind::DaysSince => {
                let micros = at.0.checked_sub(counted.last()?.at.0)?;
                clear::Value::Number(number(micros.div_euclid(DAY)))
            }
            Kind::DecayedCount(half_life) => clear::Value::Number(decayed(counted, *half_life, at)),
        };
        Some(Clear { value: Some(value) })
    }

    /// The entries in the window at an instant. What has not occurred yet does not count.
    fn counted(&self, at: Timestamp) -> &[Entry] {
        let end = self.occurred(at);
        let start =
            self.of.start(at).map_or(end, |start| self.entries.partition_point(|it| it.at < start));
        &self.entries[start.min(end)..end]
    }

    fn occurred(&self, at: Timestamp) -> usize {
        self.entries.partition_point(|it| it.at <= at)
    }

    /// Instants between `at` and `until` between which the value stays on its side of each of these numbers, if no
    /// interaction is added. Instants at which nothing happens may be among them, but few: each costs an evaluation of the rule.
    pub(crate) fn turns(&self, at: Timestamp, until: Timestamp, numbers: &[f64]) -> Vec<Timestamp> {
        let mut turns: Vec<Timestamp> =
            self.entries[self.occurred(at)..].iter().map(|it| it.at).collect();
        match &self.of.window {
            Window::Ever => {}
            Window::Sliding(span) => {
                let left = self.entries.iter().map(|it| Timestamp(it.at.0.saturating_add(*span)));
                turns.extend(left.filter(|it| *it > at));
            }
            Window::Calendar(zone, period) => {
                let next = |it: Timestamp| calendar::end_of(zone, it, *period);
                let ends: Vec<_> =
                    std::iter::once(at).chain(turns.iter().copied()).filter_map(next).collect();
                // Without an entry the next period is as empty as this one.
                if !self.entries.is_empty() {
                    turns.extend(ends);
                }
            }
        }
        turns.retain(|it| *it < until);
        match &self.of.kind {
            Kind::Count | Kind::Sum(_) | Kind::Last(_) | Kind::First(_) => {
                self.steps(at, numbers, &mut turns);
            }
            Kind::DaysSince => self.days(at, numbers, &mut turns),
            Kind::DecayedCount(half_life) => self.decays(at, *half_life, numbers, &mut turns),
        }
        turns.retain(|it| *it < until);
        turns
    }

    /// Leaves those at which the value comes to another side. One that knows no window may be used in any way, not only
    /// compared with numbers.
    fn steps(&self, at: Timestamp, numbers: &[f64], turns: &mut Vec<Timestamp>) {
        if self.of.window == Window::Ever {
            return;
        }
        turns.sort_unstable();
        let mut before = self.side(at, numbers);
        turns.retain(|turn| {
            let side = self.side(*turn, numbers);
            let crossed = side != before;
            before = side;
            crossed
        });
    }

    fn side(&self, at: Timestamp, numbers: &[f64]) -> Side {
        match self.value(at).as_ref().and_then(Value::from_clear) {
            Some(Value::Number(value)) => {
                Side::Of(numbers.iter().map(|it| value.partial_cmp(it)).collect())
            }
            other => Side::Is(other),
        }
    }

    /// `floor(days) >= n` begins at `ceil(n)` days, `floor(days) > n` at `floor(n) + 1`.
    fn days(&self, at: Timestamp, numbers: &[f64], turns: &mut Vec<Timestamp>) {
        let last = self.occurred(at).saturating_sub(1);
        let anchors = self.entries.get(last..).unwrap_or_default();
        for anchor in anchors {
            for days in numbers.iter().flat_map(|it| [it.ceil(), it.floor() + 1.0]) {
                turns.extend(after_days(anchor.at, days).filter(|it| *it > at));
            }
        }
    }

    /// Between two other turns all terms decay together, so the crossing of a number has a closed form.
    fn decays(&self, at: Timestamp, half_life: i64, numbers: &[f64], turns: &mut Vec<Timestamp>) {
        let bases: Vec<_> = std::iter::once(at).chain(turns.iter().copied()).collect();
        for base in bases {
            let counted = self.counted(base);
            for limit in numbers {
                let sum = |at| decayed(counted, half_life, at);
                let reached = first(base, half_life, *limit, &sum, |sum| sum <= *limit);
                // Mostly it is below at once; if not, it stands at the limit for some microseconds.
                let from = reached.unwrap_or(base);
                turns.extend(reached);
                turns.extend(first(from, half_life, *limit, &sum, |sum| sum < *limit));
            }
        }
    }
}

/// The sum; zero of nothing. Money of two currencies, or anything that is no amount, has none.
fn sum(entries: &[Entry]) -> Option<clear::Value> {
    let mut numbers: Option<f64> = None;
    let mut money: Option<(&str, i128)> = None;
    for value in entries.iter().filter_map(|it| it.value.as_ref()) {
        match value {
            clear::Value::Number(it) => numbers = Some(numbers.unwrap_or(0.0) + it),
            clear::Value::Money(it) => {
                let (currency, total) = money.unwrap_or((&it.currency_code, 0));
                if currency != it.currency_code {
                    return None;
                }
                let nanos = i128::from(it.units) * 1_000_000_000 + i128::from(it.nanos);
                money = Some((currency, total.checked_add(nanos)?));
            }
            clear::Value::Code(_) | clear::Value::Time(_) | clear::Value::Flag(_) => return None,
        }
    }
    match (numbers, money) {
        (Some(_), Some(_)) => None,
        (None, Some((currency, total))) => Some(clear::Value::Money(Money {
            currency_code: currency.to_owned(),
            units: i64::try_from(total / 1_000_000_000).ok()?,
            nanos: i32::try_from(total % 1_000_000_000).ok()?,
        })),
        (numbers, None) => {
            let total = numbers.unwrap_or(0.0);
            total.is_finite().then_some(clear::Value::Number(total))
        }
    }
}

/// Σ 2^(-age / half life).
fn decayed(entries: &[Entry], half_life: i64, at: Timestamp) -> f64 {
    let term = |it: &Entry| (-number(at.0.saturating_sub(it.at.0)) / number(half_life)).exp2();
    entries.iter().map(term).sum()
}

/// The first microsecond after `base` at which a sum that only decays fulfils `done`, which it then fulfils for ever.
/// `t = base + half life · log2(sum / limit)`; the neighbourhood is searched, because the formula is rounded.
fn first(
    base: Timestamp,
    half_life: i64,
    limit: f64,
    sum: &impl Fn(Timestamp) -> f64,
    done: impl Fn(f64) -> bool,
) -> Option<Timestamp> {
    let start = sum(base);
    if limit.is_nan() || limit <= 0.0 || done(start) {
        return None;
    }
    let wait = (number(half_life) * (start / limit).log2()).ceil();
    let guess = base.0.checked_add(whole(wait)?)?;
    let fulfilled = |at: i64| done(sum(Timestamp(at)));
    let (mut low, mut high, mut reach) = (guess, guess, 4_i64);
    while low > base.0 && fulfilled(low) {
        low = low.saturating_sub(reach).max(base.0);
        reach = reach.saturating_mul(2);
    }
    while !fulfilled(high) {
        high = high.checked_add(reach)?;
        reach = reach.saturating_mul(2);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fulfilled(middle) { high = middle } else { low = middle }
    }
    Some(Timestamp(high))
}

/// The instant so many days later; nothing when that is beyond every calendar.
fn after_days(at: Timestamp, days: f64) -> Option<Timestamp> {
    at.0.checked_add(whole(days)?.checked_mul(DAY)?).map(Timestamp)
}

/// A float that is a whole number of at most 2^62 in size.
fn whole(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "it is within the range")]
    (number.abs() < 4.6e18).then_some(number as i64)
}

#[expect(clippy::cast_precision_loss, reason = "all numbers of a rule are f64")]
fn number(micros: i64) -> f64 {
    micros as f64
}

#[expect(clippy::cast_precision_loss, reason = "nobody does anything 2^53 times")]
fn count(entries: usize) -> f64 {
    entries as f64
}
