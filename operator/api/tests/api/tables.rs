//! The tables of good and bad objects: `base.yaml` has a full object of each kind, `good.yaml` and `bad.yaml` what is changed in it.

use std::collections::BTreeMap;
use std::path::Path;

use harmonybatch_api::{InferenceApp, InferenceGroup, InferenceModel, InferencePlatform, yaml};
use serde::Deserialize;
use serde_json::Value;

use crate::decide::decide;

/// A change of the base object of a kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    kind: String,
    /// New values by path; an absent one is made.
    #[serde(default)]
    set: BTreeMap<String, Value>,
    /// Paths to take away.
    #[serde(default)]
    remove: Vec<String>,
    /// Whether it replaces the base object instead of being created.
    #[serde(default)]
    update: bool,
    /// Bad ones: the field that the error names; empty for metadata.name, which a rule can only name in its message.
    #[serde(default)]
    field: String,
    /// Bad ones: a part of what the error says.
    #[serde(default)]
    says: String,
}

/// The full object of a kind.
pub(crate) fn base(kind: &str) -> Value {
    bases(kind).swap_remove(0)
}

/// The full object of a kind, and after it those with the fields that it cannot have at the same time.
pub(crate) fn bases(kind: &str) -> Vec<Value> {
    let documents = yaml::read(Path::new("base.yaml"), include_str!("base.yaml")).unwrap();
    let of_kind = documents
        .iter()
        .filter(|document| document.field("kind") == Some(kind));
    of_kind.map(|document| document.to_json().unwrap()).collect()
}

/// Sets the value at a path such as `spec.profile.cpu.0.batch`.
pub(crate) fn set(object: &mut Value, path: &str, value: Value) {
    *path
        .split('.')
        .fold(object, |at, step| match step.parse::<usize>() {
            Ok(index) if at.is_array() => {
                let list = at.as_array_mut().unwrap();
                if index == list.len() {
                    list.push(Value::Null);
                }
                &mut list[index]
            }
            _ => {
                if at.is_null() {
                    *at = serde_json::json!({});
                }
                at.as_object_mut()
                    .unwrap_or_else(|| panic!("{path}: no map above {step}"))
                    .entry(step)
                    .or_insert(Value::Null)
            }
        }) = value;
}

/// Takes the field at a path away.
pub(crate) fn remove(object: &mut Value, path: &str) {
    let (parent, name) = path.rsplit_once('.').unwrap();
    let parent = object
        .pointer_mut(&format!("/{}", parent.replace('.', "/")))
        .unwrap_or_else(|| panic!("{path} is not there"));
    assert!(
        parent.as_object_mut().unwrap().remove(name).is_some(),
        "{path} is not there"
    );
}

fn changed(case: &Case) -> Value {
    let mut object = base(&case.kind);
    for path in &case.remove {
        remove(&mut object, path);
    }
    for (path, value) in &case.set {
        set(&mut object, path, value.clone());
    }
    object
}

/// An object that the API server takes must be one that the operator can read.
pub(crate) fn read(object: &Value) -> Result<(), serde_json::Error> {
    let object = object.clone();
    match object["kind"].as_str().unwrap() {
        "InferenceApp" => serde_json::from_value::<InferenceApp>(object).map(drop),
        "InferenceModel" => serde_json::from_value::<InferenceModel>(object).map(drop),
        "InferencePlatform" => serde_json::from_value::<InferencePlatform>(object).map(drop),
        "InferenceGroup" => serde_json::from_value::<InferenceGroup>(object).map(drop),
        other => panic!("unknown kind {other}"),
    }
}

#[test]
fn good_objects_are_accepted_and_readable() {
    let cases: Vec<Case> = yaml::parse(Path::new("good.yaml"), include_str!("good.yaml")).unwrap();
    assert!(cases.len() >= 20, "{} good objects", cases.len());
    for case in &cases {
        let object = changed(case);
        let old = case.update.then(|| base(&case.kind));
        assert_eq!(
            decide(&object, old.as_ref()),
            Vec::<String>::new(),
            "{} {:?} {:?}",
            case.kind,
            case.set,
            case.remove
        );
        read(&object).unwrap_or_else(|error| panic!("{} {:?}: {error}", case.kind, case.set));
    }
}

#[test]
fn bad_objects_are_refused_with_the_field_and_what_to_do() {
    let cases: Vec<Case> = yaml::parse(Path::new("bad.yaml"), include_str!("bad.yaml")).unwrap();
    assert!(cases.len() >= 40, "{} bad objects", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        assert!(!case.says.is_empty(), "a bad object says what the error is");
        let old = case.update.then(|| base(&case.kind));
        let errors = decide(&changed(case), old.as_ref());
        let as_expected =
            |error: &String| error.starts_with(&format!("{}: ", case.field)) && error.contains(&case.says);
        // A second error may say the same of the field in other words, or of what it is part of.
        let elsewhere = |error: &String| {
            error
                .split_once(": ")
                .is_none_or(|(field, _)| !case.field.starts_with(field))
        };
        if !errors.iter().any(as_expected) || errors.iter().any(elsewhere) {
            wrong.push(format!(
                "{} {:?} {:?}: {errors:#?}",
                case.kind, case.set, case.remove
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
