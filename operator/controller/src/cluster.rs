//! Calls to the API server: each with a time limit, each write server-side apply in the name of one field manager.
//!
//! The client must be made with `default_retry = false`: kube 5 repeats even a POST up to 15 times. A call that fails is
//! repeated by the reconciler that made it, with back-off.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// How long one call to the API server may take.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(10);

/// What can go wrong between us and the API server.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server answered with an error, or not at all.
    #[error("{what}: {}", said(.source))]
    Call {
        /// What was being done, and to which object.
        what: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// No answer within [`CALL_LIMIT`].
    #[error("{what}: no answer within {} s", CALL_LIMIT.as_secs())]
    Timeout {
        /// What was being done, and to which object.
        what: String,
    },
}

/// The API server's own sentence, without the machine's form of it that kube adds.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => {
            format!("{} ({})", status.message, status.code)
        }
        other => other.to_string(),
    }
}

impl Error {
    /// Whether the API server refused the object itself, so that sending it again would not help.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.code(), Some(400 | 403 | 422))
    }

    /// The HTTP status that the API server answered with, if it answered.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Call { source, .. } => match &**source {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::Timeout { .. } => None,
        }
    }
}

/// Awaits one call under [`CALL_LIMIT`]; `what` names it in the error.
pub(crate) async fn call<T>(
    what: impl FnOnce() -> String,
    future: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL_LIMIT, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(Error::Call {
            what: what(),
            source: Box::new(source),
        }),
        Err(_) => Err(Error::Timeout { what: what() }),
    }
}

/// Applies a whole object, taking over fields that others wrote: what we own is put back.
pub(crate) async fn apply<K>(api: &Api<K>, manager: &str, object: &K) -> Result<K, Error>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug,
{
    let name = object.name_any();
    let params = PatchParams::apply(manager).force();
    call(
        || format!("apply {} {name}", api.resource_url()),
        api.patch(&name, &params, &Patch::Apply(object)),
    )
    .await
}

/// Deletes the very object that was seen, by its UID; one that is gone already is no error.
pub(crate) async fn delete<K>(api: &Api<K>, object: &K) -> Result<(), Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    delete_if(api, object, None).await.map(drop)
}

/// Deletes the object only if it still is as it was seen. False if it is not.
pub(crate) async fn delete_as_seen<K>(api: &Api<K>, object: &K) -> Result<bool, Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    delete_if(api, object, object.resource_version()).await
}

async fn delete_if<K>(api: &Api<K>, object: &K, resource_version: Option<String>) -> Result<bool, Error>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    let name = object.name_any();
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.uid(),
            resource_version,
        }),
        ..DeleteParams::background()
    };
    let deleted = call(
        || format!("delete {} {name}", api.resource_url()),
        api.delete(&name, &params),
    )
    .await;
    match deleted {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some(404) => Ok(true),
        Err(error) if error.code() == Some(409) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The part of an object that a status writer sends: its name and the status fields that it owns.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusPatch<S> {
    api_version: String,
    kind: String,
    metadata: PatchedName,
    status: S,
}

#[derive(Debug, Serialize)]
struct PatchedName {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
}

/// Applies the status fields of one writer.
pub(crate) async fn apply_status<K, S>(api: &Api<K>, manager: &str, object: &K, status: S) -> Result<K, Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    S: Serialize + Debug,
{
    let name = object.name_any();
    let patch = StatusPatch {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        metadata: PatchedName {
            name: name.clone(),
            namespace: object.namespace(),
        },
        status,
    };
    let params = PatchParams::apply(manager).force();
    call(
        || format!("apply status of {} {name}", K::kind(&())),
        api.patch_status(&name, &params, &Patch::Apply(&patch)),
    )
    .await
}

/// The time, to the second: more of it the API does not keep of a condition.
pub(crate) fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}
