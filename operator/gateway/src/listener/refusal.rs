//! Why a connection or a request is refused: one list for answers, metrics and documentation.

use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode, Version, header};
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family},
};

use crate::{
    access::{Access, Refused},
    body::Chunks,
    protocol::{ApiError, Cause},
    timer::Timer,
};

/// Why a caller is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// There are as many connections as are allowed.
    Connections,
    /// The peer has as many connections as one is allowed.
    PeerConnections,
    /// The TLS handshake failed, or took too long.
    Handshake,
    /// A new connection sent nothing in time.
    Silent,
    /// A head did not come in time.
    HeadSlow,
    /// A head is too long.
    HeadSize,
    /// A head has too many fields.
    HeadFields,
    /// A target is too long.
    TargetSize,
    /// The first line is not a request's (RFC 9112, section 3).
    RequestLine,
    /// A version of HTTP that is not served.
    Version,
    /// A line ends in LF alone, or has a CR inside (RFC 9112, section 2.2).
    LineEnd,
    /// A field that is none (RFC 9112, section 5; RFC 9110, section 5).
    Field,
    /// A field that goes on in the next line (RFC 9112, section 5.2).
    Folded,
    /// No host, more than one, one that is none, or another than the target's (RFC 9112, section 3.2).
    Host,
    /// A length that is none, or two of them (RFC 9112, section 6.3).
    ContentLength,
    /// A transfer coding where there may be none, or one twice (RFC 9112, section 6.1).
    TransferEncoding,
    /// A transfer coding other than chunked (RFC 9112, section 6.1).
    Coding,
    /// A length and a transfer coding (RFC 9112, section 6.1).
    BothLengths,
    /// Content in a request whose method has none (RFC 9110, section 9.3).
    Content,
    /// An expectation other than 100-continue (RFC 9110, section 10.1.1).
    Expectation,
    /// CONNECT (RFC 9110, section 9.3.6).
    Connect,
    /// A chunk that is none (RFC 9112, section 7.1).
    Chunk,
    /// Extensions of chunks, or fields after the last one, that are too long (RFC 9112, section 7.1.1).
    ChunkExtras,
    /// A body comes too slowly.
    BodySlow,
    /// A body is too long.
    BodySize,
    /// A caller does not take its answer.
    AnswerStalled,
    /// A connection breaks the rules of HTTP/2, or floods (RFC 9113, sections 5.4 and 10.5).
    Http2,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::Connections,
        Self::PeerConnections,
        Self::Handshake,
        Self::Silent,
        Self::HeadSlow,
        Self::HeadSize,
        Self::HeadFields,
        Self::TargetSize,
        Self::RequestLine,
        Self::Version,
        Self::LineEnd,
        Self::Field,
        Self::Folded,
        Self::Host,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::Coding,
        Self::BothLengths,
        Self::Content,
        Self::Expectation,
        Self::Connect,
        Self::Chunk,
        Self::ChunkExtras,
        Self::BodySlow,
        Self::BodySize,
        Self::AnswerStalled,
        Self::Http2,
    ];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::PeerConnections => "peer_connections",
            Self::Handshake => "handshake",
            Self::Silent => "silent",
            Self::HeadSlow => "head_slow",
            Self::HeadSize => "head_size",
            Self::HeadFields => "head_fields",
            Self::TargetSize => "target_size",
            Self::RequestLine => "request_line",
            Self::Version => "version",
            Self::LineEnd => "line_end",
            Self::Field => "field",
            Self::Folded => "folded",
            Self::Host => "host",
            Self::ContentLength => "content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::Coding => "coding",
            Self::BothLengths => "both_lengths",
            Self::Content => "content",
            Self::Expectation => "expectation",
            Self::Connect => "connect",
            Self::Chunk => "chunk",
            Self::ChunkExtras => "chunk_extras",
            Self::BodySlow => "body_slow",
            Self::BodySize => "body_size",
            Self::AnswerStalled => "answer_stalled",
            Self::Http2 => "http2",
        }
    }

    /// The status of its answer; none where the connection is closed without one.
    pub fn status(self) -> Option<StatusCode> {
        Some(match self {
            Self::Connections
            | Self::PeerConnections
            | Self::Handshake
            | Self::Silent
            | Self::AnswerStalled
            | Self::Http2 => return None,
            Self::HeadSlow | Self::BodySlow => StatusCode::REQUEST_TIMEOUT,
            Self::HeadSize | Self::HeadFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetSize => StatusCode::URI_TOO_LONG,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Coding | Self::Connect => StatusCode::NOT_IMPLEMENTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::BodySize => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestLine
            | Self::LineEnd
            | Self::Field
            | Self::Folded
            | Self::Host
            | Self::ContentLength
            | Self::TransferEncoding
            | Self::BothLengths
            | Self::Content
            | Self::Chunk
            | Self::ChunkExtras => StatusCode::BAD_REQUEST,
        })
    }

    /// What the caller is told.
    pub fn message(self) -> &'static str {
        match self {
            Self::Connections => "too many connections",
            Self::PeerConnections => "too many connections of one peer",
            Self::Handshake => "no TLS handshake",
            Self::Silent => "no request came",
            Self::HeadSlow => "the head did not come in time",
            Self::HeadSize => "the head is too long",
            Self::HeadFields => "the head has too many fields",
            Self::TargetSize => "the target is too long",
            Self::RequestLine => "request line: send METHOD, target and version, parted by one space each",
            Self::Version => "request line: send HTTP/1.1 or HTTP/2",
            Self::LineEnd => "a line must end with CR LF",
            Self::Field => {
                "a field must be a name, a colon without space before it, and a value without control characters"
            }
            Self::Folded => "a field must be one line",
            Self::Host => "host: name one host, the same as the target does",
            Self::ContentLength => "content-length: send one decimal number, once",
            Self::TransferEncoding => "transfer-encoding: send chunked, once, in HTTP/1.1",
            Self::Coding => "transfer-encoding: only chunked is understood",
            Self::BothLengths => "send either content-length or transfer-encoding",
            Self::Content => "this method has no body",
            Self::Expectation => "expect: only 100-continue is met",
            Self::Connect => "this is no proxy",
            Self::Chunk => "body: is not chunked as its head says",
            Self::ChunkExtras => "body: chunk extensions or trailer fields are too long",
            Self::BodySlow => "body: comes too slowly",
            Self::BodySize => "the body is too long",
            Self::AnswerStalled => "the answer was not taken",
            Self::Http2 => "the rules of HTTP/2 were broken",
        }
    }

    /// Its answer, after which a connection of HTTP/1.1 is closed: where the next request begins is not known.
    pub(super) fn response(self) -> Response<Chunks> {
        let status = self.status().unwrap_or(StatusCode::BAD_REQUEST);
        ApiError::new(Cause::Refused, self.message())
            .with_status(status)
            .into_response()
    }
}

