//! What stands around every route: a bound on how many requests are worked on, a duration metric, and no panic that
//! takes a connection along.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Histogram;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use crate::answer::Refusal;

#[derive(Clone)]
struct Watch {
    places: Arc<Semaphore>,
    durations: Histogram<f64>,
}

/// The routes, watched.
pub(crate) fn watched(routes: Router, max_in_flight: usize) -> Router {
    let meter = chassis::telemetry::meter_of_process();
    let watch = Watch {
        places: Arc::new(Semaphore::new(max_in_flight.min(Semaphore::MAX_PERMITS))),
        durations: meter
            .f64_histogram("http.server.request.duration")
            .with_description("How long requests over plain HTTP took")
            .with_unit("s")
            .build(),
    };
    routes.layer(middleware::from_fn(move |request: Request, next: Next| {
        let watch = watch.clone();
        async move { watch.answer(request, next).await }
    }))
}

impl Watch {
    async fn answer(&self, request: Request, next: Next) -> Response {
        let began = Instant::now();
        let method = request.method().to_string();
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
        self.durations.record(began.elapsed().as_secs_f64(), &labels);
        response
    }
}
