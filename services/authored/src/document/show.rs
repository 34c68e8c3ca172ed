//! From a message to a tree: short enum names, the order of the proto, defaults left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind as Type, MapKey, ReflectMessage, Value,
};

use super::build::without_details;
use super::tree::{Entry, Kind, Node};

/// The tree of a message.
pub(super) fn message(message: &DynamicMessage) -> Node {
    let kind = match message.descriptor().full_name() {
        "google.protobuf.Timestamp" => timestamp(message),
        "google.protobuf.FieldMask" => mask(message),
        "google.protobuf.Struct" => structure(message),
        _ => None,
    };
    Node::made(kind.unwrap_or_else(|| fields(message)))
}

/// The name of an enum's value without the enum's prefix.
pub fn short<'n>(descriptor: &EnumDescriptor, name: &'n str) -> &'n str {
    // The zero value is always called `<PREFIX>_UNSPECIFIED` here.
    let zero = descriptor.default_value();
    let prefix = zero.name().strip_suffix("UNSPECIFIED").unwrap_or_default();
    name.strip_prefix(prefix).filter(|it| !it.is_empty()).unwrap_or(name)
}

fn fields(message: &DynamicMessage) -> Kind {
    // As the proto declares them, which is how people read them.
    let order = message.descriptor();
    let order = order.descriptor_proto().field.iter().filter_map(|it| it.number);
    let entries = order.filter_map(|number| {
        let field = message.descriptor().get_field(u32::try_from(number).ok()?)?;
        let value = message.has_field(&field).then(|| message.get_field(&field))?;
        Some(entry(field.name(), whole(&field, &value)))
    });
    Kind::Map(entries.collect())
}

/// The name of a choice that has no details, when that is all there is.
fn bare(message: &DynamicMessage) -> Option<String> {
    let mut fields = message.fields();
    let (field, Value::Message(inner)) = fields.next()? else {
        return None;
    };
    let alone = fields.next().is_none() && inner.fields().next().is_none();
    (alone && without_details(&field)).then(|| field.name().to_owned())
}

fn whole(field: &FieldDescriptor, held: &Value) -> Node {
    match held {
        Value::List(items) => {
            let items = items.iter().map(|it| value(&field.kind(), it));
            Node::made(Kind::List(items.collect()))
        }
        Value::Map(pairs) => {
            let Type::Message(pair) = field.kind() else {
                return Node::made(Kind::Null);
            };
            let kind = pair.map_entry_value_field().kind();
            let mut pairs: Vec<_> = pairs.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            let entries =
                pairs.into_iter().map(|(key, held)| entry(&key_text(key), value(&kind, held)));
            Node::made(Kind::Map(entries.collect()))
        }
        one => value(&field.kind(), one),
    }
}

fn value(kind: &Type, value: &Value) -> Node {
    Node::made(match value {
        Value::Message(inner) => match bare(inner) {
            Some(name) => Kind::Text(name),
            None => return message(inner),
        },
        Value::EnumNumber(number) => match kind {
            Type::Enum(descriptor) => match descriptor.get_value(*number) {
                Some(found) => Kind::Text(short(descriptor, found.name()).to_owned()),
                None => Kind::Number(number.to_string()),
            },
            _ => Kind::Number(number.to_string()),
        },
        Value::Bool(flag) => Kind::Flag(*flag),
        Value::String(text) => Kind::Text(text.clone()),
        Value::Bytes(bytes) => Kind::Text(STANDARD.encode(bytes)),
        Value::I32(number) => Kind::Number(number.to_string()),
        Value::I64(number) => Kind::Number(number.to_string()),
        Value::U32(number) => Kind::Number(number.to_string()),
        Value::U64(number) => Kind::Number(number.to_string()),
        // The shortest text that reads as the same number.
        Value::F32(number) => Kind::Number(format!("{number:?}")),
        Value::F64(number) => Kind::Number(format!("{number:?}")),
        Value::List(_) | Value::Map(_) => Kind::Null,
    })
}

fn entry(key: &str, value: Node) -> Entry {
    Entry { place: value.place, key: key.to_owned(), value }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(it) => it.to_string(),
        MapKey::I32(it) => it.to_string(),
        MapKey::I64(it) => it.to_string(),
        MapKey::U32(it) => it.to_string(),
        MapKey::U64(it) => it.to_string(),
        MapKey::String(it) => it.clone(),
    }
}

fn timestamp(message: &DynamicMessage) -> Option<Kind> {
    let seconds = message.get_field_by_name("seconds")?.as_i64()?;
    let nanos = message.get_field_by_name("nanos")?.as_i32()?;
    // A malformed one is shown as it is.
    jiff::Timestamp::new(seconds, nanos).ok().map(|it| Kind::Text(it.to_string()))
}

fn mask(message: &DynamicMessage) -> Option<Kind> {
    let paths = message.get_field_by_name("paths")?;
    let paths: Vec<_> = paths.as_list()?.iter().filter_map(Value::as_str).collect();
    Some(Kind::Text(paths.join(",")))
}

fn structure(message: &DynamicMessage) -> Option<Kind> {
    let fields = message.get_field_by_name("fields")?;
    let mut pairs: Vec<_> = fields.as_map()?.iter().collect();
    pairs.sort_by_key(|(key, _)| *key);
    let entries = pairs
        .into_iter()
        .filter_map(|(key, value)| Some(entry(&key_text(key), anything(value.as_message()?)?)));
    Some(Kind::Map(entries.collect()))
}

fn anything(held: &DynamicMessage) -> Option<Node> {
    let (field, held) = held.fields().next()?;
    Some(match (field.name(), held) {
        ("null_value", _) => Node::made(Kind::Null),
        ("struct_value", Value::Message(inner)) => message(inner),
        ("list_value", Value::Message(inner)) => {
            let items = inner.get_field_by_name("values")?;
            let items = items.as_list()?.iter().filter_map(|it| anything(it.as_message()?));
            Node::made(Kind::List(items.collect()))
        }
        (_, plain) => value(&field.kind(), plain),
    })
}
