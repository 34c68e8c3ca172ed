//! The services that journeys listen to and ask, as targets of the harness: their stores take events that a test writes,
//! and `profiles` tells the facts that a test sets. `tests/scenarios` runs journeys with the real ones.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use chassis::deps::Deps;
use chassis::limited;
use chassis::service::Service;
use eventstore::{Decider, Metadata, Schema, Store, Timestamp};
use rapport_proto::decisioning::v1::rule_pack_event;
use rapport_proto::delivery::v1::touch_event;
use rapport_proto::feedback::v1::{invitation_event, response_event};
use rapport_proto::profiles::v1 as profiles;
use rapport_proto::profiles::v1::facts_service_server::{FactsService, FactsServiceServer};
use rapport_proto::profiles::v1::interaction_event;
use rapport_proto::types::PartyKind;
use tonic::{Request, Response};

use super::*;

pub(super) const PARTY: &str = "pty_1";

/// What `profiles` tells of everybody; nothing while it is down.
#[derive(Clone, Default)]
pub(super) struct Facts {
    told: Arc<Mutex<Option<profiles::GetFactsResponse>>>,
    store: Option<Store>,
}

impl Facts {
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<profiles::GetFactsResponse>> {
        self.told.lock().expect("nobody panics with it")
    }
}

/// A physician in Germany.
pub(super) fn physician() -> profiles::GetFactsResponse {
    profiles::GetFactsResponse {
        party_id: PARTY.into(),
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        time_zone: "Europe/Berlin".into(),
        state: "ACTIVE".into(),
        ..Default::default()
    }
}

#[tonic::async_trait]
impl FactsService for Facts {
    async fn get_facts(
        &self,
        _request: Request<profiles::GetFactsRequest>,
    ) -> Result<Response<profiles::GetFactsResponse>, Status> {
        let mut facts = self.lock().clone().ok_or_else(|| Status::unavailable("down"))?;
        let position = self.store.as_ref().map_or(0, |it| it.head().position);
        facts.positions.insert("profiles".into(), position);
        Ok(Response::new(facts))
    }

    async fn resolve_recipient(
        &self,
        _request: Request<profiles::ResolveRecipientRequest>,
    ) -> Result<Response<profiles::ResolveRecipientResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn check_names(
        &self,
        _request: Request<profiles::CheckNamesRequest>,
    ) -> Result<Response<profiles::CheckNamesResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

static FACTS: LazyLock<Mutex<BTreeMap<PathBuf, Facts>>> = LazyLock::new(Mutex::default);

/// The facts of a harness, told by its folder.
pub(super) fn facts_of(deps: &Deps) -> Facts {
    let mut all = FACTS.lock().expect("nobody panics with it");
    all.entry(deps.settings.delivery.outbox.clone()).or_default().clone()
}

fn serve_facts(deps: &Deps) -> Service {
    let facts = Facts { store: Some(deps.store.clone()), ..facts_of(deps) };
    Service::new().serve(limited!(FactsServiceServer::new(facts), deps.max_message_bytes))
}

pub(super) const TARGETS: [Target; 4] = [
    Target { name: "profiles", schema: Schema::default, reasons: &[], service: serve_facts },
    Target { name: "delivery", schema: Schema::default, reasons: &[], service: |_| Service::new() },
    Target { name: "feedback", schema: Schema::default, reasons: &[], service: |_| Service::new() },
    Target {
        name: "decisioning",
        schema: Schema::default,
        reasons: &[],
        service: |_| Service::new(),
    },
];

/// Streams of other services: what a test writes into them is what they decide.
macro_rules! written {
    ($aggregate:ident, $name:literal, $event:ty) => {
        pub(super) enum $aggregate {}

        impl Decider for $aggregate {
            const AGGREGATE: &'static str = $name;
            type Command = Vec<$event>;
            type State = ();
            type Event = $event;
            type Refusal = Infallible;

            fn decide(
                _: &(),
                command: Vec<$event>,
                _: Timestamp,
            ) -> Result<Vec<$event>, Infallible> {
                Ok(command)
            }

            fn evolve(_: (), _: &$event) {}

            fn about(_: &str, _: &(), _: &$event) -> eventstore::About {
                eventstore::About { party_id: PARTY.into(), ..Default::default() }
            }
        }
    };
}

written!(Interaction, "interaction", interaction_event::Event);
written!(Touch, "touch", touch_event::Event);
written!(Invitation, "invitation", invitation_event::Event);
written!(Answered, "response", response_event::Event);
written!(RulePack, "rule_pack", rule_pack_event::Event);

/// Writes an event into a stream of another service.
pub(super) async fn write<D: Decider<Command = Vec<<D as Decider>::Event>>>(
    store: &Store,
    id: &str,
    event: D::Event,
) {
    let meta = Metadata {
        tenant: ACME.into(),
        method: "test".into(),
        request_id: format!("write-{}", store.head().position),
        at: store.clock().now(),
        ..Default::default()
    };
    store.execute::<D>(id, &meta, vec![event]).await.expect("written");
}
