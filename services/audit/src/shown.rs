//! An event as people and programs read it: the envelope as JSON, its payload decoded, what is sealed left sealed.

use authored::document::to_json;
use eventstore::{Error, Stored};
use rapport_proto::types::Envelope;
use serde_json::{Map, Value, json};

/// Name under which a sealed field's fact stands.
const SEALED: &str = "sealed";

/// The envelope with its payload, as JSON.
pub(crate) fn envelope(envelope: &Envelope) -> Result<Value, Error> {
    let bare = Envelope { payload: Vec::new(), ..envelope.clone() };
    let bytes = prost::Message::encode_to_vec(&bare);
    let mut shown = to_json("rapport.type.v1.Envelope", &bytes)
        .map_err(|error| Error::corrupt(format!("an envelope cannot be shown: {error}")))?;
    // A type of a later release is shown without its payload rather than not at all.
    let mut payload = to_json(&envelope.r#type, &envelope.payload).unwrap_or(Value::Null);
    conceal(&mut payload);
    if let Value::Object(fields) = &mut shown {
        fields.insert("payload".to_owned(), payload);
    }
    Ok(shown)
}

/// A line of an export: with the envelope's bytes, from which anybody recomputes the chain.
pub(crate) fn line(source: &str, event: &Stored, envelope_of: &Envelope) -> Result<String, Error> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.encode(&event.envelope);
    let line = json!({
        "source": source,
        "position": event.position,
        "chain": eventstore::hex(&event.chain),
        "envelope": envelope(envelope_of)?,
        "bytes": bytes,
    });
    Ok(format!("{line}\n"))
}

/// Ciphertext tells nobody anything; that there is some does.
fn conceal(value: &mut Value) {
    match value {
        Value::Object(fields) if is_sealed(fields) => *value = json!({ SEALED: true }),
        Value::Object(fields) => fields.values_mut().for_each(conceal),
        Value::Array(items) => items.iter_mut().for_each(conceal),
        _ => {}
    }
}

fn is_sealed(fields: &Map<String, Value>) -> bool {
    fields.contains_key("ciphertext") && fields.contains_key("nonce") && fields.contains_key("alg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_shown_as_sealed_wherever_it_stands() {
        let sealed = json!({"key_id": "key_1", "alg": "x", "nonce": "AA", "ciphertext": "AA"});
        let mut payload = json!({"a": sealed, "b": [{"c": sealed}], "d": {"nonce": "kept"}});
        conceal(&mut payload);
        let expected =
            json!({"a": {"sealed": true}, "b": [{"c": {"sealed": true}}], "d": {"nonce": "kept"}});
        assert_eq!(payload, expected);
    }
}
