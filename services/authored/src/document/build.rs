//! From a tree to a message: every value is checked against its field, and all problems are collected.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind as Type, MapKey, MessageDescriptor, Value,
};

use super::problem::{Problem, quoted, suggestion};
use super::show::short;
use super::tree::{Entry, Kind, Node, Place};

/// Problems reported at once.
const MOST: usize = 50;

/// Builds a message of this type.
pub(super) fn message(
    descriptor: &MessageDescriptor,
    root: &Node,
) -> Result<DynamicMessage, Vec<Problem>> {
    let mut builder = Builder { path: Vec::new(), problems: Vec::new() };
    let built = match &root.kind {
        Kind::Map(entries) => Some(builder.fields(descriptor, entries)),
        kind => builder
            .refuse(root.place, format!("A map of fields belongs here, not {}.", kind.name())),
    };
    match built {
        Some(message) if builder.problems.is_empty() => Ok(message),
        _ => Err(builder.problems),
    }
}

struct Builder {
    path: Vec<String>,
    problems: Vec<Problem>,
}

impl Builder {
    /// Notes a problem where the builder is.
    fn refuse<T>(&mut self, place: Place, text: impl Into<String>) -> Option<T> {
        if self.problems.len() < MOST {
            let path = self.path.join(".").replace(".[", "[");
            let Place { line, column } = place;
            self.problems.push(Problem { line, column, path, text: text.into() });
        }
        None
    }

    fn inside<T>(&mut self, step: String, work: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let result = work(self);
        self.path.pop();
        result
    }

    fn fields(&mut self, descriptor: &MessageDescriptor, entries: &[Entry]) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        let mut chosen: BTreeMap<String, String> = BTreeMap::new();
        for entry in entries {
            let Some(field) = descriptor.get_field_by_name(&entry.key) else {
                let fields: Vec<_> = descriptor.fields().collect();
                let remedy = suggestion(&entry.key, fields.iter().map(FieldDescriptor::name));
                let text = format!("There is no field {}. {remedy}", quoted(&entry.key));
                self.refuse::<()>(entry.place, text);
                continue;
            };
            let oneof = field.containing_oneof().filter(|it| !it.is_synthetic());
            let other =
                oneof.and_then(|it| chosen.insert(it.name().to_owned(), field.name().to_owned()));
            if let Some(other) = other {
                let text = format!("Give either `{other}` or `{}`, not both.", field.name());
                self.refuse::<()>(entry.place, text);
                continue;
            }
            let value = self.inside(entry.key.clone(), |it| it.field(&field, &entry.value));
            if let Some(value) = value {
                message.set_field(&field, value);
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, node: &Node) -> Option<Value> {
        if field.is_map() {
            let Kind::Map(entries) = &node.kind else {
                return self.expected("a map", node);
            };
            return Some(Value::Map(self.map(field, entries)));
        }
        if !field.is_list() {
            return self.value(&field.kind(), node);
        }
        let Kind::List(items) = &node.kind else {
            return self.expected("a list", node);
        };
        let values: Vec<_> = items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| {
                self.inside(format!("[{index}]"), |it| it.value(&field.kind(), item))
            })
            .collect();
        Some(Value::List(values))
    }

    fn map(&mut self, field: &FieldDescriptor, entries: &[Entry]) -> HashMap<MapKey, Value> {
        let Type::Message(pair) = field.kind() else {
            return HashMap::new();
        };
        let (keys, values) =
            (pair.map_entry_key_field().kind(), pair.map_entry_value_field().kind());
        let mut map = HashMap::new();
        for entry in entries {
            self.inside(entry.key.clone(), |it| {
                let key = it.map_key(&keys, entry);
                let value = it.value(&values, &entry.value);
                map.extend(key.zip(value));
            });
        }
        map
    }

    /// JSON has only texts as keys.
    fn map_key(&mut self, kind: &Type, entry: &Entry) -> Option<MapKey> {
        if let Type::String = kind {
            return Some(MapKey::String(entry.key.clone()));
        }
        let kind_of_key = super::tree::plain(&entry.key);
        self.value(kind, &Node { place: entry.place, kind: kind_of_key })?.into_map_key()
    }

