//! W3C trace context between processes (`traceparent`, `tracestate` in gRPC metadata) and beside events.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::{Context, trace::TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;

const TRACEPARENT: &str = "traceparent";

/// The remote parent in the headers; a context without a span when they name none.
pub fn extract(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers))
}

/// Writes the context's span into the headers.
pub fn inject(context: &Context, headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(context, &mut HeadersMut(headers));
}

/// The `traceparent` of a context, for an event's envelope; `None` when it has no span.
pub fn traceparent(context: &Context) -> Option<String> {
    let mut headers = HeaderMap::new();
    inject(context, &mut headers);
    headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// The `traceparent` of the span we are in.
pub fn current_traceparent() -> Option<String> {
    traceparent(&Context::current())
}

/// The context a `traceparent` names; without a span when it is none.
pub fn context_of(traceparent: &str) -> Context {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(traceparent) {
        headers.insert(TRACEPARENT, value);
    }
    extract(&headers)
}

/// True when the context names a span.
pub fn has_span(context: &Context) -> bool {
    context.span().span_context().is_valid()
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_survives_the_round_trip() {
        assert_eq!(traceparent(&context_of(PARENT)).as_deref(), Some(PARENT));
        let mut headers = HeaderMap::new();
        inject(&context_of(PARENT), &mut headers);
        assert_eq!(traceparent(&extract(&headers)).as_deref(), Some(PARENT));
    }

    #[test]
    fn nonsense_is_no_parent() {
        for text in [
            "",
            "00-0-0-0",
            "hello\u{202e}",
            "00-00000000000000000000000000000000-0000000000000000-01",
        ] {
            assert_eq!(traceparent(&context_of(text)), None);
            assert!(!has_span(&context_of(text)));
        }
    }
}
