//! How things of the API are written for people.

use eventstore::Timestamp;
use rapport_proto::types::{Clear, clear};

/// A protobuf enum value without the prefix of its enum, in lower case: `CHANNEL_EMAIL` → `email`.
pub(super) fn short(value: &str, prefix: &str) -> String {
    value.strip_prefix(prefix).unwrap_or(value).to_ascii_lowercase()
}

/// An instant, or nothing.
pub(super) fn time(at: Option<&prost_types::Timestamp>) -> String {
    let text = at.and_then(Timestamp::from_proto).map(|it| it.to_string()).unwrap_or_default();
    // Seconds are enough for people.
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// A clear value.
pub(super) fn clear(value: &Clear) -> String {
    match &value.value {
        Some(clear::Value::Number(it)) => it.to_string(),
        Some(clear::Value::Money(it)) => {
            format!("{}.{:02} {}", it.units, it.nanos.abs() / 10_000_000, it.currency_code)
        }
        Some(clear::Value::Code(it)) => it.clone(),
        Some(clear::Value::Time(it)) => time(Some(it)),
        Some(clear::Value::Flag(it)) => it.to_string(),
        None => String::new(),
    }
}

/// `name = value` for each, joined.
pub(super) fn pairs<'a>(values: impl IntoIterator<Item = (&'a String, &'a Clear)>) -> String {
    let pairs: Vec<_> =
        values.into_iter().map(|(name, value)| format!("{name} = {}", clear(value))).collect();
    pairs.join(", ")
}

/// Several, or `-`.
pub(super) fn list(values: &[String]) -> String {
    if values.is_empty() { "-".into() } else { values.join(", ") }
}

/// The message in protobuf JSON, pretty.
pub(super) fn json<M: prost::Message + prost::Name>(message: &M) -> anyhow::Result<()> {
    let value = value(message)?;
    crate::cli::print(&format!("{}\n", serde_json::to_string_pretty(&value)?));
    Ok(())
}

/// The message as a JSON value, to be put beside others.
pub(super) fn value<M: prost::Message + prost::Name>(
    message: &M,
) -> anyhow::Result<serde_json::Value> {
    Ok(authored::document::to_json(&M::full_name(), &message.encode_to_vec())?)
}
