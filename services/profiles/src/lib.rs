//! # Who the customer is and what they allowed
//!
//! `profiles` owns parties (health-care professionals and organisations, pharmacists, patients, caregivers, payers,
//! regulators, employees), their identifiers, contact points and preferences, how they are related, what they
//! consented to, and what sources report that they did.
//!
//! | aggregate | stream | decides |
//! |---|---|---|
//! | party | `party/pty_…` | who it is, how to reach it, whether it may be contacted at all |
//! | consent | `consent/con_…` | what counts for one purpose, channel, sender and market at an instant |
//! | relation | `relation/rel_…` | who treats, covers, cares for, works at whom |
//! | source | `source/<id>` | which properties of its messages are clear |
//! | interaction | `interaction/itx_…` | that a message counts once |
//! | trait | `trait/<id>` | how a value of a party follows from what it did |
//! | segment | `segment/<id>` | by which rule a party is in |
//! | membership | `membership/<pty id>.<segment id>` | when a party crossed, and when to look again |
//!
//! **Writing.** A method parses the whole request into a command of validated types, and the store loads the stream,
//! decides, and commits events, view and request id at once. A repeated `request_id` gets the first answer; an id it
//! made is derived from the request and is the same again.
//!
//! **Reading.** What a name leads to is folded from its stream, now or as of a position or time. Lists and look-ups
//! read the tables of the views. Definitions and rule packs are held in memory, compiled; a revision that is read before
//! every use tells whether they stand (`segments/definitions.rs`).
//!
//! A reply carries the position at which it holds; give it back in `min_positions` to read what was written.
//!
//! **Allowing.** What an instant allows follows from what the party said and from the rule pack of its market, which a
//! consumer keeps from `decisioning` (`domain/consent/terms.rs`, `verdict.rs`). It is asked with `CheckConsent`, and by
//! the other services inside `GetFacts` and `ResolveRecipient`. All fail closed: no record, no rule, no party are a "no".
//!
//! **Listening.** A recipient's unsubscribe or complaint, a fact of `delivery`, becomes a withdrawal; a journey's
//! request becomes an attribute (`consumers.rs`).
//!
//! **Crossing.** Traits are computed from what a party did, at the instant asked about, and never stored
//! (`domain/trait_definition/series.rs`). Who enters or leaves a segment is an event with the exact instant, caused by
//! another event or by time alone (`segments.rs`); `domain/trait_definition/tests.rs` and `tests/segments/history.rs`
//! hold both against a recompute.
//!
//! ```text
//! RegisterParty{parent: "tenants/acme", kind: HCP, market: "DE", identifiers: [{system: "npi", …}]} → pty_…, position 3
//! RecordConsent{key: {pty_…, PROMOTIONAL, EMAIL, "northwind", "DE"}, state: GRANTED, text_version: "v3", …} → con_…
//! CheckConsent{key, regime: OPT_IN} → allowed, con_…, position 4
//! ```
//!
//! What must not be found here: a personal value in a table or in clear on the log (they are sealed under the
//! subject's key, and looked up by a keyed hash); a consent that is allowed because nothing was found; a clock or a
//! random number in `domain`; anything of another tenant than the caller's. `tests/view.rs`, `domain/consent/tests.rs`
//! and `tests/tenancy.rs` show the first, the second and the last.

mod consumers;
mod convert;
mod domain;
mod grpc;
mod refusal;
mod segments;
mod timers;
mod traits;
mod verdict;
mod view;

#[cfg(test)]
mod tests;

pub use refusal::REASONS;

use chassis::deps::Deps;
use chassis::limited;
use chassis::service::Service;
use eventstore::{Migration, Schema};
use rapport_proto::profiles::v1::consent_service_server::ConsentServiceServer;
use rapport_proto::profiles::v1::facts_service_server::FactsServiceServer;
use rapport_proto::profiles::v1::party_service_server::PartyServiceServer;
use rapport_proto::profiles::v1::segment_service_server::SegmentServiceServer;
use rapport_proto::profiles::v1::source_service_server::SourceServiceServer;

/// The tables and the view.
pub fn schema() -> Schema {
    Schema {
        migrations: vec![
            Migration::portable(
                "profiles/0001_profiles",
                include_str!("../migrations/0001_profiles.sql"),
            ),
            Migration::portable(
                "profiles/0002_packs",
                include_str!("../migrations/0002_packs.sql"),
            ),
            Migration::portable(
                "profiles/0003_traits",
                include_str!("../migrations/0003_traits.sql"),
            ),
        ],
        views: vec![Box::new(view::Profiles::default()), Box::new(view::segments::Segments)],
    }
}

/// The service: five gRPC services, what it takes from its neighbours, and the timers of grants and segments.
pub fn service(deps: &Deps) -> Service {
    let definitions = segments::Definitions::new(&deps.store);
    let api = grpc::Api::new(deps, &definitions);
    let max_bytes = deps.max_message_bytes;
    Service::new()
        .serve(limited!(PartyServiceServer::new(api.clone()), max_bytes))
        .serve(limited!(ConsentServiceServer::new(api.clone()), max_bytes))
        .serve(limited!(FactsServiceServer::new(api.clone()), max_bytes))
        .serve(limited!(SegmentServiceServer::new(api.clone()), max_bytes))
        .serve(limited!(SourceServiceServer::new(api), max_bytes))
        .consume(consumers::packs())
        .consume(consumers::reactions())
        .consume(consumers::uses())
        .consume(segments::consumer(&definitions))
        .timers(&deps.store, timers::Timers { definitions })
}
