//! What a caller is told when there is no answer: a status and `{"error": ...}`.

use std::time::Duration;

use http::{HeaderValue, Method, Response, StatusCode, header};

use super::{CAUSE_HEADER, Cause};
use crate::body::Chunks;

/// An answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Why.
    pub cause: Cause,
    /// The HTTP status.
    pub status: StatusCode,
    /// What was found, what is allowed, what to do.
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// The method to use instead.
    pub allow: Option<Method>,
}

impl ApiError {
    /// With the cause's status and this message.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "an error, a literal or a text is given away where the error arises"
    )]
    pub fn new(cause: Cause, message: impl ToString) -> Self {
        Self {
            cause,
            status: cause.status(),
            message: message.to_string(),
            retry_after: None,
            allow: None,
        }
    }

    /// With another status than the cause's own.
    #[must_use]
    pub fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Asks the caller to come back, after whole seconds.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        Self {
            retry_after: Some(after),
            ..self
        }
    }

    /// The request itself is wrong.
    pub fn bad_request(message: impl ToString) -> Self {
        Self::new(Cause::Malformed, message)
    }

    /// The path has another method: 405, which must name it (RFC 9110, section 15.5.6).
    pub fn method_not_allowed(allowed: Method, message: impl ToString) -> Self {
        Self {
            allow: Some(allowed),
            ..Self::new(Cause::Method, message)
        }
    }

    /// The HTTP answer.
    pub fn into_response(self) -> Response<Chunks> {
        let body = serde_json::json!({ "error": self.message }).to_string();
        let mut response = Response::new(Chunks::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CAUSE_HEADER, self.cause.header());
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(method) = self
            .allow
            .and_then(|method| HeaderValue::from_str(method.as_str()).ok())
        {
            headers.insert(header::ALLOW, method);
        }
        response
    }
}
