//! From a request's Host and path to the application that it is for.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{GroupConfig, Key, MemberConfig, Named, Snapshot};

/// Where an application's requests go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The group that serves it.
    pub group: Arc<GroupConfig>,
    /// The application there.
    pub member: Arc<MemberConfig>,
    /// Its place among the applications that are served, from 0 on without a gap.
    pub number: usize,
}

/// Why a request is for no application that is served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The Host names no namespace.
    #[error(
        "host {host} has no namespace; call http://{host}.<namespace>.svc.{cluster_domain}, as status.url of the InferenceApp says"
    )]
    NoNamespace {
        /// The Host as given.
        host: String,
        /// Domain of the cluster.
        cluster_domain: Arc<str>,
    },
    /// The Host is no name of a Service of this cluster.
    #[error(
        "host {host} is no Service of an InferenceApp; call <service>.<namespace>.svc.{cluster_domain} or /<namespace>/<app>/v2/..."
    )]
    UnknownHost {
        /// The Host as given.
        host: String,
        /// Domain of the cluster.
        cluster_domain: Arc<str>,
    },
    /// No InferenceApp has this Service.
    #[error(
        "no InferenceApp in namespace {namespace} has the Service {service}; check `kubectl get inferenceapps -n {namespace}`"
    )]
    UnknownService {
        /// The namespace.
        namespace: String,
        /// The Service.
        service: String,
    },
    /// No InferenceApp has this name.
    #[error(
        "no InferenceApp {app} is served in namespace {namespace}; check `kubectl get inferenceapps -n {namespace}`"
    )]
    UnknownApp {
        /// The namespace.
        namespace: String,
        /// The application.
        app: String,
    },
    /// The application has another model.
    #[error("InferenceApp {app} has no model {model}; its model is {has}")]
    OtherModel {
        /// The application.
        app: Arc<str>,
        /// The model as asked for.
        model: String,
        /// The model that it has.
        has: Arc<str>,
    },
    /// The application is planned, but its group has never been ready.
    #[error(
        "InferenceApp {app} is not ready yet; check `kubectl describe inferenceapp {app} -n {namespace}`"
    )]
    NotReady {
        /// The namespace.
        namespace: Arc<str>,
        /// The application.
        app: Arc<str>,
    },
}

/// The routes of one snapshot.
#[derive(Debug, Default)]
pub struct Routes {
    cluster_domain: Arc<str>,
    apps: HashMap<Key, Target>,
    /// Namespace and Service to the application's name.
    services: HashMap<Key, Arc<str>>,
    planned: HashSet<Key>,
}

impl Routes {
    /// Of all groups that list an application, the one with the highest plan generation has it.
    pub fn new(snapshot: &Snapshot, cluster_domain: &str) -> Self {
        let mut routes = Self {
            cluster_domain: cluster_domain.into(),
            ..Self::default()
        };
        for (app, service_name) in &snapshot.planned {
            // Once for each of its Services.
            routes.planned.insert(app.clone());
            routes.add_service(app, service_name);
        }
        for group in snapshot.groups.values() {
            for member in &group.members {
                let app = Key {
                    namespace: group.key.namespace.clone(),
                    name: member.app.clone(),
                };
                let target = Target {
                    group: group.clone(),
                    member: member.clone(),
                    number: 0,
                };
                let present = routes.apps.get(&app);
                if present.is_none_or(|present| present.precedence() < target.precedence()) {
                    routes.apps.insert(app, target);
                }
            }
        }
        for (number, target) in routes.apps.values_mut().enumerate() {
            target.number = number;
        }
        // In order of name, so that of two applications with one Service the same one has it every time.
        let mut served: Vec<_> = routes
            .apps
            .iter()
            .map(|(app, target)| (app.clone(), target.member.service_name.clone()))
            .collect();
        served.sort_unstable();
        for (app, service_name) in served {
            routes.add_service(&app, &service_name);
        }
        routes
    }

    fn add_service(&mut self, app: &Key, service_name: &Arc<str>) {
        let service = Key {
            namespace: app.namespace.clone(),
            name: service_name.clone(),
        };
        self.services.entry(service).or_insert_with(|| app.name.clone());
    }

    /// Applications that are served, by namespace and name.
    pub fn apps(&self) -> impl Iterator<Item = (&Key, &Target)> {
        self.apps.iter()
    }

    /// The application with this name.
    pub fn by_app(&self, namespace: &str, app: &str) -> Result<&Target, RouteError> {
        let key: &dyn Named = &(namespace, app);
        match self.apps.get(key) {
            Some(target) => Ok(target),
            None if self.planned.contains(key) => Err(RouteError::NotReady {
                namespace: namespace.into(),
                app: app.into(),
            }),
            None => Err(RouteError::UnknownApp {
                namespace: namespace.to_owned(),
                app: app.to_owned(),
            }),
        }
    }

    /// The application whose Service has this Host: `<service>.<namespace>`, with `.svc` and the cluster's domain or without, with a port or a final
    /// dot or without, in letters of any case.
    pub fn by_host(&self, host: &str) -> Result<&Target, RouteError> {
        let without_port = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let name = without_port
            .strip_suffix('.')
            .unwrap_or(without_port)
            .to_ascii_lowercase();
        let unknown = || RouteError::UnknownHost {
            host: name.clone(),
            cluster_domain: self.cluster_domain.clone(),
        };
        let Some((service, rest)) = name.split_once('.') else {
            return Err(RouteError::NoNamespace {
                host: name,
                cluster_domain: self.cluster_domain.clone(),
            });
        };
        let (namespace, suffix) = rest.split_once('.').unwrap_or((rest, ""));
        let is_cluster = match suffix.split_once('.') {
            None => matches!(suffix, "" | "svc"),
            Some((svc, domain)) => svc == "svc" && domain.eq_ignore_ascii_case(&self.cluster_domain),
        };
        if service.is_empty() || namespace.is_empty() || !is_cluster {
            return Err(unknown());
        }
        let Some(app) = self.services.get(&(namespace, service) as &dyn Named) else {
            return Err(RouteError::UnknownService {
                namespace: namespace.to_owned(),
                service: service.to_owned(),
            });
        };
        self.by_app(namespace, app)
    }
}

impl Target {
    /// Callers may name the model as Kubernetes or as the runtime does.
    ///
    /// # Errors
    /// Where the application has another model.
    pub fn check_model(&self, model: &str) -> Result<(), RouteError> {
        let group = &self.group;
        if model == &*group.model || model == &*group.runtime_model {
            return Ok(());
        }
        Err(RouteError::OtherModel {
            app: self.member.app.clone(),
            model: model.to_owned(),
            has: group.model.clone(),
        })
    }

    fn precedence(&self) -> (i64, bool) {
        (self.group.plan_generation, !self.member.departing)
    }
}

#[cfg(test)]
mod tests;
