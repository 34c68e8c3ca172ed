//! Merging: defaults < file < `RAPPORT_*` < flags, with every problem told at once.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::table::{self, Kind, Setting, TABLE};
use super::{Fault, Faults, Settings};

/// Variables with our prefix that are no settings.
const RESERVED: &[&str] = &["RAPPORT_CONFIG", "RAPPORT_TOKEN"];

/// Where settings come from. [`Sources::default`] is nothing but defaults.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The content of the settings file.
    pub file: Option<String>,
    /// Environment variables; those without the prefix `RAPPORT_` are ignored.
    pub environment: Vec<(String, String)>,
    /// `key=value` from `--set`.
    pub flags: Vec<String>,
}

impl Sources {
    /// The environment of this process, and nothing else.
    pub fn from_environment() -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { environment, ..Self::default() }
    }
}

struct Draft {
    values: BTreeMap<&'static str, Value>,
    faults: Vec<Fault>,
}

/// Merges the sources and validates the whole.
pub(super) fn load(sources: &Sources) -> Result<Settings, Faults> {
    let values = TABLE.iter().map(|setting| (setting.key, setting.default_value())).collect();
    let mut draft = Draft { values, faults: Vec::new() };
    if let Some(text) = &sources.file {
        draft.read_file(text);
    }
    draft.read_environment(&sources.environment);
    for flag in &sources.flags {
        draft.read_flag(flag);
    }
    draft.finish()
}

impl Draft {
    fn read_file(&mut self, text: &str) {
        match text.parse::<Table>() {
            Ok(table) => self.read_table("", &table),
            Err(error) => self.fault(
                "file",
                error.message().to_owned(),
                "Write TOML; see deploy/rapport.toml.",
            ),
        }
    }

    fn read_table(&mut self, prefix: &str, table: &Table) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match (table::find(&key), value) {
                (Some(setting), _) => self.put(setting, value.clone()),
                (None, Value::Table(inner)) if is_section(&key) => self.read_table(&key, inner),
                (None, _) => self.unknown(&key, &key),
            }
        }
    }

    fn read_environment(&mut self, environment: &[(String, String)]) {
        let ours = environment
            .iter()
            .filter(|(name, _)| name.starts_with("RAPPORT_") && !RESERVED.contains(&name.as_str()));
        for (name, value) in ours {
            if let Some(setting) = by_variable(name) {
                self.put_text(setting, value);
            } else if let Some(setting) = name.strip_suffix("_FILE").and_then(by_variable) {
                self.put_content_of(setting, name, value, environment);
            } else if let Some((setting, entry)) = map_entry(name) {
                self.put_entry(setting, &entry, value);
            } else {
                let as_key = name.trim_start_matches("RAPPORT_").to_lowercase().replace('_', ".");
                self.unknown(name, &as_key);
            }
        }
    }

    fn put_content_of(
        &mut self,
        setting: &'static Setting,
        name: &str,
        path: &str,
        environment: &[(String, String)],
    ) {
        let plain = setting.variable();
        if environment.iter().any(|(other, _)| *other == plain) {
            self.fault(name, format!("{plain} is set as well"), "Set one of the two.");
            return;
        }
        match std::fs::read_to_string(path) {
            Ok(content) => self.put_text(setting, content.trim_end_matches(['\r', '\n'])),
            Err(error) => self.fault(
                name,
                format!("{path}: {error}"),
                "Name a readable file that holds the value.",
            ),
        }
    }

    fn read_flag(&mut self, flag: &str) {
        let Some((key, value)) = flag.split_once('=') else {
            self.fault(flag, "is no assignment", "Write --set key=value.");
            return;
        };
        if let Some(setting) = table::find(key) {
            self.put_text(setting, value);
        } else if let Some((setting, entry)) =
            key.rsplit_once('.').and_then(|(map, entry)| Some((table::find(map)?, entry)))
            && setting.is_map()
        {
            self.put_entry(setting, entry, value);
        } else {
            self.unknown(key, key);
        }
    }

    fn put_entry(&mut self, setting: &'static Setting, entry: &str, text: &str) {
        let value = match setting.kind {
            Kind::ListMap => read_list(text),
            _ => Value::String(text.to_owned()),
        };
        if let Some(Value::Table(map)) = self.values.get_mut(setting.key) {
            map.insert(entry.to_owned(), value);
        }
    }

    fn put_text(&mut self, setting: &'static Setting, text: &str) {
        let value = match setting.kind {
            Kind::Whole { .. } => text.trim().parse().map(Value::Integer).ok(),
            Kind::Share => text.trim().parse().map(Value::Float).ok(),
            Kind::Flag => text.trim().parse().map(Value::Boolean).ok(),
            Kind::List => Some(read_list(text)),
            Kind::TextMap | Kind::ListMap => read_inline(text),
            _ => None,
        };
        self.put(setting, value.unwrap_or_else(|| Value::String(text.to_owned())));
    }

    fn put(&mut self, setting: &'static Setting, value: Value) {
        let value = match (setting.kind, value) {
            (Kind::Share, Value::Integer(whole)) => Value::Float(whole as f64),
            (_, value) => value,
        };
        match misfit(setting.kind, &value) {
            None => drop(self.values.insert(setting.key, value)),
            Some((problem, remedy)) => self.fault(setting.key, problem, remedy),
        }
    }

    fn unknown(&mut self, written: &str, as_key: &str) {
        let nearest = TABLE
            .iter()
            .min_by_key(|setting| distance(setting.key, as_key))
            .map_or("", |setting| setting.key);
        let nearest = match table::find(nearest) {
            Some(setting) if written.starts_with("RAPPORT_") => setting.variable(),
            _ => nearest.to_owned(),
        };
        self.fault(
            written,
            "is no setting",
            format!("Did you mean {nearest}? See deploy/rapport.toml."),
        );
    }

    fn fault(&mut self, key: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        self.faults.push(Fault { key: key.into(), problem: problem.into(), remedy: remedy.into() });
    }

    /// A faulty value never reached the draft, so what is there is well typed and can be validated as a whole too.
    fn finish(mut self) -> Result<Settings, Faults> {
        match Settings::from_table(self.nested()) {
            Ok(settings) => {
                self.faults.extend(settings.faults());
                if self.faults.is_empty() { Ok(settings) } else { Err(Faults(self.faults)) }
            }
            Err(error) => {
                self.fault("settings", error.message().to_owned(), "See deploy/rapport.toml.");
                Err(Faults(self.faults))
            }
        }
    }

    fn nested(&self) -> Table {
        let mut root = Table::new();
        for (key, value) in &self.values {
            let mut parts: Vec<&str> = key.split('.').collect();
            let leaf = parts.pop().unwrap_or_default();
            let mut at = &mut root;
            for part in parts {
                let section = at.entry(part).or_insert_with(|| Value::Table(Table::new()));
                let Value::Table(inner) = section else { unreachable!("sections are tables") };
                at = inner;
            }
            at.insert(leaf.to_owned(), value.clone());
        }
        root
    }
}

