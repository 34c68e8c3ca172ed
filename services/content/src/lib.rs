//! # What may be said: modules, claims, references, reviews, signatures
//!
//! `content` owns what may be said, to whom, where and until when, and the proof that it was approved.
//!
//! | aggregate | stream | decides |
//! |---|---|---|
//! | product | `product/<id>` | what content speaks about |
//! | reference | `reference/<id>` | whether a source substantiates claims: VALID → EXPIRED |
//! | asset | `asset/<id>` | whether a file, known by its hash, may be shown: VALID → EXPIRED |
//! | claim | `claim/<id>` | which text may be printed, verbatim |
//! | module | `module/<id>` | which templates, slots and variants may be used |
//!
//! A claim and a module have versions, and each version the same review:
//!
//! ```text
//! DRAFT → IN_REVIEW → APPROVED → EXPIRED | WITHDRAWN | SUPERSEDED
//!            ⇅
//!    CHANGES_REQUESTED
//! ```
//!
//! **Signed is sent.** The bytes of a content stand in its event; their SHA-256 is what every role signs, and what
//! `Render` compares again before it prints anything. Nothing re-encodes them. Any byte changed is another version.
//!
//! **Who must sign** follows from the review lines of the rule packs of the targeted markets, the strictest together;
//! a market without a line asks for every role. One person fills one role, the author none; one rejection returns it.
//! A role is filled by whose token names it (claim `roles`: `medical`, `legal`, `regulatory`), whatever permissions it
//! gives, and the signature keeps when that person authenticated.
//!
//! **What ends takes with it what prints it.** A reference that ends withdraws the claims that cite nothing else, a
//! claim the modules that print it, those the modules they stand in: each in a unit of its own, driven by timers.
//! `Render` and `CheckUsable` do not wait for that. They ask every part, now, from its events. Where something stood is
//! not forgotten when it ends: where-used lists it with its state.
//!
//! ```text
//! SaveClaim{claim_id: "onset-fast", content} → version 1, content_hash 9f…
//! SubmitClaim{name} → IN_REVIEW, roles [MEDICAL, LEGAL, REGULATORY]
//! ReviewClaim{role: MEDICAL, verdict: APPROVE, content_hash: 9f…, printed_name, meaning} → sig_…
//! Render{name: "…/modules/hello", market: "DE", audience: HCP, channel: EMAIL} → subject, text, html, parts, render_hash
//! ```
//!
//! A failing verdict of `Render` is data, `content_reason` or `render_reason`, because the gate records it; only a
//! malformed request is an error.
//!
//! What must not be found here: a template that is read twice, a value that is printed unescaped, a part that is used
//! because nothing was found against it, personal data, a clock in `domain` or `render`.

mod consumers;
mod convert;
mod domain;
mod grpc;
mod refusal;
mod render;
mod shelf;
mod timers;
mod view;

#[cfg(test)]
mod tests;

pub use refusal::REASONS;

use chassis::deps::Deps;
use chassis::limited;
use chassis::service::Service;
use eventstore::{Migration, Schema};
use rapport_proto::content::v1::library_service_server::LibraryServiceServer;
use rapport_proto::content::v1::module_service_server::ModuleServiceServer;

/// The tables and the view.
pub fn schema() -> Schema {
    Schema {
        migrations: vec![Migration::portable(
            "content/0001_content",
            include_str!("../migrations/0001_content.sql"),
        )],
        views: vec![Box::new(view::Content)],
    }
}

/// The service: two gRPC services, what it learns from others, and what time brings about.
pub fn service(deps: &Deps) -> Service {
    let api = grpc::Api::new(deps);
    let max_bytes = deps.max_message_bytes;
    Service::new()
        .serve(limited!(LibraryServiceServer::new(api.clone()), max_bytes))
        .serve(limited!(ModuleServiceServer::new(api), max_bytes))
        .consume(consumers::consumer())
        .timers(&deps.store, timers::Ends)
}
