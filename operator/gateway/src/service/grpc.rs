//! Calls of gRPC: the same requests, with statuses and trailers of their own.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Body;
use prost::Message;

use super::{
    BATCH_ROWS_HEADER, EXTENSIONS, Record, SERVER, Service, VERSION, host, is_ready, metadata, route_error,
};
use crate::{
    batcher::Submission,
    body::Chunks,
    config::Target,
    listener::BodyError,
    protocol::{
        self, ApiError, CAUSE_HEADER, Cause, GrpcRequest,
        grpc::{
            CONTENT_TYPE, FrameError, SERVICE, StatusLine, TIMEOUT, frame_message,
            messages::{
                ModelMetadataRequest, ModelReadyRequest, ModelReadyResponse, ServerLiveResponse,
                ServerMetadataResponse, ServerReadyResponse,
            },
            unframe,
        },
    },
    timer::nanos,
    upstream::Upstream,
};

/// Names the application, as `namespace/app`, for callers that do not reach the gateway by its Service.
const APP_HEADER: &str = "harmonybatch-app";

/// Whether a request is a call of gRPC.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let suffix = content_type.and_then(|content_type| content_type.strip_prefix(CONTENT_TYPE));
    suffix.is_some_and(|suffix| suffix.is_empty() || suffix.starts_with(['+', ';']))
}

/// Whether a call's path asks for inference.
pub(super) fn is_infer(path: &str) -> bool {
    path.strip_prefix(SERVICE) == Some("ModelInfer")
}

/// An answer that is an error.
pub(super) fn refusal(error: ApiError) -> Response<Chunks> {
    let mut response = Response::new(Chunks::default());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(CAUSE_HEADER, error.cause.header());
    // Without a message, the head is the trailers.
    StatusLine::from(error).write(headers);
    response
}

/// The calls that are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rpc {
    ServerLive,
    ServerReady,
    ModelReady,
    ServerMetadata,
    ModelMetadata,
    ModelInfer,
}

impl Rpc {
    /// Its name in the access log, that of REST's endpoint.
    fn name(self) -> &'static str {
        match self {
            Self::ServerLive => "server_live",
            Self::ServerReady => "server_ready",
            Self::ModelReady => "model_ready",
            Self::ServerMetadata => "server_metadata",
            Self::ModelMetadata => "model_metadata",
            Self::ModelInfer => "infer",
        }
    }

    fn find(head: &http::request::Parts) -> Result<Self, ApiError> {
        let path = head.uri.path();
        let rpc = match path.strip_prefix(SERVICE) {
            Some("ServerLive") => Self::ServerLive,
            Some("ServerReady") => Self::ServerReady,
            Some("ModelReady") => Self::ModelReady,
            Some("ServerMetadata") => Self::ServerMetadata,
            Some("ModelMetadata") => Self::ModelMetadata,
            Some("ModelInfer") => Self::ModelInfer,
            _ => {
                let message = format!("no method {path}; use {SERVICE}ModelInfer");
                return Err(
                    ApiError::new(Cause::UnknownPath, message).with_status(StatusCode::NOT_IMPLEMENTED)
                );
            }
        };
        if head.version < Version::HTTP_2 || head.method != Method::POST {
            return Err(ApiError::bad_request("gRPC needs HTTP/2 and its method POST"));
        }
        Ok(rpc)
    }
}

/// A call's message, and the rows of the batch that it came from.
type Reply = (Chunks, Option<u32>);

impl<U: Upstream> Service<U> {
    /// Answers one call.
    pub(super) async fn answer_call<B>(
        &self,
        request: Request<B>,
        record: &mut Record<'_>,
    ) -> Response<Chunks>
    where
        B: Body<Data = Bytes, Error: Into<BodyError>>,
    {
        let (message, batch_rows) = match self.call(request, record).await {
            Ok(reply) => reply,
            Err(error) => return refusal(error),
        };
        let mut trailers = HeaderMap::new();
        StatusLine::ok().write(&mut trailers);
        let mut response = Response::new(message.with_trailers(trailers));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if let Some(rows) = batch_rows {
            headers.insert(BATCH_ROWS_HEADER, HeaderValue::from(rows));
        }
        response
    }

