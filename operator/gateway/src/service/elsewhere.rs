//! Requests for groups of other gateways.

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Incoming};

use super::{
    Service, grpc, host,
    record::{Forwarded, Record},
};
use crate::{
    body::Chunks,
    config::Target,
    listener::BodyError,
    peers::ForwardError,
    protocol::{self, ApiError, Cause, Endpoint},
    timer::nanos,
    upstream::Upstream,
};

/// Gateways that are tried before a request is served here.
const ATTEMPTS: usize = 2;
/// Longest answer that is handed back.
const ANSWER_LIMIT: usize = 256 << 20;

impl<U: Upstream> Service<U> {
    /// The application of a request for inference whose group another gateway owns. Whatever is wrong with a request is said where it is served.
    pub(super) fn elsewhere<B>(&self, request: &Request<B>) -> Option<Target> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        if self.peers.are_none() {
            return None;
        }
        let app = if grpc::is_call(headers) {
            grpc::is_infer(uri.path()).then_some(())?;
            grpc::app(headers).ok()?
        } else {
            let route = protocol::locate(method, uri.path()).ok()?;
            matches!(route.endpoint, Endpoint::Infer { .. }).then_some(())?;
            route.app
        };
        let host = match app {
            Some(_) => None,
            None => Some(host(uri, headers).ok()?),
        };
        let table = self.table.borrow();
        let target = super::find(&table, app, host).ok()?;
        self.peers.owner(&target.group.key)?;
        Some(target.clone())
    }

    /// Has a request answered by the gateway that owns its group; here, where none can be reached.
    pub(super) async fn hand_on<B>(
        &self,
        request: Request<B>,
        target: &Target,
        record: &mut Record<'_>,
    ) -> Response<Chunks>
    where
        B: Body<Data = Bytes, Error: Into<BodyError>>,
    {
        let (mut head, body) = request.into_parts();
        record.found(target);
        if grpc::is_call(&head.headers) {
            record.call("infer", true, &head.headers);
        } else if let Ok(route) = protocol::locate(&head.method, head.uri.path()) {
            record.rest(&route, &head.headers);
        }
        record.pass_on(&mut head.headers);
        let (body, memory) = match self.read_for(target, body).await {
            Ok(read) => read,
            Err(error) => return refusal(&head, error),
        };
        record.read(body.len());
        for _ in 0..ATTEMPTS {
            let Some(owner) = self.peers.owner(&target.group.key) else {
                break;
            };
            self.metrics.forwarded.inc();
            match self.ask(owner, &head, body.clone(), target, record).await {
                Ok(response) => return response,
                Err(error) => {
                    self.metrics.forward_failures.inc();
                    tracing::warn!(group = %target.group.key, %error, "a request was not answered by the gateway that owns its group");
                    // What is lost with a gateway may have been with a replica.
                    if matches!(error, ForwardError::Broken(..)) && !target.group.idempotent {
                        let message =
                            "the gateway that served the request is gone, and the model is not idempotent";
                        return refusal(&head, ApiError::new(Cause::GatewayGone, message));
                    }
                }
            }
        }
        drop(memory);
        self.serve(Request::from_parts(head, Full::new(body)), record)
            .await
    }

    async fn ask(
        &self,
        owner: std::net::SocketAddr,
        head: &Parts,
        body: Bytes,
        target: &Target,
        record: &mut Record<'_>,
    ) -> Result<Response<Chunks>, ForwardError> {
        /// What the owner has beside the request's timeout, to say that it is over.
        const GRACE: std::time::Duration = std::time::Duration::from_secs(1);
        let patience = self
            .timer
            .now()
            .saturating_add(nanos(target.member.timeout.saturating_add(GRACE)));
        let exchange = async {
            let response = self.peers.forward(owner, head, Chunks::from(body)).await?;
            whole(response)
                .await
                .map_err(|reason| ForwardError::Broken(owner, reason))
        };
        tokio::select! {
            biased;
            answer = exchange => answer.inspect(|_| record.forwarded(Forwarded::Out)),
            () = self.timer.until(Some(patience)) => {
                let message = "no answer within the timeout: the gateway that owns the group said nothing";
                Ok(refusal(head, ApiError::new(Cause::TimeoutGateway, message)))
            }
        }
    }
}

/// The answer with its body and its trailers.
async fn whole(response: Response<Incoming>) -> Result<Response<Chunks>, String> {
    let (head, mut incoming) = response.into_parts();
    let mut body = Chunks::default();
    let mut length = 0;
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        match frame.into_data() {
            Ok(data) => {
                length += data.len();
                if length > ANSWER_LIMIT {
                    return Err(format!("its answer is longer than {ANSWER_LIMIT} bytes"));
                }
                body.push(data);
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    body = body.with_trailers(trailers);
                }
            }
        }
    }
    let mut answer = Response::new(body);
    *answer.status_mut() = head.status;
    *answer.headers_mut() = head.headers;
    // It is written anew for the version of HTTP that the caller speaks.
    answer.headers_mut().remove(http::header::CONTENT_LENGTH);
    Ok(answer)
}

/// An error, as the caller's protocol has it.
fn refusal(head: &Parts, error: ApiError) -> Response<Chunks> {
    if grpc::is_call(&head.headers) {
        grpc::refusal(error)
    } else {
        error.into_response()
    }
}
