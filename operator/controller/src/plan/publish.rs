//! Writes what became of every application, model and platform: its status where something but time changed, and an event for every
//! condition that changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use harmonybatch_api::names::PLAN_MANAGER;
use harmonybatch_api::{Condition, InferenceApp, InferenceGroup, InferenceModel, InferencePlatform};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::Api;
use kube::runtime::events::EventType;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::build::Planned;
use super::decide::{Decided, refusal};
use super::gather::Gathered;
use super::observed;
use super::refusals::Refusals;
use super::reports::Reports;
use super::status::{self, Place, PoolsNow};
use super::validate::{Contract, Kind, Problem, Validated, key, service_name};
use crate::cluster;
use crate::events::Events;

/// What there is to say of the platforms' pools.
pub(crate) struct Pools<'a> {
    pub(crate) decided: &'a BTreeMap<String, Decided>,
    pub(crate) reports: &'a Reports,
}

impl Pools<'_> {
    fn of(&self, platform: &str) -> Option<PoolsNow<'_>> {
        let decided = self.decided.get(platform)?;
        Some(PoolsNow {
            used: decided.pools(),
            report: self.reports.newest(platform),
        })
    }
}

/// The event that says which observed rate is planned for.
const RATE_CHANGED: &str = "RateChanged";

/// Writes statuses in the name of the plan.
pub(crate) struct Publisher {
    pub(crate) client: Client,
    pub(crate) events: Arc<Events>,
    /// Domain of the cluster, for the addresses that applications are called at.
    pub(crate) cluster_domain: String,
    /// Whether they are called over TLS.
    pub(crate) tls: bool,
}

