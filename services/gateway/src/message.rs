//! A message of the tracking API: what SDKs send, checked item by item.

use std::time::Duration;

use eventstore::{Timestamp, digest, hex};
use serde_json::{Map, Value, json};

/// Bytes of one item.
pub(crate) const MOST_BYTES: usize = 32 << 10;
/// Bytes of what a batch says for all of its items.
const MOST_CONTEXT: usize = 8 << 10;
/// Characters of ids and names.
const MOST_CHARACTERS: usize = 128;
/// Objects and arrays within one another in an item. A message of `profiles` is read 100 levels deep, of which an
/// object takes three.
const MOST_DEEP: usize = 20;
/// The event by which a consent banner says what a customer prefers.
const PREFERENCE: &str = "Segment Consent Preference Updated";
/// Bytes of an unusable item that are kept.
const KEPT_BYTES: usize = 32 << 10;
/// Where it says so.
pub(crate) const PREFERENCES: &str = "context.consent.categoryPreferences";
/// What SDKs say about the sending, not about what happened: it may be another when they send the same again.
const OF_THE_SENDING: [&str; 2] = ["sentAt", "_metadata"];

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Identify,
    Track,
    Page,
    Screen,
    Group,
    Alias,
}

impl Kind {
    /// From the last part of a path or a message's `type`; a letter is how analytics.js writes it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "identify" | "i" => Self::Identify,
            "track" | "t" => Self::Track,
            "page" | "p" => Self::Page,
            "screen" | "s" => Self::Screen,
            "group" | "g" => Self::Group,
            "alias" | "a" => Self::Alias,
            _ => return None,
        })
    }
}

/// A message that can be taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) message_id: String,
    /// Of what the sender sent: the same when it is sent again.
    pub(crate) digest: Vec<u8>,
    /// Name of the interaction.
    pub(crate) name: String,
    pub(crate) at: Timestamp,
    /// When it happened by the sender's clock; absent: it did not say.
    pub(crate) stated_at: Option<Timestamp>,
    /// Empty: none.
    pub(crate) user_id: String,
    /// Empty: none.
    pub(crate) anonymous_id: String,
    /// Empty: none; for an alias only.
    pub(crate) previous_id: String,
    /// What identify says of the customer.
    pub(crate) traits: Map<String, Value>,
    /// What the interaction carries.
    pub(crate) properties: Map<String, Value>,
    /// Consent preferences by category, of `Segment Consent Preference Updated`.
    pub(crate) preferences: Map<String, Value>,
}

/// A message that cannot: kept and listed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unusable {
    pub(crate) message_id: String,
    /// Of what the sender sent: the same when it is sent again.
    pub(crate) digest: Vec<u8>,
    /// `schema`, `bad_time`, `too_large` or `unknown_type`.
    pub(crate) code: &'static str,
    /// Place in the item.
    pub(crate) field: &'static str,
    /// How to mend it.
    pub(crate) remedy: &'static str,
    /// The item as it came, cut to what may be kept.
    pub(crate) raw: String,
}

/// What a whole request says for each of its items.
#[derive(Clone, Debug, Default)]
pub(crate) struct Around {
    pub(crate) source_id: String,
    /// When the request came.
    pub(crate) received_at: Timestamp,
    /// When the sender's clock said that it sent it.
    pub(crate) sent_at: Option<Timestamp>,
    /// Members that every item's context has which does not state them itself.
    pub(crate) context: Value,
}

