//! `rapport events`: what a source holds, one JSON object a line. Personal fields stay sealed.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chassis::settings::Settings;
use eventstore::{Stored, Timestamp, hex};
use serde_json::{Value, json};

use crate::stores;

const PAGE: usize = 500;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Prints the events of a source after a position; goes on with new ones if asked to follow.
pub(crate) async fn print(
    settings: &Settings,
    source: &str,
    mut after: u64,
    follow: bool,
) -> anyhow::Result<()> {
    let store = stores::open(settings, source).await?;
    loop {
        let page = store.read(after, PAGE).await?;
        for event in &page {
            crate::cli::print(&format!("{}\n", line(event)?));
            after = event.position;
        }
        if page.is_empty() && !follow {
            store.close().await;
            return Ok(());
        }
        if page.is_empty() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// An event with its envelope: decoded for people, and as the very bytes that were hashed.
fn line(event: &Stored) -> anyhow::Result<Value> {
    let it = event.envelope()?;
    let time = |at: &Option<prost_types::Timestamp>| {
        at.as_ref().and_then(Timestamp::from_proto).unwrap_or_default().to_string()
    };
    let actor = it.actor.clone().unwrap_or_default();
    Ok(json!({
        "position": event.position,
        "chain": hex(&event.chain),
        "id": it.id,
        "tenant": it.tenant,
        "source": it.source,
        "stream": it.stream,
        "version": it.version,
        "type": it.r#type,
        "schema": it.schema,
        "occurred_at": time(&it.occurred_at),
        "recorded_at": time(&it.recorded_at),
        "actor": {
            "subject": actor.subject,
            "kind": actor.kind().as_str_name(),
            "roles": actor.roles,
            "on_behalf_of": actor.on_behalf_of,
        },
        "method": it.method,
        "request_id": it.request_id,
        "unit_index": it.unit_index,
        "unit_size": it.unit_size,
        "correlation_id": it.correlation_id,
        "causation_id": it.causation_id,
        "traceparent": it.traceparent,
        "party_id": it.party_id,
        "subject_key_id": it.subject_key_id,
        "market": it.market,
        "purpose": it.purpose,
        "reason": it.reason,
        "envelope": STANDARD.encode(&event.envelope),
    }))
}
