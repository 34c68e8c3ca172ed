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
//! recorded exactly once by (source, `messageId`), so whoever does not hear the answer sends the same again.
//!
//! | answer | when | the SDK then |
//! |---|---|---|
//! | 200 | stored; `rejected` lists what was kept as unusable, by index | goes on |
//! | 400 | not JSON, no batch, more than 2,500 items or 500 KB; a single item that is unusable | drops it |
//! | 401 | no such write key | drops it |
//! | 413 | more than 4 MB | drops it |
//! | 429, `Retry-After` | more than `gateway.requests_per_second` with this key, or the platform is busy | waits |
//! | 503, `Retry-After` | the platform does not answer | sends the same again |
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
mod rate;
mod record;
mod tracking;
mod watch;

#[cfg(test)]
mod tests;

use chassis::deps::Deps;
use chassis::service::Service;
use chassis::status::Reason;
use eventstore::Schema;

/// What `gateway` answers beside the reasons of the chassis: nothing over gRPC.
pub const REASONS: &[Reason] = &[];

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
