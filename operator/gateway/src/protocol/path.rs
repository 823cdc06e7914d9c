//! Which of the protocol's endpoints a path is, and whether it names the application.

use super::{ApiError, Cause};
use http::Method;

/// A path, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// Namespace and application, where the path names them; otherwise the Host does.
    pub app: Option<(&'a str, &'a str)>,
    /// What is asked for.
    pub endpoint: Endpoint<'a>,
}

/// The protocol's endpoints. `version` is that of the path, where it has one; of readiness it says nothing, as replicas are ready as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the protocol's own names")]
pub enum Endpoint<'a> {
    ServerMetadata,
    ServerLive,
    ServerReady,
    ModelMetadata {
        model: &'a str,
        version: Option<&'a str>,
    },
    ModelReady {
        model: &'a str,
    },
    Infer {
        model: &'a str,
        version: Option<&'a str>,
    },
}

/// Takes apart `/v2/...` or `/<namespace>/<app>/v2/...`.
///
/// # Errors
/// 404 for a path, 405 for a method that the protocol does not have.
pub fn locate<'a>(method: &Method, path: &'a str) -> Result<Route<'a>, ApiError> {
    let segments: Vec<&str> = path
        .trim_start_matches('/')
        .trim_end_matches('/')
        .split('/')
        .collect();
    let (app, rest) = match segments.as_slice() {
        ["v2", rest @ ..] => (None, rest),
        [namespace, app, "v2", rest @ ..] => (Some((*namespace, *app)), rest),
        _ => return Err(unknown(path)),
    };
    let endpoint = match *rest {
        [] => Endpoint::ServerMetadata,
        ["health", "live"] => Endpoint::ServerLive,
        ["health", "ready"] => Endpoint::ServerReady,
        ["models", model, ref rest @ ..] if is_name(model) => {
            let (version, rest) = match *rest {
                ["versions", version, ref rest @ ..] if is_name(version) => (Some(version), rest),
                ref rest => (None, rest),
            };
            match rest {
                [] => Endpoint::ModelMetadata { model, version },
                ["ready"] => Endpoint::ModelReady { model },
                ["infer"] => Endpoint::Infer { model, version },
                _ => return Err(unknown(path)),
            }
        }
        _ => return Err(unknown(path)),
    };
    let allowed = if matches!(endpoint, Endpoint::Infer { .. }) {
        Method::POST
    } else {
        Method::GET
    };
    if *method != allowed {
        let message = format!("method {method} is not allowed for {path}; use {allowed}");
        return Err(ApiError::method_not_allowed(allowed, message));
    }
    Ok(Route { app, endpoint })
}

/// Whether a segment can stand in the runtime's path as it is: the name of a model or a version.
pub(super) fn is_name(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b':' | b'+' | b'@')
        })
}

/// Checks a version that is not in a path.
///
/// # Errors
/// 400 where it could not be in one.
pub fn check_version(version: Option<&str>) -> Result<(), ApiError> {
    match version.filter(|version| !is_name(version)) {
        None => Ok(()),
        Some(version) => Err(ApiError::bad_request(format!(
            "version: {version:?} is no version"
        ))),
    }
}

fn unknown(path: &str) -> ApiError {
    let message = format!(
        "no endpoint {path}; use /v2/models/<model>/infer, or /<namespace>/<app>/v2/models/<model>/infer"
    );
    ApiError::new(Cause::UnknownPath, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_of_the_protocol_is_found_by_host_and_by_path() {
        let table = [
            ("/v2", Endpoint::ServerMetadata),
            ("/v2/", Endpoint::ServerMetadata),
            ("/v2/health/live", Endpoint::ServerLive),
            ("/v2/health/ready", Endpoint::ServerReady),
            (
                "/v2/models/m",
                Endpoint::ModelMetadata {
                    model: "m",
                    version: None,
                },
            ),
            ("/v2/models/m/ready", Endpoint::ModelReady { model: "m" }),
            (
                "/v2/models/m/versions/3",
                Endpoint::ModelMetadata {
                    model: "m",
                    version: Some("3"),
                },
            ),
            (
                "/v2/models/m/versions/3/ready",
                Endpoint::ModelReady { model: "m" },
            ),
        ];
        for (path, endpoint) in table {
            assert_eq!(
                locate(&Method::GET, path),
                Ok(Route { app: None, endpoint }),
                "{path}"
            );
            let full = format!("/shop/search{path}");
            let app = Some(("shop", "search"));
            assert_eq!(locate(&Method::GET, &full), Ok(Route { app, endpoint }), "{full}");
        }
        let infer = Endpoint::Infer {
            model: "v2",
            version: Some("1"),
        };
        let path = "/v2/models/v2/versions/1/infer";
        assert_eq!(
            locate(&Method::POST, path),
            Ok(Route {
                app: None,
                endpoint: infer
            })
        );
    }

    #[test]
    fn what_the_protocol_does_not_have_is_refused() {
        let table = [
            (Method::GET, "/", 404),
            (Method::POST, "/v1/models/m/infer", 404),
            (Method::POST, "/v2/models//infer", 404),
            (Method::POST, "/v2/models/../infer", 404),
            (Method::POST, "/v2/models/a%2fb/infer", 404),
            (Method::POST, "/v2/models/m/generate", 404),
            (Method::POST, "/a/b/c/v2/models/m/infer", 404),
            (Method::GET, "/v2/models/m/infer", 405),
            (Method::POST, "/v2/models/m", 405),
        ];
        for (method, path, status) in table {
            assert_eq!(
                locate(&method, path).map_err(|error| error.status.as_u16()),
                Err(status),
                "{method} {path}"
            );
        }
    }
}
