//! # Where the world comes in
//!
//! `gateway` answers plain HTTP beside gRPC, and passes gRPC and gRPC-Web calls on to whatever target serves them. It
//! holds no state: write keys and accepted ids live in `profiles`, personal links in `feedback`, provider ids in
//! `delivery`.
//!
//! | route | for | becomes |
//! |---|---|---|
//! | `POST /v1/{identify,track,page,screen,group,alias,batch}` | shops, portals, CDPs, with their stock SDKs | `RecordInteractions`, and for `identify` and `alias` what is known of the customer |
//! | `POST /v1/providers/{tenant}/{provider}/events` | whoever carries messages | `RecordProviderEvents` |
//! | `GET`, `POST /u/{tenant}/{token}` | one-click unsubscribing (RFC 8058) | an unsubscription |
//! | `GET`, `POST /f/{token}` | the form behind a personal link | `OpenLink`, `SubmitResponse` |
//! | `/rapport.…/…` | browsers and clients that know one address | the same call at the target that serves it |
//!
//! **Tracking.** The body is JSON whatever its content type says, gzip or not. The write key is the user of Basic
//! authentication or the body's `writeKey`. Each item is judged on its own: what cannot be taken is kept by `profiles`
//! and listed there, the others are recorded. `200` is said after the durable append and never before. A message is
//! recorded exactly once by (source, `messageId`), so whoever does not hear the answer sends the same again. What it
//! says of its customer is carried out when it is recorded, not when it is refused, and not again when it is repeated
//! days later. A withdrawal (`Segment Consent Preference Updated`, category `PURPOSE/CHANNEL/sender`, off) counts from
//! when it is received, whatever the sender's clock says and whatever becomes of the message.
//!
//! Paths have the short forms of analytics.js too: `/v1/{i,t,p,s,g,a,b}` and `/v1/import` for a batch, `/v1/m` for what
//! the SDK says of itself (not kept), `GET /v1/projects/{key}/settings` for what it asks before it sends.
//!
//! | limit | of | otherwise |
//! |---|---|---|
//! | 32 KB, 20 levels of objects and arrays | an item | the item is rejected, `too_large` or `schema` |
//! | 2,500 items, 500 KB | a batch, not a single message | 400 `batch` |
//! | 8 KB, 20 levels | a batch's `context`, which is added to each item | 400 `schema` |
//! | 4 MB | a body, as it comes and inflated | 413 `too_large` |
//! | `gateway.requests_per_second` | a write key | 429 `rate_limited` |
//!
//! | answer | when | the SDK then |
//! |---|---|---|
//! | 200 | stored; `rejected` lists by index what was kept as unusable or could not be carried out | goes on |
//! | 400 | not JSON, no batch, beyond its limits; a single item that is rejected | drops it |
//! | 401 | no such write key | drops it |
//! | 404, 405 | no such path, another method | drops it |
//! | 408 | the body did not come within 30 seconds | sends the same again |
//! | 413 | more than 4 MB | drops it |
//! | 429, `Retry-After` | too often with this key, or the platform is busy | waits |
//! | 500 | it failed on our side | sends the same again |
//! | 503, `Retry-After` | the platform does not answer | sends the same again |
//!
//! What is refused says so as `{"success": false, "error": {"code", "message", "field"}}`. Codes of requests: `bad_json`,
//! `bad_encoding`, `batch`, `schema`, `too_large`, `write_key`, `signature`, `rate_limited`, `busy`, `too_slow`,
//! `unavailable`, `not_found`, `method`, `internal`; of items: `schema`, `too_large`, `bad_time`, `unknown_type`,
//! `unknown_party`, `conflict`, and in a batch the reason in lower case for which `profiles` could not carry out what an
//! item says, `identifier_taken` for example.
//!
//! `userId` names a party by its identifier of system `user-id`, `anonymousId` by `anonymous-id`.
//!
//! What must not be found here: a table, a file, a decision.

mod answer;
mod body;
mod form;
mod keys;
mod links;
mod message;
mod page;
mod place;
mod provider;
mod record;
mod tracking;
mod watch;

use chassis::deps::Deps;
use chassis::service::Service;
use chassis::status::Reason;
use eventstore::Schema;

/// What `gateway` answers beside the reasons of the chassis: nothing over gRPC.
pub const REASONS: &[Reason] = &[];

pub use watch::METRICS;

/// No tables.
pub fn schema() -> Schema {
    Schema::default()
}

/// The service: plain HTTP.
pub fn service(deps: &Deps) -> Service {
    let routes = tracking::routes(deps)
        .merge(provider::routes(deps))
        .merge(links::routes(deps))
        .merge(form::routes(deps));
    Service::new()
        .http(watch::watched(place::with_methods(routes), deps.settings.grpc.max_in_flight))
}
