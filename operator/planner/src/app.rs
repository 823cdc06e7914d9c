//! Applications and the model that they share: what a plan is asked for.

use std::collections::{BTreeSet, HashSet};

use crate::arrival::ArrivalProcess;
use crate::profile::ModelProfile;
use crate::units::{Percentile, Rate, Seconds};

/// One application: a stream of requests for a model, with a promise on their latency.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Name, unique within the model's set.
    pub name: String,
    /// Latency at the gateway that `percentile` of the requests must keep, the platform's overhead included.
    pub slo: Seconds,
    /// Share of the requests that must keep `slo`.
    pub percentile: Percentile,
    /// Long-run mean of rows per second.
    pub rate: Rate,
    /// Never shares a batch with another application.
    pub isolated: bool,
    /// How its requests are spread over time.
    pub arrivals: ArrivalProcess,
}

/// All applications of one model in one namespace. Groups are formed within one such set only.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSet {
    namespace: String,
    model: String,
    profile: ModelProfile,
    apps: Vec<App>,
}

/// A set of applications that cannot be planned as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelSetError {
    /// Two applications have the same name.
    #[error("application {name} is listed twice for model {model}")]
    DuplicateApp {
        /// The model.
        model: String,
        /// The name that occurs twice.
        name: String,
    },
}

impl ModelSet {
    /// Brings a model and its applications together; their order does not matter.
    pub fn new(
        namespace: impl Into<String>,
        model: impl Into<String>,
        profile: ModelProfile,
        apps: Vec<App>,
    ) -> Result<Self, ModelSetError> {
        let model = model.into();
        let mut seen = HashSet::new();
        if let Some(twice) = apps.iter().find(|app| !seen.insert(app.name.as_str())) {
            return Err(ModelSetError::DuplicateApp {
                name: twice.name.clone(),
                model,
            });
        }
        Ok(Self {
            namespace: namespace.into(),
            model,
            profile,
            apps,
        })
    }

    /// The same set where one application is another; every name stays.
    pub(crate) fn with_app(&self, changed: &App) -> Self {
        let mut set = self.clone();
        for app in &mut set.apps {
            if app.name == changed.name {
                app.clone_from(changed);
            }
        }
        set
    }

    /// The same set with other rates.
    pub(crate) fn with_rates(&self, rate: impl Fn(&App) -> Rate) -> Self {
        let mut set = self.clone();
        for app in &mut set.apps {
            app.rate = rate(app);
        }
        set
    }

    /// The same applications on another profile.
    #[must_use]
    pub fn with_profile(&self, profile: ModelProfile) -> Self {
        Self {
            profile,
            ..self.clone()
        }
    }

    /// The set with one of its applications only.
    pub(crate) fn only(&self, app: &App) -> Self {
        Self {
            apps: vec![app.clone()],
            ..self.clone()
        }
    }

    /// The namespace of the model and its applications.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// How long the model takes on which device.
    pub fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    /// The same model without some of its applications.
    pub(crate) fn without(&self, names: &BTreeSet<&str>) -> Self {
        let mut set = self.clone();
        set.apps.retain(|app| !names.contains(app.name.as_str()));
        set
    }

    /// The applications, in the order in which they were given.
    pub fn apps(&self) -> &[App] {
        &self.apps
    }
}
