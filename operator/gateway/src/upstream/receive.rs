//! Answers of replicas, read to their end.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, response::Parts};
use hyper::body::Incoming;

use super::{Exchange, Link, Reply, UpstreamError, broken};
use crate::protocol::{
    HEADER_LENGTH,
    grpc::{Code, StatusLine, unframe},
};

/// Longest answer of a runtime.
const ANSWER_LIMIT: usize = 256 << 20;

pub(super) async fn receive(
    mut link: Link,
    response: http::Response<Incoming>,
) -> Result<Exchange, UpstreamError> {
    let (head, mut incoming) = response.into_parts();
    let too_long = || UpstreamError::Broken(format!("its answer is longer than {ANSWER_LIMIT} bytes").into());
    let expected = hyper::body::Body::size_hint(&incoming).exact().unwrap_or(0);
    let expected = usize::try_from(expected)
        .ok()
        .filter(|size| *size <= ANSWER_LIMIT)
        .ok_or_else(too_long)?;
    // The announced length is trusted for so much at once.
    let mut body = BytesMut::with_capacity(expected.min(16 << 20));
    let mut trailers = None;
    while let Some(frame) = link.frame(&mut incoming).await {
        match frame.map_err(|error| broken(&error))?.into_data() {
            Ok(data) if body.len() + data.len() > ANSWER_LIMIT => return Err(too_long()),
            Ok(data) => body.extend_from_slice(&data),
            Err(other) => trailers = other.into_trailers().ok(),
        }
    }
    let body = body.freeze();
    let reply = match link {
        Link::Http1(_) => Reply {
            status: head.status,
            body,
            header_length: header_length(&head.headers)?,
        },
        Link::Grpc(_) => of_grpc(&head, &body, trailers.as_ref())?,
    };
    let link = (!link.is_closed()).then_some(link);
    Ok((link, reply))
}

/// What a call of gRPC would be over HTTP. Its status is in its trailers, or in its head where there is nothing else.
fn of_grpc(head: &Parts, body: &Bytes, trailers: Option<&HeaderMap>) -> Result<Reply, UpstreamError> {
    if head.status != StatusCode::OK {
        // Something that speaks no gRPC.
        return Ok(Reply {
            status: head.status,
            body: body.clone(),
            header_length: None,
        });
    }
    let line = trailers
        .and_then(StatusLine::read)
        .or_else(|| StatusLine::read(&head.headers));
    let line =
        line.ok_or_else(|| UpstreamError::Broken("its answer ends without a status of gRPC".into()))?;
    let body = if line.code == Code::Ok {
        unframe(body).map_err(|error| UpstreamError::Broken(error.to_string().into()))?
    } else {
        serde_json::json!({ "error": line.message }).to_string().into()
    };
    Ok(Reply {
        status: line.code.as_http(),
        body,
        header_length: None,
    })
}

fn header_length(headers: &HeaderMap) -> Result<Option<usize>, UpstreamError> {
    let Some(value) = headers.get(HEADER_LENGTH) else {
        return Ok(None);
    };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    let unreadable = || UpstreamError::Broken(format!("{HEADER_LENGTH} is no number of bytes").into());
    length.map(Some).ok_or_else(unreadable)
}
