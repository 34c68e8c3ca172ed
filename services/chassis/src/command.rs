//! From a mutating request to the metadata of its events (who, what, once), and from the store's answer to the wire.

use std::error::Error;
use std::time::Duration;

use eventstore::Metadata;
use prost::Message;
use rapport_proto::types::{Actor, actor};

use crate::auth::{Caller, Kind};
use crate::deps::Deps;
use crate::methods::Method;
use crate::request_id;
use crate::status::{
    COMMAND_TOO_LARGE, CONFLICT, ETAG_MISMATCH, INTERNAL, METHOD_UNKNOWN, Problem,
    REQUEST_ID_REUSED, STORE_FENCED, STORE_UNAVAILABLE, chain,
};
use crate::telemetry::propagation;

impl Deps {
    /// Metadata of a request that came through the layer. `request_id` is the field of that name; empty makes one,
    /// and then a repeat is a new command.
    pub fn metadata<T: Message>(
        &self,
        request: &tonic::Request<T>,
        request_id: &str,
    ) -> Result<Metadata, Problem> {
        let caller = Caller::of(request)?;
        let method = request.extensions().get::<Method>().ok_or(Problem::of(METHOD_UNKNOWN))?;
        let given = request_id::parse("request_id", request_id)?;
        let request_id = given.map_or_else(|| self.ids.random("req"), str::to_owned);
        Ok(Metadata {
            tenant: caller.tenant.clone(),
            actor: actor_of(caller),
            method: method.name.to_owned(),
            request_digest: self
                .store
                .keys()
                .request_digest(&caller.tenant, &request.get_ref().encode_to_vec())
                .to_vec(),
            correlation_id: request_id.clone(),
            traceparent: propagation::current_traceparent().unwrap_or_default(),
            at: self.clock.now(),
            request_id,
            ..Metadata::default()
        })
    }
}

/// A failure of the store: transient ones can be retried, the rest is ours alone. Logged here, once.
impl From<eventstore::Error> for Problem {
    fn from(error: eventstore::Error) -> Self {
        use eventstore::Error as E;
        match &error {
            E::Unavailable { .. } => {
                tracing::warn!(error = %chain(&error), "the store cannot be used");
                Problem::of(STORE_UNAVAILABLE).retry_after(Duration::from_secs(1))
            }
            E::Fenced(_) => {
                tracing::error!(error = %chain(&error), "the store is fenced");
                Problem::of(STORE_FENCED)
            }
            E::Refused(_) => Problem::of(CONFLICT),
            E::Corrupt(_) | E::Statement(_) => {
                tracing::error!(error = %chain(&error), "the store met an unexpected error");
                Problem::of(INTERNAL)
            }
        }
    }
}

/// What became of a command that had no effect: the decider's refusal and what a view found taken in the service's
/// own words, everything else in the chassis's.
pub fn of_command<R: Error + 'static>(
    error: eventstore::ExecuteError<R>,
    refused: impl FnOnce(R) -> Problem,
    taken: impl FnOnce(&str) -> Problem,
) -> Problem {
    use eventstore::ExecuteError as E;
    match error {
        E::Refused(refusal) => refused(refusal),
        E::Taken(what) => taken(&what),
        E::WrongVersion { .. } => Problem::of(ETAG_MISMATCH),
        E::RequestReused => {
            Problem::of(REQUEST_ID_REUSED).violation("request_id", REQUEST_ID_REUSED.remedy)
        }
        E::Conflict | E::Superseded => Problem::of(CONFLICT),
        E::Unit(error) => Problem::new(COMMAND_TOO_LARGE, error.to_string()),
        E::Store(error) => error.into(),
    }
}

/// The caller as events remember it.
pub fn actor_of(caller: &Caller) -> Actor {
    Actor {
        subject: caller.subject.clone(),
        kind: match caller.kind {
            Kind::User => actor::Kind::User,
            Kind::Service => actor::Kind::Service,
            Kind::Development => actor::Kind::Development,
        }
        .into(),
        roles: caller.roles.clone(),
        on_behalf_of: caller.on_behalf_of.clone().unwrap_or_default(),
    }
}
