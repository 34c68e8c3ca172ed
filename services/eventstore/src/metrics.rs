//! The metrics of the waist, by OpenTelemetry names. Labels are bounded: never a tenant, party or id.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram};
use opentelemetry::{KeyValue, global};

use crate::commit::Outcome;
use crate::unit::Unit;

/// Seconds: a commit takes one to a few milliseconds, a timer may be late by seconds.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

struct Instruments {
    appended: Counter<u64>,
    append_duration: Histogram<f64>,
    conflicts: Counter<u64>,
    idempotency_hits: Counter<u64>,
    outbox_pending: Gauge<u64>,
    outbox_oldest_age: Gauge<f64>,
    publish_duration: Histogram<f64>,
    publish_failures: Counter<u64>,
    consumer_position: Gauge<u64>,
    consumer_lag: Gauge<u64>,
    consumer_lag_time: Gauge<f64>,
    consumer_healed: Counter<u64>,
    dead_letters: Gauge<u64>,
    timers_fired: Counter<u64>,
    timers_lateness: Histogram<f64>,
}

fn instruments() -> &'static Instruments {
    static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();
    INSTRUMENTS.get_or_init(|| {
        let meter = global::meter("rapport");
        let counter = |name, text| meter.u64_counter(name).with_description(text).build();
        let gauge = |name, text| meter.u64_gauge(name).with_description(text).build();
        let seconds = |name, text| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(text);
            histogram.with_boundaries(BUCKETS.to_vec()).build()
        };
        Instruments {
            appended: counter("rapport.events.appended", "Events appended durably"),
            append_duration: seconds("rapport.append.duration", "Time from unit to durable"),
            conflicts: counter("rapport.append.conflicts", "Version conflicts"),
            idempotency_hits: counter("rapport.idempotency.hits", "Repeated requests answered"),
            outbox_pending: gauge("rapport.outbox.pending", "Events not yet on the log"),
            outbox_oldest_age: meter
                .f64_gauge("rapport.outbox.oldest_age")
                .with_unit("s")
                .with_description("Age of the oldest event not yet on the log")
                .build(),
            publish_duration: seconds("rapport.outbox.publish.duration", "Time to publish a page"),
            publish_failures: counter("rapport.outbox.publish.failures", "Relay turns that failed"),
            consumer_position: gauge("rapport.consumer.position", "Checkpoint of a consumer"),
            consumer_lag: gauge("rapport.consumer.lag", "Events a consumer has yet to read"),
            consumer_lag_time: meter
                .f64_gauge("rapport.consumer.lag_time")
                .with_unit("s")
                .with_description("Age of the last event applied while there are others to apply; 0 when there are none")
                .build(),
            consumer_healed: counter("rapport.consumer.healed", "Events healed from the producer"),
            dead_letters: gauge("rapport.dead_letters", "Parked events"),
            timers_fired: counter("rapport.timers.fired", "Timers fired"),
            timers_lateness: seconds("rapport.timers.lateness", "How late timers fired"),
        }
    })
}

fn service(source: &str) -> KeyValue {
    KeyValue::new("service", source.to_owned())
}

/// Kinds of events in a unit: stream type, event type and how many.
pub(crate) type Kinds = Vec<(String, String, u64)>;

pub(crate) fn kinds(unit: &Unit) -> Kinds {
    let mut kinds = Kinds::new();
    for event in &unit.events {
        let stream_type = event.envelope.stream.split('/').next().unwrap_or_default();
        match kinds.iter_mut().find(|it| it.0 == stream_type && it.1 == event.envelope.r#type) {
            Some(kind) => kind.2 += 1,
            None => kinds.push((stream_type.to_owned(), event.envelope.r#type.clone(), 1)),
        }
    }
    kinds
}

pub(crate) fn appended(source: &str, kinds: Kinds, took: Duration, outcome: &Outcome) {
    let stream_type = kinds.first().map_or("", |it| it.0.as_str()).to_owned();
    let labels = [service(source), KeyValue::new("stream_type", stream_type)];
    instruments().append_duration.record(took.as_secs_f64(), &labels);
    if !matches!(outcome, Outcome::Committed { .. }) {
        return;
    }
    for (stream_type, event_type, count) in kinds {
        let labels = [
            service(source),
            KeyValue::new("stream_type", stream_type),
            KeyValue::new("event_type", event_type),
        ];
        instruments().appended.add(count, &labels);
    }
}

pub(crate) fn conflict(source: &str, stream_type: &'static str, outcome: &'static str) {
    let labels = [
        service(source),
        KeyValue::new("stream_type", stream_type),
        KeyValue::new("outcome", outcome),
    ];
    instruments().conflicts.add(1, &labels);
}

pub(crate) fn idempotency_hit(method: &str) {
    instruments().idempotency_hits.add(1, &[KeyValue::new("method", method.to_owned())]);
}

pub(crate) fn published(source: &str, took: Duration, head: u64, sent: u64) {
    let labels = [service(source)];
    instruments().outbox_pending.record(head.saturating_sub(sent), &labels);
    if !took.is_zero() {
        instruments().publish_duration.record(took.as_secs_f64(), &labels);
    }
}

pub(crate) fn outbox_age(source: &str, age: Duration) {
    instruments().outbox_oldest_age.record(age.as_secs_f64(), &[service(source)]);
}

pub(crate) fn publish_failed(source: &str) {
    instruments().publish_failures.add(1, &[service(source)]);
}

pub(crate) fn consumed(consumer: &str, source: &str, position: u64) {
    let labels = [KeyValue::new("consumer", consumer.to_owned()), service(source)];
    instruments().consumer_position.record(position, &labels);
}

pub(crate) fn consumer_lag(consumer: &str, source: &str, lag: u64, age: Duration) {
    let labels = [KeyValue::new("consumer", consumer.to_owned()), service(source)];
    instruments().consumer_lag.record(lag, &labels);
    instruments().consumer_lag_time.record(age.as_secs_f64(), &labels);
}

pub(crate) fn healed(consumer: &str, source: &str, events: usize) {
    let labels = [KeyValue::new("consumer", consumer.to_owned()), service(source)];
    instruments().consumer_healed.add(events as u64, &labels);
}

pub(crate) fn dead_letters(consumer: &str, source: &str, events: u64) {
    let labels = [KeyValue::new("consumer", consumer.to_owned()), service(source)];
    instruments().dead_letters.record(events, &labels);
}

pub(crate) fn timer_fired(source: &str, late: Duration) {
    instruments().timers_fired.add(1, &[service(source)]);
    instruments().timers_lateness.record(late.as_secs_f64(), &[service(source)]);
}
