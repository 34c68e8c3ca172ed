//! # What is best now, and why: policy, country rule packs, holdouts, decisions
//!
//! `decisioning` owns what a tenant wants to do for its customers and what a country lets it do, decides the next best
//! action of one party, and can say for ever why.
//!
//! | aggregate | stream | decides |
//! |---|---|---|
//! | policy | `policy/default` | actions, rules, levers, contact policy: the life of their versions |
//! | rule pack | `rule_pack/<market or archetype>` | the file of a country: the life of its versions |
//! | holdout | `holdout/<id>` | which share of the parties gets nothing |
//! | decision | `decision/dec_…` | that a decision is made once, what came of it, its reward |
//! | model | `model/<day>` | the priors of groups, daily at midnight UTC |
//!
//! ```text
//! version   DRAFT ─▶ SIMULATED ─▶ APPROVED (by somebody else) ─▶ LIVE ─▶ RETIRED
//! decision  MADE ─▶ CLOSED (longest window over, or reward 1) ─▶ CORRECTED (a later fact)
//! ```
//!
//! **Deciding** is a pure function of what was known (`domain::decide`): the facts that rules read come from `profiles`
//! in one call, contacts, outcomes and affinities from own tables in one read. The record holds all of it, is durable
//! before the answer, and is all that `ExplainDecision` and a simulation read.
//!
//! **What a decision costs.** Policy, packs, modules, priors and holdouts are compiled once and held in memory
//! (`view::shared`); the read of the party brings their revision, which proves that they still stand, whichever replica
//! changed them. What many decisions read of their parties at the same time is read together (`view::past`). Rules look
//! each fact up once, and a clause, a consent or a country's answer that several candidates share is found once.
//!
//! Invariants:
//! - Every candidate has the first stage that stopped it, or a probability; the probabilities sum to 1, and none of the
//!   survivors' is below ε/|E|. The choice is drawn from these numbers and nothing else.
//! - Unknown is no: a fact that is missing, a question on consent that nobody answered, a market without a pack.
//! - Consent, content and country rules are gates, never weights. Quiet hours and the holdout are not applied here: the
//!   gate of `delivery` enforces them.
//! - Nobody approves what they wrote, nothing goes live that was not simulated with the same bytes, and a pack counts a
//!   minute after it was announced at the earliest, with the archetypes it was simulated with.
//! - What is learnt across parties is summed in integers: the order of arrival does not show.
//!
//! ```text
//! Decide{parent: "tenants/acme/parties/pty_…", sender_id: "northwind"} → dec_…, position 12
//! ExplainDecision{name: "tenants/acme/decisions/dec_…"} → "win-back by EMAIL (mail) was chosen: …"
//! CheckOutbound{parent: "tenants/acme", market: "DE", audience: HCP, channel: EMAIL, …} → ALLOW, DE, 3, de-rx-hcp
//! ```

mod consumers;
mod convert;
mod domain;
mod grpc;
mod metrics;
mod refusal;
#[cfg(feature = "testing")]
pub mod testing;
mod timers;
mod view;

#[cfg(test)]
mod tests;

pub use metrics::METRICS;
pub use refusal::REASONS;

use chassis::deps::Deps;
use chassis::limited;
use chassis::service::Service;
use eventstore::{Migration, Schema};
use rapport_proto::decisioning::v1::decision_service_server::DecisionServiceServer;
use rapport_proto::decisioning::v1::policy_service_server::PolicyServiceServer;
use rapport_proto::decisioning::v1::rule_pack_service_server::RulePackServiceServer;

/// The tables and the view.
pub fn schema() -> Schema {
    Schema {
        migrations: vec![Migration::portable(
            "decisioning/0001_decisioning",
            include_str!("../migrations/0001_decisioning.sql"),
        )],
        views: vec![Box::new(view::Decisioning)],
    }
}

/// The service: three gRPC services, the consumers of other services' events, and what falls due.
pub fn service(deps: &Deps) -> Service {
    let api = grpc::Api::new(deps);
    let max_bytes = deps.max_message_bytes;
    let service = Service::new()
        .serve(limited!(PolicyServiceServer::new(api.clone()), max_bytes))
        .serve(limited!(RulePackServiceServer::new(api.clone()), max_bytes))
        .serve(limited!(DecisionServiceServer::new(api), max_bytes))
        .timers(&deps.store, timers::Due);
    consumers::all().into_iter().fold(service, Service::consume)
}
