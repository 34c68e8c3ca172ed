//! One-click unsubscribing (RFC 8058): what a mail program posts, and a page with a button for who follows the link.
//!
//! A `GET` changes nothing: programs follow links before people do.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use chassis::Call;
use chassis::deps::Deps;
use http::StatusCode;
use rapport_proto::delivery::v1::delivery_service_client::DeliveryServiceClient;
use rapport_proto::delivery::v1::{ProviderEvent, ProviderEventKind, RecordProviderEventsRequest};
use tonic::{Code, Status};

use crate::keys::PATIENCE;
use crate::page::{notice, page};
use crate::place::Place;

/// The provider that one click stands for.
const PROVIDER: &str = "one-click";

pub(crate) fn routes(deps: &Deps) -> Router {
    Router::new().route("/u/{tenant}/{token}", get(ask).post(unsubscribe)).with_state(deps.clone())
}

async fn ask(
    Place((tenant, token)): Place<(String, String)>,
    State(deps): State<Deps>,
) -> Response {
    if !deps.settings.tenants.contains(&tenant) || token.len() > 200 {
        return unknown();
    }
    let body = "<p>You will get no more messages of this kind from this sender.</p>\
                <form method=\"post\"><button>Unsubscribe</button></form>";
    page(StatusCode::OK, "en", "Unsubscribe", body)
}

async fn unsubscribe(
    Place((tenant, token)): Place<(String, String)>,
    State(deps): State<Deps>,
) -> Response {
    if !deps.settings.tenants.contains(&tenant) || token.len() > 200 {
        return unknown();
    }
    match record(&deps, &tenant, &token).await {
        Ok(true) => notice(StatusCode::OK, "You are unsubscribed", "It holds from now on."),
        Ok(false) => unknown(),
        Err(status) if status.code() == Code::InvalidArgument => unknown(),
        Err(status) => {
            tracing::warn!(code = ?status.code(), message = status.message(), "an unsubscription was not recorded");
            let told = "It could not be recorded now. Please try again in a minute.";
            notice(StatusCode::SERVICE_UNAVAILABLE, "Not yet", told)
        }
    }
}

/// Records it, exactly once for each click: who clicks the same link after a new consent says it anew. What a double
/// click says twice, `delivery` records once.
async fn record(deps: &Deps, tenant: &str, token: &str) -> Result<bool, Status> {
    let at = deps.clock.now();
    let click = format!("{} {token}", at.0);
    let event = ProviderEvent {
        provider: PROVIDER.into(),
        provider_event_id: eventstore::hex(&eventstore::digest(click.as_bytes())),
        kind: ProviderEventKind::Unsubscribed.into(),
        occur_time: Some(at.to_proto()),
        unsubscribe_token: token.to_owned(),
        ..Default::default()
    };
    let request = RecordProviderEventsRequest {
        parent: format!("tenants/{tenant}"),
        events: vec![event],
        ..Default::default()
    };
    let mut client = DeliveryServiceClient::new(deps.peers.to("delivery"));
    let call = Call::of_tenant(tenant, PATIENCE);
    let reply = call.scope(client.record_provider_events(request)).await?.into_inner();
    Ok(reply.results.first().is_some_and(|it| it.outcome != "unknown_touch"))
}

fn unknown() -> Response {
    let told = "Use the link as it stands in the message.";
    notice(StatusCode::NOT_FOUND, "This link is not known", told)
}
