//! The tracking API: from a request to messages, and from what became of them to the answer.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use chassis::deps::Deps;
use chassis::rate::Rate;
use eventstore::Hash;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use crate::answer::Refusal;
use crate::body;
use crate::keys::{self, Keys};
use crate::message::{self, Around, Kind};
use crate::place::{Place, nowhere};
use crate::record::{self, Outcome, Recorded};

/// Items of a batch.
const MOST_ITEMS: usize = 2_500;
/// Bytes of a batch.
const MOST_BYTES: usize = 500 << 10;

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Tracking {
    deps: Deps,
    keys: Arc<Keys>,
    rate: Arc<Rate<Hash>>,
}

pub(crate) fn routes(deps: &Deps) -> Router {
    let rate = Arc::new(Rate::new(deps.settings.gateway.requests_per_second));
    let tracking = Tracking { deps: deps.clone(), keys: Arc::default(), rate };
    Router::new()
        .route("/v1/{kind}", post(take))
        .route("/v1/projects/{write_key}/settings", get(settings))
        .with_state(tracking)
}

/// What analytics.js asks for before it sends anything.
async fn settings(
    State(tracking): State<Tracking>,
    Place(write_key): Place<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    tracking.keys.open(&tracking.deps, &write_key).await?;
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let integration = json!({"apiKey": write_key, "apiHost": format!("{host}/v1")});
    let plan = json!({"track": {"__default": {"enabled": true}}});
    Ok(said(&json!({"integrations": {"Segment.io": integration}, "plan": plan})))
}

async fn take(
    State(tracking): State<Tracking>,
    Place(kind): Place<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let bytes = body::read(&headers, body).await?;
    if kind == "m" {
        // Metrics of the SDK about itself.
        return Ok(said(&json!({"success": true})));
    }
    let batch = matches!(kind.as_str(), "batch" | "b" | "import");
    let kind = Kind::parse(&kind);
    if kind.is_none() && !batch {
        return Err(nowhere("Use identify, track, page, screen, group, alias or batch."));
    }
    let request: Value = serde_json::from_slice(&bytes).map_err(|error| {
        Refusal::of_field("bad_json", "", format!("The body is no JSON: {error}."))
    })?;
    let key = keys::of_request(&headers, &request)?;
    let source = tracking.keys.open(&tracking.deps, &key).await?;
    let limited = |delay| {
        let told = "This write key calls too often. Send larger batches less often.";
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", told).after(delay)
    };
    tracking.rate.take(eventstore::digest(key.as_bytes()), Instant::now()).map_err(limited)?;
    let around = around(&request, &source.source_id, tracking.deps.clock.now(), batch)?;
    let items = if batch { items(request, bytes.len())? } else { vec![request] };
    let recorded = record::record(&tracking.deps, &source, &items, kind, &around).await;
    if recorded.as_ref().is_err_and(|it| it.status == StatusCode::UNAUTHORIZED) {
        // Disabled since it was asked about.
        tracking.keys.forget(&key);
    }
    answer(&recorded?, batch)
}

/// What the request says for all of its items.
fn around(
    request: &Value,
    source_id: &str,
    received_at: eventstore::Timestamp,
    batch: bool,
) -> Result<Around, Refusal> {
    let mut around = Around { source_id: source_id.to_owned(), received_at, ..Around::default() };
    if !batch {
        return Ok(around);
    }
    if let Some(sent_at) = request.get("sentAt").filter(|it| !it.is_null()) {
        let told = "Write RFC 3339, for example 2026-01-31T09:30:00Z.";
        let bad = || Refusal::of_field("schema", "sentAt", told);
        around.sent_at = Some(message::parse_time(sent_at).ok_or_else(bad)?);
    }
    around.context = message::context(request.get("context"))
        .map_err(|told| Refusal::of_field("schema", "context", told))?;
    Ok(around)
}

fn items(mut request: Value, bytes: usize) -> Result<Vec<Value>, Refusal> {
    let Some(Value::Array(items)) = request.get_mut("batch").map(Value::take) else {
        return Err(Refusal::of_field("batch", "batch", "Give the messages as an array."));
    };
    if items.len() > MOST_ITEMS {
        return Err(Refusal::of_field("batch", "batch", "Send at most 2,500 messages at once."));
    }
    if bytes > MOST_BYTES {
        return Err(Refusal::of_field("batch", "batch", "Send at most 500 KB at once."));
    }
    Ok(items)
}

/// 200 once everything is stored, with what was kept as unusable; a single message that is unusable is the request's
/// own fault.
fn answer(recorded: &Recorded, batch: bool) -> Result<Response, Refusal> {
    let mut rejected = Vec::new();
    for (index, outcome) in recorded.outcomes.iter().enumerate() {
        let Outcome::Rejected { code, field, detail } = outcome else { continue };
        if !batch {
            return Err(Refusal::of_field(code_of(code), field.clone(), detail.clone()));
        }
        let mut item = json!({"index": index, "code": code, "detail": detail});
        if !field.is_empty() {
            item["field"] = json!(field);
        }
        rejected.push(item);
    }
    // 64 bits are too many for a number in JSON.
    let positions = match recorded.position {
        0 => json!({}),
        position => json!({"profiles": position.to_string()}),
    };
    Ok(said(&json!({"success": true, "rejected": rejected, "positions": positions})))
}

/// What a single message's refusal is called. Why something that it says of its customer was refused has many names,
/// in a batch too; here all of them are `schema`.
fn code_of(code: &str) -> &'static str {
    const CODES: [&str; 5] = ["too_large", "bad_time", "unknown_type", "unknown_party", "conflict"];
    CODES.into_iter().find(|it| *it == code).unwrap_or("schema")
}

fn said(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