    async fn call<B>(&self, request: Request<B>, record: &mut Record<'_>) -> Result<Reply, ApiError>
    where
        B: Body<Data = Bytes, Error: Into<BodyError>>,
    {
        let started = self.timer.now();
        let (head, body) = request.into_parts();
        record.call("unknown", false, &head.headers);
        let rpc = Rpc::find(&head)?;
        record.call(rpc.name(), rpc == Rpc::ModelInfer, &head.headers);
        let app = app(&head.headers)?;
        if rpc == Rpc::ServerLive {
            return Ok((frame_message(&ServerLiveResponse { live: true }), None));
        }
        let host = if app.is_none() {
            Some(host(&head.uri, &head.headers)?)
        } else {
            None
        };
        let target = self.target(app, host)?;
        record.found(&target);
        if rpc == Rpc::ModelInfer {
            let timeout = timeout(&head.headers)?;
            let deadline = timeout.map(|timeout| started.saturating_add(nanos(timeout)));
            let submission = self.submission(&target, body, deadline, record).await?;
            let answered = self.infer(&target, app, host, submission, record).await?;
            return Ok((answered.answer.body, Some(answered.batch_rows)));
        }
        let (body, _memory) = self.read(body).await?;
        let message = unframe(&body)?;
        let ready = is_ready(&target);
        let message = match rpc {
            Rpc::ServerReady => frame_message(&ServerReadyResponse { ready }),
            Rpc::ModelReady => {
                let request: ModelReadyRequest = decode(message)?;
                target
                    .check_model(&request.name)
                    .map_err(|error| route_error(&error))?;
                frame_message(&ModelReadyResponse { ready })
            }
            Rpc::ModelMetadata => {
                let request: ModelMetadataRequest = decode(message)?;
                target
                    .check_model(&request.name)
                    .map_err(|error| route_error(&error))?;
                let version = Some(request.version.as_str()).filter(|version| !version.is_empty());
                protocol::check_version(version)?;
                let metadata = self.metadata(&target, &request.name, version).await?;
                frame_message(&metadata::from_json(&metadata))
            }
            Rpc::ServerLive | Rpc::ServerMetadata | Rpc::ModelInfer => {
                frame_message(&ServerMetadataResponse {
                    name: SERVER.to_owned(),
                    version: VERSION.to_owned(),
                    extensions: EXTENSIONS.map(ToOwned::to_owned).to_vec(),
                })
            }
        };
        Ok((message, None))
    }

    /// The request in a call's body.
    async fn submission<B>(
        &self,
        target: &Target,
        body: B,
        deadline: Option<harmonybatch_dispatch::Nanos>,
        record: &mut Record<'_>,
    ) -> Result<Submission, ApiError>
    where
        B: Body<Data = Bytes, Error: Into<BodyError>>,
    {
        let (body, mut memory) = self.read_for(target, body).await?;
        record.read(body.len());
        let arrival = self.timer.now();
        let message = unframe(&body)?;
        let mut named = (String::new(), None);
        let request = self.converted(target, &mut memory, body.len(), |meter| {
            let GrpcRequest {
                request,
                model,
                version,
            } = protocol::Request::read_grpc(&message, meter)?;
            named = (model, version);
            Ok(request)
        })?;
        let (model, version) = named;
        Ok(Submission {
            request,
            model,
            version,
            arrival,
            deadline,
            memory,
            span: record.span(),
        })
    }
}

fn decode<T: Message + Default>(message: Bytes) -> Result<T, ApiError> {
    T::decode(message).map_err(|error| ApiError::bad_request(format!("body: {error}")))
}

impl From<FrameError> for ApiError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Compressed => {
                Self::new(Cause::Unsupported, error).with_status(StatusCode::NOT_IMPLEMENTED)
            }
            FrameError::Length { .. } | FrameError::TooLong(_) => Self::bad_request(format!("body: {error}")),
        }
    }
}

/// The application that a call names.
pub(super) fn app(headers: &HeaderMap) -> Result<Option<(&str, &str)>, ApiError> {
    let mut values = headers.get_all(APP_HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let named = value.to_str().ok().and_then(|text| text.split_once('/'));
    let named = named.filter(|_| values.next().is_none());
    let problem = || ApiError::bad_request(format!("{APP_HEADER}: must be one <namespace>/<app>"));
    named.map(Some).ok_or_else(problem)
}

/// How long the caller waits, where it says so: up to 8 digits and a unit.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(TIMEOUT) else {
        return Ok(None);
    };
    let read = || {
        let (digits, unit) = value
            .to_str()
            .ok()?
            .split_at_checked(value.len().checked_sub(1)?)?;
        let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
        let number: u64 = digits.parse().ok().filter(|_| is_number && digits.len() <= 8)?;
        Some(match unit {
            "H" => Duration::from_secs(number * 3600),
            "M" => Duration::from_secs(number * 60),
            "S" => Duration::from_secs(number),
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => return None,
        })
    };
    let problem = || {
        ApiError::bad_request(format!(
            "{TIMEOUT}: must be up to 8 digits and one of H M S m u n"
        ))
    };
    read().map(Some).ok_or_else(problem)
}

#[cfg(test)]
mod tests;
