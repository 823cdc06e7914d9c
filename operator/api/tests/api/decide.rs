//! The API server's verdict on an object: defaults, structural schema, CEL rules, in its order.

use std::sync::LazyLock;

use harmonybatch_api::crds;
use kube_cel::{CompiledSchema, Validator, apply_defaults, compile_schema};
use serde_json::Value;

use crate::structural;

struct Kind {
    name: String,
    schema: Value,
    rules: CompiledSchema,
}

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    crds()
        .iter()
        .map(|crd| {
            let schema = serde_json::to_value(
                crd.spec.versions[0]
                    .schema
                    .clone()
                    .unwrap()
                    .open_api_v3_schema
                    .unwrap(),
            )
            .unwrap();
            let rules = compile_schema(&schema);
            assert!(
                !rules.has_errors(),
                "{}: {:?}",
                crd.spec.names.kind,
                rules.compilation_errors()
            );
            Kind {
                name: crd.spec.names.kind.clone(),
                schema,
                rules,
            }
        })
        .collect()
});

thread_local! {
    /// Costly to make: it knows every function of Kubernetes' CEL.
    static VALIDATOR: Validator = Validator::new();
}

/// What the API server says to `object`, each as `path: what`; nothing where it takes it. `old` is what it replaces.
pub(crate) fn decide(object: &Value, old: Option<&Value>) -> Vec<String> {
    let kind = find(object["kind"].as_str().unwrap());
    let object = apply_defaults(&kind.schema, object);
    let errors = structural::check(&kind.schema, &object, "");
    if !errors.is_empty() {
        return errors;
    }
    let old = old.map(|old| apply_defaults(&kind.schema, old));
    match VALIDATOR.with(|rules| rules.validate_compiled(&kind.rules, &object, old.as_ref())) {
        Ok(()) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|error| format!("{}: {}", error.field_path, error.message))
            .collect(),
    }
}

/// The whole schema of a kind.
pub(crate) fn schema(kind: &str) -> &'static Value {
    &find(kind).schema
}

fn find(kind: &str) -> &'static Kind {
    KINDS
        .iter()
        .find(|known| known.name == kind)
        .unwrap_or_else(|| panic!("unknown kind {kind}"))
}
