//! What stands around every route: a bound on how many requests are worked on, a duration metric, and no panic that
//! takes a connection along.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use chassis::telemetry::rpc::{BOUNDARIES, OTHER};
use eventstore::metric::{Histogram, Metric, Metrics};
use http::{Method, StatusCode};
use opentelemetry::KeyValue;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::answer::Refusal;

static DURATION: Metric<Histogram, 3> = Metric::seconds(
    "http.server.request.duration",
    ["http.request.method", "http.route", "http.response.status_code"],
    BOUNDARIES,
    "How long requests over plain HTTP took",
);

/// Every metric of this crate.
pub static METRICS: Metrics = &[&DURATION];

/// Methods of HTTP; what a client invents is no label, by the same conventions.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

#[derive(Clone)]
struct Watch {
    places: Arc<Semaphore>,
}

/// The routes, watched.
pub(crate) fn watched(routes: Router, max_in_flight: usize) -> Router {
    let places = Arc::new(Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS)));
    let watch = Watch { places };
    routes.layer(middleware::from_fn(move |request: Request, next: Next| {
        let watch = watch.clone();
        async move { watch.answer(request, next).await }
    }))
}

impl Watch {
    async fn answer(&self, request: Request, next: Next) -> Response {
        let began = Instant::now();
        let known = METHODS.contains(request.method());
        let method = if known { request.method().as_str() } else { OTHER }.to_owned();
        // The template, never the path: a path may hold a personal link.
        let route = request.extensions().get::<MatchedPath>().map(|it| it.as_str().to_owned());
        let route = route.unwrap_or_default();
        let span = tracing::info_span!(
            "http",
            otel.kind = "server",
            http.request.method = method,
            http.route = route
        );
        let response = match self.places.try_acquire() {
            Ok(_place) => next.run(request).instrument(span).await,
            Err(_) => {
                let told = "As many requests are worked on as may be. Send the same again.";
                Refusal::new(StatusCode::TOO_MANY_REQUESTS, "busy", told)
                    .after(Duration::from_secs(1))
                    .into_response()
            }
        };
        let labels = [
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", route),
            KeyValue::new("http.response.status_code", i64::from(response.status().as_u16())),
        ];
        DURATION.record_with(began.elapsed(), &labels);
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::any;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn what_a_client_invents_is_no_label() {
        let settings = chassis::settings::Settings::default().telemetry;
        let telemetry = chassis::telemetry::start(&settings, "test").expect("started");
        let routes = watched(Router::new().route("/tea", any(|| async { "made" })), 8);
        for method in ["POST", "BREW"] {
            let request = Request::builder().method(method).uri("/tea").body(Body::empty());
            let response = routes.clone().oneshot(request.expect("a request")).await;
            assert_eq!(response.expect("an answer").status(), StatusCode::OK);
        }
        let text = telemetry.metrics_text().expect("a text");
        let of_tea = |it: &&str| it.starts_with("http_server_") && it.contains(r#"route="/tea""#);
        let lines: Vec<_> = text.lines().filter(of_tea).collect();
        for wanted in [r#"method="POST""#, r#"method="_OTHER""#, r#"le="0.025""#] {
            assert!(lines.iter().any(|it| it.contains(wanted)), "{wanted} is not in {lines:#?}");
        }
        assert!(!text.contains("BREW"), "{lines:#?}");
    }
}
