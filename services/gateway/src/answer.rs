//! What is said over plain HTTP when something cannot be done.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use tonic::{Code, Status};

use crate::keys;

/// When to come back if nobody says.
const SOON: Duration = Duration::from_secs(1);

/// A refusal: what is wrong, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// A closed list: `bad_json`, `bad_encoding`, `batch`, `schema`, `too_large`, `write_key`, `signature`,
    /// `rate_limited`, `busy`, `too_slow`, `unavailable`, `not_found`, `method`, `internal`; of a single message also
    /// `bad_time`, `unknown_type`, `unknown_party`, `conflict`.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// Empty when it is about the whole.
    pub(crate) field: String,
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: String::new(), retry_after: None }
    }

    pub(crate) fn of_field(
        code: &'static str,
        field: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), ..Self::new(StatusCode::BAD_REQUEST, code, remedy) }
    }

    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }
}

/// What a target said, as HTTP says it: an SDK must send again what was not stored, and drop what never can be.
impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        let delay = chassis::status::retry_delay(&status).unwrap_or(SOON);
        if chassis::status::reason(&status).as_deref() == Some("SOURCE_DISABLED") {
            return keys::unknown();
        }
        let violation = chassis::status::violations(&status).into_iter().next();
        let (field, message) = violation.map_or_else(
            || (String::new(), status.message().to_owned()),
            |it| (it.field, it.remedy),
        );
        let of = |status, code| Self { field, ..Self::new(status, code, message) };
        match status.code() {
            Code::ResourceExhausted => of(StatusCode::TOO_MANY_REQUESTS, "busy").after(delay),
            Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => {
                of(StatusCode::BAD_REQUEST, "schema")
            }
            Code::NotFound => of(StatusCode::NOT_FOUND, "not_found"),
            Code::Unavailable | Code::DeadlineExceeded | Code::Aborted | Code::Cancelled => {
                let told = "The platform cannot take it now. Send the same again.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", told).after(delay)
            }
            _ => failed(&status),
        }
    }
}

/// What only we can mend.
pub(crate) fn failed(status: &Status) -> Refusal {
    tracing::error!(code = ?status.code(), message = status.message(), "a target failed");
    let told = "It failed on our side. Send the same again.";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", told)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut error = json!({"code": self.code, "message": self.message});
        if !self.field.is_empty() {
            error["field"] = json!(self.field);
        }
        let body = json!({"success": false, "error": error}).to_string();
        let json = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, json, body).into_response();
        if let Some(delay) = self.retry_after {
            let seconds = HeaderValue::from(delay.as_secs().max(1));
            response.headers_mut().insert(header::RETRY_AFTER, seconds.clone());
            response.headers_mut().insert("x-ratelimit-reset", seconds);
        }
        response
    }
}
