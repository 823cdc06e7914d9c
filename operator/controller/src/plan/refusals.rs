//! What the API server would not take: said on the applications that it concerns, while all others go on.

use std::collections::BTreeMap;

use harmonybatch_api::{InferenceApp, InferenceGroup};

use super::validate::{Key, key};
use crate::cluster;

/// The refusals of one reconcile, each in the API server's words.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    groups: BTreeMap<Key, String>,
    caller_services: BTreeMap<Key, String>,
}

impl Refusals {
    /// Whether everything was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.caller_services.is_empty()
    }

    /// A group was refused.
    pub(crate) fn group(&mut self, group: &InferenceGroup, error: &cluster::Error) {
        tracing::warn!(group = ?key(group), %error, "the API server refuses a group");
        self.groups.insert(key(group), error.to_string());
    }

    /// The Service of an application's callers was refused.
    pub(crate) fn caller_service(&mut self, app: &InferenceApp, error: &cluster::Error) {
        tracing::warn!(app = ?key(app), %error, "the API server refuses the Service of an application's callers");
        self.caller_services.insert(key(app), error.to_string());
    }

    /// Why a group is not as it was planned.
    pub(crate) fn of_group(&self, namespace: &str, name: &str) -> Option<&str> {
        self.groups
            .get(&(namespace.to_owned(), name.to_owned()))
            .map(String::as_str)
    }

    /// Why an application has no Service for its callers.
    pub(crate) fn of_callers(&self, app: &InferenceApp) -> Option<&str> {
        self.caller_services.get(&key(app)).map(String::as_str)
    }
}
