//! The second port: probes, metrics, and what the controller polls.

use std::sync::Arc;

use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    batcher::{GroupListing, Table},
    body::Chunks,
    metrics::{AppObservation, GroupObservation, Metrics, WINDOW_SECONDS},
    protocol::{ApiError, Cause},
    service::json,
    timer::Timer,
};

/// Answers on the port `admin`.
#[derive(Debug)]
pub struct Admin {
    /// What callers' requests see.
    pub table: watch::Receiver<Arc<Table>>,
    /// Whether the gateway is going.
    pub draining: watch::Receiver<bool>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The clock.
    pub timer: Timer,
}

#[derive(Serialize)]
struct Acknowledged {
    groups: Vec<GroupListing>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Observed {
    window_seconds: u64,
    apps: Vec<AppObservation>,
    /// For how long the batches of `groups` are remembered.
    batches_window_seconds: u64,
    groups: Vec<GroupObservation>,
}

impl Admin {
    /// Answers one request.
    pub fn answer(&self, method: &Method, path: &str) -> Response<Chunks> {
        if method != Method::GET {
            return ApiError::method_not_allowed(Method::GET, "use GET").into_response();
        }
        match path {
            "/livez" => text("text/plain; charset=utf-8", "ok\n".to_owned()),
            "/readyz" => self.readiness(),
            "/metrics" => self
                .metrics
                .encode(self.table.borrow().clone(), self.timer.now())
                .map_or_else(
                    |error| ApiError::new(Cause::Internal, error).into_response(),
                    |metrics| {
                        text(
                            "application/openmetrics-text; version=1.0.0; charset=utf-8",
                            metrics,
                        )
                    },
                ),
            "/acknowledged" => as_json(&Acknowledged {
                groups: self.table.borrow().acknowledged(),
            }),
            "/observed" => as_json(&self.observed()),
            _ => {
                let message = format!(
                    "no endpoint {path}; there are /livez, /readyz, /metrics, /acknowledged and /observed"
                );
                ApiError::new(Cause::UnknownPath, message).into_response()
            }
        }
    }

    fn readiness(&self) -> Response<Chunks> {
        if *self.draining.borrow() {
            return ApiError::new(Cause::Draining, "draining").into_response();
        }
        if !self.table.borrow().loaded {
            return ApiError::new(Cause::NotReady, "waiting for the first list of groups").into_response();
        }
        text("text/plain; charset=utf-8", "ok\n".to_owned())
    }

    fn observed(&self) -> Observed {
        let (table, now) = (self.table.borrow(), self.timer.now());
        let mut apps: Vec<AppObservation> = table
            .all_app_stats()
            .map(|(app, stats)| stats.observation(app, now))
            .collect();
        apps.sort_by(|a, b| (&a.namespace, &a.app).cmp(&(&b.namespace, &b.app)));
        let mut groups: Vec<GroupObservation> = table
            .group_stats()
            .filter_map(|(group, stats, _)| stats.service_times.observation(group, now))
            .collect();
        groups.sort_by(|a, b| (&a.namespace, &a.group).cmp(&(&b.namespace, &b.group)));
        Observed {
            window_seconds: 3600,
            apps,
            batches_window_seconds: WINDOW_SECONDS,
            groups,
        }
    }
}

fn as_json(value: &impl Serialize) -> Response<Chunks> {
    match serde_json::to_value(value) {
        Ok(value) => json(StatusCode::OK, &value),
        Err(error) => ApiError::new(Cause::Internal, error).into_response(),
    }
}

fn text(content_type: &'static str, body: String) -> Response<Chunks> {
    let mut response = Response::new(Chunks::from(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
