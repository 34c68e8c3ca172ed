//! A metric as one value: what it is called, what it means, and the instrument that records it.
//!
//! ```
//! use eventstore::metric::{Counter, Metric};
//! static FIRED: Metric<Counter, 1> = Metric::counter("rapport.timers.fired", ["service"], "Timers fired");
//! FIRED.add(1, ["journeys"]);
//! assert_eq!(eventstore::metric::Declared::prometheus(&FIRED), "rapport_timers_fired_total");
//! ```
//!
//! What is declared is the contract: `rapport reference metrics` prints it, and rules and dashboards are checked against
//! it. A label never holds a tenant, a party, a stream or an id.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::metrics::{self, Meter};
use opentelemetry::{KeyValue, global};

/// Name of the meter of every instrument.
const SCOPE: &str = "rapport";

/// Whether there is somebody who collects.
static RUNS: AtomicBool = AtomicBool::new(false);

/// From now on metrics are recorded: the provider of this process is there.
pub fn start() {
    RUNS.store(true, Ordering::Release);
}

/// Counts what happened.
pub type Counter = metrics::Counter<u64>;
/// Counts what is there.
pub type UpDownCounter = metrics::UpDownCounter<i64>;
/// Tells how much there is.
pub type Gauge = metrics::Gauge<f64>;
/// Tells how much there is whenever somebody looks.
pub type Watched = metrics::ObservableGauge<f64>;
/// Tells how long it took, in seconds.
pub type Histogram = metrics::Histogram<f64>;

/// A metric with `N` labels.
#[derive(Debug)]
pub struct Metric<I, const N: usize> {
    name: &'static str,
    unit: &'static str,
    labels: [&'static str; N],
    about: &'static str,
    buckets: &'static [f64],
    made: OnceLock<I>,
}

/// What the contract says of a metric.
pub trait Declared: Sync {
    /// By the conventions of OpenTelemetry.
    fn name(&self) -> &'static str;
    /// `counter`, `gauge`, `updowncounter` or `histogram`.
    fn kind(&self) -> &'static str;
    /// `s` for seconds; empty for a number.
    fn unit(&self) -> &'static str;
    fn labels(&self) -> &[&'static str];
    fn about(&self) -> &'static str;
    /// Upper bounds of a histogram's buckets.
    fn buckets(&self) -> &'static [f64];

    /// The name of its family on the admin port.
    fn prometheus(&self) -> String {
        let unit = if self.unit() == "s" { "_seconds" } else { "" };
        let total = if self.kind() == "counter" { "_total" } else { "" };
        format!("{}{unit}{total}", self.name().replace('.', "_"))
    }
}

/// Metrics of a crate.
pub type Metrics = &'static [&'static dyn Declared];

impl<I, const N: usize> Metric<I, N> {
    const fn new(
        name: &'static str,
        unit: &'static str,
        labels: [&'static str; N],
        buckets: &'static [f64],
        about: &'static str,
    ) -> Self {
        Self { name, unit, labels, about, buckets, made: OnceLock::new() }
    }

    /// What is left out has no value.
    fn attributes(&self, values: [&str; N]) -> Vec<KeyValue> {
        let pairs = self.labels.iter().zip(values).filter(|(_, value)| !value.is_empty());
        pairs.map(|(label, value)| KeyValue::new(*label, value.to_owned())).collect()
    }
}

impl<const N: usize> Metric<Counter, N> {
    pub const fn counter(
        name: &'static str,
        labels: [&'static str; N],
        about: &'static str,
    ) -> Self {
        Self::new(name, "", labels, &[], about)
    }

    /// Counts; the values are those of the labels, an empty one leaves its label out.
    pub fn add(&self, count: u64, values: [&str; N]) {
        if let Some(made) = self.made() {
            made.add(count, &self.attributes(values));
        }
    }
}

impl<const N: usize> Metric<UpDownCounter, N> {
    pub const fn up_down(
        name: &'static str,
        labels: [&'static str; N],
        about: &'static str,
    ) -> Self {
        Self::new(name, "", labels, &[], about)
    }

    pub fn add(&self, count: i64, values: [&str; N]) {
        if let Some(made) = self.made() {
            made.add(count, &self.attributes(values));
        }
    }
}

impl<const N: usize> Metric<Gauge, N> {
    pub const fn gauge(name: &'static str, labels: [&'static str; N], about: &'static str) -> Self {
        Self::new(name, "", labels, &[], about)
    }

