//! Bringing Knative's kinds and the stand-in to a cluster, and taking them away again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{COMPONENT, admission, definitions};
use crate::cache::Cache;
use crate::cluster::Cluster;
use crate::node::Node;
use crate::wait;

/// Longest wait for the stand-in to answer.
const LIMIT: Duration = Duration::from_mins(1);
const SERVICES: &str = "services.serving.knative.dev";
const REVISIONS: &str = "revisions.serving.knative.dev";

/// Makes the cluster one that serves Knative Services: the local one by the stand-in; any other must have Knative already.
///
/// # Errors
/// Where the other cluster has no Knative, or the stand-in does not come up.
pub async fn install(cluster: &Cluster) -> Result<()> {
    let Some(node) = cluster.local_node().cloned() else {
        let known = cluster
            .client()
            .list_api_groups()
            .await?
            .groups
            .iter()
            .any(|group| group.name == "serving.knative.dev");
        return if known {
            Ok(())
        } else {
            bail!(
                "the cluster that KUBECONFIG names has no Knative Serving: see https://knative.dev/docs/install"
            )
        };
    };
    blocking(move || install_on(&node)).await
}

/// Takes Knative's kinds and the stand-in away from the local cluster, with every Service that is left. Another cluster stays as it is.
///
/// # Errors
/// Name what could not be removed.
pub async fn uninstall(cluster: &Cluster) -> Result<()> {
    let Some(node) = cluster.local_node().cloned() else {
        return Ok(());
    };
    blocking(move || uninstall_from(&node)).await
}

async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(work)
        .await
        .context("the harness broke off")?
}

/// The same for a node that is at hand. What is there already is brought up to date.
///
/// # Errors
/// As of [`install`].
pub fn install_on(node: &Node) -> Result<()> {
    let files = definitions::files(&Cache::locate()?)?;
    let mut apply = vec!["apply", "--server-side", "--force-conflicts"];
    let files = arguments(&files);
    apply.extend(files.iter().map(String::as_str));
    node.kubectl(&apply)
        .context("cannot apply Knative's definitions")?;
    wait::until("Knative's kinds to be served", LIMIT, || {
        Ok((is_established(node, SERVICES) && is_established(node, REVISIONS)).then_some(()))
    })?;
    node.start_component(COMPONENT)?;
    let answers = || Ok(answers(node)?.then_some(()));
    wait::until("the stand-in for Knative's controllers to answer", LIMIT, answers)
        .with_context(|| format!("what it said: {}", node.log(COMPONENT).unwrap_or_default()))
}

/// Whether the API server serves a kind. Asked again and again: kubectl's own wait fails on a definition that has no conditions yet.
fn is_established(node: &Node, definition: &str) -> bool {
    const STATUS: &str = "jsonpath={.status.conditions[?(@.type==\"Established\")].status}";
    let said = node.kubectl(&["get", "crd", definition, "-o", STATUS]);
    said.is_ok_and(|status| status == "True")
}

/// Whether a Service would come back with the defaults; a dry run asks the webhook and stores nothing.
fn answers(node: &Node) -> Result<bool> {
    let service = json!({
        "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": { "name": "probe", "namespace": "default" },
        "spec": { "template": { "spec": { "containers": [{ "image": "probe" }] } } },
    });
    let file = node.layout().configuration("knative-probe.json");
    std::fs::write(&file, service.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
    let made = node.kubectl(&[
        "create",
        "--dry-run=server",
        "-o",
        "jsonpath={.spec.template.spec.timeoutSeconds}",
        "-f",
        &file.display().to_string(),
    ]);
    Ok(made.is_ok_and(|seconds| seconds == "300"))
}

fn uninstall_from(node: &Node) -> Result<()> {
    let known = node.kubectl(&["get", "crd", SERVICES, "--ignore-not-found", "-o", "name"])?;
    if !known.trim().is_empty() {
        // With what they own, while the kinds are still known: afterwards nobody could tell what belongs to what.
        node.kubectl(&[
            "delete",
            SERVICES,
            "--all",
            "--all-namespaces",
            "--cascade=foreground",
            "--timeout=60s",
        ])?;
    }
    node.kubectl(&[
        "delete",
        "mutatingwebhookconfiguration",
        admission::REGISTRATION,
        "--ignore-not-found",
    ])?;
    node.stop_component(COMPONENT)?;
    let mut delete = vec!["delete", "--ignore-not-found", "--timeout=120s"];
    let files = arguments(&definitions::files(&Cache::locate()?)?);
    delete.extend(files.iter().map(String::as_str));
    node.kubectl(&delete)
        .context("cannot take Knative's definitions away")
        .map(drop)
}

fn arguments(files: &[PathBuf]) -> Vec<String> {
    files
        .iter()
        .map(|file| format!("--filename={}", file.display()))
        .collect()
}
