//! An OIP v2 server over HTTP or gRPC, asked for one batch at a time.
//!
//! gRPC goes over HTTP/2 without TLS (h2c), as the gateway speaks it to runtimes.

use std::time::Duration;

use bytes::Bytes;
use harmonybatch_api::inference_model::Protocol;
use harmonybatch_protocol::HEADER_LENGTH;
use harmonybatch_protocol::grpc::messages::{
    ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
};
use harmonybatch_protocol::grpc::{self, Code, SERVICE, StatusLine};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, TE};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::Message as _;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::measure::Timed;
use crate::tensors::{Message, Metadata, Rows, TensorError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A batch that takes longer is a failure: the planner knows no such latency.
const TIMEOUT: Duration = Duration::from_mins(2);
const ANSWER_LIMIT: usize = 256 << 20;
/// Bytes that a server of gRPC may send before they are taken, as at the gateway: an answer shall not wait for windows.
const WINDOW: u32 = 4 << 20;
/// Characters of a refusal that are told.
const TOLD: usize = 300;

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Not an address that can be asked.
    #[error(
        "endpoint {found:?} {problem}: give http://HOST:PORT, with a path where the protocol's /v2 lies below one, or grpc://HOST:PORT"
    )]
    Address {
        /// What was given.
        found: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A model's name that cannot stand in a path.
    #[error("model {0:?} is not a name: letters, digits, dots, hyphens and underscores are allowed")]
    Model(String),
    /// The server did not answer.
    #[error("{what}: {problem}")]
    NoAnswer {
        /// What was asked.
        what: String,
        /// The chain of causes.
        problem: String,
    },
    /// It answered with another status than 200.
    #[error("{what}: status {status}: {body}")]
    Status {
        /// What was asked.
        what: String,
        /// The status.
        status: StatusCode,
        /// The beginning of the body.
        body: String,
    },
    /// The call of gRPC failed.
    #[error("{what}: status {} ({}) of gRPC: {message}", code.name(), *code as u8)]
    Grpc {
        /// What was asked.
        what: String,
        /// The status.
        code: Code,
        /// The beginning of what the server said.
        message: String,
    },
    /// The answer has not the rows that were asked for.
    #[error("{what}: the answer is not one to it: {problem}")]
    Answer {
        /// What was asked.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// There is nothing to send.
    #[error(transparent)]
    Tensors(#[from] TensorError),
}

/// A server and its model.
#[derive(Debug)]
pub struct Server {
    client: Client<HttpConnector, Full<Bytes>>,
    protocol: Protocol,
    /// Address of the model, or, of gRPC, of the service.
    base: String,
    model: String,
}

/// One exchange with a server.
struct Reply {
    headers: HeaderMap,
    body: Bytes,
}

/// A server with rows to send.
#[derive(Debug)]
pub struct Endpoint {
    server: Server,
    rows: Rows,
    sent: usize,
}

/// What a server at an address speaks, where nobody says it: gRPC at grpc://, else JSON.
pub fn protocol_of(address: &str) -> Protocol {
    if address.starts_with("grpc://") {
        Protocol::OipV2Grpc
    } else {
        Protocol::OipV2Json
    }
}

impl Server {
    /// Takes `http://HOST:PORT[/PATH]` or `grpc://HOST:PORT`, the model's name in the protocol, and what the server speaks.
    pub fn new(address: &str, model: &str, protocol: Protocol) -> Result<Self, EndpointError> {
        let problem = |problem| EndpointError::Address {
            found: address.to_owned(),
            problem,
        };
        let uri: Uri = address.parse().map_err(|_| problem("is not an address"))?;
        let is_grpc = protocol == Protocol::OipV2Grpc;
        match uri.scheme_str() {
            Some("http") if !is_grpc => {}
            Some("grpc") if is_grpc => {}
            Some("http") => return Err(problem("is one of HTTP, where gRPC is to be spoken")),
            Some("grpc") => return Err(problem("is one of gRPC, where tensors are to be sent over HTTP")),
            Some("https" | "grpcs") => return Err(problem("is one of TLS, which is not measured")),
            _ => return Err(problem("does not begin with http:// or grpc://")),
        }
        if uri.query().is_some() {
            return Err(problem("has a query"));
        }
        if is_grpc && !uri.path().trim_matches('/').is_empty() {
            return Err(problem("has a path, which gRPC has not"));
        }
        let named = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if model.is_empty() || !model.chars().all(named) {
            return Err(EndpointError::Model(model.to_owned()));
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let base = match uri.authority() {
            Some(authority) if is_grpc => format!("http://{authority}{SERVICE}"),
            _ => format!("{}/v2/models/{model}", address.trim_end_matches('/')),
        };
        Ok(Self {
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .http2_only(is_grpc)
                .http2_initial_stream_window_size(WINDOW)
                .http2_initial_connection_window_size(WINDOW)
                .build(connector),
            protocol,
            base,
            model: model.to_owned(),
        })
    }

    /// What the server says of the model.
    pub async fn metadata(&self) -> Result<Metadata, EndpointError> {
        if self.protocol != Protocol::OipV2Grpc {
            let what = format!("GET {}", self.base);
            let nothing = Message {
                body: Bytes::new(),
                header_length: None,
            };
            let reply = self.ask(&what, Method::GET, "", nothing).await?;
            return Ok(Metadata::parse(&reply.body, self.protocol)?);
        }
        let what = format!("ModelMetadata of {} at {}", self.model, self.base);
        let asked = ModelMetadataRequest {
            name: self.model.clone(),
            version: String::new(),
        };
        let message = Message {
            body: grpc::frame_message(&asked).into_bytes(),
            header_length: None,
        };
        let reply = self.ask(&what, Method::POST, "ModelMetadata", message).await?;
        let problem = |problem: String| EndpointError::Answer {
            what: what.clone(),
            problem,
        };
        let message = grpc::unframe(&reply.body).map_err(|error| problem(error.to_string()))?;
        let message = ModelMetadataResponse::decode(message).map_err(|error| problem(error.to_string()))?;
        Ok(Metadata::of_grpc(message)?)
    }

    /// The path of an infer request, below `base`.
    fn infer_path(&self) -> &'static str {
        match self.protocol {
            Protocol::OipV2Grpc => "ModelInfer",
            Protocol::OipV2Json | Protocol::OipV2Binary => "/infer",
        }
    }

    /// Makes a call; a good answer is all there, and has been looked at no further.
    async fn ask(
        &self,
        what: &str,
        method: Method,
        path: &str,
        message: Message,
    ) -> Result<Reply, EndpointError> {
        let no_answer = |problem: String| EndpointError::NoAnswer {
            what: what.to_owned(),
            problem,
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base));
        let request = match (self.protocol, message.header_length) {
            (Protocol::OipV2Grpc, _) => request
                .header(TE, "trailers")
                .header(CONTENT_TYPE, grpc::CONTENT_TYPE),
            (_, Some(length)) => request
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(HEADER_LENGTH, length),
            (_, None) => request.header(CONTENT_TYPE, "application/json"),
        };
        let request = request.body(Full::new(message.body));
        let request = request.map_err(|error| no_answer(chain(&error)))?;
        let exchange = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|error| no_answer(chain(&error)))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_LIMIT).collect().await;
            let body =
                body.map_err(|error| no_answer(format!("the answer ended early: {}", chain(&*error))))?;
            Ok::<_, EndpointError>((head, body))
        };
        let answer = timeout(TIMEOUT, exchange).await;
        let (head, body) = answer.map_err(|_| no_answer(format!("no answer within {TIMEOUT:?}")))??;
        let line = body.trailers().and_then(StatusLine::read);
        // In the head where there is nothing else.
        let line = line.or_else(|| StatusLine::read(&head.headers));
        let body = body.to_bytes();
        let beginning = |text: &str| text.chars().take(TOLD).collect();
        if head.status != StatusCode::OK {
            return Err(EndpointError::Status {
                what: what.to_owned(),
                status: head.status,
                body: beginning(&String::from_utf8_lossy(&body)),
            });
        }
        if self.protocol == Protocol::OipV2Grpc {
            let line =
                line.ok_or_else(|| no_answer("the answer ends without a status of gRPC".to_owned()))?;
            if line.code != Code::Ok {
                return Err(EndpointError::Grpc {
                    what: what.to_owned(),
                    code: line.code,
                    message: beginning(&line.message),
                });
            }
        }
        Ok(Reply {
            headers: head.headers,
            body,
        })
    }
}

