//! Tests that the JSON Schema for editors matches the reader.

use std::collections::BTreeSet;

use serde_json::Value;

use super::matrix::VARIANTS_MAX;
use super::step::{CACHE_KEYS, LIMIT_KEYS, RETRY_KEYS, STEP_KEYS, WHEN_KEYS};
use super::{STEPS_MAX, TOP_KEYS};

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../pipeline.schema.json")).unwrap()
}

/// Asserts that an object in the schema has exactly these keys.
fn has_keys(object: &Value, keys: &[&str]) {
    let found: BTreeSet<&str> =
        object["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(found, keys.iter().copied().collect());
    assert_eq!(object["additionalProperties"], false, "{keys:?}");
}

#[test]
fn schema_and_reader_have_the_same_keys() {
    let schema = schema();
    let definitions = &schema["definitions"];
    has_keys(&schema, &TOP_KEYS);
    has_keys(&definitions["step"], &STEP_KEYS);
    has_keys(&definitions["cache"], &CACHE_KEYS);
    has_keys(&definitions["limits"], &LIMIT_KEYS);
    has_keys(&definitions["when"], &WHEN_KEYS);
    has_keys(&definitions["step"]["properties"]["retry"]["oneOf"][1], &RETRY_KEYS);
    assert_eq!(schema["properties"]["step"]["maxProperties"], STEPS_MAX);
    let matrix = definitions["matrix"]["description"].as_str().unwrap();
    assert!(matrix.contains(&format!("at most {VARIANTS_MAX} times")));
}

#[test]
fn every_reference_of_the_schema_exists() {
    fn check(value: &Value, schema: &Value) {
        match value {
            Value::Object(entries) => {
                if let Some(Value::String(reference)) = entries.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(schema.pointer(pointer).is_some(), "{reference}");
                }
                entries.values().for_each(|value| check(value, schema));
            }
            Value::Array(items) => items.iter().for_each(|value| check(value, schema)),
            _ => {}
        }
    }
    let schema = schema();
    check(&schema, &schema);
}

/// The documentation describes every key.
#[test]
fn every_key_is_documented() {
    let text = include_str!("../../../docs/pipelines.md");
    let keys = [&TOP_KEYS[..], &STEP_KEYS, &CACHE_KEYS, &LIMIT_KEYS, &RETRY_KEYS, &WHEN_KEYS];
    for key in keys.concat() {
        assert!(text.contains(&format!("| `{key}` |")), "{key}");
    }
}