    fn value(&mut self, kind: &Type, node: &Node) -> Option<Value> {
        match kind {
            Type::Message(descriptor) => self.message(descriptor, node).map(Value::Message),
            Type::Enum(descriptor) => self.choice(descriptor, node).map(Value::EnumNumber),
            Type::Bool => match node.kind {
                Kind::Flag(flag) => Some(Value::Bool(flag)),
                _ => self.expected("true or false", node),
            },
            Type::String => match &node.kind {
                Kind::Text(text) => Some(Value::String(text.clone())),
                Kind::Flag(_) | Kind::Number(_) => {
                    let text =
                        format!("A text belongs here, not {}. Put it in quotes.", node.kind.name());
                    self.refuse(node.place, text)
                }
                _ => self.expected("a text", node),
            },
            Type::Bytes => {
                let text = self.text("a text in base64", node)?;
                match base64(text) {
                    Some(bytes) => Some(Value::Bytes(bytes.into())),
                    None => self.refuse(node.place, "This is not base64."),
                }
            }
            Type::Int32 | Type::Sint32 | Type::Sfixed32 => self.whole(node).map(Value::I32),
            Type::Int64 | Type::Sint64 | Type::Sfixed64 => self.whole(node).map(Value::I64),
            Type::Uint32 | Type::Fixed32 => self.whole(node).map(Value::U32),
            Type::Uint64 | Type::Fixed64 => self.whole(node).map(Value::U64),
            Type::Double => self.number(node).map(Value::F64),
            Type::Float => {
                #[expect(clippy::cast_possible_truncation, reason = "the field keeps no more")]
                let number = self.number(node)? as f32;
                match number.is_finite() {
                    true => Some(Value::F32(number)),
                    false => self.refuse(node.place, "The number is too large for this field."),
                }
            }
        }
    }

    /// A whole number that fits; 64-bit ones may be texts, as the JSON mapping writes them.
    fn whole<T: std::str::FromStr>(&mut self, node: &Node) -> Option<T> {
        let (Kind::Number(text) | Kind::Text(text)) = &node.kind else {
            return self.expected("a whole number", node);
        };
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return self.expected("a whole number", node);
        }
        match text.parse() {
            Ok(number) => Some(number),
            Err(_) => self.refuse(node.place, "The number is out of the field's range."),
        }
    }

    fn number(&mut self, node: &Node) -> Option<f64> {
        let Kind::Number(text) = &node.kind else {
            return self.expected("a number", node);
        };
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Some(number),
            _ => self.refuse(node.place, "The number is too large."),
        }
    }

    fn choice(&mut self, descriptor: &EnumDescriptor, node: &Node) -> Option<i32> {
        let text = self.text("a name", node)?;
        let found = descriptor
            .values()
            .find(|it| it.name() == text || short(descriptor, it.name()) == text)
            // The zero value means that none was given.
            .filter(|it| it.number() != 0 || !it.name().ends_with("_UNSPECIFIED"));
        if let Some(value) = found {
            return Some(value.number());
        }
        let values: Vec<_> = descriptor.values().filter(|it| it.number() != 0).collect();
        let names = values.iter().map(|it| short(descriptor, it.name()));
        let text = format!("There is no {}. {}", quoted(text), suggestion(text, names));
        self.refuse(node.place, text)
    }

    fn message(&mut self, descriptor: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
        match descriptor.full_name() {
            "google.protobuf.Timestamp" => self.timestamp(descriptor, node),
            "google.protobuf.FieldMask" => self.mask(descriptor, node),
            "google.protobuf.Struct" => match &node.kind {
                Kind::Map(entries) => Some(structure(descriptor, entries)),
                _ => self.expected("a map", node),
            },
            _ => match &node.kind {
                Kind::Map(entries) => Some(self.fields(descriptor, entries)),
                Kind::Text(name) => self.bare(descriptor, name, node),
                kind => {
                    let text = format!("A map of fields belongs here, not {}.", kind.name());
                    self.refuse(node.place, text)
                }
            },
        }
    }

    /// A choice that has no details may be its bare name.
    fn bare(
        &mut self,
        descriptor: &MessageDescriptor,
        name: &str,
        node: &Node,
    ) -> Option<DynamicMessage> {
        let choices: Vec<_> = descriptor.fields().filter(without_details).collect();
        let Some(field) = choices.iter().find(|it| it.name() == name) else {
            let remedy = match choices.is_empty() {
                true => "A map of fields belongs here.".to_owned(),
                false => suggestion(name, choices.iter().map(FieldDescriptor::name)),
            };
            return self.refuse(node.place, format!("{} cannot be read. {remedy}", quoted(name)));
        };
        let mut message = DynamicMessage::new(descriptor.clone());
        message.set_field(field, Value::default_value(&field.kind()));
        Some(message)
    }

    fn timestamp(&mut self, descriptor: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
        const WANTED: &str = "an instant, for example 2026-01-31T08:00:00Z";
        let Ok(instant) = self.text(WANTED, node)?.parse::<jiff::Timestamp>() else {
            return self.refuse(node.place, format!("This is not {WANTED}."));
        };
        let (seconds, nanos) = (instant.as_second(), instant.subsec_nanosecond());
        // An instant before 1970 counts its fraction forward.
        let (seconds, nanos) =
            if nanos < 0 { (seconds - 1, nanos + 1_000_000_000) } else { (seconds, nanos) };
        let mut message = DynamicMessage::new(descriptor.clone());
        message.set_field_by_name("seconds", Value::I64(seconds));
        message.set_field_by_name("nanos", Value::I32(nanos));
        Some(message)
    }

    fn mask(&mut self, descriptor: &MessageDescriptor, node: &Node) -> Option<DynamicMessage> {
        let text = self.text("field names with commas between", node)?;
        let paths = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        let paths = paths.map(|it| Value::String(it.to_owned())).collect();
        let mut message = DynamicMessage::new(descriptor.clone());
        message.set_field_by_name("paths", Value::List(paths));
        Some(message)
    }

    fn text<'n>(&mut self, wanted: &str, node: &'n Node) -> Option<&'n str> {
        match &node.kind {
            Kind::Text(text) => Some(text),
            _ => self.expected(wanted, node),
        }
    }

    fn expected<T>(&mut self, wanted: &str, node: &Node) -> Option<T> {
        let text = match &node.kind {
            Kind::Null => format!("Nothing is given. Give {wanted}, or leave the field out."),
            kind => format!("Give {wanted}, not {}.", kind.name()),
        };
        self.refuse(node.place, text)
    }
}

