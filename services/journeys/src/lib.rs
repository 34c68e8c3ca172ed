//! # When something should happen: journeys, instances, durable timers
//!
//! `journeys` owns definitions of journeys, the instances that run on them, and the timers of their waits. A definition
//! is data, YAML or proto, the same model: who enters, a graph of nodes, exit criteria, goals.
//!
//! | aggregate | stream | decides |
//! |---|---|---|
//! | journey | `journey/<id>` | which version is checked, approved, live, paused, draining, retired |
//! | entry | `entry/<journey>.<party>` | whether a party enters, across versions; what asked, in order |
//! | instance | `instance/ins_…` | one party's way through one version |
//!
//! ```text
//! version   DRAFT → CHECKED → APPROVED → LIVE ⇄ PAUSED;  LIVE → DRAINING → RETIRED
//! instance  RUNNING → WAITING ⇄ PAUSED → COMPLETED(outcome) | EXITED(rule) | EJECTED(reason)
//! ```
//!
//! **How an instance moves.** Events of `profiles` and `delivery` are read by a reactor that makes no calls. It writes
//! down who asks to enter (`InstanceEntryRequested`) and which instances are to be looked at (`InstanceWoken`); both
//! state a timer that is due at once. A worker claims it, asks `profiles` for the facts, lets the interpreter
//! (`domain::instance::walk`, pure) walk to the next wait, and commits the facts with the firing. Waits, decisions
//! and pauses are timers too, so a store that is refilled from the log goes on where it was.
//!
//! **Order.** On one input: goals, exit criteria, the node that waits; all in one unit. Inputs stand in line by their
//! instants, an event before a timer at a tie; how a timer knows of events that are on their way is told in `timers`.
//! Two replicas that decide at once conflict by the version of the instance's stream, and one decides again.
//!
//! **What comes early.** A decision, a touch or a question takes a while, and so does a worker. A `wait_event` hears what
//! was recorded since the instance's last wait before it was over, or since its entry was asked for: what comes while it
//! is not there yet is kept, in line, at most 20, and the oldest that fits is taken as the wait begins. So an order that
//! is placed while its mail is still being sent, or while it is not known for a day whether it was, counts. See
//! `domain::instance`, and `domain::entry` for what comes before the start.
//!
//! **Entering once.** An entry request is taken once for a position of a source; its answer, the start of the instance
//! and the version of the journey's own stream are one unit. The end of an instance and the end of its entry are one
//! unit too, so re-entry is decided from what is true.
//!
//! **Local time.** A wait for a local time keeps its rule, its zone and the release of the zone data. When the party
//! moves, or the date it waits for changes, it is resolved again; what is past by then fires now. Where the party's zone
//! is not known it is the last over all zones of the market, which come from the country packs of `decisioning`; where
//! no pack is in force, over both ends of the world.
//!
//! **A pause.** `PauseJourney` pauses the version; its instances follow in batches, and one whose timer fires before
//! that pauses itself. With `FREEZE` a timer has left after the pause what it had left before; with `RUN` what fell due
//! fires when the pause ends. What happens to a party in a pause is kept and handled then. The gate is told `paused`: in
//! either mode a touch that was asked for is put off and judged again when the instance moves again, which
//! `InstanceResumed` tells. Its own `expires_after` runs on: what it ends in the pause is skipped as `stale`.
//!
//! **Feedback.** An `ask` node requests an invitation (`InstanceFeedbackRequested`) and waits until `feedback` has issued
//! or declined it, at most `expires_after`: then it counts as declined, `no_answer`. What is answered is heard like an
//! interaction, by the name of its event, `rapport.feedback.v1.ResponseSubmitted`: the survey, whether the answer was
//! generated, scores and single choices, never a text. No interaction is heard by such a name.
//!
//! ```text
//! DraftJourney{yaml} → version 1 → CheckJourney → ApproveJourney (someone else) → PublishJourney
//! InteractionRecorded or SegmentEntered → InstanceEntryRequested → InstanceStarted … InstanceTouchRequested
//! ListInstanceSteps → every step and every skip, with its reason, as a sentence
//! ```
//!
//! What must not be found here: a call in a consumer; a clock, a draw from a random source or an await in `domain` and
//! `graph`; personal data (rules see clear values only); a touch that was not preceded by its exit criteria.

mod consumers;
mod convert;
mod domain;
mod facts;
mod graph;
mod graphs;
mod grpc;
mod refusal;
mod timers;
mod units;
mod view;

#[cfg(test)]
mod tests;

pub use graph::{CODES, check};
pub use refusal::REASONS;

use std::sync::Arc;

use chassis::deps::Deps;
use chassis::limited;
use chassis::service::Service;
use eventstore::{Consumer, Handler, Migration, Schema};
use rapport_proto::journeys::v1::journey_service_server::JourneyServiceServer;

/// The tables and the view.
pub fn schema() -> Schema {
    Schema {
        migrations: vec![Migration::portable(
            "journeys/0001_journeys",
            include_str!("../migrations/0001_journeys.sql"),
        )],
        views: vec![Box::new(view::Journeys)],
    }
}

/// The service: its API, the reactor, the zones of markets, the workers.
pub fn service(deps: &Deps) -> Service {
    let graphs = graphs::Graphs::new(&deps.store);
    let api = grpc::Api::new(deps, &graphs);
    let reports = Consumer {
        name: consumers::REPORTS.to_owned(),
        sources: ["profiles", "delivery", "feedback"].map(str::to_owned).to_vec(),
        handler: Handler::Reactor(Arc::new(consumers::Reports::new(&deps.store, &graphs))),
    };
    let zones = Consumer {
        name: view::zone::CONSUMER.to_owned(),
        sources: vec!["decisioning".to_owned()],
        handler: Handler::View(Arc::new(view::zone::Zones)),
    };
    Service::new()
        .serve(limited!(JourneyServiceServer::new(api), deps.max_message_bytes))
        .consume(reports)
        .consume(zones)
        .timers(&deps.store, timers::Worker::new(deps, &graphs))
}
