//! Parts of a path, and what is said where there is nothing.

use axum::Router;
use axum::extract::{FromRequestParts, Path};
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::answer::Refusal;

/// The parts of a path; one that cannot be read leads nowhere.
pub(crate) struct Place<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Place<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(place)) => Ok(Self(place)),
            Err(_) => Err(nowhere("There is nothing here.")),
        }
    }
}

pub(crate) fn nowhere(told: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", told)
}

/// The routes, and the same answer for every method that they do not have.
pub(crate) fn with_methods(routes: Router) -> Router {
    routes.method_not_allowed_fallback(|| async {
        Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "Use the method of the description.")
    })
}
