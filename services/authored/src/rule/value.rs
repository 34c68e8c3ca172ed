//! What a rule reads and gives: typed values and the names under which it finds them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use eventstore::Timestamp;
use rapport_proto::types::{Clear, ClearKind, clear};

/// What kind of value stands somewhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// True or false.
    Bool,
    /// A finite number; CEL's `int`, `uint` and `double` are one type here.
    Number,
    /// A text or a code.
    Text,
    /// An instant.
    Time,
    /// A signed span of time.
    Duration,
    /// Values of one type.
    List(Box<Type>),
    /// Known only when the rule runs.
    Any,
}

impl Type {
    /// A list of values of one type.
    pub fn list(of: Self) -> Self {
        Self::List(Box::new(of))
    }

    /// What a declared clear field holds. Money is the amount as a number, without its currency.
    pub fn of_clear(kind: ClearKind) -> Self {
        match kind {
            ClearKind::Number | ClearKind::Money => Self::Number,
            ClearKind::Code => Self::Text,
            ClearKind::Time => Self::Time,
            ClearKind::Flag => Self::Bool,
            ClearKind::Unspecified => Self::Any,
        }
    }

    /// Whether a value of one type may turn out to be one of the other.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(one), Self::List(two)) => one.meets(two),
            _ => self == other,
        }
    }

    /// Whether it is a value of this type. The elements of a list are judged where they are used.
    pub(super) fn admits(&self, value: &Value) -> bool {
        match (self, value) {
            (_, Value::Number(number)) if !number.is_finite() => false,
            (Self::Any, _)
            | (Self::Bool, Value::Bool(_))
            | (Self::Number, Value::Number(_))
            | (Self::Text, Value::Text(_))
            | (Self::Time, Value::Time(_))
            | (Self::Duration, Value::Duration(_))
            | (Self::List(_), Value::List(_)) => true,
            _ => false,
        }
    }
}

/// As an error message names it.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Time => "a time",
            Self::Duration => "a duration",
            Self::List(_) => "a list",
            Self::Any => "any value",
        })
    }
}

/// One value. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A number; one that is not finite counts as unknown.
    Number(f64),
    /// A text or a code.
    Text(Arc<str>),
    /// An instant.
    Time(Timestamp),
    /// Microseconds, signed.
    Duration(i64),
    /// Values of one type.
    List(Arc<[Value]>),
}

impl Value {
    /// A list.
    pub fn list<V: Into<Self>>(values: impl IntoIterator<Item = V>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }

    /// A clear value as rules see it; `None` when it holds nothing or nothing that can be told.
    pub fn from_clear(clear: &Clear) -> Option<Self> {
        Some(match clear.value.as_ref()? {
            clear::Value::Number(number) => Self::Number(*number),
            #[expect(clippy::cast_precision_loss, reason = "all numbers of a rule are f64")]
            clear::Value::Money(money) => {
                Self::Number(money.units as f64 + f64::from(money.nanos) / 1e9)
            }
            clear::Value::Code(code) => Self::from(code.as_str()),
            clear::Value::Time(time) => Self::Time(Timestamp::from_proto(time)?),
            clear::Value::Flag(flag) => Self::Bool(*flag),
        })
    }

    /// As a clear value; `None` for a duration and a list, which have no such form.
    pub fn to_clear(&self) -> Option<Clear> {
        let value = match self {
            Self::Bool(flag) => clear::Value::Flag(*flag),
            Self::Number(number) => clear::Value::Number(*number),
            Self::Text(code) => clear::Value::Code(code.to_string()),
            Self::Time(time) => clear::Value::Time(time.to_proto()),
            Self::Duration(_) | Self::List(_) => return None,
        };
        Some(Clear { value: Some(value) })
    }

    /// Its type. A list has the type of its first element.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Bool(_) => Type::Bool,
            Self::Number(_) => Type::Number,
            Self::Text(_) => Type::Text,
            Self::Time(_) => Type::Time,
            Self::Duration(_) => Type::Duration,
            Self::List(values) => Type::list(values.first().map_or(Type::Any, Self::type_of)),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<i64> for Value {
    #[expect(clippy::cast_precision_loss, reason = "all numbers of a rule are f64")]
    fn from(value: i64) -> Self {
        Self::Number(value as f64)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Self::Time(value)
    }
}

/// As a rule writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::Time(value) => write!(f, "timestamp(\"{value}\")"),
            Self::Duration(micros) if micros % 1_000_000 == 0 => {
                write!(f, "duration(\"{}s\")", micros / 1_000_000)
            }
            Self::Duration(micros) => write!(f, "duration(\"{}ms\")", micros / 1_000),
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{value}")?;
                }
                f.write_str("]")
            }
        }
    }
}

/// The name of a fact: a root and, but for plain values, a key in it: `traits.orders_90d`,
/// `consent.PROMOTIONAL/EMAIL/northwind`, `now`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Of a key in a root; the key is empty for a plain value.
    pub fn new(root: &str, key: &str) -> Self {
        if key.is_empty() { Self(root.into()) } else { Self(format!("{root}.{key}").into()) }
    }

    /// What stands before the first dot.
    pub fn root(&self) -> &str {
        self.0.split_once('.').map_or(&self.0, |(root, _)| root)
    }

    /// What stands behind the first dot; empty for a plain value.
    pub fn key(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, key)| key)
    }

    /// Root and key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a rule finds what it names.
pub trait Facts {
    /// The value of a fact; `None` when it is not known.
    fn get(&self, name: &Name) -> Option<Value>;
}

impl<F: Fn(&Name) -> Option<Value>> Facts for F {
    fn get(&self, name: &Name) -> Option<Value> {
        self(name)
    }
}

impl Facts for BTreeMap<String, Value> {
    fn get(&self, name: &Name) -> Option<Value> {
        BTreeMap::get(self, name.as_str()).cloned()
    }
}

impl<S: BuildHasher> Facts for HashMap<String, Value, S> {
    fn get(&self, name: &Name) -> Option<Value> {
        HashMap::get(self, name.as_str()).cloned()
    }
}
