//! The statuses of gRPC, and what they are in HTTP.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// Tells clients that retry by themselves when to do so.
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// A status by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "gRPC's own names")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

const CODES: [Code; 17] = [
    Code::Ok,
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

impl Code {
    /// As gRPC's definition writes it, such as INVALID_ARGUMENT.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// What a caller of gRPC is told instead of a status of HTTP.
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            200..=299 => Self::Ok,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::NotFound,
            405 | 415 | 501 => Self::Unimplemented,
            408 | 504 => Self::DeadlineExceeded,
            413 | 429 => Self::ResourceExhausted,
            400..=499 => Self::InvalidArgument,
            503 => Self::Unavailable,
            500..=599 => Self::Internal,
            _ => Self::Unknown,
        }
    }

    /// What a runtime's answer would be over HTTP.
    pub fn as_http(self) -> StatusCode {
        match self {
            Self::Ok => StatusCode::OK,
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => StatusCode::BAD_REQUEST,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::AlreadyExists | Self::Aborted => StatusCode::CONFLICT,
            Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Cancelled | Self::Unknown | Self::Internal | Self::DataLoss => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }
}

/// How a call ended, as trailers say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusLine {
    /// The status.
    pub code: Code,
    /// What there is to say of it.
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

impl StatusLine {
    /// Of a call that was answered.
    pub fn ok() -> Self {
        Self {
            code: Code::Ok,
            message: String::new(),
            retry_after: None,
        }
    }

    /// Reads trailers; `None` where they say nothing of the call.
    pub fn read(trailers: &HeaderMap) -> Option<Self> {
        let code: usize = trailers.get(STATUS)?.to_str().ok()?.parse().ok()?;
        let message = trailers
            .get(MESSAGE)
            .map(HeaderValue::as_bytes)
            .unwrap_or_default();
        Some(Self {
            code: CODES.get(code).copied().unwrap_or(Code::Unknown),
            message: unescape(message),
            retry_after: None,
        })
    }

    /// Writes trailers.
    pub fn write(&self, trailers: &mut HeaderMap) {
        trailers.insert(STATUS, HeaderValue::from(self.code as u16));
        if let Ok(message) = HeaderValue::from_str(&escape(&self.message))
            && !self.message.is_empty()
        {
            trailers.insert(MESSAGE, message);
        }
        if let Some(after) = self.retry_after {
            let milliseconds = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            trailers.insert(PUSHBACK, HeaderValue::from(milliseconds));
        }
    }
}

/// Percent-encodes what is not printable ASCII, as gRPC has it.
fn escape(message: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut escaped = String::with_capacity(message.len());
    for byte in message.bytes() {
        if matches!(byte, b'%' | 0..=0x1f | 0x7f..) {
            let digits = [byte >> 4, byte & 0xf].map(|digit| char::from(DIGITS[usize::from(digit)]));
            escaped.push('%');
            escaped.extend(digits);
        } else {
            escaped.push(char::from(byte));
        }
    }
    escaped
}

fn unescape(message: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(message.len());
    let mut rest = message;
    while let Some((byte, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(escaped) = escaped.filter(|_| *byte == b'%') {
            bytes.push(escaped);
            rest = &behind[2..];
        } else {
            bytes.push(*byte);
            rest = behind;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
