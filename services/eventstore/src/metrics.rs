//! The metrics of the waist.

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;

use crate::commit::Outcome;
use crate::error::Error;
use crate::event::Head;
use crate::metric::{Counter, Gauge, Histogram, Metric, Metrics};
use crate::store::Store;
use crate::unit::Unit;

/// Seconds: a commit takes one to a few milliseconds, a timer may be late by seconds.
const BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// By the conventions of OpenTelemetry for databases.
const STATEMENTS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

const SERVICE: [&str; 1] = ["service"];
const POOL: [&str; 1] = ["db.client.connection.pool.name"];
/// The service that reads, its consumer, and the source it reads.
const CONSUMER: [&str; 3] = ["service", "consumer", "source"];

/// Every metric of this crate.
pub static METRICS: Metrics = &[
    &APPENDED,
    &APPEND_DURATION,
    &CONFLICTS,
    &IDEMPOTENCY_HITS,
    &POSITION,
    &FENCED,
    &SCHEMA_VERSION,
    &CONNECTIONS,
    &CONNECTIONS_MAX,
    &CONNECTIONS_PENDING,
    &CONNECTIONS_WAIT,
    &CONNECTIONS_TIMEOUTS,
    &OPERATION_DURATION,
    &SENT,
    &CONSUMED,
    &OUTBOX_PENDING,
    &OUTBOX_OLDEST_AGE,
    &PUBLISH_DURATION,
    &PUBLISH_FAILURES,
    &CONSUMER_POSITION,
    &CONSUMER_LAG,
    &CONSUMER_LAG_TIME,
    &CONSUMER_HEALED,
    &CONSUMER_ERRORS,
    &PAGE_DURATION,
    &DEAD_LETTERS,
    &DEAD_LETTERED,
    &TIMERS_DUE,
    &TIMERS_FIRED,
    &TIMERS_LATENESS,
    &TIMERS_PARKED,
    &TIMERS_ERRORS,
    &LEASE_HELD,
];

pub(crate) static APPENDED: Metric<Counter, 3> = Metric::counter(
    "rapport.events.appended",
    ["service", "stream_type", "event_type"],
    "Events appended durably",
);
static APPEND_DURATION: Metric<Histogram, 2> = Metric::seconds(
    "rapport.append.duration",
    ["service", "stream_type"],
    BUCKETS,
    "Time from unit to durable",
);
/// `outcome`: retried, or surfaced to the caller as ABORTED.
pub(crate) static CONFLICTS: Metric<Counter, 3> = Metric::counter(
    "rapport.append.conflicts",
    ["service", "stream_type", "outcome"],
    "Version conflicts: retried, or surfaced to the caller",
);
pub(crate) static IDEMPOTENCY_HITS: Metric<Counter, 1> =
    Metric::counter("rapport.idempotency.hits", ["method"], "Repeated requests answered");
static POSITION: Metric<Gauge, 1> = Metric::gauge(
    "rapport.store.position",
    SERVICE,
    "Position of the last event this process knows",
);
static FENCED: Metric<Gauge, 1> = Metric::gauge(
    "rapport.store.fenced",
    SERVICE,
    "1 while store and log tell two histories and nothing is written, 0 otherwise",
);
pub(crate) static SCHEMA_VERSION: Metric<Gauge, 1> =
    Metric::gauge("rapport.schema.version", SERVICE, "Last migration applied to the store");
static CONNECTIONS: Metric<Gauge, 2> = Metric::gauge(
    "db.client.connection.count",
    ["db.client.connection.pool.name", "db.client.connection.state"],
    "Connections to the database, used or idle; the pool is named after its service",
);
static CONNECTIONS_MAX: Metric<Gauge, 1> =
    Metric::gauge("db.client.connection.max", POOL, "Connections that a pool may open");
static CONNECTIONS_PENDING: Metric<Gauge, 1> = Metric::gauge(
    "db.client.connection.pending_requests",
    POOL,
    "Requests for a connection that wait for one",
);
static CONNECTIONS_WAIT: Metric<Histogram, 1> = Metric::seconds(
    "db.client.connection.wait_time",
    POOL,
    STATEMENTS,
    "Time to get a connection that is open, made for it or not",
);
static CONNECTIONS_TIMEOUTS: Metric<Counter, 1> = Metric::counter(
    "db.client.connection.timeouts",
    POOL,
    "Requests for a connection that got none in time",
);
/// `db.operation.name`: the first word of the statement.
static OPERATION_DURATION: Metric<Histogram, 4> = Metric::seconds(
    "db.client.operation.duration",
    ["db.system.name", "db.namespace", "db.operation.name", "error.type"],
    STATEMENTS,
    "Duration of statements; the namespace is the store's service, the operation the first word of the statement",
);
/// Pages of them: `rapport.outbox.publish.duration` and `rapport.consumer.page.duration` tell how long they took.
pub(crate) static SENT: Metric<Counter, 2> = Metric::counter(
    "messaging.client.sent.messages",
    ["messaging.system", "messaging.destination.name"],
    "Events that the log has acknowledged; the destination is the stream",
);
pub(crate) static CONSUMED: Metric<Counter, 2> = Metric::counter(
    "messaging.client.consumed.messages",
    ["messaging.system", "messaging.destination.name"],
    "Events that readers of the log were given; the destination is the stream",
);
pub(crate) static OUTBOX_PENDING: Metric<Gauge, 1> = Metric::gauge(
    "rapport.outbox.pending",
    SERVICE,
    "Events not yet on the log, as the replica sees that relays; 0 on the others",
);
pub(crate) static OUTBOX_OLDEST_AGE: Metric<Gauge, 1> = Metric::gauge_s(
    "rapport.outbox.oldest_age",
    SERVICE,
    "Age of the oldest event not yet on the log, as the replica sees that relays; 0 on the others",
);
pub(crate) static PUBLISH_DURATION: Metric<Histogram, 1> =
    Metric::seconds("rapport.outbox.publish.duration", SERVICE, BUCKETS, "Time to publish a page");
