//! Why a request got no answer: one list for callers, metrics, spans and the access log.

use http::{HeaderName, HeaderValue, StatusCode};
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// Tells a caller the cause of an error, by its name.
pub const CAUSE_HEADER: HeaderName = HeaderName::from_static("harmonybatch-cause");

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The request is not one of the protocol.
    Malformed,
    /// The listener refused it; `refusals` counts why.
    Refused,
    /// There is no such endpoint.
    UnknownPath,
    /// The endpoint has another method.
    Method,
    /// No application has this host or path.
    UnknownApp,
    /// The application, or its runtime, has no such model or version.
    UnknownModel,
    /// The body has an encoding that is not read.
    Unsupported,
    /// The body is longer than is allowed.
    TooLarge,
    /// The body did not come in time.
    BodySlow,
    /// Only other gateways may ask this.
    Forbidden,
    /// The application sends more than its contract says.
    ExceedsContract,
    /// As many of the application's rows wait as may.
    AppQueueFull,
    /// As many of the group's rows or bytes wait as may.
    QueueFull,
    /// The answer would come too late.
    Overloaded,
    /// The gateway holds as many bytes as it may.
    Memory,
    /// The application has no group yet, or the gateway no configuration.
    NotReady,
    /// The gateway is going.
    Draining,
    /// No replica became ready in time.
    NoReplica,
    /// No replica could be reached in time.
    Unreachable,
    /// No replica was free in time.
    TimeoutQueue,
    /// The runtime did not answer in time.
    TimeoutRuntime,
    /// The replica broke off.
    Broken,
    /// The runtime answered 4xx.
    Runtime4xx,
    /// The runtime answered with another status that is no success, mostly 5xx.
    Runtime5xx,
    /// The runtime's answer is none to what it was asked.
    InvalidAnswer,
    /// The answer cannot be written in the caller's encoding.
    Unwritable,
    /// The gateway that owns the group broke off.
    GatewayGone,
    /// It did not answer in time.
    TimeoutGateway,
    /// The caller did not wait for the answer.
    Left,
    /// A defect of the gateway.
    Internal,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 30] = [
        Self::Malformed,
        Self::Refused,
        Self::UnknownPath,
        Self::Method,
        Self::UnknownApp,
        Self::UnknownModel,
        Self::Unsupported,
        Self::TooLarge,
        Self::BodySlow,
        Self::Forbidden,
        Self::ExceedsContract,
        Self::AppQueueFull,
        Self::QueueFull,
        Self::Overloaded,
        Self::Memory,
        Self::NotReady,
        Self::Draining,
        Self::NoReplica,
        Self::Unreachable,
        Self::TimeoutQueue,
        Self::TimeoutRuntime,
        Self::Broken,
        Self::Runtime4xx,
        Self::Runtime5xx,
        Self::InvalidAnswer,
        Self::Unwritable,
        Self::GatewayGone,
        Self::TimeoutGateway,
        Self::Left,
        Self::Internal,
    ];

    /// Its name and the number of its status.
    const fn facts(self) -> (&'static str, StatusCode) {
        match self {
            Self::Malformed => ("malformed", StatusCode::BAD_REQUEST),
            Self::Refused => ("refused", StatusCode::BAD_REQUEST),
            Self::UnknownPath => ("unknown_path", StatusCode::NOT_FOUND),
            Self::Method => ("method", StatusCode::METHOD_NOT_ALLOWED),
            Self::UnknownApp => ("unknown_app", StatusCode::NOT_FOUND),
            Self::UnknownModel => ("unknown_model", StatusCode::NOT_FOUND),
            Self::Unsupported => ("unsupported", StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::TooLarge => ("too_large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::BodySlow => ("body_slow", StatusCode::REQUEST_TIMEOUT),
            Self::Forbidden => ("forbidden", StatusCode::FORBIDDEN),
            Self::ExceedsContract => ("exceeds_contract", StatusCode::TOO_MANY_REQUESTS),
            Self::AppQueueFull => ("app_queue_full", StatusCode::TOO_MANY_REQUESTS),
            Self::QueueFull => ("queue_full", StatusCode::SERVICE_UNAVAILABLE),
            Self::Overloaded => ("overloaded", StatusCode::SERVICE_UNAVAILABLE),
            Self::Memory => ("memory", StatusCode::SERVICE_UNAVAILABLE),
            Self::NotReady => ("not_ready", StatusCode::SERVICE_UNAVAILABLE),
            Self::Draining => ("draining", StatusCode::SERVICE_UNAVAILABLE),
            Self::NoReplica => ("no_replica", StatusCode::SERVICE_UNAVAILABLE),
            Self::Unreachable => ("unreachable", StatusCode::SERVICE_UNAVAILABLE),
            Self::TimeoutQueue => ("timeout_queue", StatusCode::GATEWAY_TIMEOUT),
            Self::TimeoutRuntime => ("timeout_runtime", StatusCode::GATEWAY_TIMEOUT),
            Self::Broken => ("broken", StatusCode::BAD_GATEWAY),
            Self::Runtime4xx => ("runtime_4xx", StatusCode::BAD_GATEWAY),
            Self::Runtime5xx => ("runtime_5xx", StatusCode::BAD_GATEWAY),
            Self::InvalidAnswer => ("invalid_answer", StatusCode::BAD_GATEWAY),
            Self::Unwritable => ("unwritable", StatusCode::BAD_GATEWAY),
            Self::GatewayGone => ("gateway_gone", StatusCode::BAD_GATEWAY),
            Self::TimeoutGateway => ("timeout_gateway", StatusCode::GATEWAY_TIMEOUT),
            // Nobody gets it.
            Self::Left => ("left", StatusCode::REQUEST_TIMEOUT),
            Self::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// Its name everywhere.
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// The status that goes with it, where nothing says another one.
    pub const fn status(self) -> StatusCode {
        self.facts().1
    }

    /// The value of [`CAUSE_HEADER`].
    pub(crate) fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }

    /// The cause that an answer names.
    pub(crate) fn of(headers: &http::HeaderMap) -> Option<Self> {
        let name = headers.get(CAUSE_HEADER)?;
        Self::ALL.into_iter().find(|cause| name == cause.name())
    }
}

impl EncodeLabelValue for Cause {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> std::fmt::Result {
        self.name().encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_name_of_its_own_and_is_in_the_readme() {
        let readme = include_str!("../../../../README.md");
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index);
            assert!(
                Cause::ALL[..index]
                    .iter()
                    .all(|other| other.name() != cause.name())
            );
            assert!(
                readme.contains(&format!("| `{}` |", cause.name())),
                "{}",
                cause.name()
            );
        }
    }
}
