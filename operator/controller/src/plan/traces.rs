//! The recorded arrivals that applications name (`spec.trace`): a key of a ConfigMap each, read once for all applications that name it, so that
//! the planner takes those for parts of one stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use harmonybatch_api::conditions::reason;
use harmonybatch_api::{InferenceApp, arrival_times};
use harmonybatch_planner::Trace;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;

use super::validate::{Key, Problem};

/// Most bytes of a trace: what Kubernetes lets a ConfigMap hold. From files it is held to as well, so that they can be applied.
const MOST_BYTES: usize = 1 << 20;
/// Keys of a ConfigMap that are listed where another one was asked for.
const LISTED_KEYS: usize = 5;

/// Where recorded arrivals stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TracePlace {
    /// Namespace and name of the ConfigMap.
    pub config_map: Key,
    /// The key in it.
    pub key: String,
}

/// What was read at the places that applications name.
pub type Traces = BTreeMap<TracePlace, Result<Arc<Trace>, Problem>>;

impl TracePlace {
    /// The place that an application names, if it does.
    pub fn of(app: &InferenceApp) -> Option<Self> {
        let reference = &app.spec.trace.as_ref()?.config_map_key_ref;
        Some(Self {
            config_map: (app.namespace().unwrap_or_default(), reference.name.clone()),
            key: reference.key.clone(),
        })
    }

    /// There is nothing to read; `state` says of the ConfigMap why, and what to do.
    pub fn not_found(&self, state: &str) -> Problem {
        let (_, name) = &self.config_map;
        Problem::new(
            reason::TRACE_NOT_FOUND,
            format!("trace.configMapKeyRef.name: ConfigMap {name} {state}"),
        )
    }

    /// Reads the arrivals in the ConfigMap.
    pub fn read(&self, config_map: &ConfigMap) -> Result<Arc<Trace>, Problem> {
        let (_, name) = &self.config_map;
        let key = &self.key;
        let Some(text) = config_map.data.as_ref().and_then(|data| data.get(key)) else {
            return Err(self.no_key(config_map));
        };
        let wrong = |what: String| {
            Problem::new(
                reason::INVALID,
                format!("trace.configMapKeyRef: ConfigMap {name}, key {key}: {what}"),
            )
        };
        if text.len() > MOST_BYTES {
            return Err(wrong(format!(
                "{} bytes are more than the {MOST_BYTES} that a ConfigMap holds: take a shorter part of the recording",
                text.len()
            )));
        }
        let times = arrival_times::read(text).map_err(|error| wrong(error.to_string()))?;
        let trace = Trace::new(&times).map_err(|error| wrong(error.to_string()))?;
        Ok(Arc::new(trace))
    }

    fn no_key(&self, config_map: &ConfigMap) -> Problem {
        let (_, name) = &self.config_map;
        let key = &self.key;
        let binary = config_map
            .binary_data
            .as_ref()
            .is_some_and(|data| data.contains_key(key));
        let state = if binary {
            "is binaryData: put the arrivals into data, as text".to_owned()
        } else {
            let keys: Vec<&str> = config_map
                .data
                .iter()
                .flatten()
                .map(|(key, _)| key.as_str())
                .collect();
            let found = match keys.len() {
                0 => "it has none".to_owned(),
                count if count > LISTED_KEYS => format!("it has {}, ...", keys[..LISTED_KEYS].join(", ")),
                _ => format!("it has {}", keys.join(", ")),
            };
            format!("is not in its data ({found}): put the arrivals under that key, or name another")
        };
        Problem::new(
            reason::TRACE_NOT_FOUND,
            format!("trace.configMapKeyRef.key: ConfigMap {name}: {key} {state}"),
        )
    }
}

#[cfg(test)]
mod tests;
