//! What a request of either version must be beyond its syntax (RFC 9110).

use http::{HeaderMap, HeaderValue, Method, Request, Version, header};
use hyper::body::Body;

use super::{bounds::Bounds, head::is_authority, refusal::Refusal};

/// Says why a request is not handed on.
pub(super) fn check<B: Body>(request: &Request<B>, bounds: &Bounds) -> Result<(), Refusal> {
    let (version, headers) = (request.version(), request.headers());
    if request.method() == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    // hyper bounds a list of fields by its bytes alone in HTTP/2.
    if headers.len() > bounds.header_fields {
        return Err(Refusal::HeadFields);
    }
    let target = request
        .uri()
        .path_and_query()
        .map_or("", |target| target.as_str());
    if target.len() > bounds.target_size {
        return Err(Refusal::TargetSize);
    }
    host(request, version)?;
    // One of HTTP/1.0 expects nothing (RFC 9110, section 10.1.1).
    if version > Version::HTTP_10 && !expects_no_more_than_to_go_on(headers) {
        return Err(Refusal::Expectation);
    }
    // Content that nobody reads is where a second request may hide.
    let has_none = [
        Method::GET,
        Method::HEAD,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
    ];
    if has_none.contains(request.method()) && !request.body().is_end_stream() {
        return Err(Refusal::Content);
    }
    Ok(())
}

/// Exactly one host, the same wherever it is named. Only HTTP/1.0 knows requests without.
fn host<B>(request: &Request<B>, version: Version) -> Result<(), Refusal> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (named, second) = (hosts.next().map(HeaderValue::as_bytes), hosts.next());
    let target = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let differ = match (target, named) {
        (Some(target), Some(named)) => !target.eq_ignore_ascii_case(named),
        (None, None) => version > Version::HTTP_10,
        _ => false,
    };
    let bad = [target, named]
        .into_iter()
        .flatten()
        .any(|host| !is_authority(host));
    if second.is_some() || differ || bad {
        Err(Refusal::Host)
    } else {
        Ok(())
    }
}

fn expects_no_more_than_to_go_on(headers: &HeaderMap) -> bool {
    let mut expected = headers.get_all(header::EXPECT).iter();
    let first = expected.next();
    first.is_none_or(|first| first.as_bytes().eq_ignore_ascii_case(b"100-continue"))
        && expected.next().is_none()
}