impl Endpoint {
    /// A server, and what it is sent.
    pub fn new(server: Server, rows: Rows) -> Self {
        Self {
            server,
            rows,
            sent: 0,
        }
    }
}

impl Timed for Endpoint {
    type Error = EndpointError;

    async fn time(&mut self, batch: u32) -> Result<Duration, EndpointError> {
        let what = format!("a batch of {batch}");
        let request = self.rows.request(&self.server.model, self.sent, batch)?;
        self.sent += 1;
        let path = self.server.infer_path();
        let started = Instant::now();
        let reply = self.server.ask(&what, Method::POST, path, request).await?;
        let latency = started.elapsed();
        let shapes = match self.server.protocol {
            Protocol::OipV2Grpc => shapes_of_grpc(&reply.body),
            Protocol::OipV2Json | Protocol::OipV2Binary => shapes_of_json(&reply),
        };
        let checked = shapes.and_then(|shapes| check(&shapes, batch));
        checked.map_err(|problem| EndpointError::Answer { what, problem })?;
        Ok(latency)
    }
}

/// Names and shapes of the outputs.
type Shapes = Vec<(String, Vec<i64>)>;

fn shapes_of_grpc(body: &Bytes) -> Result<Shapes, String> {
    let message = grpc::unframe(body).map_err(|error| error.to_string())?;
    let answer = ModelInferResponse::decode(message).map_err(|error| error.to_string())?;
    let outputs = answer.outputs.into_iter();
    Ok(outputs.map(|output| (output.name, output.shape)).collect())
}