fn is_section(key: &str) -> bool {
    TABLE.iter().any(|setting| setting.key.starts_with(&format!("{key}.")))
}

fn by_variable(name: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.variable() == name)
}

/// `RAPPORT_PEERS_PROFILES` → (`peers`, `profiles`).
fn map_entry(name: &str) -> Option<(&'static Setting, String)> {
    TABLE.iter().filter(|setting| setting.is_map()).find_map(|setting| {
        let entry = name.strip_prefix(&setting.variable())?.strip_prefix('_')?;
        (!entry.is_empty()).then(|| (setting, entry.to_lowercase().replace('_', "-")))
    })
}

/// `a, b` or `["a", "b"]`.
fn read_list(text: &str) -> Value {
    if text.trim_start().starts_with('[')
        && let Some(list) = read_inline(text)
    {
        return list;
    }
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
}

fn read_inline(text: &str) -> Option<Value> {
    format!("x = {text}").parse::<Table>().ok()?.remove("x")
}

/// What is wrong with the value, and what would be right.
fn misfit(kind: Kind, value: &Value) -> Option<(String, String)> {
    let is_text = |value: &Value| value.is_str();
    let is_list = |value: &Value| value.as_array().is_some_and(|items| items.iter().all(is_text));
    let (fits, remedy) = match kind {
        Kind::Text | Kind::Url | Kind::Path => (is_text(value), "Write a text.".to_owned()),
        Kind::Address => (
            value.as_str().is_some_and(|text| text.parse::<std::net::SocketAddr>().is_ok()),
            "Write an IP address and a port, 127.0.0.1:8080 or [::]:8080.".to_owned(),
        ),
        Kind::Whole { min, max } => (
            value.as_integer().is_some_and(|number| (min..=max).contains(&number)),
            format!("Write a whole number from {min} to {max}."),
        ),
        Kind::Share => (
            value.as_float().is_some_and(|share| (0.0..=1.0).contains(&share)),
            "Write a number from 0 to 1.".to_owned(),
        ),
        Kind::Flag => (value.is_bool(), "Write true or false.".to_owned()),
        Kind::Choice(choices) => (
            value.as_str().is_some_and(|text| choices.contains(&text)),
            format!("Choose {}.", choices.join(" or ")),
        ),
        Kind::List => (is_list(value), "Write a list of texts.".to_owned()),
        Kind::TextMap => (
            value.as_table().is_some_and(|map| map.values().all(is_text)),
            "Write a table of names and texts.".to_owned(),
        ),
        Kind::ListMap => (
            value.as_table().is_some_and(|map| map.values().all(is_list)),
            "Write a table of names and lists of texts.".to_owned(),
        ),
    };
    // A value that may hold a password is not repeated.
    let shown = if matches!(kind, Kind::Url | Kind::TextMap) {
        "the value".to_owned()
    } else {
        value.to_string()
    };
    (!fits).then(|| (format!("{shown} does not fit"), remedy))
}

/// Levenshtein's distance, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let cost = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