pub(crate) static PUBLISH_FAILURES: Metric<Counter, 1> =
    Metric::counter("rapport.outbox.publish.failures", SERVICE, "Relay turns that failed");
pub(crate) static CONSUMER_POSITION: Metric<Gauge, 3> =
    Metric::gauge("rapport.consumer.position", CONSUMER, "Checkpoint of a consumer");
pub(crate) static CONSUMER_LAG: Metric<Gauge, 3> =
    Metric::gauge("rapport.consumer.lag", CONSUMER, "Events a consumer has yet to read");
pub(crate) static CONSUMER_LAG_TIME: Metric<Gauge, 3> = Metric::gauge_s(
    "rapport.consumer.lag_time",
    CONSUMER,
    "Age of the last event applied while there are others to apply; 0 when there are none",
);
pub(crate) static CONSUMER_HEALED: Metric<Counter, 3> =
    Metric::counter("rapport.consumer.healed", CONSUMER, "Events healed from the producer");
pub(crate) static CONSUMER_ERRORS: Metric<Counter, 3> = Metric::counter(
    "rapport.consumer.errors",
    CONSUMER,
    "Times a consumer failed and started over after its checkpoint",
);
pub(crate) static PAGE_DURATION: Metric<Histogram, 3> = Metric::seconds(
    "rapport.consumer.page.duration",
    CONSUMER,
    BUCKETS,
    "Time to handle a page of events and commit what follows",
);
pub(crate) static DEAD_LETTERS: Metric<Gauge, 3> =
    Metric::gauge("rapport.dead_letters", CONSUMER, "Parked events");
pub(crate) static DEAD_LETTERED: Metric<Counter, 4> = Metric::counter(
    "rapport.dead_lettered",
    ["service", "consumer", "source", "reason"],
    "Times a stream was parked, by the kind of failure: refused, corrupt, statement",
);
pub(crate) static TIMERS_DUE: Metric<Gauge, 1> = Metric::gauge(
    "rapport.timers.due",
    SERVICE,
    "Timers that this replica has claimed and not yet fired",
);
pub(crate) static TIMERS_FIRED: Metric<Counter, 1> =
    Metric::counter("rapport.timers.fired", SERVICE, "Timers fired");
pub(crate) static TIMERS_LATENESS: Metric<Histogram, 1> =
    Metric::seconds("rapport.timers.lateness", SERVICE, BUCKETS, "How late timers fired");
pub(crate) static TIMERS_PARKED: Metric<Gauge, 1> =
    Metric::gauge("rapport.timers.parked", SERVICE, "Parked timers");
pub(crate) static TIMERS_ERRORS: Metric<Counter, 1> = Metric::counter(
    "rapport.timers.errors",
    SERVICE,
    "Times that timers could not be looked for, claimed or settled and were tried again",
);
pub(crate) static LEASE_HELD: Metric<Gauge, 2> = Metric::gauge(
    "rapport.lease.held",
    ["service", "lease"],
    "1 while this replica holds a lease, 0 while it does not",
);

/// What the store and its connections look like.
pub(crate) fn measured(store: &Store, head: Head, fenced: bool) {
    let source = store.source();
    POSITION.set_count(head.position, [source]);
    FENCED.set(f64::from(u8::from(fenced)), [source]);
    let (pool, connections) = (store.database().name(), store.database().connections());
    CONNECTIONS.set_count(connections.used as u64, [pool, "used"]);
    CONNECTIONS.set_count(connections.idle as u64, [pool, "idle"]);
    CONNECTIONS_MAX.set_count(connections.max as u64, [pool]);
    CONNECTIONS_PENDING.set_count(connections.pending as u64, [pool]);
}

/// What is lent of a database, as its metrics name it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) system: &'static str,
    pub(crate) name: Arc<str>,
}

impl Asked {
    /// Notes how long a connection was waited for; `None` when it was waited for too long.
    pub(crate) fn lent(&self, took: Option<Duration>) {
        match took {
            Some(took) => {
                let pool = KeyValue::new(POOL[0], self.name.clone());
                CONNECTIONS_WAIT.record_with(took, &[pool]);
            }
            None => CONNECTIONS_TIMEOUTS.add(1, [&self.name]),
        }
    }

    /// Notes a statement that ended.
    pub(crate) fn ended<T>(
        &self,
        operation: &'static str,
        began: Instant,
        result: Result<T, Error>,
    ) -> Result<T, Error> {
        let [system, name] = [
            KeyValue::new("db.system.name", self.system),
            KeyValue::new("db.namespace", self.name.clone()),
        ];
        let operation = KeyValue::new("db.operation.name", operation);
        let took = began.elapsed();
        match &result {
            Ok(_) => OPERATION_DURATION.record_with(took, &[system, name, operation]),
            Err(error) => {
                let kind = KeyValue::new("error.type", error.kind());
                OPERATION_DURATION.record_with(took, &[system, name, operation, kind]);
            }
        }
        result
    }
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
    let stream_type = kinds.first().map_or("", |it| it.0.as_str());
    APPEND_DURATION.record(took, [source, stream_type]);
    if !matches!(outcome, Outcome::Committed { .. }) {
        return;
    }
    for (stream_type, event_type, count) in kinds {
        APPENDED.add(count, [source, &stream_type, &event_type]);
    }
}
