//! Each field of each kind with a wrong type, an unknown unit, zero, a negative, a huge and a missing value: refused with an error that names it.

use serde_json::{Value, json};

use crate::decide::{decide, schema};
use crate::tables::{bases, set};

const KINDS: [&str; 4] = [
    "InferenceApp",
    "InferenceModel",
    "InferencePlatform",
    "InferenceGroup",
];

/// Fields where zero has a meaning: nothing is added, nothing is paid, nobody waits, nothing runs.
const MAY_BE_ZERO: &[&str] = &[
    "alpha",
    "base",
    "devices",
    "fixed",
    "gpuUnitSecond",
    "headroom",
    "maxWait",
    "minInterval",
    "minSaving",
    "overhead",
    "perRow",
    "devices",
    "replicas",
    "request",
    "sizeLimit",
];

/// What a field holds, read from its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Quantity,
    IntegerOrString,
    Integer,
    /// Text and names: any string in bounds, or of a pattern.
    Text,
    Choice,
    Boolean,
    List,
    Map,
}

fn holds(schema: &Value) -> Holds {
    match schema["type"].as_str() {
        None => Holds::IntegerOrString,
        Some("integer") => Holds::Integer,
        Some("boolean") => Holds::Boolean,
        Some("array") => Holds::List,
        Some("object") => Holds::Map,
        Some(_) if schema.get("enum").is_some() => Holds::Choice,
        Some(_)
            if schema["x-kubernetes-validations"][0]["rule"]
                .as_str()
                .is_some_and(|rule| rule.contains("[0-9]{1")) =>
        {
            Holds::Quantity
        }
        Some(_) => Holds::Text,
    }
}

/// A field of a base object.
struct Field {
    /// As `set` takes it: `spec.profile.cpu.0.batch`.
    path: String,
    name: String,
    schema: &'static Value,
    required: bool,
}

/// Every field below `spec` that a base object has.
fn fields(kind: &str, object: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    walk(
        &schema(kind)["properties"]["spec"],
        &object["spec"],
        "spec",
        &mut found,
    );
    found
}

/// Every base object with its kind and its fields.
fn every_base() -> impl Iterator<Item = (&'static str, Value, Vec<Field>)> {
    KINDS.into_iter().flat_map(|kind| {
        let with_fields = move |object: Value| (kind, object.clone(), fields(kind, &object));
        bases(kind).into_iter().map(with_fields)
    })
}

fn walk(schema: &'static Value, value: &Value, path: &str, found: &mut Vec<Field>) {
    if let (Some(properties), Some(values)) = (schema["properties"].as_object(), value.as_object()) {
        for (name, property) in properties {
            let Some(value) = values.get(name) else { continue };
            let path = format!("{path}.{name}");
            let required = schema["required"]
                .as_array()
                .is_some_and(|names| names.contains(&json!(name)));
            found.push(Field {
                path: path.clone(),
                name: name.clone(),
                schema: property,
                required,
            });
            walk(property, value, &path, found);
        }
    } else if let Some(items) = value.as_array() {
        for (index, item) in items.iter().enumerate() {
            walk(&schema["items"], item, &format!("{path}.{index}"), found);
        }
    }
}

/// `spec.cpu.0.batch` as errors write it: `spec.cpu[0].batch`.
fn in_errors(path: &str) -> String {
    path.split('.')
        .fold(String::new(), |so_far, step| match step.parse::<usize>() {
            Ok(index) => format!("{so_far}[{index}]"),
            Err(_) if so_far.is_empty() => step.to_owned(),
            Err(_) => format!("{so_far}.{step}"),
        })
}

