//! # The one door through which anything leaves: touches, the send gate, channel adapters, field tasks

use chassis::deps::Deps;
use chassis::service::Service;
use eventstore::Schema;

/// Reasons of this service's refusals.
pub const REASONS: &[chassis::status::Reason] = &[];

/// The tables and the view.
pub fn schema() -> Schema {
    Schema::default()
}

/// The service.
pub fn service(_deps: &Deps) -> Service {
    Service::new()
}
