//! Log lines: text for a person at a terminal, JSON with trace and span ids for a machine.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::settings::LogFormat;

/// The layer that writes lines to stderr; stdout belongs to what commands print.
pub(crate) fn layer(
    format: LogFormat,
    filter: reload::Layer<EnvFilter, Registry>,
) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(false).with_filter(filter).boxed(),
        LogFormat::Json => lines.event_format(Json).with_filter(filter).boxed(),
    }
}

/// One JSON object a line: ts, level, target, message, trace_id, span_id, and the event's own fields.
#[derive(Debug)]
pub(crate) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let mut object = head(event)?;
        object.append(&mut fields.0);
        writeln!(writer, "{}", Value::Object(object))
    }
}

fn head(event: &Event<'_>) -> Result<Map<String, Value>, fmt::Error> {
    let mut ts = String::new();
    SystemTime.format_time(&mut Writer::new(&mut ts))?;
    let mut object = Map::new();
    object.insert("ts".into(), ts.into());
    object.insert("level".into(), event.metadata().level().as_str().to_lowercase().into());
    object.insert("target".into(), event.metadata().target().into());
    let context = Context::current();
    let span = context.span().span_context().clone();
    if span.is_valid() {
        object.insert("trace_id".into(), span.trace_id().to_string().into());
        object.insert("span_id".into(), span.span_id().to_string().into());
    }
    Ok(object)
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt as _;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_json_line_holds_message_fields_and_ids() {
        use opentelemetry::trace::TracerProvider as _;
        let captured = Captured::default();
        let writer = captured.clone();
        let tracer = opentelemetry_sdk::trace::SdkTracerProvider::builder().build().tracer("t");
        let subscriber = tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(tracer))
            .with(
                tracing_subscriber::fmt::layer()
                    .event_format(Json)
                    .with_writer(move || writer.clone()),
            );
        tracing::subscriber::with_default(subscriber, || {
            tracing::info_span!("work")
                .in_scope(|| tracing::warn!(item.id = "i1", n = 3, "a \"quoted\" message"));
        });
        let bytes = captured.0.lock().expect("not poisoned").clone();
        let line: Value = serde_json::from_slice(&bytes).expect("one JSON object");
        assert_eq!(line["message"], "a \"quoted\" message");
        assert_eq!(
            (line["level"].as_str(), line["item.id"].as_str(), line["n"].as_i64()),
            (Some("warn"), Some("i1"), Some(3))
        );
        assert_eq!(line["trace_id"].as_str().expect("trace id").len(), 32);
        assert_eq!(line["span_id"].as_str().expect("span id").len(), 16);
    }
}
