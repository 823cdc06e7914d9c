//! One HTTP exchange with the gateway, by address and with a Host of its own choosing.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Sends one request to port 80 of `address` and returns the JSON of its answer.
pub(crate) async fn exchange(
    address: &str,
    host: &str,
    method: &str,
    path: &str,
    body: Option<&str>,
    limit: Duration,
) -> Result<Value> {
    let exchanged = tokio::time::timeout(limit, send(address, host, method, path, body)).await;
    exchanged
        .with_context(|| format!("no answer within {} s", limit.as_secs()))
        .and_then(|answer| answer)
        .with_context(|| format!("{method} http://{host}{path} at {address}"))
}

async fn send(address: &str, host: &str, method: &str, path: &str, body: Option<&str>) -> Result<Value> {
    let stream = TcpStream::connect((address, 80))
        .await
        .context("cannot connect")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .context("no HTTP")?;
    // Ends with the exchange, whose errors say what matters.
    let connection = tokio::spawn(connection);
    let body = Full::new(Bytes::copy_from_slice(body.unwrap_or_default().as_bytes()));
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .header("content-type", "application/json")
        .body(body)
        .context("a bad request")?;
    let answer = sender.send_request(request).await.context("no answer")?;
    let status = answer.status();
    let bytes = answer
        .into_body()
        .collect()
        .await
        .context("half an answer")?
        .to_bytes();
    connection.abort();
    if !status.is_success() {
        bail!("{status}: {}", String::from_utf8_lossy(&bytes));
    }
    serde_json::from_slice(&bytes).context("the answer is no JSON")
}
