//! Structural validation as the API server does it before CEL: types, bounds, patterns, required, unknown and duplicate entries.
//!
//! kube-cel runs rules only. The subset here is what our definitions use; a keyword that is neither known nor harmless fails the test.

use regex::Regex;
use serde_json::{Map, Value};

const KNOWN: &[&str] = &[
    "additionalProperties",
    "anyOf",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "nullable",
    "oneOf",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-validations",
    "title",
];

/// What is wrong with `value`, each as `path: what`.
pub(crate) fn check(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut errors = Vec::new();
    visit(schema, value, path, &mut errors);
    errors
}

fn visit(schema: &Value, value: &Value, path: &str, errors: &mut Vec<String>) {
    let schema = schema.as_object().unwrap();
    for keyword in schema.keys() {
        assert!(
            KNOWN.contains(&keyword.as_str()),
            "{path}: the keyword {keyword} is not checked by this test"
        );
    }
    if value.is_null() && schema.get("nullable") == Some(&Value::Bool(true)) {
        return;
    }
    if !has_type(schema, value) {
        let wanted = schema
            .get("type")
            .map_or("integer or string", |wanted| wanted.as_str().unwrap());
        errors.push(format!("{path}: must be of type {wanted}, found {value}"));
        return;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        errors.push(format!(
            "{path}: {value} is not supported, supported: {allowed:?}"
        ));
    }
    match value {
        Value::String(string) => check_string(schema, string, path, errors),
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            if let Some(minimum) = schema.get("minimum").and_then(Value::as_f64)
                && number < minimum
            {
                errors.push(format!(
                    "{path}: {number} should be greater than or equal to {minimum}"
                ));
            }
            if let Some(maximum) = schema.get("maximum").and_then(Value::as_f64)
                && number > maximum
            {
                errors.push(format!(
                    "{path}: {number} should be less than or equal to {maximum}"
                ));
            }
        }
        Value::Array(items) => check_list(schema, items, path, errors),
        Value::Object(fields) => check_map(schema, fields, path, errors),
        Value::Bool(_) | Value::Null => {}
    }
}

fn has_type(schema: &Map<String, Value>, value: &Value) -> bool {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return value.is_i64() || value.is_string();
    }
    match schema["type"].as_str().unwrap() {
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        other => panic!("unknown type {other}"),
    }
}

fn check_string(schema: &Map<String, Value>, string: &str, path: &str, errors: &mut Vec<String>) {
    let length = u64::try_from(string.chars().count()).unwrap();
    if schema
        .get("maxLength")
        .and_then(Value::as_u64)
        .is_some_and(|most| length > most)
    {
        errors.push(format!(
            "{path}: may not be more than {} characters",
            schema["maxLength"]
        ));
    }
    if schema
        .get("minLength")
        .and_then(Value::as_u64)
        .is_some_and(|least| length < least)
    {
        errors.push(format!(
            "{path}: should be at least {} characters long",
            schema["minLength"]
        ));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str)
        && !Regex::new(pattern).unwrap().is_match(string)
    {
        errors.push(format!("{path}: {string:?} should match '{pattern}'"));
    }
}

fn check_list(schema: &Map<String, Value>, items: &[Value], path: &str, errors: &mut Vec<String>) {
    let length = u64::try_from(items.len()).unwrap();
    if schema
        .get("maxItems")
        .and_then(Value::as_u64)
        .is_some_and(|most| length > most)
    {
        errors.push(format!("{path}: must have at most {} items", schema["maxItems"]));
    }
    if schema
        .get("minItems")
        .and_then(Value::as_u64)
        .is_some_and(|least| length < least)
    {
        errors.push(format!(
            "{path}: should have at least {} items",
            schema["minItems"]
        ));
    }
    for (index, item) in items.iter().enumerate() {
        visit(&schema["items"], item, &format!("{path}[{index}]"), errors);
    }
    if let Some(keys) = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array) {
        let mut seen = Vec::new();
        for item in items {
            let key: Vec<_> = keys.iter().map(|key| item.get(key.as_str().unwrap())).collect();
            if seen.contains(&key) {
                errors.push(format!("{path}: Duplicate value: {key:?}"));
            }
            seen.push(key);
        }
    }
}

fn check_map(schema: &Map<String, Value>, fields: &Map<String, Value>, path: &str, errors: &mut Vec<String>) {
    let at = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    for required in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = required.as_str().unwrap();
        if !fields.contains_key(name) {
            errors.push(format!("{}: Required value", at(name)));
        }
    }
    if schema
        .get("maxProperties")
        .and_then(Value::as_u64)
        .is_some_and(|most| fields.len() as u64 > most)
    {
        errors.push(format!(
            "{path}: must have at most {} entries",
            schema["maxProperties"]
        ));
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, value) in fields {
        match (
            properties.and_then(|properties| properties.get(name)),
            schema.get("additionalProperties"),
        ) {
            (Some(property), _) => visit(property, value, &at(name), errors),
            (None, Some(additional)) => visit(additional, value, &at(name), errors),
            // The API server holds these of every kind without the schema.
            (None, None)
                if path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) => {}
            (None, None) => errors.push(format!("{}: unknown field", at(name))),
        }
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let matching = choices.iter().filter(|choice| {
            choice["required"]
                .as_array()
                .unwrap()
                .iter()
                .all(|name| fields.contains_key(name.as_str().unwrap()))
        });
        if matching.count() != 1 {
            errors.push(format!(
                "{path}: must validate one and only one schema of {:?}",
                choices
                    .iter()
                    .map(|choice| &choice["required"])
                    .collect::<Vec<_>>()
            ));
        }
    }
}
