//! What runtimes say of their models, asked seldom.

use std::{sync::PoisonError, time::Duration};

use bytes::Bytes;
use harmonybatch_dispatch::Nanos;
use http::{Method, StatusCode};
use prost::Message as _;
use serde_json::{Map, Value, json};

use super::Service;
use crate::{
    body::Chunks,
    config::Target,
    protocol::{
        ApiError, Cause, Wire,
        grpc::{
            SERVICE, frame_message,
            messages::{ModelMetadataRequest, ModelMetadataResponse, TensorMetadata},
        },
    },
    upstream::{Call, Replica, Transport, Upstream},
};

/// Models do not change under a group's name, but a runtime may load late.
const METADATA_AGE: Nanos = 60 * 1_000_000_000;
/// Most answers that are kept: callers may ask for any version, and a runtime may have something to say of each.
const METADATA_ENTRIES: usize = 1024;
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

impl<U: Upstream> Service<U> {
    /// What the runtime says of its model, under the name that the caller uses.
    pub(super) async fn metadata(
        &self,
        target: &Target,
        model: &str,
        version: Option<&str>,
    ) -> Result<Map<String, Value>, ApiError> {
        let key = (target.group.key.clone(), version.map(ToOwned::to_owned));
        let now = self.timer.now();
        let known = self
            .metadata
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        let body = if let Some((_, body)) = known.filter(|(at, _)| now.saturating_sub(*at) < METADATA_AGE) {
            body
        } else {
            let body = self.fetch_metadata(target, version).await?;
            let mut metadata = self.metadata.lock().unwrap_or_else(PoisonError::into_inner);
            metadata.retain(|_, (at, _)| now.saturating_sub(*at) < METADATA_AGE);
            if metadata.len() >= METADATA_ENTRIES {
                metadata.clear();
            }
            metadata.insert(key, (now, body.clone()));
            body
        };
        let mut metadata: Map<String, Value> =
            serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
        metadata.insert("name".to_owned(), model.into());
        Ok(metadata)
    }

    /// As REST has it.
    async fn fetch_metadata(&self, target: &Target, version: Option<&str>) -> Result<Bytes, ApiError> {
        let unavailable =
            |cause: Cause, message: String| ApiError::new(cause, message).retry_after(Duration::from_secs(1));
        let endpoint = target.group.endpoints.first().copied();
        let replica = endpoint
            .map(Replica::Endpoint)
            .ok_or_else(|| unavailable(Cause::NoReplica, "no replica is ready".to_owned()))?;
        // On a connection of its own: the group's task knows nothing of it, and its batches do not wait for it here.
        let call = self.upstream.call(&replica, None, call(target, version));
        let answer = tokio::time::timeout(METADATA_TIMEOUT, call).await;
        let (_, reply) = answer.map_err(|_| {
            unavailable(
                Cause::TimeoutRuntime,
                "the runtime did not say anything of the model in time".to_owned(),
            )
            .with_status(StatusCode::SERVICE_UNAVAILABLE)
        })?;
        let reply = reply.map_err(|error| unavailable(Cause::Unreachable, error.to_string()))?;
        match reply.status {
            status if status.is_success() && target.group.wire == Wire::Grpc => {
                let message =
                    ModelMetadataResponse::decode(reply.body).map_err(|error| unreadable(&error))?;
                Ok(to_json(&message).to_string().into())
            }
            status if status.is_success() => Ok(reply.body),
            StatusCode::NOT_FOUND => Err(ApiError::new(
                Cause::UnknownModel,
                "the runtime does not have this model or version",
            )),
            status if status.is_client_error() => Err(refused(Cause::Runtime4xx, status)),
            status => Err(refused(Cause::Runtime5xx, status)),
        }
    }
}

fn call(target: &Target, version: Option<&str>) -> Call {
    let model = &target.group.runtime_model;
    let transport = Transport::from(target.group.wire);
    let (method, path, body) = match transport {
        Transport::Grpc => {
            let message = ModelMetadataRequest {
                name: model.to_string(),
                version: version.unwrap_or_default().to_owned(),
            };
            (
                Method::POST,
                format!("{SERVICE}ModelMetadata"),
                frame_message(&message),
            )
        }
        Transport::Http1 => {
            let version = version.map_or_else(String::new, |version| format!("/versions/{version}"));
            (
                Method::GET,
                format!("/v2/models/{model}{version}"),
                Chunks::default(),
            )
        }
    };
    Call {
        method,
        path,
        body,
        header_length: None,
        transport,
        idempotent: true,
        remaining: None,
        trace: None,
    }
}

fn refused(cause: Cause, status: StatusCode) -> ApiError {
    ApiError::new(cause, format!("the runtime answered {}", status.as_u16()))
}

fn unreadable(error: &dyn std::error::Error) -> ApiError {
    let message = format!("the runtime's metadata cannot be read: {error}");
    ApiError::new(Cause::InvalidAnswer, message)
}

fn to_json(message: &ModelMetadataResponse) -> Value {
    let tensors = |tensors: &[TensorMetadata]| {
        let tensors = tensors.iter();
        let tensors = tensors
            .map(|tensor| json!({"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}));
        tensors.collect::<Vec<_>>()
    };
    json!({
        "name": message.name,
        "versions": message.versions,
        "platform": message.platform,
        "inputs": tensors(&message.inputs),
        "outputs": tensors(&message.outputs),
    })
}

/// As gRPC has it. What a runtime says in another form than the protocol's is left out.
pub(super) fn from_json(metadata: &Map<String, Value>) -> ModelMetadataResponse {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let tensors = |name: &str| {
        let tensors = list(metadata.get(name)).into_iter();
        let tensors = tensors.map(|tensor| TensorMetadata {
            name: text(tensor.get("name")),
            datatype: text(tensor.get("datatype")),
            shape: list(tensor.get("shape"))
                .iter()
                .map(|size| size.as_i64().unwrap_or(-1))
                .collect(),
        });
        tensors.collect()
    };
    ModelMetadataResponse {
        name: text(metadata.get("name")),
        versions: list(metadata.get("versions"))
            .iter()
            .map(|version| text(Some(version)))
            .collect(),
        platform: text(metadata.get("platform")),
        inputs: tensors("inputs"),
        outputs: tensors("outputs"),
    }
}
