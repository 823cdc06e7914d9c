//! What the two long-running processes share: a client that does not retry by itself, and the signals that end them.

use std::time::Duration;

use anyhow::Context;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};

/// Longer than a watch may stay silent: kube ends one after 290 s by itself.
const READ_LIMIT: Duration = Duration::from_secs(310);

/// Runs a process on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(future)
}

/// A client from the pod's service account or the kubeconfig. kube 5 repeats every call, a POST too, up to 15 times by
/// itself: that is switched off, the callers know which of theirs may be repeated.
pub(crate) async fn client() -> anyhow::Result<Client> {
    let mut config = Config::infer()
        .await
        .context("find the cluster (in-cluster or kubeconfig)")?;
    config.default_retry = false;
    config.read_timeout = Some(READ_LIMIT);
    Client::try_from(config).context("make a client for the cluster")
}

/// Completes at SIGTERM or SIGINT.
pub(crate) fn shutdown() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
    })
}
