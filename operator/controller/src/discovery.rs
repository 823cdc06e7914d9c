//! Whether Knative Serving is there. It may be installed, and removed, while we run.

use std::time::Duration;

use kube::Client;
use tokio::sync::watch;

use crate::cluster;

/// How often the API server is asked.
const INTERVAL: Duration = Duration::from_secs(15);
/// The API version that carries the Knative Service.
const API_VERSION: &str = "serving.knative.dev/v1";

/// Asks once; an API server that does not answer is an error, not a "no".
pub(crate) async fn knative_served(client: &Client) -> Result<bool, cluster::Error> {
    let listed = cluster::call(
        || format!("list the kinds of {API_VERSION}"),
        client.list_api_group_resources(API_VERSION),
    );
    match listed.await {
        Ok(list) => Ok(list.resources.iter().any(|resource| resource.name == "services")),
        Err(error) if error.code() == Some(404) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Asks for ever, and calls `changed` after every change.
pub(crate) async fn follow(client: Client, served: watch::Sender<bool>, changed: impl Fn()) {
    loop {
        // An API group cannot be watched: whether it came or went is asked, for as long as the controller runs.
        tokio::time::sleep(INTERVAL).await;
        match knative_served(&client).await {
            Ok(now) => {
                if served.send_if_modified(|before| std::mem::replace(before, now) != now) {
                    tracing::info!(served = now, "Knative Serving changed");
                    changed();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "whether Knative is served is not known; the last answer holds");
            }
        }
    }
}
