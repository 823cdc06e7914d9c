//! The objects of one group, before and after the API server has taken them. Status is computed only from what was taken.

use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::core::DynamicObject;

/// Built, not yet sent.
#[derive(Clone, Debug)]
pub(crate) struct Prepared;

/// As the API server returned it.
#[derive(Clone, Debug)]
pub(crate) struct Applied;

/// Every kind that a group may need.
#[derive(Clone, Debug)]
pub(crate) struct Resources<State> {
    /// Deployment mode: the pods.
    pub(crate) deployment: Option<Deployment>,
    /// Deployment mode: where the gateway finds them.
    pub(crate) service: Option<Service>,
    /// Knative mode: all of it.
    pub(crate) knative_service: Option<DynamicObject>,
    state: PhantomData<State>,
}

impl Resources<Prepared> {
    /// What the builders made.
    pub(crate) fn prepared(
        deployment: Option<Deployment>,
        service: Option<Service>,
        knative_service: Option<DynamicObject>,
    ) -> Self {
        Self {
            deployment,
            service,
            knative_service,
            state: PhantomData,
        }
    }

    /// All kinds, to be applied. Destructured without `..`, so that a kind that is added must be applied to compile.
    pub(crate) fn into_parts(self) -> (Option<Deployment>, Option<Service>, Option<DynamicObject>) {
        let Self {
            deployment,
            service,
            knative_service,
            state: PhantomData,
        } = self;
        (deployment, service, knative_service)
    }
}

impl Resources<Applied> {
    /// What the API server holds.
    pub(crate) fn applied(
        deployment: Option<Deployment>,
        service: Option<Service>,
        knative_service: Option<DynamicObject>,
    ) -> Self {
        Self {
            deployment,
            service,
            knative_service,
            state: PhantomData,
        }
    }
}
