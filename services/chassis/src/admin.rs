//! The second port, in plaintext and without tokens: health, metrics, log level, build; nothing of any tenant.
//!
//! gRPC health (`grpc.health.v1`) knows these names: "" and `readiness` (may the process get traffic), `liveness`
//! (does it still run; never a dependency), and each target and each gRPC service. All but liveness start as
//! NOT_SERVING.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::json;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::readiness::Readiness;
use crate::telemetry::{self, Telemetry};

/// What the admin port shows.
#[derive(Clone, Debug)]
pub struct Admin {
    pub telemetry: Telemetry,
    pub readiness: Readiness,
    pub targets: Vec<&'static str>,
}

impl Admin {
    /// HTTP and gRPC on one port. `rpc` is what else is served there.
    pub fn routes(self, health: &Health, rpc: Routes) -> Routes {
        let http = Router::new()
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/build-info", get(build_info))
            .route("/log-level", get(log_level).put(set_log_level))
            .with_state(self);
        let rpc = rpc.add_service(health.server()).into_axum_router();
        http.merge(rpc).into()
    }
}

/// Health as gRPC tells it, fed from readiness.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
    /// Name asked for → target it stands for; empty for the whole process.
    names: Vec<(String, String)>,
}

impl Health {
    /// NOT_SERVING under every name but liveness, before anything listens: tonic's own start is SERVING.
    pub async fn new(targets: impl IntoIterator<Item = &'static str>) -> Self {
        let mut health = Self { reporter: HealthReporter::new(), names: Vec::new() };
        for name in ["", "readiness"] {
            health.also(name, "").await;
        }
        for target in targets {
            health.also(target, target).await;
        }
        health.reporter.set_service_status("liveness", ServingStatus::Serving).await;
        health
    }

    /// Answers under one more name, for a target or with an empty one for the process.
    pub async fn also(&mut self, name: &str, target: &str) {
        self.reporter.set_service_status(name, ServingStatus::NotServing).await;
        self.names.push((name.to_owned(), target.to_owned()));
    }

    pub fn server(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }

    /// Tells each change of readiness, for as long as anybody can change it.
    pub async fn follow(self, readiness: Readiness) {
        let mut changes = readiness.watch();
        while changes.changed().await {
            for (name, target) in &self.names {
                let ready = if target.is_empty() {
                    readiness.is_ready()
                } else {
                    readiness.is_target_ready(target)
                };
                if name == target && !target.is_empty() {
                    telemetry::READY.set(f64::from(u8::from(ready)), [target]);
                }
                let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
                self.reporter.set_service_status(name, status).await;
            }
        }
    }
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let missing = admin.readiness.missing();
    if missing.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("waiting for: {}\n", missing.join(", ")))
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    match admin.telemetry.metrics_text() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn build_info(State(admin): State<Admin>) -> impl IntoResponse {
    Json(json!({"name": "rapport", "version": env!("CARGO_PKG_VERSION"), "targets": admin.targets}))
}

async fn log_level(State(admin): State<Admin>) -> impl IntoResponse {
    format!("{}\n", admin.telemetry.log_level())
}

async fn set_log_level(State(admin): State<Admin>, filter: String) -> impl IntoResponse {
    match admin.telemetry.set_log_level(filter.trim()) {
        Ok(()) => {
            tracing::warn!(filter = %admin.telemetry.log_level(), "the log level was changed");
            (StatusCode::OK, format!("{}\n", admin.telemetry.log_level()))
        }
        Err(error) => {
            (StatusCode::BAD_REQUEST, format!("{error}; write info, or info,profiles=debug\n"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus as Told;
    use tonic_health::pb::health_client::HealthClient;

    async fn told(health: &Health, name: &str) -> Option<Told> {
        let mut client = HealthClient::new(Routes::new(health.server()));
        let request = HealthCheckRequest { service: name.into() };
        client.check(request).await.ok().map(|reply| reply.get_ref().status())
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "aborted below")]
    async fn health_starts_not_serving_and_follows_readiness() {
        let readiness = Readiness::new();
        readiness.need("profiles", "store");
        readiness.need("content", "store");
        let health = Health::new(["profiles", "content"]).await;
        for name in ["", "readiness", "profiles", "content"] {
            assert_eq!(told(&health, name).await, Some(Told::NotServing), "{name}");
        }
        assert_eq!(told(&health, "liveness").await, Some(Told::Serving));
        assert_eq!(told(&health, "unknown").await, None);

        let follower = tokio::spawn(health.clone().follow(readiness.clone()));
        readiness.set("profiles", "store", true);
        reaches(&health, "profiles", Told::Serving).await;
        assert_eq!(told(&health, "").await, Some(Told::NotServing), "content is missing");
        readiness.set("content", "store", true);
        reaches(&health, "", Told::Serving).await;
        readiness.set("content", "store", false);
        reaches(&health, "content", Told::NotServing).await;
        assert_eq!(told(&health, "profiles").await, Some(Told::Serving));
        follower.abort();
    }

    async fn reaches(health: &Health, name: &str, status: Told) {
        let reached = async {
            while told(health, name).await != Some(status) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(120), reached)
            .await
            .expect("told in time");
    }
}
