//! The definitions as files: fresh, small enough for a plain `kubectl apply`, described and bounded throughout.

use std::path::Path;

use harmonybatch_api::{crd_yaml, crds};
use kube_cel::{ScopeContext, analyze_rule, compile_schema};
use serde_json::Value;

use crate::decide::schema;

#[test]
fn the_files_in_crds_are_what_the_code_says() {
    for (name, text) in crd_yaml().unwrap() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../crds")
            .join(&name);
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == text,
            "crds/{name} is stale: cargo run -p harmonybatch-api --example crds"
        );
    }
}

#[test]
fn a_plain_apply_of_a_definition_works() {
    for (name, text) in crd_yaml().unwrap() {
        // kubectl keeps the whole object in an annotation, and annotations end at 256 KiB together.
        assert!(text.len() < 100 * 1024, "{name} has {} bytes", text.len());
    }
}

#[test]
fn names_are_those_that_users_type() {
    let found: Vec<_> = crds()
        .into_iter()
        .map(|crd| {
            let names = crd.spec.names;
            assert_eq!(names.categories, Some(vec!["harmonybatch".to_owned()]));
            let version = &crd.spec.versions[0];
            assert!(
                version.subresources.as_ref().unwrap().status.is_some(),
                "{}",
                names.kind
            );
            let columns: Vec<_> = version
                .additional_printer_columns
                .iter()
                .flatten()
                .map(|column| column.name.to_uppercase())
                .collect();
            (
                names.plural,
                names.short_names.unwrap().join(","),
                crd.spec.scope,
                columns.join(" "),
            )
        })
        .collect();
    let expected = [
        (
            "inferenceapps",
            "iapp",
            "Namespaced",
            "MODEL GROUP DEVICE BATCH RATE RATESOURCE SLO P99 COST/MONTH READY REASON AGE",
        ),
        (
            "inferencemodels",
            "imodel",
            "Namespaced",
            "APPS GROUPS MAX BATCH PLATFORM COST/MONTH SAVING PLANNED REASON PROFILED AGE",
        ),
        (
            "inferenceplatforms",
            "iplatform",
            "Cluster",
            "BILLING CURRENCY SERVING MODELS COST/MONTH ACCEPTED REASON AGE",
        ),
        (
            "inferencegroups",
            "igroup",
            "Namespaced",
            "MODEL APPS DEVICE BATCH REPLICAS COST/MONTH READY REASON AGE",
        ),
    ];
    assert_eq!(
        found,
        expected.map(|(plural, short, scope, columns)| (
            plural.to_owned(),
            short.to_owned(),
            scope.to_owned(),
            columns.to_owned()
        ))
    );
}

/// Calls `each` for every node of a schema, with its path.
fn nodes(schema: &Value, path: &str, each: &mut dyn FnMut(&Value, &str)) {
    each(schema, path);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        nodes(property, &format!("{path}.{name}"), each);
    }
    if let Some(items) = schema.get("items") {
        nodes(items, &format!("{path}[]"), each);
    }
    if let Some(values) = schema.get("additionalProperties") {
        nodes(values, &format!("{path}{{}}"), each);
    }
}

fn each_node(mut each: impl FnMut(&Value, &str)) {
    for kind in [
        "InferenceApp",
        "InferenceModel",
        "InferencePlatform",
        "InferenceGroup",
    ] {
        for part in ["spec", "status"] {
            nodes(
                &schema(kind)["properties"][part],
                &format!("{kind}.{part}"),
                &mut each,
            );
        }
    }
}

#[test]
fn every_field_is_described() {
    let mut missing = Vec::new();
    each_node(|schema, path| {
        let is_field = !path.ends_with(['}', ']']);
        if is_field && schema["description"].as_str().is_none_or(str::is_empty) {
            missing.push(path.to_owned());
        }
    });
    assert!(missing.is_empty(), "no description: {missing:?}");
}

#[test]
fn every_list_map_string_and_integer_is_bounded() {
    let mut unbounded = Vec::new();
    each_node(|schema, path| {
        let has = |keyword| schema.get(keyword).is_some();
        let bounded = match schema["type"].as_str() {
            Some("array") => has("maxItems"),
            Some("string") => has("maxLength") || has("enum") || schema["format"] == "date-time",
            Some("object") => has("properties") || has("maxProperties"),
            Some("integer") => has("minimum"),
            Some("boolean") => true,
            Some(other) => panic!("{path}: {other} is no type of this API"),
            None => has("x-kubernetes-int-or-string") && has("maxLength"),
        };
        if !bounded {
            unbounded.push(path.to_owned());
        }
        // Formats that the API server does not know would be dropped with a warning.
        if let Some(format) = schema.get("format").and_then(Value::as_str) {
            assert!(
                ["date-time", "int32", "int64"].contains(&format),
                "{path}: format {format}"
            );
        }
    });
    assert!(unbounded.is_empty(), "no bound: {unbounded:?}");
}

#[test]
fn no_rule_is_too_dear_or_out_of_scope() {
    let mut rules = 0;
    each_node(|schema, path| {
        let compiled = compile_schema(schema);
        for rule in schema["x-kubernetes-validations"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let warnings = analyze_rule(
                rule["rule"].as_str().unwrap(),
                &compiled,
                ScopeContext::CrdValidation,
            );
            assert!(warnings.is_empty(), "{path}: {warnings:?}");
            assert!(
                rule.get("messageExpression").is_some() || rule.get("message").is_some(),
                "{path}: a rule without message"
            );
            rules += 1;
        }
    });
    assert!(rules > 40, "{rules} rules");
}
