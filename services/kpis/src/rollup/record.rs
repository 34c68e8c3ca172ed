//! An event as rules read it: any message by its descriptor, without what is sealed.
//!
//! Enums are their short names, times are times, money is a number of units beside its `currency_code`, clear values
//! are what they hold. A text, number or flag that was never set is its default, as protobuf has it; a message that is
//! absent is unknown, and so are all of its fields. Bytes, sealed fields and lists of messages are not there.

use std::sync::OnceLock;

use authored::document::short;
use authored::rule::{Catalogue, Facts, Name, Type, Value};
use eventstore::{Recorded, Timestamp};
use prost::Message as _;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _,
    Value as Held,
};
use rapport_proto::types::Clear;

/// Messages within messages that can be named.
const DEEPEST: usize = 5;

const TIMESTAMP: &str = "google.protobuf.Timestamp";
const MONEY: &str = "rapport.type.v1.Money";
const CLEAR: &str = "rapport.type.v1.Clear";
const SEALED: &str = "rapport.type.v1.Sealed";

/// The names that rules about an event may use; with `each`, `item` is one of the elements of that field.
pub(crate) fn catalogue(event: &MessageDescriptor, each: Option<&FieldDescriptor>) -> Catalogue {
    let mut fields = Vec::new();
    list(event, "", DEEPEST, &mut fields);
    let mut names = Catalogue::new()
        .record("event", fields)
        .value("id", Type::Text)
        .value("party_id", Type::Text)
        .value("market", Type::Text)
        .value("occurred_at", Type::Time)
        .value("recorded_at", Type::Time);
    match each.map(FieldDescriptor::kind) {
        Some(Kind::Message(item)) if plain(&item).is_none() => {
            let mut fields = Vec::new();
            list(&item, "", DEEPEST, &mut fields);
            names = names.record("item", fields);
        }
        Some(kind) => names = names.value("item", scalar(&kind).unwrap_or(Type::Any)),
        None => {}
    }
    names
}

/// Names and types of the fields of a message.
fn list(message: &MessageDescriptor, before: &str, depth: usize, to: &mut Vec<(String, Type)>) {
    for field in message.fields() {
        let name = format!("{before}{}", field.name());
        let kind = field.kind();
        if field.is_map() {
            let Kind::Message(pair) = &kind else { continue };
            if let Some(type_) = scalar(&pair.map_entry_value_field().kind()) {
                to.push((format!("{name}.*"), type_));
            }
        } else if field.is_list() {
            if let Some(type_) = scalar(&kind) {
                to.push((name, Type::list(type_)));
            }
        } else if let Some(type_) = scalar(&kind) {
            if matches!(&kind, Kind::Message(it) if it.full_name() == MONEY) {
                to.push((format!("{name}.currency_code"), Type::Text));
            }
            to.push((name, type_));
        } else if let Kind::Message(inner) = &kind
            && inner.full_name() != SEALED
            && depth > 0
        {
            list(inner, &format!("{name}."), depth - 1, to);
        }
    }
}

/// The type of a field that rules see as one value.
fn scalar(kind: &Kind) -> Option<Type> {
    match kind {
        Kind::Bool => Some(Type::Bool),
        Kind::String | Kind::Enum(_) => Some(Type::Text),
        Kind::Bytes => None,
        Kind::Message(message) => plain(message),
        _ => Some(Type::Number),
    }
}

/// The type of a message that rules see as one value.
fn plain(message: &MessageDescriptor) -> Option<Type> {
    match message.full_name() {
        TIMESTAMP => Some(Type::Time),
        MONEY => Some(Type::Number),
        CLEAR => Some(Type::Any),
        _ => None,
    }
}

/// What of an envelope is measured.
#[derive(Clone, Debug)]
pub(crate) struct Event<'a> {
    pub(crate) source: &'a str,
    pub(crate) type_name: &'a str,
    pub(crate) position: u64,
    pub(crate) event_id: &'a str,
    /// What it is a fact about: the id of its stream.
    pub(crate) id: &'a str,
    pub(crate) party_id: &'a str,
    pub(crate) market: &'a str,
    pub(crate) occurred_at: Timestamp,
    pub(crate) recorded_at: Timestamp,
    pub(crate) payload: &'a [u8],
    /// Decoded when the first series asks, and held for the others.
    pub(crate) decoded: OnceLock<Option<DynamicMessage>>,
}

impl<'a> From<&'a Recorded> for Event<'a> {
    fn from(recorded: &'a Recorded) -> Self {
        let envelope = &recorded.envelope;
        Self {
            source: &envelope.source,
            type_name: &envelope.r#type,
            position: recorded.position,
            event_id: &envelope.id,
            id: recorded.id(),
            party_id: &envelope.party_id,
            market: &envelope.market,
            occurred_at: recorded.occurred_at(),
            recorded_at: recorded.recorded_at(),
            payload: &envelope.payload,
            decoded: OnceLock::new(),
        }
    }
}

impl Event<'_> {
    /// The payload; `None` when it is no such message.
    pub(crate) fn message(&self, descriptor: &MessageDescriptor) -> Option<&DynamicMessage> {
        let decode = || DynamicMessage::decode(descriptor.clone(), self.payload).ok();
        self.decoded.get_or_init(decode).as_ref()
    }
}

/// One event, or one element of it.
pub(crate) struct Record<'a> {
    pub(crate) event: &'a Event<'a>,
    pub(crate) message: &'a DynamicMessage,
    pub(crate) item: Option<(&'a Kind, &'a Held)>,
}

