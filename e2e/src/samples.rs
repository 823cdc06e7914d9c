//! The samples of the repository as JSON, for who applies them with changes.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::image::repository;

/// A file with one object, of a folder such as `samples` below `crds`.
///
/// # Errors
/// Where it cannot be read, or is not one object of YAML.
pub fn object(folder: &str, file: &str) -> Result<Value> {
    let path = repository()?.join("crds").join(folder).join(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(harmonybatch_api::yaml::parse(&path, &text)?)
}

/// Overwrites objects key by key, everything else whole.
pub fn merge(base: &mut Value, changes: &Value) {
    match (base, changes) {
        (Value::Object(base), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(base.entry(key.clone()).or_insert(Value::Null), change);
            }
        }
        (base, changes) => *base = changes.clone(),
    }
}