/// A member of a oneof that says all by being there.
pub(super) fn without_details(field: &FieldDescriptor) -> bool {
    let empty = matches!(field.kind(), Type::Message(it) if it.fields().len() == 0);
    empty && field.containing_oneof().is_some_and(|it| !it.is_synthetic())
}

/// A `google.protobuf.Struct`: whatever was written.
fn structure(descriptor: &MessageDescriptor, entries: &[Entry]) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    let Some(fields) = descriptor.get_field_by_name("fields") else {
        return message;
    };
    if let Type::Message(pair) = fields.kind()
        && let Type::Message(value) = pair.map_entry_value_field().kind()
    {
        let pairs = entries.iter().map(|entry| {
            let built = anything(&value, &entry.value);
            (MapKey::String(entry.key.clone()), Value::Message(built))
        });
        message.set_field(&fields, Value::Map(pairs.collect()));
    }
    message
}

/// A `google.protobuf.Value`.
fn anything(descriptor: &MessageDescriptor, node: &Node) -> DynamicMessage {
    let inner = |name: &str| match descriptor.get_field_by_name(name).map(|it| it.kind()) {
        Some(Type::Message(it)) => Some(it),
        _ => None,
    };
    let (name, value) = match &node.kind {
        Kind::Null => ("null_value", Some(Value::EnumNumber(0))),
        Kind::Flag(flag) => ("bool_value", Some(Value::Bool(*flag))),
        Kind::Number(number) => ("number_value", number.parse().ok().map(Value::F64)),
        Kind::Text(text) => ("string_value", Some(Value::String(text.clone()))),
        Kind::Map(entries) => {
            let built = inner("struct_value").map(|it| structure(&it, entries));
            ("struct_value", built.map(Value::Message))
        }
        Kind::List(items) => {
            let built = inner("list_value").map(|list| {
                let items = items.iter().map(|it| Value::Message(anything(descriptor, it)));
                let items = Value::List(items.collect());
                let mut message = DynamicMessage::new(list);
                message.set_field_by_name("values", items);
                message
            });
            ("list_value", built.map(Value::Message))
        }
    };
    let mut message = DynamicMessage::new(descriptor.clone());
    if let Some(value) = value {
        message.set_field_by_name(name, value);
    }
    message
}

/// Standard or URL-safe alphabet, padded or not, as the JSON mapping reads it.
fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok()
}