/// Reads an item; `kind` is the path's, absent for items of a batch.
pub(crate) fn read(item: &Value, kind: Option<Kind>, around: &Around) -> Result<Message, Unusable> {
    let (size, digest) = fingerprint(item);
    let text = |name: &str| match item.get(name) {
        Some(Value::String(text)) => text.trim().to_owned(),
        // Some SDKs let numbers through.
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let message_id = match text("messageId") {
        id if id.is_empty() => made(&around.source_id, &digest),
        id => id,
    };
    let bad = |code, field, remedy| {
        let mut raw = item.to_string();
        let end = (0..=KEPT_BYTES.min(raw.len())).rev().find(|at| raw.is_char_boundary(*at));
        raw.truncate(end.unwrap_or_default());
        // An id that cannot be kept is replaced by one that can.
        let message_id = match is_message_id(&message_id) {
            true => message_id.clone(),
            false => made(&around.source_id, &digest),
        };
        Err(Unusable { message_id, digest: digest.clone(), code, field, remedy, raw })
    };
    if !item.is_object() {
        return bad("schema", "", "Each item is a JSON object.");
    }
    if size > MOST_BYTES {
        return bad("too_large", "", "Keep each item below 32 KB.");
    }
    if !is_message_id(&message_id) {
        return bad("schema", "messageId", "Use 1 to 128 printable ASCII characters.");
    }
    let Some(kind) = kind.or_else(|| Kind::parse(&text("type"))) else {
        return bad("unknown_type", "type", "Use identify, track, page, screen, group or alias.");
    };
    let Ok((at, stated_at)) = time(item, around) else {
        return bad("bad_time", "timestamp", "Write RFC 3339, for example 2026-01-31T09:30:00Z.");
    };
    let object = |name: &str| match item.get(name) {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(map)) => Ok(map.clone()),
        Some(_) => Err(()),
    };
    let Ok(mut context) = object("context") else {
        return bad("schema", "context", "Give an object.");
    };
    for (name, value) in around.context.as_object().into_iter().flatten() {
        context.entry(name).or_insert_with(|| value.clone());
    }
    let Ok(mut properties) = object("properties") else {
        return bad("schema", "properties", "Give an object.");
    };
    let Ok(traits) = object("traits") else {
        return bad("schema", "traits", "Give an object.");
    };
    for (field, map) in [("context", &context), ("properties", &properties), ("traits", &traits)] {
        if map.values().any(|it| is_deep(it, MOST_DEEP)) {
            return bad("schema", field, "Put at most 20 objects and arrays into one another.");
        }
    }
    let (user_id, anonymous_id) = (text("userId"), text("anonymousId"));
    let (previous_id, group_id) = (text("previousId"), text("groupId"));
    for (field, id) in
        [("userId", &user_id), ("anonymousId", &anonymous_id), ("previousId", &previous_id)]
    {
        if id.chars().count() > MOST_CHARACTERS {
            return bad("schema", field, "Use at most 128 characters.");
        }
    }
    if user_id.is_empty() && anonymous_id.is_empty() {
        return bad("schema", "userId", "Give userId or anonymousId.");
    }
    let name = match kind {
        Kind::Track => text("event"),
        Kind::Identify => "Identify".to_owned(),
        Kind::Page => "Page Viewed".to_owned(),
        Kind::Screen => "Screen Viewed".to_owned(),
        Kind::Group => "Group".to_owned(),
        Kind::Alias => "Alias".to_owned(),
    };
    match kind {
        Kind::Track if name.is_empty() || name.chars().count() > MOST_CHARACTERS => {
            return bad("schema", "event", "Name the event in 1 to 128 characters.");
        }
        Kind::Alias if previous_id.is_empty() || user_id.is_empty() => {
            return bad("schema", "previousId", "An alias needs previousId and userId.");
        }
        Kind::Group if group_id.is_empty() => {
            return bad("schema", "groupId", "A group needs groupId.");
        }
        _ => {}
    }
    if matches!(kind, Kind::Page | Kind::Screen) && !text("name").is_empty() {
        properties.entry("name").or_insert_with(|| json!(text("name")));
    }
    if kind == Kind::Group {
        properties.insert("groupId".to_owned(), json!(group_id));
    }
    if matches!(kind, Kind::Identify | Kind::Group) {
        properties.extend(traits.clone());
    }
    let mut preferences = Map::new();
    if kind == Kind::Track && name == PREFERENCE {
        let stated = context.get("consent").and_then(|it| it.get("categoryPreferences"));
        let Some(stated) = stated.and_then(Value::as_object) else {
            return bad("schema", PREFERENCES, "Give an object of categories and true or false.");
        };
        preferences.clone_from(stated);
    }
    // Sealed with what the schema does not declare. A property of the same name counts more, and what else stands in a
    // message (integrations, options of the SDK) is not kept.
    for (name, value) in [("context", Value::Object(context)), ("anonymousId", json!(anonymous_id))]
    {
        if !matches!(&value, Value::Object(map) if map.is_empty()) && value != "" {
            properties.entry(name).or_insert(value);
        }
    }
    Ok(Message {
        kind,
        message_id,
        digest,
        name,
        at,
        stated_at,
        user_id,
        anonymous_id,
        previous_id,
        traits,
        properties,
        preferences,
    })
}

