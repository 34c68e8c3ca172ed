//! # The one door through which anything leaves
//!
//! `delivery` owns touches (messages, calls and tasks to one party), the send gate, the adapters that carry messages,
//! the places that touches take under pressure caps, suppressions, field tasks, and what providers report.
//!
//! | aggregate | stream | decides |
//! |---|---|---|
//! | touch | `touch/tch_…` | where a message is between being asked for and its end |
//! | pressure | `pressure/<party_id>` | that no two touches take the same place under a cap |
//! | recipient | `recipient/<party_id>` | who must not be reached, from this commit on |
//! | sender | `sender/<id>` | in whose name something is said |
//! | report | `report/<rpt id>` | that what a provider reported about an unknown message is kept |
//!
//! ```text
//! REQUESTED ─┬→ SKIPPED(reason)
//!            ├→ DEFERRED(until) → REQUESTED
//!            └→ READY → SENDING ─┬→ SENT           tasks: OPEN → ACCEPTED → COMPLETED | DISMISSED | EXPIRED | WITHDRAWN
//!                                ├→ FAILED(code)
//!                                ├→ REQUESTED      refused for now
//!                                └→ UNKNOWN → SENT | FAILED
//! ```
//!
//! **The gate.** `gate` is one pure function over what was gathered: ten checks in a fixed order, the first that fails
//! decides, and every verdict is stored with what proves it. The verdicts, the places and the attempt are one unit,
//! committed before the provider is called.
//!
//! **Invariants.** Nothing leaves without eleven verdicts, a consent or the rule of an opt-out regime with its position,
//! and the signatures of every part. Nothing leaves twice: after a crash an attempt is looked up or repeated with the
//! same key, and where neither can be done it is UNKNOWN and not sent again. A cap holds under any concurrency. An
//! unsubscription holds from its own commit on, and a dead address for everybody who has it. A peer that cannot be
//! reached is never a yes.
//!
//! **Tasks.** A placed task waits for a person, and what it says may end meanwhile. It is withdrawn then; and before it is
//! taken on or done the gate judges it again, so that nobody says what may not be said any more.
//!
//! **What a touch costs.** Each stream is read once a run, and the commit insists that it still stands so: the touch, its
//! party's suppressions, the sender; what the party's pressure stream adds up to is a row. The peers are asked once,
//! beside that. What a provider told is committed on what the attempt left, without reading anything again.
//!
//! ```text
//! RequestTouch{parent: "tenants/acme/parties/pty_…", module: "welcome", channel: EMAIL, sender_id: "northwind"} → tch_…
//! GetTouch{name: "tenants/acme/touches/tch_…"} → SENT, eleven verdicts
//! ```
//!
//! What must not be found here: a personal value in an event or a table (an address lives as long as the hand-over); a
//! call to anybody inside a transaction or a consumer; a clock or a random number in `domain` and `gate`.

mod adapters;
mod consumers;
mod convert;
mod domain;
mod gate;
mod grpc;
mod ledger;
mod link;
mod metrics;
mod refusal;
mod token;
mod view;
mod worker;

#[cfg(test)]
mod tests;

pub use metrics::METRICS;
pub use refusal::REASONS;

use std::sync::Arc;

use chassis::deps::Deps;
use chassis::limited;
use chassis::service::Service;
use eventstore::{Consumer, Handler, Migration, Schema};
use rapport_proto::delivery::v1::delivery_service_server::DeliveryServiceServer;

/// Reacts to `feedback`, `journeys` and `profiles`.
const REACTIONS: &str = "delivery";
/// Keeps rule packs and the policy.
const RULES: &str = "delivery.rules";
/// Keeps interactions.
const CONTACTS: &str = "delivery.contacts";
/// Hears that content has ended.
const RECALLS: &str = "delivery.recalls";

/// The tables and the view of own events.
pub fn schema() -> Schema {
    Schema {
        migrations: vec![
            Migration::portable(
                "delivery/0001_delivery",
                include_str!("../migrations/0001_delivery.sql"),
            ),
            Migration::portable(
                "delivery/0002_reports",
                include_str!("../migrations/0002_reports.sql"),
            ),
        ],
        views: vec![Box::new(view::Delivery)],
    }
}

/// The service: one gRPC service, four consumers, and the timers that carry touches from step to step.
pub fn service(deps: &Deps) -> Service {
    let consumer = |name: &str, sources: &[&str], handler| Consumer {
        name: name.to_owned(),
        sources: sources.iter().map(|it| (*it).to_owned()).collect(),
        handler,
    };
    let reactions = Handler::Reactor(Arc::new(consumers::Reactions));
    let worker = worker::Worker::new(deps);
    let server = DeliveryServiceServer::new(grpc::Api::new(deps, worker.clone()));
    Service::new()
        .serve(limited!(server, deps.max_message_bytes))
        .consume(consumer(REACTIONS, &["feedback", "journeys", "profiles"], reactions))
        .consume(consumer(RULES, &["decisioning"], Handler::View(Arc::new(view::rules::Rules))))
        .consume(consumer(
            CONTACTS,
            &["profiles"],
            Handler::View(Arc::new(view::contact::Contacts)),
        ))
        .consume(consumer(RECALLS, &["content"], Handler::View(Arc::new(view::task::Recalls))))
        .timers(&deps.store, worker)
}