impl Facts for Record<'_> {
    fn get(&self, name: &Name) -> Option<Value> {
        let text = |it: &str| (!it.is_empty()).then(|| Value::from(it));
        match name.root() {
            "event" => within(self.message, name.key()),
            "item" => match (self.item?, name.key()) {
                ((kind, held), "") => value(kind, held),
                ((_, Held::Message(message)), key) => within(message, key),
                _ => None,
            },
            "id" => text(self.event.id),
            "party_id" => text(self.event.party_id),
            "market" => text(self.event.market),
            "occurred_at" => Some(Value::Time(self.event.occurred_at)),
            "recorded_at" => Some(Value::Time(self.event.recorded_at)),
            _ => None,
        }
    }
}

/// The currency of the amount that a name stands for; `None` when it is no amount of money.
pub(crate) fn currency(record: &Record<'_>, name: &Name) -> Option<String> {
    match (name.root(), record.item) {
        ("event", _) => currency_in(record.message, name.key()),
        ("item", Some((_, Held::Message(message)))) => currency_in(message, name.key()),
        _ => None,
    }
}

fn currency_in(message: &DynamicMessage, key: &str) -> Option<String> {
    let (_, held, rest) = step(message, key)?;
    match (&*held, rest) {
        (Held::Message(message), "") => code_of(message),
        (Held::Message(message), rest) => currency_in(message, rest),
        (Held::Map(pairs), rest) => {
            pairs.get(&MapKey::String(rest.to_owned()))?.as_message().and_then(code_of)
        }
        _ => None,
    }
}

/// The currency of a message that is money, or a clear value that holds money.
fn code_of(message: &DynamicMessage) -> Option<String> {
    match message.descriptor().full_name() {
        MONEY => message.get_field_by_name("currency_code")?.as_str().map(str::to_owned),
        CLEAR => match message.get_field_by_name("money")?.as_message() {
            Some(money) => code_of(money).filter(|it| !it.is_empty()),
            None => None,
        },
        _ => None,
    }
}

/// The first field of a path, what it holds, and the rest of the path. What is absent and has presence is not there.
fn step<'m, 'k>(
    message: &'m DynamicMessage,
    key: &'k str,
) -> Option<(FieldDescriptor, std::borrow::Cow<'m, Held>, &'k str)> {
    let (name, rest) = key.split_once('.').unwrap_or((key, ""));
    let field = message.descriptor().get_field_by_name(name)?;
    if field.supports_presence() && !message.has_field(&field) {
        return None;
    }
    let held = message.get_field(&field);
    Some((field, held, rest))
}

fn within(message: &DynamicMessage, key: &str) -> Option<Value> {
    let (field, held, rest) = step(message, key)?;
    let kind = field.kind();
    match &*held {
        Held::Map(pairs) => {
            let Kind::Message(pair) = &kind else { return None };
            let held = pairs.get(&MapKey::String(rest.to_owned()))?;
            value(&pair.map_entry_value_field().kind(), held)
        }
        Held::List(items) => {
            items.iter().map(|it| value(&kind, it)).collect::<Option<_>>().map(Value::List)
        }
        Held::Message(inner) if !rest.is_empty() => match inner.descriptor().full_name() {
            MONEY if rest == "currency_code" => code_of(inner).map(Value::from),
            MONEY | CLEAR | TIMESTAMP | SEALED => None,
            _ => within(inner, rest),
        },
        one => value(&kind, one),
    }
}

/// A field that rules see as one value.
#[expect(clippy::cast_precision_loss, reason = "all numbers of a rule are f64")]
fn value(kind: &Kind, held: &Held) -> Option<Value> {
    Some(match held {
        Held::Bool(it) => Value::Bool(*it),
        Held::I32(it) => Value::Number(f64::from(*it)),
        Held::U32(it) => Value::Number(f64::from(*it)),
        Held::I64(it) => Value::Number(*it as f64),
        Held::U64(it) => Value::Number(*it as f64),
        Held::F32(it) => Value::Number(f64::from(*it)),
        Held::F64(it) => Value::Number(*it),
        Held::String(it) => Value::from(it.as_str()),
        Held::EnumNumber(number) => {
            let Kind::Enum(descriptor) = kind else { return None };
            let found = descriptor.get_value(*number)?;
            Value::from(short(descriptor, found.name()))
        }
        Held::Message(message) => return known(message),
        Held::Bytes(_) | Held::List(_) | Held::Map(_) => return None,
    })
}

/// A message that rules see as one value.
#[expect(clippy::cast_precision_loss, reason = "all numbers of a rule are f64")]
fn known(message: &DynamicMessage) -> Option<Value> {
    match message.descriptor().full_name() {
        TIMESTAMP => {
            let seconds = message.get_field_by_name("seconds")?.as_i64()?;
            let nanos = message.get_field_by_name("nanos")?.as_i32()?;
            Timestamp::from_proto(&prost_types::Timestamp { seconds, nanos }).map(Value::Time)
        }
        MONEY => {
            let units = message.get_field_by_name("units")?.as_i64()?;
            let nanos = message.get_field_by_name("nanos")?.as_i32()?;
            Some(Value::Number(units as f64 + f64::from(nanos) / 1e9))
        }
        CLEAR => {
            Clear::decode(&*message.encode_to_vec()).ok().and_then(|it| Value::from_clear(&it))
        }
        _ => None,
    }
}
