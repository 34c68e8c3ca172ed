//! What providers report, signed as Standard Webhooks prescribes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chassis::Call;
use chassis::deps::Deps;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, StatusCode, header};
use rapport_proto::delivery::v1::delivery_service_client::DeliveryServiceClient;
use rapport_proto::delivery::v1::{
    ProviderEvent, ProviderEventKind, ProviderEventResult, RecordProviderEventsRequest,
};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::answer::Refusal;
use crate::body;
use crate::keys::PATIENCE;
use crate::place::{Place, nowhere};

/// How old or how early a signature may be, in seconds.
const TOLERANCE: u64 = 300;
/// Events of one request.
const MOST: usize = 100;

#[derive(Clone)]
struct Providers {
    deps: Deps,
    /// Keys by provider.
    secrets: Arc<BTreeMap<String, Vec<u8>>>,
}

pub(crate) fn routes(deps: &Deps) -> Router {
    let secret = |(provider, file): (&String, &String)| match read_secret(file) {
        Ok(secret) => Some((provider.clone(), secret)),
        Err(why) => {
            tracing::error!(
                provider,
                file,
                why,
                "reports of a provider are refused: its secret cannot be read"
            );
            None
        }
    };
    let secrets = deps.settings.gateway.provider_secret_files.iter().filter_map(secret).collect();
    let providers = Providers { deps: deps.clone(), secrets: Arc::new(secrets) };
    Router::new()
        .route("/v1/providers/{tenant}/{provider}/events", post(take))
        .with_state(providers)
}

/// `whsec_` and base64.
fn read_secret(file: &str) -> Result<Vec<u8>, String> {
    let text = std::fs::read_to_string(file).map_err(|it| it.to_string())?;
    let encoded = text.trim().strip_prefix("whsec_").ok_or("it does not begin with whsec_")?;
    let secret = STANDARD.decode(encoded).map_err(|it| it.to_string())?;
    if secret.len() < 24 { Err("it is shorter than 24 bytes".to_owned()) } else { Ok(secret) }
}