/// Whether more objects and arrays are within one another than may be.
pub(crate) fn is_deep(value: &Value, most: usize) -> bool {
    let Some(most) = most.checked_sub(1) else {
        return value.is_object() || value.is_array();
    };
    match value {
        Value::Array(items) => items.iter().any(|it| is_deep(it, most)),
        Value::Object(map) => map.values().any(|it| is_deep(it, most)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Members for the items of a batch, if they can be that.
pub(crate) fn context(stated: Option<&Value>) -> Result<Value, &'static str> {
    match stated {
        None | Some(Value::Null) => Ok(Value::Null),
        Some(context) if !context.is_object() => Err("Give an object."),
        // It is added to every item of the batch.
        Some(context) if context.to_string().len() > MOST_CONTEXT => {
            Err("Keep the context of a batch below 8 KB; what is of one item stands in the item.")
        }
        Some(context) if is_deep(context, MOST_DEEP + 1) => {
            Err("Put at most 20 objects and arrays into one another.")
        }
        Some(context) => Ok(context.clone()),
    }
}

/// Size and digest of what the sender wants to say.
fn fingerprint(item: &Value) -> (usize, Vec<u8>) {
    let mut text = String::new();
    match item {
        Value::Object(map) => {
            for (name, value) in map.iter().filter(|it| !OF_THE_SENDING.contains(&it.0.as_str())) {
                text += &format!("{name:?}:{value},");
            }
        }
        other => text = other.to_string(),
    }
    (text.len(), digest(text.as_bytes()).to_vec())
}

/// The id of a message that has none: the same content has the same one, so that sending it again changes nothing.
fn made(source_id: &str, digest: &[u8]) -> String {
    let hash = eventstore::digest(&[source_id.as_bytes(), digest].concat());
    format!("made-{}", &hex(&hash)[..32])
}

fn is_message_id(text: &str) -> bool {
    (1..=MOST_CHARACTERS).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
}

/// When it happened: what the sender's clock said, put right by how far that clock is off when it says when it sent;
/// and what it said.
fn time(item: &Value, around: &Around) -> Result<(Timestamp, Option<Timestamp>), ()> {
    let stated = ["timestamp", "originalTimestamp"].into_iter().find_map(|name| item.get(name));
    let stated = match stated.filter(|it| !it.is_null()) {
        None => return Ok((around.received_at, None)),
        Some(stated) => parse_time(stated).ok_or(())?,
    };
    let sent_at = item.get("sentAt").filter(|it| !it.is_null());
    let sent_at = match sent_at {
        None => around.sent_at,
        Some(sent_at) => Some(parse_time(sent_at).ok_or(())?),
    };
    let Some(sent_at) = sent_at else { return Ok((stated, Some(stated))) };
    let before = u64::try_from(sent_at.0.saturating_sub(stated.0)).unwrap_or_default();
    Ok((around.received_at.minus(Duration::from_micros(before)), Some(stated)))
}

pub(crate) fn parse_time(value: &Value) -> Option<Timestamp> {
    let parsed: prost_types::Timestamp = value.as_str()?.parse().ok()?;
    Timestamp::from_proto(&parsed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECEIVED: Timestamp = Timestamp(1_767_225_600_000_000);

    fn around() -> Around {
        Around { source_id: "shop".into(), received_at: RECEIVED, ..Around::default() }
    }

    fn track() -> Value {
        json!({
            "type": "track", "messageId": "m-1", "userId": "u-1", "anonymousId": null,
            "event": "Order Completed", "timestamp": "2025-12-31T23:59:00Z",
            "properties": {"revenue": 3}, "context": {"ip": "::1"}, "integrations": {}, "_metadata": {},
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut item = track();
        item[field] = value;
        item
    }

    #[test]
    fn what_an_sdk_sends_is_taken_and_nothing_of_it_is_lost() {
        let message = read(&track(), None, &around()).expect("taken");
        assert_eq!((message.name.as_str(), message.user_id.as_str()), ("Order Completed", "u-1"));
        assert_eq!(message.at.to_string(), "2025-12-31T23:59:00.000000Z");
        assert_eq!(
            Value::Object(message.properties),
            json!({"revenue": 3, "context": {"ip": "::1"}})
        );
    }

    #[test]
    fn a_clock_that_is_off_is_put_right() {
        // The sender's clock is a day ahead; it happened five seconds before it was sent.
        let sent_at = parse_time(&json!("2026-01-02T00:00:05Z"));
        let around = Around { sent_at, ..around() };
        let item = with("timestamp", json!("2026-01-02T00:00:00Z"));
        let message = read(&item, None, &around).expect("taken");
        assert_eq!(message.at, RECEIVED.minus(Duration::from_secs(5)));
        let without = with("timestamp", Value::Null);
        assert_eq!(read(&without, None, &around).expect("taken").at, RECEIVED);
    }

    #[test]
    fn an_item_is_as_deep_as_profiles_can_read() {
        let nested = |levels: usize, array: bool| {
            (1..levels).fold(json!({}), |inner, _| match array {
                true => json!([inner]),
                false => json!({"x": inner}),
            })
        };
        for field in ["properties", "traits", "context"] {
            for array in [false, true] {
                let item = |levels: usize| with(field, json!({"x": nested(levels, array)}));
                assert!(read(&item(MOST_DEEP), None, &around()).is_ok(), "{field}");
                let unusable = read(&item(MOST_DEEP + 1), None, &around()).expect_err("too deep");
                assert_eq!((unusable.code, unusable.field), ("schema", field));
            }
        }
        assert!(context(Some(&json!({"x": nested(MOST_DEEP, false)}))).is_ok());
        assert!(context(Some(&json!({"x": nested(MOST_DEEP + 1, false)}))).is_err());
    }

    #[test]
    fn a_preference_is_readable_and_says_when_it_was_stated() {
        let preference = |context: Value| {
            let item = with("event", json!(PREFERENCE));
            let Value::Object(mut item) = item else { panic!("an object") };
            item.insert("context".into(), context);
            read(&Value::Object(item), None, &around())
        };
        let stated = json!({"consent": {"categoryPreferences": {"Advertising": false}}});
        let message = preference(stated).expect("taken");
        assert_eq!(message.preferences.len(), 1);
        assert_eq!(message.stated_at.expect("stated").to_string(), "2025-12-31T23:59:00.000000Z");
        for none in [json!({}), json!({"consent": {"categoryPreferences": ["Advertising"]}})] {
            let unusable = preference(none).expect_err("nothing is withdrawn by it");
            assert_eq!((unusable.code, unusable.field), ("schema", PREFERENCES));
        }
    }

    #[test]
    fn the_same_bytes_without_an_id_have_the_same_id() {
        let item = with("messageId", Value::Null);
        let id = |item: &Value| read(item, None, &around()).expect("taken").message_id;
        assert_eq!(id(&item), id(&item));
        let mut other = item.clone();
        other["userId"] = json!("u-2");
        assert_ne!(id(&item), id(&other));
    }

    #[test]
    fn the_batch_says_what_its_items_leave_open() {
        let around = Around { context: json!({"ip": "::2", "locale": "de-DE"}), ..around() };
        let message = read(&track(), None, &around).expect("taken");
        assert_eq!(message.properties["context"], json!({"ip": "::1", "locale": "de-DE"}));
    }

    #[test]
    fn what_is_sent_again_is_known_again() {
        let read = |item: &Value| read(item, None, &around()).expect("taken");
        let first = with("sentAt", json!("2026-01-01T00:00:00Z"));
        let mut again = with("sentAt", json!("2026-01-01T00:00:09Z"));
        again["_metadata"] = json!({"retryCount": 1});
        assert_eq!(read(&first).digest, read(&again).digest);
        assert_ne!(read(&first).at, read(&again).at, "the clock is put right by when it was sent");
        assert_ne!(read(&first).digest, read(&with("event", json!("Order Cancelled"))).digest);
    }

    #[test]
    fn what_cannot_be_taken_names_the_field() {
        let long = "x".repeat(MOST_CHARACTERS + 1);
        let cases = [
            (json!("text"), "schema", ""),
            (with("event", json!("")), "schema", "event"),
            (with("event", json!(long)), "schema", "event"),
            (with("messageId", json!("\u{1F600}")), "schema", "messageId"),
            (with("messageId", json!(long)), "schema", "messageId"),
            (with("userId", Value::Null), "schema", "userId"),
            (with("userId", json!(long)), "schema", "userId"),
            (with("type", json!("delete")), "unknown_type", "type"),
            (with("type", json!("alias")), "schema", "previousId"),
            (with("type", json!("group")), "schema", "groupId"),
            (with("timestamp", json!("yesterday")), "bad_time", "timestamp"),
            (with("sentAt", json!(5)), "bad_time", "timestamp"),
            (with("properties", json!([])), "schema", "properties"),
            (with("context", json!("x")), "schema", "context"),
            (with("traits", json!(1)), "schema", "traits"),
            (with("properties", json!({"x": "y".repeat(MOST_BYTES)})), "too_large", ""),
        ];
        for (item, code, field) in cases {
            let unusable = read(&item, None, &around()).expect_err("unusable");
            assert_eq!((unusable.code, unusable.field), (code, field), "{unusable:?}");
            assert!(is_message_id(&unusable.message_id));
            assert!(unusable.raw.len() <= KEPT_BYTES);
        }
    }

    proptest! {
        #[test]
        fn no_item_panics(text in "\\PC{0,64}", id in "\\PC{0,200}") {
            let item = json!({"type": "track", "event": text, "messageId": id, "userId": text, "timestamp": text});
            let _ = read(&item, None, &around());
        }
    }
}
