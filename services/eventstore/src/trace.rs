//! Spans of the store and the log, by OpenTelemetry's conventions: one command is one trace, from the
//! server span through the commit and the relay to every consumer.

use std::time::Duration;

use opentelemetry::trace::{
    Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags,
    TraceId, TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue, global};
use rapport_proto::types::Envelope;

use crate::commit::Outcome;
use crate::event::Recorded;
use crate::store::Store;
use crate::time::Timestamp;
use crate::unit::Unit;

/// Reads a W3C `traceparent`.
pub fn parse(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version == "ff" || version.len() != 2 || flags.len() != 2 {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

/// Writes a W3C `traceparent`; empty for no context.
pub fn format(context: &SpanContext) -> String {
    if !context.is_valid() {
        return String::new();
    }
    let flags = context.trace_flags().to_u8();
    format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())
}

/// What happened longer ago is read again, not for the first time: its trace is over.
const OVER: Duration = Duration::from_secs(3_600);

/// A span that may not be recorded at all: when the command was not sampled it costs a parse.
pub(crate) struct Traced(Option<global::BoxedSpan>);

fn start(
    kind: SpanKind,
    traceparent: &str,
    linked: bool,
    describe: impl FnOnce() -> (String, Vec<KeyValue>),
) -> Traced {
    let Some(parent) = parse(traceparent).filter(SpanContext::is_sampled) else {
        return Traced(None);
    };
    let tracer = global::tracer("rapport");
    let (name, attributes) = describe();
    let mut builder = tracer.span_builder(name).with_kind(kind).with_attributes(attributes);
    if linked {
        builder = builder.with_links(vec![Link::with_context(parent.clone())]);
    }
    let context = Context::new().with_remote_span_context(parent);
    Traced(Some(builder.start_with_context(&tracer, &context)))
}

pub(crate) fn database_span(store: &Store, unit: &Unit) -> Traced {
    start(SpanKind::Client, &unit.meta.traceparent, false, || {
        let attributes = vec![
            KeyValue::new("db.system.name", store.database().system()),
            KeyValue::new("db.operation.name", "append"),
            KeyValue::new("db.namespace", store.database().name().to_owned()),
            KeyValue::new("rapport.unit.events", i64::try_from(unit.events.len()).unwrap_or(0)),
        ];
        (format!("append {}", store.source()), attributes)
    })
}

/// What the relay sends: child of, and linked to, the command's span.
pub(crate) fn send_span(
    system: &'static str,
    subject: &str,
    envelope: &Envelope,
    position: u64,
) -> Traced {
    start(SpanKind::Producer, &envelope.traceparent, true, || {
        (format!("send {subject}"), messaging(system, subject, "send", envelope, position))
    })
}

/// A consumer's work on one event: child of, and linked to, the span that sent it.
pub(crate) fn process_span(
    system: &'static str,
    consumer: &str,
    event: &Recorded,
    now: Timestamp,
) -> Traced {
    let envelope = &event.envelope;
    let recorded = envelope.recorded_at.as_ref().and_then(Timestamp::from_proto);
    if recorded.is_none_or(|it| now.since(it) > OVER) {
        return Traced(None);
    }
    let parent = if event.hop.is_empty() { &envelope.traceparent } else { &event.hop };
    start(SpanKind::Consumer, parent, true, || {
        let mut attributes = messaging(system, consumer, "process", envelope, event.position);
        attributes.push(KeyValue::new("messaging.consumer.group.name", consumer.to_owned()));
        (format!("process {consumer}"), attributes)
    })
}

fn messaging(
    system: &'static str,
    destination: &str,
    operation: &'static str,
    envelope: &Envelope,
    position: u64,
) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", system),
        KeyValue::new("messaging.destination.name", destination.to_owned()),
        KeyValue::new("messaging.operation.type", operation),
        KeyValue::new("messaging.message.id", envelope.id.clone()),
        KeyValue::new("rapport.position", i64::try_from(position).unwrap_or(i64::MAX)),
    ]
}

impl Traced {
    /// The context to pass on: this span's, or the one it was given.
    pub(crate) fn traceparent(&self, otherwise: &str) -> String {
        self.0.as_ref().map_or_else(|| otherwise.to_owned(), |it| format(it.span_context()))
    }

    /// Ends the span with the outcome of a unit.
    pub(crate) fn finish(mut self, outcome: &Outcome) {
        if let (Some(span), Outcome::Failed(error)) = (&mut self.0, outcome) {
            span.set_status(Status::error(error.to_string()));
        }
    }

    /// Ends the span.
    pub(crate) fn end(mut self, good: bool) {
        if let (Some(span), false) = (&mut self.0, good) {
            span.set_status(Status::error("failed"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyState;

    #[test]
    fn what_is_read_again_long_after_starts_no_span() {
        let recorded = Timestamp::real();
        let envelope = Envelope {
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
            recorded_at: Some(recorded.to_proto()),
            ..Envelope::default()
        };
        let (chain, key, hop) = ([0; 32], KeyState::Absent, String::new());
        let event = Recorded { position: 1, chain, envelope, key, hop };
        let starts =
            |after| process_span("nats", "audit", &event, recorded.plus(after)).0.is_some();
        assert!(starts(OVER) && !starts(OVER + Duration::from_secs(1)));
    }
}