async fn take(
    State(providers): State<Providers>,
    Place((tenant, provider)): Place<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let unknown = || nowhere("No such provider is set up; see gateway.provider_secret_files.");
    let secret = providers.secrets.get(&provider).ok_or_else(unknown)?;
    if !providers.deps.settings.tenants.contains(&tenant) {
        return Err(unknown());
    }
    let bytes = body::read(&headers, body).await?;
    verify(secret, &headers, &bytes, now())?;
    let request: Value = serde_json::from_slice(&bytes).map_err(|error| {
        Refusal::of_field("bad_json", "", format!("The body is no JSON: {error}."))
    })?;
    let events = read(&provider, &request)?;
    if events.iter().all(Result::is_err) {
        return Err(events.into_iter().find_map(Result::err).unwrap_or_else(unknown));
    }
    let request = RecordProviderEventsRequest {
        parent: format!("tenants/{tenant}"),
        // One that cannot be read is an empty one to `delivery`, which refuses it: so all others keep their places.
        events: events.iter().map(|it| it.clone().unwrap_or_default()).collect(),
        ..Default::default()
    };
    let mut client = DeliveryServiceClient::new(providers.deps.peers.to("delivery"));
    let call = Call::of_tenant(&tenant, PATIENCE);
    let reply = call.scope(client.record_provider_events(request)).await?.into_inner();
    let results: Vec<_> = reply.results.iter().zip(&events).map(told).collect();
    let body = json!({"success": true, "results": results}).to_string();
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// What became of one event.
fn told((result, event): (&ProviderEventResult, &Result<ProviderEvent, Refusal>)) -> Value {
    let (field, detail) = match event {
        Ok(_) => (&result.field, &result.remedy),
        Err(refusal) => (&refusal.field, &refusal.message),
    };
    match field.as_str() {
        "" => json!({"outcome": result.outcome}),
        field => json!({"outcome": result.outcome, "field": field, "detail": detail}),
    }
}

/// Signatures age in real time, whatever the domain's clock shows.
fn now() -> u64 {
    u64::try_from(eventstore::Timestamp::real().0 / 1_000_000).unwrap_or_default()
}

/// `v1,base64(HMAC-SHA256(secret, id.timestamp.body))`, one of several.
fn verify(secret: &[u8], headers: &HeaderMap, body: &[u8], now: u64) -> Result<(), Refusal> {
    let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let refused = |field: &str, told: &str| Refusal {
        field: field.to_owned(),
        ..Refusal::new(StatusCode::UNAUTHORIZED, "signature", told)
    };
    let stamp = text("webhook-timestamp");
    let fresh = stamp.parse::<u64>().is_ok_and(|it| it.abs_diff(now) <= TOLERANCE);
    if !fresh {
        return Err(refused("webhook-timestamp", "Sign with the time of now, in seconds."));
    }
    let signed = [text("webhook-id").as_bytes(), b".", stamp.as_bytes(), b".", body].concat();
    let matches = |signature: &str| {
        let given = signature.strip_prefix("v1,").and_then(|it| STANDARD.decode(it).ok());
        given.is_some_and(|given| {
            let mac = Hmac::<Sha256>::new_from_slice(secret);
            // In constant time.
            mac.is_ok_and(|mac| mac.chain_update(&signed).verify_slice(&given).is_ok())
        })
    };
    if text("webhook-signature").split(' ').any(matches) {
        return Ok(());
    }
    Err(refused("webhook-signature", "Sign id.timestamp.body with the secret that was agreed."))
}

/// `{"events": [{"id", "type", "touch_id" | "message_id", "time", "user_agent", "machine", "hard", "code", "link_id"}]}`.
/// One event that cannot be read refuses none of the others.
fn read(provider: &str, request: &Value) -> Result<Vec<Result<ProviderEvent, Refusal>>, Refusal> {
    let events = request.get("events").and_then(Value::as_array);
    let events = events.filter(|it| (1..=MOST).contains(&it.len())).ok_or_else(|| {
        Refusal::of_field("schema", "events", "Give 1 to 100 events as an array.")
    })?;
    let read = |(at, event): (usize, &Value)| {
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let flag = |name: &str| event.get(name).and_then(Value::as_bool).unwrap_or_default();
        let bad = |field: &str, told: &str| {
            Refusal::of_field("schema", format!("events[{at}].{field}"), told)
        };
        let kind = format!("PROVIDER_EVENT_KIND_{}", text("type").to_uppercase());
        let kind = ProviderEventKind::from_str_name(&kind);
        let kind = kind.filter(|it| *it != ProviderEventKind::Unspecified).ok_or_else(|| {
            let told = "Use delivered, opened, clicked, bounced, complained or unsubscribed.";
            bad("type", told)
        })?;
        if text("id").is_empty() {
            return Err(bad("id", "Give the provider's id of the event."));
        }
        let occur_time = match text("time") {
            "" => None,
            time => Some(time.parse().map_err(|_| bad("time", "Write RFC 3339."))?),
        };
        Ok(ProviderEvent {
            provider: provider.to_owned(),
            provider_event_id: text("id").to_owned(),
            kind: kind.into(),
            touch_id: text("touch_id").to_owned(),
            provider_id: text("message_id").to_owned(),
            occur_time,
            user_agent: text("user_agent").to_owned(),
            machine: flag("machine"),
            hard: flag("hard"),
            code: text("code").to_owned(),
            link_id: text("link_id").to_owned(),
            ..Default::default()
        })
    };
    Ok(events.iter().enumerate().map(read).collect())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const SECRET: &[u8] = b"a secret of more than 24 bytes";

    fn signed(stamp: u64, body: &[u8]) -> HeaderMap {
        let text = [b"msg_1.".as_slice(), stamp.to_string().as_bytes(), b".", body].concat();
        let mac = Hmac::<Sha256>::new_from_slice(SECRET).expect("a key");
        let signature = STANDARD.encode(mac.chain_update(&text).finalize().into_bytes());
        let headers = [
            ("webhook-id", "msg_1".to_owned()),
            ("webhook-timestamp", stamp.to_string()),
            ("webhook-signature", format!("v1,AAAA v1,{signature}")),
        ];
        let header = |(name, value): (&'static str, String)| {
            (http::HeaderName::from_static(name), HeaderValue::from_str(&value).expect("a header"))
        };
        headers.into_iter().map(header).collect()
    }

    #[test]
    fn only_what_was_signed_lately_is_taken() {
        assert_eq!(verify(SECRET, &signed(1_000, b"{}"), b"{}", 1_299), Ok(()));
        let refused = |headers: &HeaderMap, body: &[u8], now| {
            verify(SECRET, headers, body, now).expect_err("refused").field
        };
        assert_eq!(refused(&signed(1_000, b"{}"), b"{ }", 1_000), "webhook-signature");
        assert_eq!(refused(&signed(1_000, b"{}"), b"{}", 1_301), "webhook-timestamp");
        assert_eq!(refused(&signed(1_000, b"{}"), b"{}", 600), "webhook-timestamp");
        assert_eq!(refused(&HeaderMap::new(), b"{}", 1_000), "webhook-timestamp");
    }

    #[test]
    fn one_event_that_cannot_be_read_refuses_no_other() {
        let event = |id: &str| json!({"id": id, "type": "opened", "touch_id": "tch_1"});
        let events = read("ses", &json!({"events": [event(""), event("e-1")]})).expect("read");
        assert_eq!(events.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true]);
        let refused = ProviderEventResult { outcome: "refused".into(), ..Default::default() };
        let told = |outcome: &str, event| {
            told((&ProviderEventResult { outcome: outcome.into(), ..refused.clone() }, event))
        };
        let detail = "Give the provider's id of the event.";
        let expected = json!({"outcome": "refused", "field": "events[0].id", "detail": detail});
        assert_eq!(told("refused", &events[0]), expected);
        assert_eq!(told("recorded", &events[1]), json!({"outcome": "recorded"}));
    }

    #[test]
    fn a_report_that_cannot_be_used_names_the_field() {
        let event = |change: Value| {
            let mut event = json!({"id": "e-1", "type": "opened", "touch_id": "tch_1"});
            event
                .as_object_mut()
                .expect("an object")
                .extend(change.as_object().cloned().expect("an object"));
            json!({"events": [event]})
        };
        let first = |request: &Value| {
            let mut events = read("ses", request)?;
            events.swap_remove(0)
        };
        assert!(first(&event(json!({}))).is_ok());
        let cases = [
            (json!({}), "events"),
            (json!({"events": []}), "events"),
            (event(json!({"type": "sang"})), "events[0].type"),
            (event(json!({"id": ""})), "events[0].id"),
            (event(json!({"time": "noon"})), "events[0].time"),
        ];
        for (request, field) in cases {
            assert_eq!(first(&request).expect_err("refused").field, field);
        }
    }
}