/// Of an answer that is JSON, or begins with it.
fn shapes_of_json(reply: &Reply) -> Result<Shapes, String> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        outputs: Vec<Output>,
    }
    #[derive(Deserialize)]
    struct Output {
        #[serde(default)]
        name: Value,
        shape: Vec<i64>,
    }
    let length = match reply.headers.get(HEADER_LENGTH) {
        None => reply.body.len(),
        Some(length) => {
            let length = length.to_str().ok().and_then(|length| length.parse().ok());
            length.ok_or_else(|| format!("{HEADER_LENGTH} is no number of bytes"))?
        }
    };
    let json = reply.body.get(..length);
    let json = json.ok_or_else(|| format!("{HEADER_LENGTH} is {length}, there are {}", reply.body.len()))?;
    let answer: Answer = serde_json::from_slice(json).map_err(|error| format!("not JSON: {error}"))?;
    let outputs = answer.outputs.into_iter();
    let name = |name: Value| name.as_str().map_or_else(|| name.to_string(), str::to_owned);
    Ok(outputs.map(|output| (name(output.name), output.shape)).collect())
}

/// Whether every output has the rows of the batch.
fn check(shapes: &[(String, Vec<i64>)], batch: u32) -> Result<(), String> {
    if shapes.is_empty() {
        return Err("it has no outputs".to_owned());
    }
    let wrong = shapes
        .iter()
        .find(|(_, shape)| shape.first() != Some(&i64::from(batch)));
    match wrong {
        None => Ok(()),
        Some((name, shape)) => Err(format!("output {name:?} has the shape {shape:?}")),
    }
}

/// An error with its causes, because the outermost one only says that the client failed.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests;