    /// A gauge in seconds.
    pub const fn gauge_s(
        name: &'static str,
        labels: [&'static str; N],
        about: &'static str,
    ) -> Self {
        Self::new(name, "s", labels, &[], about)
    }

    pub fn set(&self, value: f64, values: [&str; N]) {
        if let Some(made) = self.made() {
            made.record(value, &self.attributes(values));
        }
    }

    /// Numbers beyond 2^53 are told to the nearest that a float has.
    #[expect(clippy::cast_precision_loss, reason = "what is shown on a chart")]
    pub fn set_count(&self, count: u64, values: [&str; N]) {
        self.set(count as f64, values);
    }
}

impl Metric<Watched, 0> {
    pub const fn watched(name: &'static str, about: &'static str) -> Self {
        Self::new(name, "", [], &[], about)
    }

    /// From now on, whoever looks gets what this returns.
    pub fn watch(&self, look: impl Fn() -> f64 + Send + Sync + 'static) {
        let meter = global::meter(SCOPE);
        let gauge = meter.f64_observable_gauge(self.name).with_description(self.about);
        gauge.with_callback(move |it| it.observe(look(), &[])).build();
    }
}

impl<const N: usize> Metric<Histogram, N> {
    pub const fn seconds(
        name: &'static str,
        labels: [&'static str; N],
        buckets: &'static [f64],
        about: &'static str,
    ) -> Self {
        Self::new(name, "s", labels, buckets, about)
    }

    pub fn record(&self, took: Duration, values: [&str; N]) {
        if let Some(made) = self.made() {
            made.record(took.as_secs_f64(), &self.attributes(values));
        }
    }

    /// Records with a value that is no text. The keys are the declared labels.
    pub fn record_with(&self, took: Duration, attributes: &[KeyValue]) {
        debug_assert!(
            attributes.iter().all(|it| self.labels.contains(&it.key.as_str())),
            "{} has labels {:?}",
            self.name,
            self.labels
        );
        if let Some(made) = self.made() {
            made.record(took.as_secs_f64(), attributes);
        }
    }
}

/// An instrument of OpenTelemetry.
pub trait Instrument: Send + Sync + Sized {
    const KIND: &'static str;
    fn make<const N: usize>(meter: &Meter, metric: &Metric<Self, N>) -> Self;
}

macro_rules! instrument {
    ($type:ty, $kind:literal, $build:ident $(, $more:ident)?) => {
        impl Instrument for $type {
            const KIND: &'static str = $kind;

            fn make<const N: usize>(meter: &Meter, metric: &Metric<Self, N>) -> Self {
                let built = meter.$build(metric.name).with_description(metric.about);
                let built = built.with_unit(metric.unit);
                $(let built = built.$more(metric.buckets.to_vec());)?
                built.build()
            }
        }
    };
}

instrument!(Counter, "counter", u64_counter);
instrument!(UpDownCounter, "updowncounter", i64_up_down_counter);
instrument!(Gauge, "gauge", f64_gauge);
instrument!(Watched, "gauge", f64_observable_gauge);
instrument!(Histogram, "histogram", f64_histogram, with_boundaries);

impl<I: Instrument, const N: usize> Metric<I, N> {
    /// Made when first used, so that it belongs to the provider that runs; before there is one, nothing is recorded.
    fn made(&self) -> Option<&I> {
        let runs = RUNS.load(Ordering::Acquire);
        runs.then(|| self.made.get_or_init(|| I::make(&global::meter(SCOPE), self)))
    }
}

impl<I: Instrument, const N: usize> Declared for Metric<I, N> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> &'static str {
        I::KIND
    }

    fn unit(&self) -> &'static str {
        self.unit
    }

    fn labels(&self) -> &[&'static str] {
        &self.labels
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn buckets(&self) -> &'static [f64] {
        self.buckets
    }
}
