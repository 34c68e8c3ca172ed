//! What several values share: definitions of the schema.

use chassis::settings::{Kind, TABLE};
use serde_json::{Map, Value, json};

use super::helm::{chart, scenarios, succeeds};
use crate::tool;

pub(super) fn definitions() -> Map<String, Value> {
    let count = |minimum: u32| json!({"type": "integer", "minimum": minimum});
    let all = json!({
        "strings": {"type": "object", "additionalProperties": {"type": "string"}},
        "named": {
            "type": "object",
            "properties": {"name": {"type": "string", "minLength": 1}},
            "required": ["name"],
        },
        "duration": {"type": "string", "pattern": "^([0-9]+(h|m|s|ms))+$"},
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        "probe": {
            "type": "object",
            "properties": {
                "initialDelaySeconds": count(0),
                "periodSeconds": count(1),
                "timeoutSeconds": count(1),
                "failureThreshold": count(1),
                "successThreshold": count(1),
            },
            "additionalProperties": false,
        },
        "config": config(),
    });
    let Value::Object(all) = all else { unreachable!("a map is written above") };
    all
}

/// The settings of the binary, by section: what it refuses, the schema does.
fn config() -> Value {
    let mut sections = Map::new();
    for setting in TABLE {
        let mut into = &mut sections;
        let mut parts = setting.key.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                into.insert(part.to_owned(), kind(setting.kind));
                break;
            }
            let section = into.entry(part).or_insert_with(
                || json!({"type": "object", "properties": {}, "additionalProperties": false}),
            );
            into = section["properties"].as_object_mut().expect("a map");
        }
    }
    json!({"type": "object", "properties": sections, "additionalProperties": false})
}

fn kind(kind: Kind) -> Value {
    match kind {
        Kind::Whole { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Kind::Share => json!({"type": "number", "minimum": 0, "maximum": 1}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Choice(words) => json!({"enum": words}),
        Kind::List => json!({"type": "array", "items": {"type": "string"}}),
        Kind::TextMap => json!({"$ref": "#/$defs/strings"}),
        Kind::ListMap => json!({
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        }),
        Kind::Text | Kind::Url | Kind::Address | Kind::Path => json!({"type": "string"}),
    }
}

#[test]
fn the_schema_is_a_schema() {
    let path = chart().join("values.schema.json");
    succeeds(tool("check-jsonschema").arg("--check-metaschema").arg(path));
}

#[test]
fn another_validator_accepts_the_same_values() {
    let mut check = tool("check-jsonschema");
    check.arg("--schemafile").arg(chart().join("values.schema.json"));
    check.arg(chart().join("values.yaml"));
    // What takes a default away is null, and gone before Helm looks.
    let nulls = |it: &&super::helm::Scenario| it.name != "every-knob";
    check.args(scenarios().iter().filter(nulls).flat_map(|it| &it.files));
    succeeds(&mut check);
}