impl Publisher {
    /// Writes every status that differs; `groups` are all groups as they are now.
    pub(crate) async fn publish(
        &self,
        gathered: &Gathered,
        validated: &Validated,
        planned: &[Planned<'_>],
        pools: &Pools<'_>,
        groups: &[Arc<InferenceGroup>],
        refusals: &Refusals,
    ) -> Result<(), cluster::Error> {
        let now = &cluster::now();
        for app in &gathered.inputs.apps {
            self.app(app, validated, planned, groups, refusals, now).await?;
        }
        for model in &gathered.inputs.models {
            self.model(model, gathered, validated, planned, now).await?;
        }
        for platform in &gathered.inputs.platforms {
            self.platform(platform, validated, planned, pools, now).await?;
        }
        Ok(())
    }

    async fn app(
        &self,
        app: &InferenceApp,
        validated: &Validated,
        planned: &[Planned<'_>],
        groups: &[Arc<InferenceGroup>],
        refusals: &Refusals,
        now: &Time,
    ) -> Result<(), cluster::Error> {
        let (namespace, name) = key(app);
        let of_model = planned
            .iter()
            .find(|it| key(it.model) == (namespace.clone(), app.spec.model_ref.name.clone()));
        let problem = validated.problem(Kind::App, &namespace, &name);
        let contract = validated.contracts.get(&(namespace.clone(), name.clone()));
        let Some(place) = place(&name, problem, of_model, contract) else {
            return Ok(());
        };
        let nearby: Vec<Arc<InferenceGroup>> = groups
            .iter()
            .filter(|group| group.metadata.namespace == app.metadata.namespace)
            .cloned()
            .collect();
        let url = url(&service_name(app), &namespace, &self.cluster_domain, self.tls);
        let status = status::app(app, &place, &nearby, refusals, &url, now);
        if !status::app_differs(app.status.as_ref(), &status) {
            return Ok(());
        }
        let api = Api::namespaced(self.client.clone(), &namespace);
        let old = app.status.as_ref();
        let rate = observed::change(old.and_then(|old| old.plan.as_ref()), status.plan.as_ref());
        let old = old.map(|old| old.conditions.as_slice());
        self.write(&api, app, old, &status.conditions.clone(), status)
            .await?;
        if let Some(note) = rate {
            self.events
                .publish(app, EventType::Normal, RATE_CHANGED, "Plan", &note)
                .await;
        }
        Ok(())
    }

    async fn model(
        &self,
        model: &InferenceModel,
        gathered: &Gathered,
        validated: &Validated,
        planned: &[Planned<'_>],
        now: &Time,
    ) -> Result<(), cluster::Error> {
        let (namespace, name) = key(model);
        let plan = planned
            .iter()
            .find(|it| key(it.model) == (namespace.clone(), name.clone()))
            .map(|it| (&it.plan, it.groups.plan_generation));
        let apps = gathered.inputs.apps.iter().filter(|app| {
            app.metadata.namespace == model.metadata.namespace && app.spec.model_ref.name == name
        });
        let problem = validated.problem(Kind::Model, &namespace, &name);
        let drifts = gathered.drifts.get(&(namespace.clone(), name.clone()));
        let drifts = drifts.map_or(&[][..], Vec::as_slice);
        let status = status::model(model, problem, plan, apps.count(), drifts, now);
        if !status::model_differs(model.status.as_ref(), &status) {
            return Ok(());
        }
        let api = Api::namespaced(self.client.clone(), &namespace);
        let old = model.status.as_ref().map(|old| old.conditions.as_slice());
        self.write(&api, model, old, &status.conditions.clone(), status)
            .await
    }

    async fn platform(
        &self,
        platform: &InferencePlatform,
        validated: &Validated,
        planned: &[Planned<'_>],
        pools: &Pools<'_>,
        now: &Time,
    ) -> Result<(), cluster::Error> {
        let name = platform.name_any();
        let on_it = planned
            .iter()
            .filter(|it| it.model.spec.platform_ref.name == name);
        let plans: Vec<_> = on_it.map(|it| &it.plan).collect();
        let problem = validated.problem(Kind::Platform, "", &name);
        let status = status::platform(platform, problem, &plans, pools.of(&name).as_ref(), now);
        if platform.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api = Api::all(self.client.clone());
        let old = platform.status.as_ref().map(|old| old.conditions.as_slice());
        self.write(&api, platform, old, &status.conditions.clone(), status)
            .await
    }

    async fn write<K, S>(
        &self,
        api: &Api<K>,
        object: &K,
        old: Option<&[Condition]>,
        new: &[Condition],
        status: S,
    ) -> Result<(), cluster::Error>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
        S: Serialize + std::fmt::Debug,
    {
        match cluster::apply_status(api, PLAN_MANAGER, object, status).await {
            // Deleted meanwhile: it needs no status.
            Err(error) if error.code() == Some(404) => return Ok(()),
            // There is no place left to say it; the others shall have theirs.
            Err(error) if error.is_refusal() => {
                tracing::warn!(%error, "the API server refuses a status");
                return Ok(());
            }
            outcome => drop(outcome?),
        }
        self.events
            .publish_changes(object, old.unwrap_or_default(), new, "Plan")
            .await;
        Ok(())
    }
}

/// Where the plan has put an application; nothing where its model has no plan at all.
fn place<'a>(
    name: &str,
    problem: Option<&'a Problem>,
    planned: Option<&'a Planned<'_>>,
    contract: Option<&'a Contract>,
) -> Option<Place<'a>> {
    if let Some(problem) = problem {
        return Some(Place::Rejected(problem));
    }
    let planned = planned?;
    for (group, built) in planned.plan.groups.iter().zip(&planned.groups.wanted) {
        if let Some(member) = group.members.iter().find(|member| member.app == name) {
            return Some(Place::Member {
                namespace: &planned.plan.namespace,
                name: built.metadata.name.as_deref()?,
                planned: group,
                member,
                contract: contract?,
            });
        }
    }
    let infeasible = planned.plan.infeasible.iter().find(|it| it.app == name)?;
    Some(Place::Infeasible(refusal(&planned.plan, infeasible)))
}

/// Where an application is called: its Service has the gateway's port, which is the scheme's own.
fn url(service: &str, namespace: &str, cluster_domain: &str, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{service}.{namespace}.svc.{cluster_domain}")
}

#[cfg(test)]
mod tests {
    use super::url;

    #[test]
    fn an_application_is_called_as_the_gateway_serves() {
        let of = |tls| url("search-infer", "shop", "cluster.local", tls);
        assert_eq!(of(false), "http://search-infer.shop.svc.cluster.local");
        assert_eq!(of(true), "https://search-infer.shop.svc.cluster.local");
    }
}
