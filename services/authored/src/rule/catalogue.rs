//! Which names exist where a rule stands.

use std::collections::BTreeMap;

use super::value::{Name, Type};

/// The names that a rule may use, with their types. Each place where a rule may stand has its own.
///
/// ```
/// use authored::rule::{Catalogue, Type};
/// Catalogue::new()
///     .party()
///     .open("attributes")
///     .record("traits", [("orders_90d", Type::Number), ("last_visit", Type::Time)])
///     .list("segments", Type::Text)
///     .map("consent", Type::Bool)
///     .value("now", Type::Time);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    roots: BTreeMap<String, Root>,
}

#[derive(Clone, Debug)]
enum Root {
    Value(Type),
    Record(BTreeMap<String, Type>),
    Map(Type),
}

/// Why a path names no fact.
pub(super) enum Absent {
    /// Nothing has this name; the nearest that has one, as a rule writes it.
    Unknown { nearest: Option<String> },
    /// A group of names, not a value.
    Group,
    /// A value, which has no fields.
    NoFields(Name),
}

impl Catalogue {
    /// Without names.
    pub fn new() -> Self {
        Self::default()
    }

    /// A plain value: `now`.
    #[must_use]
    pub fn value(self, name: &str, type_: Type) -> Self {
        self.with(name, Root::Value(type_))
    }

    /// A list of values of one type: `segments`.
    #[must_use]
    pub fn list(self, name: &str, of: Type) -> Self {
        self.value(name, Type::list(of))
    }

    /// A group with these fields and no others: `party.market`. A field `of.*` stands for any key of `of`:
    /// `event.clear.revenue` of the field `clear.*`.
    #[must_use]
    pub fn record<K: AsRef<str>>(
        self,
        name: &str,
        fields: impl IntoIterator<Item = (K, Type)>,
    ) -> Self {
        let fields = fields.into_iter().map(|(key, type_)| (key.as_ref().to_owned(), type_));
        self.with(name, Root::Record(fields.collect()))
    }

    /// A group with any keys, whose types show when the rule runs: `attributes.specialty`.
    #[must_use]
    pub fn open(self, name: &str) -> Self {
        self.map(name, Type::Any)
    }

    /// A group with any keys of one type: `consent["PROMOTIONAL/EMAIL/northwind"]`.
    #[must_use]
    pub fn map(self, name: &str, of: Type) -> Self {
        self.with(name, Root::Map(of))
    }

    /// `party`, the same wherever a rule is about one.
    #[must_use]
    pub fn party(self) -> Self {
        let fields = ["kind", "market", "language", "time_zone", "state"];
        self.record("party", fields.map(|field| (field, Type::Text)))
    }

    fn with(mut self, name: &str, root: Root) -> Self {
        self.roots.insert(name.to_owned(), root);
        self
    }

    /// Whether something has this name.
    pub(super) fn has_root(&self, name: &str) -> bool {
        self.roots.contains_key(name)
    }

    /// Whether it is a group of names.
    pub(super) fn is_group(&self, name: &str) -> bool {
        matches!(self.roots.get(name), Some(Root::Record(_) | Root::Map(_)))
    }

    /// All roots, for a message.
    pub(super) fn roots(&self) -> String {
        self.roots.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// What a path names.
    pub(super) fn find(&self, root: &str, keys: &[&str]) -> Result<(Name, Type), Absent> {
        let found = match (self.roots.get(root), keys) {
            (Some(Root::Value(type_)), []) => Some(type_),
            (Some(Root::Value(_)), _) => return Err(Absent::NoFields(Name::new(root, ""))),
            (Some(Root::Record(_) | Root::Map(_)), []) => return Err(Absent::Group),
            (Some(Root::Record(fields)), [of @ .., _]) => {
                let any = || fields.get(&format!("{}.*", of.join(".")));
                fields.get(&keys.join(".")).or_else(any)
            }
            (Some(Root::Map(of)), [_]) => Some(of),
            (Some(Root::Map(_)), [first, ..]) => {
                return Err(Absent::NoFields(Name::new(root, first)));
            }
            (None, _) => None,
        };
        let key = keys.join(".");
        match found {
            Some(type_) => Ok((Name::new(root, &key), type_.clone())),
            None => Err(Absent::Unknown { nearest: self.nearest(root, &key) }),
        }
    }

    /// The name that somebody probably meant: one whose key is what they wrote, else the one with
    /// the fewest edits.
    fn nearest(&self, root: &str, key: &str) -> Option<String> {
        let written = Name::new(root, key);
        let allowed = (written.as_str().len() / 4).clamp(1, 4);
        let near = |candidate: &Name| {
            let same_key = !candidate.key().is_empty()
                && (candidate.key() == written.as_str() || candidate.key() == key);
            let edits = if same_key { 0 } else { edits(candidate.as_str(), written.as_str()) };
            (edits <= allowed).then_some(edits)
        };
        self.candidates()
            .filter_map(|candidate| near(&candidate).map(|edits| (edits, candidate)))
            .min()
            .map(|(_, candidate)| spelled(&candidate))
    }

    fn candidates(&self) -> impl Iterator<Item = Name> {
        self.roots.iter().flat_map(|(root, what)| {
            let keys = match what {
                Root::Record(fields) => fields.keys().map(String::as_str).collect(),
                Root::Value(_) | Root::Map(_) => vec![""],
            };
            keys.into_iter().map(|key| Name::new(root, key)).collect::<Vec<_>>()
        })
    }
}

/// A name as a rule writes it.
pub(super) fn spelled(name: &Name) -> String {
    let plain = name.key().chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.key().starts_with(|c: char| c.is_ascii_digit());
    if plain { name.to_string() } else { format!("{}[{:?}]", name.root(), name.key()) }
}

/// How many characters must be put in, taken out or changed (Levenshtein). Long names are cut, so
/// that a message costs little.
fn edits(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in two.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[two.len()]
}
