//! # What happened
//!
//! `audit` reads every source and keeps one row for each event: who did what to whom, when, by which method, for which
//! reason, as part of what. It owns no events, no keys and no payloads: a payload is fetched from the source that wrote
//! it when somebody asks, and what is sealed in it stays sealed.
//!
//! | question | answer |
//! |---|---|
//! | what happened to this party, across services? | `SearchEvents{party_id}`, by `recorded_at`, source, position |
//! | what did this one cause lead to? | `SearchEvents{correlation_id}` |
//! | what did this person do? | `SearchEvents{actor}` |
//! | is the log whole? | `VerifyLog`: read again from the producers, up to their heads, and compared with the index |
//! | give it to me | `ExportEvents`: JSON lines, each with the envelope's bytes, from which anybody recomputes the chain |
//!
//! ```text
//! source ──events──▶ log ──consumer──▶ event_index        VerifyLog: source ──events──▶ chain ═ event_index?
//! ```
//!
//! **Invariants.** One row for each (source, position). The consumer checks gaps and chain before it writes, so a row
//! is what came through the log; `VerifyLog` reads all that the producer's own store holds, so that both say the same or
//! a fault is named; what the index has not read in time is missing there. A tenant sees its own events only.
//!
//! What must not be found here: a key, a payload in a table, an event of its own.

mod export;
mod grpc;
mod index;
mod metrics;
mod shown;
mod verify;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use chassis::deps::Deps;
use chassis::limited;
use chassis::service::Service;
use chassis::status::Reason;
use eventstore::{Consumer, Handler, Migration, Schema};
use rapport_proto::audit::v1::audit_service_server::AuditServiceServer;

pub use metrics::METRICS;

/// What `audit` answers beside the reasons of the chassis: nothing.
pub const REASONS: &[Reason] = &[];

/// The consumer that writes the index.
const INDEX: &str = "audit";

/// Every source there is; `audit` and `gateway` write no events.
pub const SOURCES: [&str; 7] =
    ["content", "decisioning", "delivery", "feedback", "journeys", "kpis", "profiles"];

/// The table; nothing follows from own events, as there are none.
pub fn schema() -> Schema {
    Schema {
        migrations: vec![Migration::portable(
            "audit/0001_audit",
            include_str!("../migrations/0001_audit.sql"),
        )],
        views: Vec::new(),
    }
}

/// The service: one gRPC service and the consumer of everything.
pub fn service(deps: &Deps) -> Service {
    let server = AuditServiceServer::new(grpc::Api::new(deps));
    Service::new().serve(limited!(server, deps.max_message_bytes)).consume(Consumer {
        name: INDEX.to_owned(),
        sources: SOURCES.iter().map(|it| (*it).to_owned()).collect(),
        handler: Handler::View(Arc::new(index::Index)),
    })
}