/// The bad values of a field, each with what is bad about it.
fn bad_values(field: &Field) -> Vec<(&'static str, Value)> {
    let zero_is_bad = !MAY_BE_ZERO.contains(&field.name.as_str());
    let mut bad = vec![(
        "wrong type",
        if holds(field.schema) == Holds::Map {
            json!("text")
        } else {
            json!({"a": "map"})
        },
    )];
    match holds(field.schema) {
        Holds::Quantity => {
            bad.extend([
                ("no string", json!(5)),
                ("unit", json!("5parsec")),
                ("negative", json!("-5ms")),
                ("huge", json!("99999999999999999999s")),
                ("longer than 32 characters", json!("0".repeat(33))),
                ("empty", json!("")),
            ]);
            if zero_is_bad {
                bad.extend(["0", "0ms", "0/s"].map(|zero| ("zero", json!(zero))));
            }
        }
        Holds::IntegerOrString => {
            bad.extend([
                ("fraction", json!(0.5)),
                ("unit", json!("5parsec")),
                ("negative", json!("-1")),
                ("negative", json!(-1)),
                ("huge", json!("999999999999999999999")),
                ("huge", json!(i64::MAX)),
                ("empty", json!("")),
            ]);
        }
        Holds::Integer => {
            bad.extend([
                ("string", json!("5")),
                ("fraction", json!(1.5)),
                ("negative", json!(-1)),
            ]);
            // The number of a plan is a counter: no bound says where it ends.
            if field.name != "planGeneration" {
                bad.push(("huge", json!(i64::MAX)));
            }
            if zero_is_bad {
                bad.push(("zero", json!(0)));
            }
        }
        Holds::Text => bad.extend([("number", json!(5)), ("huge", json!("x".repeat(100_000)))]),
        Holds::Choice => bad.extend([
            ("number", json!(5)),
            ("unknown", json!("Nonesuch")),
            ("empty", json!("")),
        ]),
        Holds::Boolean => bad.push(("string", json!("yes"))),
        Holds::List => {
            let item = field.schema["items"]["type"]
                .as_str()
                .map_or(
                    Value::Null,
                    |kind| if kind == "string" { json!("x") } else { json!({}) },
                );
            bad.push(("huge", Value::Array(vec![item; 10_000])));
        }
        Holds::Map => {}
    }
    bad
}

#[test]
fn every_field_refuses_bad_values_by_name() {
    let (mut tried, mut wrong) = (0, Vec::new());
    for (kind, good, fields) in every_base() {
        for field in fields {
            for (what, value) in bad_values(&field) {
                let mut object = good.clone();
                set(&mut object, &field.path, value.clone());
                let errors = decide(&object, None);
                tried += 1;
                let path = in_errors(&field.path);
                if !errors.iter().any(|error| error.starts_with(&path)) {
                    let shown: String = value.to_string().chars().take(60).collect();
                    wrong.push(format!("{kind} {path} {what} {shown}: {errors:?}"));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {tried}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(tried > 400, "{tried} values tried");
}

#[test]
fn every_required_field_is_missed_by_name() {
    let mut tried = 0;
    for (kind, good, fields) in every_base() {
        for field in fields.iter().filter(|field| field.required) {
            let mut object = good.clone();
            let (parent, name) = field.path.rsplit_once('.').unwrap();
            object
                .pointer_mut(&format!("/{}", parent.replace('.', "/")))
                .unwrap()
                .as_object_mut()
                .unwrap()
                .remove(name);
            let errors = decide(&object, None);
            let path = in_errors(&field.path);
            assert!(
                errors.contains(&format!("{path}: Required value")),
                "{kind} without {path}: {errors:?}"
            );
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried} fields tried");
}

#[test]
fn the_base_objects_have_every_field_of_their_spec() {
    for kind in KINDS {
        let objects = bases(kind);
        let reached = objects.iter().flat_map(|object| fields(kind, object));
        let reached: Vec<_> = reached.map(|field| field.name).collect();
        let mut missing: Vec<String> = Vec::new();
        names(&schema(kind)["properties"]["spec"], &mut |name| {
            if !reached.iter().any(|known| known == name) {
                missing.push(name.to_owned());
            }
        });
        assert!(missing.is_empty(), "{kind}: base.yaml has no {missing:?}");
    }
}

fn names(schema: &Value, each: &mut dyn FnMut(&str)) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        each(name);
        names(property, each);
    }
    if schema.get("items").is_some() {
        names(&schema["items"], each);
    }
}
