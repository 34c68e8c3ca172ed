//! `values.yaml` as a tree of what its comments say: the README's tables and `values.schema.json` are made of it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;

use serde_json::{Map, Value, json};

use super::helm::chart;
use super::schema::definitions;
use super::yaml;
use crate::read;

const START: &str = "<!-- values: written by `make chart` -->";
const END: &str = "<!-- end of values -->";

/// What stands above a key.
#[derive(Clone, Default)]
struct Remark {
    about: Option<String>,
    schema: Map<String, Value>,
    /// The name under which the schema of this key is used elsewhere too.
    definition: Option<String>,
}

/// A key that a person may set.
struct Row {
    key: String,
    kind: String,
    default: Value,
    about: String,
}

struct Tree {
    remarks: HashMap<String, Remark>,
    definitions: Map<String, Value>,
    rows: Vec<Row>,
}

impl Tree {
    fn read() -> (Self, Value) {
        let text = read(&chart().join("values.yaml"));
        let mut tree =
            Self { remarks: remarks(&text), definitions: definitions(), rows: Vec::new() };
        let values = yaml::document(&text);
        let root = tree.section("", &values);
        (tree, root)
    }

    /// The schema of a map whose keys are known.
    fn section(&mut self, path: &str, values: &Value) -> Value {
        let mut properties = Map::new();
        for (key, value) in values.as_object().expect("a map") {
            let path = format!("{path}.{key}").trim_start_matches('.').to_owned();
            let remark = self.remarks.get(&path).cloned().unwrap_or_default();
            let schema = match &remark.about {
                Some(about) => self.leaf(path, value, about, remark.schema),
                None => self.section(&path, value),
            };
            let schema = match remark.definition {
                Some(name) => {
                    self.definitions.insert(name.clone(), schema);
                    json!({"$ref": format!("#/$defs/{name}")})
                }
                None => schema,
            };
            properties.insert(key.clone(), schema);
        }
        // A parent chart sets what it likes here.
        let open = path == "global";
        json!({"type": "object", "properties": properties, "additionalProperties": open})
    }

    fn leaf(
        &mut self,
        key: String,
        value: &Value,
        about: &str,
        stated: Map<String, Value>,
    ) -> Value {
        let kind = match value {
            Value::String(_) => "string",
            Value::Bool(_) => "boolean",
            Value::Number(it) if it.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
            Value::Null => "null",
        };
        let mut schema = Map::new();
        schema.insert("description".into(), about.into());
        if !stated.contains_key("$ref") {
            schema.insert("type".into(), kind.into());
        }
        schema.extend(stated);
        let kind = match schema.get("type") {
            Some(Value::Array(kinds)) => {
                kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or ")
            }
            _ => kind.to_owned(),
        };
        self.rows.push(Row { key, kind, default: value.clone(), about: about.to_owned() });
        schema.into()
    }
}

/// What the comments say, by path. Keys stand alone on their lines, two spaces deeper than what they belong to.
fn remarks(text: &str) -> HashMap<String, Remark> {
    let (mut all, mut path) = (HashMap::new(), Vec::<String>::new());
    let mut remark = Remark::default();
    for line in text.lines() {
        let words = line.trim_start();
        let depth = (line.len() - words.len()) / 2;
        if let Some(comment) = words.strip_prefix('#') {
            let comment = comment.trim();
            if let Some(about) = comment.strip_prefix("-- ") {
                remark.about = Some(about.to_owned());
            } else if let Some(schema) = comment.strip_prefix("@schema ") {
                remark.schema = serde_json::from_str(schema).expect(schema);
            } else if let Some(name) = comment.strip_prefix("@def ") {
                remark.definition = Some(name.to_owned());
            }
        } else if let Some((key, _)) = words.split_once(':')
            && key.bytes().all(|it| it.is_ascii_alphanumeric())
        {
            path.truncate(depth);
            path.push(key.to_owned());
            all.insert(path.join("."), std::mem::take(&mut remark));
        }
    }
    all
}

/// The content of `values.schema.json`.
fn schema() -> String {
    let (tree, mut root) = Tree::read();
    let map = root.as_object_mut().expect("a map");
    map.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
    map.insert("title".into(), "Values of the chart rapport".into());
    map.insert("$defs".into(), tree.definitions.into());
    format!("{root:#}\n")
}

/// The README with the tables of today.
fn readme() -> String {
    let old = read(&chart().join("README.md"));
    let (before, rest) = old.split_once(START).expect("where values start");
    let (_, after) = rest.split_once(END).expect("where values end");
    let (tree, _) = Tree::read();
    let mut table = String::from("| Key | Type | Default | What it is |\n|---|---|---|---|\n");
    for it in tree.rows {
        let default = it.default.to_string().replace('|', "\\|");
        let about = it.about.replace('|', "\\|").replace('<', "&lt;");
        let _ = writeln!(table, "| `{}` | {} | `{default}` | {about} |", it.key, it.kind);
    }
    format!("{before}{START}\n\n{table}\n{END}{after}")
}

#[test]
fn the_schema_is_what_values_yaml_says() {
    let path = chart().join("values.schema.json");
    assert_eq!(read(&path), schema(), "values.schema.json is old: run `make chart`");
}

#[test]
fn the_readme_is_what_values_yaml_says() {
    let path = chart().join("README.md");
    assert_eq!(read(&path), readme(), "README.md is old: run `make chart`");
}

#[test]
#[ignore = "make chart: writes the schema and the README"]
fn write_schema_and_readme() {
    fs::write(chart().join("values.schema.json"), schema()).expect("written");
    fs::write(chart().join("README.md"), readme()).expect("written");
}
