//! An OIP v2 server over HTTP, asked for one batch at a time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::measure::Timed;
use crate::tensors::{Metadata, Rows, TensorError};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A batch that takes longer is a failure: the planner knows no such latency.
const TIMEOUT: Duration = Duration::from_mins(2);
const ANSWER_LIMIT: usize = 256 << 20;
/// Characters of a refusal that are told.
const TOLD: usize = 300;

/// Why a server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// Not an address that can be asked.
    #[error(
        "endpoint {found:?} {problem}: give http://HOST:PORT, with a path where the protocol's /v2 lies below one"
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
    model: String,
}

/// A server with rows to send.
#[derive(Debug)]
pub struct Endpoint {
    server: Server,
    rows: Rows,
    sent: usize,
}

impl Server {
    /// Takes `http://HOST:PORT[/PATH]` and the model's name in the protocol.
    pub fn new(address: &str, model: &str) -> Result<Self, EndpointError> {
        let problem = |problem| EndpointError::Address {
            found: address.to_owned(),
            problem,
        };
        let uri: Uri = address.parse().map_err(|_| problem("is not an address"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(problem("is one of TLS, which is not measured")),
            _ => return Err(problem("does not begin with http://")),
        }
        if uri.query().is_some() {
            return Err(problem("has a query"));
        }
        let named = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        if model.is_empty() || !model.chars().all(named) {
            return Err(EndpointError::Model(model.to_owned()));
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        Ok(Self {
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(connector),
            model: format!("{}/v2/models/{model}", address.trim_end_matches('/')),
        })
    }

    /// What the server says of the model.
    pub async fn metadata(&self) -> Result<Metadata, EndpointError> {
        let what = format!("GET {}", self.model);
        let body = self.ask(&what, Method::GET, &self.model, Bytes::new()).await?;
        Ok(Metadata::parse(&body)?)
    }

    async fn ask(&self, what: &str, method: Method, uri: &str, body: Bytes) -> Result<Bytes, EndpointError> {
        let no_answer = |problem: String| EndpointError::NoAnswer {
            what: what.to_owned(),
            problem,
        };
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| no_answer(chain(&error)))?;
        let exchange = async {
            let response = self
                .client
                .request(request)
                .await
                .map_err(|error| no_answer(chain(&error)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
            let body =
                body.map_err(|error| no_answer(format!("the answer ended early: {}", chain(&*error))))?;
            Ok::<_, EndpointError>((status, body.to_bytes()))
        };
        let answer = timeout(TIMEOUT, exchange).await;
        let (status, body) = answer.map_err(|_| no_answer(format!("no answer within {TIMEOUT:?}")))??;
        if status == StatusCode::OK {
            return Ok(body);
        }
        Err(EndpointError::Status {
            what: what.to_owned(),
            status,
            body: String::from_utf8_lossy(&body).chars().take(TOLD).collect(),
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
        let uri = format!("{}/infer", self.server.model);
        let request = self.rows.request(self.sent, batch);
        self.sent += 1;
        let started = Instant::now();
        let body = self.server.ask(&what, Method::POST, &uri, request).await?;
        let latency = started.elapsed();
        check(&body, batch).map_err(|problem| EndpointError::Answer { what, problem })?;
        Ok(latency)
    }
}

/// Whether every output has the rows of the batch.
fn check(body: &[u8], batch: u32) -> Result<(), String> {
    let answer: Value = serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
    let outputs = answer["outputs"].as_array().filter(|outputs| !outputs.is_empty());
    for output in outputs.ok_or("it has no outputs")? {
        let rows = output["shape"][0].as_u64();
        if rows != Some(u64::from(batch)) {
            return Err(format!(
                "output {} has the shape {}",
                output["name"], output["shape"]
            ));
        }
    }
    Ok(())
}

/// An error with its causes, because the outermost one only says that the client failed.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_asked_says_what_can() {
        for (address, part) in [
            ("127.0.0.1:8080", "does not begin with http://"),
            ("https://host", "TLS"),
            ("http://host/v?x=1", "has a query"),
            ("http://", "is not an address"),
        ] {
            let told =
                Server::new(address, "m").map_or_else(|error| error.to_string(), |_| "taken".to_owned());
            assert!(
                told.contains(part) && told.contains("give http://HOST:PORT"),
                "{told}"
            );
        }
        assert!(Server::new("http://host:1/shop/search/", "vgg-19_v1.0").is_ok());
        assert!(matches!(
            Server::new("http://host", "a/b"),
            Err(EndpointError::Model(_))
        ));
    }

    #[test]
    fn an_answer_has_the_rows_of_its_batch() {
        let two = br#"{"outputs":[{"name":"y","shape":[2,3],"data":[]}]}"#;
        assert_eq!(check(two, 2), Ok(()));
        assert_eq!(check(two, 3), Err("output \"y\" has the shape [2,3]".to_owned()));
        assert_eq!(
            check(br#"{"outputs":[]}"#, 1),
            Err("it has no outputs".to_owned())
        );
        assert!(check(b"<html>", 1).is_err());
    }
}
