//! A stand-in for the controllers of Knative Serving, on Knative's own kinds.
//!
//! Knative's controllers cannot be built from Go modules alone, its definitions of kinds can be had from one. So the local cluster has the
//! real kinds ([`definitions`]) and this small controller for them. It does what HarmonyBatch relies on, as the sources of Knative Serving
//! 0.51 do it:
//!
//! - at the door ([`admission`]): writes the defaults that Knative's webhook writes ([`defaults`]), refuses what it refuses ([`validation`]);
//! - afterwards ([`reconcile`]): a Revision for each change of the template, a Deployment and a private Service for each Revision that
//!   serves ([`build`]), conditions, names of the latest Revisions and addresses ([`status`]). `observedGeneration` lags the spec.
//!
//! It is not Knative: there is no queue-proxy (the private Service leads to the container itself, and each Pod waits two seconds before it
//! ends), no autoscaler (a Revision has `min-scale` replicas, at least one), no activator and no ingress (the Service of the application's
//! name leads to the latest ready Revision). Everything that it makes says so in an annotation.
//!
//! It runs inside the node's namespaces as `e2e knative-stand-in`, where the API server reaches its webhook; [`install`] starts it.

mod admission;
mod build;
mod defaults;
mod definitions;
mod install;
mod objects;
mod reconcile;
mod status;
mod validation;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};

pub use definitions::MODULE_VERSION;
pub use install::{install, install_on, uninstall};

/// The component's name on the local node.
pub const COMPONENT: &str = "knative-stand-in";
/// Port of its webhook on the node's address.
pub(crate) const WEBHOOK_PORT: u16 = 9443;

/// Annotation on everything that the stand-in makes.
const SAYS_SO: (&str, &str) = (
    "harmonybatch.dev/stand-in",
    "made by a stand-in for Knative's controllers, not by Knative",
);
/// Field manager of the stand-in.
const MANAGER: &str = "knative-stand-in";
/// Label of everything made for a Knative Service: its name.
const SERVICE_LABEL: &str = "serving.knative.dev/service";

/// Runs the stand-in until it is ended: the webhook at `webhook`, the controller for the whole cluster.
///
/// # Errors
/// Where the cluster cannot be reached or the webhook cannot listen.
pub async fn run(kubeconfig: &Path, webhook: SocketAddr) -> Result<()> {
    let client = crate::cluster::client(kubeconfig).await?;
    let admission = admission::Webhook::bind(client.clone(), webhook)
        .await
        .context("the stand-in's webhook")?;
    admission
        .register()
        .await
        .context("cannot register the stand-in's webhook")?;
    tokio::select! {
        // Neither ends by itself.
        () = admission.serve() => {}
        () = reconcile::run(client) => {}
    }
    Ok(())
}