/// Ends a connection of HTTP/1.1 after this answer.
pub(super) fn closing<B>(mut response: Response<B>) -> Response<B> {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    cause: Refusal,
}

impl EncodeLabelValue for Refusal {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        self.name().encode(encoder)
    }
}

/// How often each refusal came, and the log of requests that were refused. Clones count together.
#[derive(Clone, Debug)]
pub struct Refusals {
    log: Option<(Access, Timer)>,
    family: Family<Labels, Counter>,
    /// Shared, as every request has a clone.
    counters: Arc<[Counter; Refusal::ALL.len()]>,
}

impl Default for Refusals {
    fn default() -> Self {
        let family = Family::default();
        let counters = Refusal::ALL.map(|cause| family.get_or_create_owned(&Labels { cause }));
        Self {
            log: None,
            family,
            counters: Arc::new(counters),
        }
    }
}

impl Refusals {
    /// With a line in the log for every request that is refused.
    #[must_use]
    pub fn told(self, access: Access, timer: Timer) -> Self {
        Self {
            log: Some((access, timer)),
            ..self
        }
    }

    /// Says that a request was refused, which nobody else will.
    pub(super) fn tell(&self, refusal: Refusal, version: Version, response: &Response<Chunks>) {
        if let Some((access, timer)) = &self.log {
            let refused = Refused {
                protocol: if version < Version::HTTP_2 {
                    "http/1.1"
                } else {
                    "h2"
                },
                status: response.status(),
                refusal: refusal.name(),
                answered: response.body().len(),
            };
            access.refused(&refused, *timer);
        }
    }

    /// Counts one.
    pub fn count(&self, refusal: Refusal) {
        self.counters[refusal as usize].inc();
    }

    /// How many there were.
    pub fn get(&self, refusal: Refusal) -> u64 {
        self.counters[refusal as usize].get()
    }

    /// For a registry.
    pub(crate) fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        registry.register(
            "refusals",
            "Connections and requests that the listener refused, by why",
            self.family.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_is_counted_under_its_own_name() {
        let refusals = Refusals::default();
        for refusal in Refusal::ALL {
            refusals.count(refusal);
        }
        let mut names: Vec<_> = Refusal::ALL.map(Refusal::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Refusal::ALL.len());
        assert!(Refusal::ALL.iter().all(|refusal| refusals.get(*refusal) == 1));
    }
}
