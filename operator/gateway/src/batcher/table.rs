//! What requests see of the gateway: by which application they are found, whether they are let in, and where they wait.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    handle::Handle,
    request::{GroupStats, Queued, Submission, Waiter},
};
use crate::{
    admission::Standing,
    config::{Key, Named, Routes, Target},
    metrics::{AppStats, GroupMetrics},
    protocol::{ApiError, Cause, Request},
    sync::atomic::{AtomicU64, Ordering},
};

/// What a refused caller is told to wait.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Bounds of the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rows that may wait in a group: 503 beyond.
    pub rows_per_group: u64,
    /// Rows that one application may have waiting: 429 beyond.
    pub rows_per_app: u64,
    /// Bytes of requests that may wait in a group: 503 beyond.
    pub bytes_per_group: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows_per_group: 8192,
            rows_per_app: 2048,
            bytes_per_group: 256 << 20,
        }
    }
}

/// The state of the gateway that requests see: replaced as a whole when the configuration changes.
#[derive(Debug)]
pub struct Table {
    /// Which application a request is for, and which group serves it.
    pub routes: Routes,
    /// Whether a first configuration has come.
    pub loaded: bool,
    pub(super) groups: HashMap<Key, Arc<Handle>>,
    pub(super) apps: HashMap<Key, Arc<AppStats>>,
    /// By the number of their target; none where the group cannot be served.
    pub(super) seats: Vec<Option<Seat>>,
    pub(super) limits: Limits,
    pub(super) ids: Arc<AtomicU64>,
}

/// Where the requests of an application wait.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) app: Key,
    pub(super) handle: Arc<Handle>,
    pub(super) stats: Arc<AppStats>,
}

/// The place of a request that is let in.
struct Entry<'a> {
    seat: &'a Seat,
    standing: Standing,
}

/// One entry of `GET /acknowledged`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupListing {
    /// The group's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Number of the active plan that was applied last.
    pub plan_generation: i64,
    /// Applications routed to it now.
    pub apps: Vec<String>,
    /// Rows that wait in it.
    pub queued_rows: u64,
    /// Batches that its replicas work on.
    pub in_flight_batches: usize,
}

impl Table {
    /// Hands a request to its group in parts, which were made of it by its rows; they are let in together or not at all. The request keeps its memory.
    ///
    /// # Errors
    /// As of [`Self::submit`].
    pub fn submit_parts(
        &self,
        target: &Target,
        whole: &Submission,
        parts: Vec<Request>,
    ) -> Result<Vec<Waiter>, ApiError> {
        let entry = self.let_in(target, whole)?;
        let parts = parts.into_iter().map(|request| {
            let part = Submission {
                request,
                model: whole.model.clone(),
                version: whole.version.clone(),
                arrival: whole.arrival,
                deadline: whole.deadline,
                memory: whole.memory.nothing(),
                span: whole.span.clone(),
            };
            self.enter(&entry, target, part)
        });
        // Where one finds no room, those before it are dropped, and so leave their queue.
        parts.collect()
    }

    /// Hands a request to its group. Nothing is awaited, so that no request is submitted by a table that has been replaced, as long as the table is
    /// borrowed from its channel meanwhile.
    ///
    /// # Errors
    /// 429 or 503 where a bound is reached.
    pub fn submit(&self, target: &Target, submission: Submission) -> Result<Waiter, ApiError> {
        let entry = self.let_in(target, &submission)?;
        self.enter(&entry, target, submission)
    }

    fn seat(&self, target: &Target) -> Option<&Seat> {
        self.seats.get(target.number)?.as_ref()
    }

    /// Whether a request is let in, and where.
    fn let_in(&self, target: &Target, submission: &Submission) -> Result<Entry<'_>, ApiError> {
        let unavailable =
            |cause: Cause, message: String| ApiError::new(cause, message).retry_after(RETRY_AFTER);
        let Some(seat) = self.seat(target) else {
            return Err(unavailable(
                Cause::NotReady,
                format!("group {} is not there", target.group.key),
            ));
        };
        let Seat { app, handle, stats } = seat;
        let rows = u64::from(submission.request.rows());
        let waiting = stats.queued_rows.load(Ordering::Acquire);
        if waiting > 0 && waiting + rows > self.limits.rows_per_app {
            let limit = self.limits.rows_per_app;
            let message = format!(
                "{waiting} rows of InferenceApp {} wait already, at most {limit} may",
                app.name
            );
            return Err(ApiError::new(Cause::AppQueueFull, message).retry_after(RETRY_AFTER));
        }
        let waiting = handle.stats.queued_rows.load(Ordering::Acquire);
        let bytes = handle
            .stats
            .queued_bytes
            .load(Ordering::Acquire)
            .saturating_add(submission.request.size());
        if waiting > 0 && (waiting + rows > self.limits.rows_per_group || bytes > self.limits.bytes_per_group)
        {
            return Err(unavailable(
                Cause::QueueFull,
                format!(
                    "the queue of group {} is full: {waiting} rows wait",
                    target.group.key.name
                ),
            ));
        }
        let standing = handle.admit(&target.member, stats, submission)?;
        Ok(Entry { seat, standing })
    }

    /// Puts a request that was let in into its queue.
    fn enter(&self, entry: &Entry<'_>, target: &Target, submission: Submission) -> Result<Waiter, ApiError> {
        let Seat { app, handle, stats } = entry.seat;
        let (queued, waiter) = Queued::new(
            self.ids.fetch_add(1, Ordering::Relaxed),
            app.clone(),
            target.member.clone(),
            stats.clone(),
            submission,
            entry.standing,
            handle.place(),
        );
        if handle.inbox.try_send(Box::new(queued)).is_err() {
            let message = format!("the queue of group {} is full", target.group.key.name);
            return Err(ApiError::new(Cause::QueueFull, message).retry_after(RETRY_AFTER));
        }
        Ok(waiter)
    }

    /// Whether an application is in the configuration.
    pub(crate) fn knows(&self, app: &Key) -> bool {
        self.apps.contains_key(app)
    }

    /// The counts of an application that this table routes.
    pub fn app_stats(&self, target: &Target) -> Option<&Arc<AppStats>> {
        self.seat(target).map(|seat| &seat.stats)
    }

    /// The counts of an application that an earlier table has routed.
    pub fn past_app_stats(&self, target: &Target) -> Option<&Arc<AppStats>> {
        let app: (&str, &str) = (&target.group.key.namespace, &target.member.app);
        self.apps.get(&app as &dyn Named)
    }

    /// Every group that is routed to or holds rows, and what it holds.
    pub fn acknowledged(&self) -> Vec<GroupListing> {
        let mut listing: Vec<GroupListing> = self
            .groups
            .iter()
            .map(|(key, handle)| {
                let (queued_rows, in_flight_batches) = handle.stats.load();
                GroupListing {
                    namespace: key.namespace.to_string(),
                    name: key.name.to_string(),
                    plan_generation: handle.config.plan_generation,
                    apps: self.apps_of(key),
                    queued_rows,
                    in_flight_batches,
                }
            })
            .collect();
        listing.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        listing
    }

    fn apps_of(&self, group: &Key) -> Vec<String> {
        let apps = self
            .routes
            .apps()
            .filter(|(_, target)| target.group.key == *group);
        let mut apps: Vec<String> = apps.map(|(app, _)| app.name.to_string()).collect();
        apps.sort_unstable();
        apps
    }

    /// Groups and their counts.
    pub fn group_stats(&self) -> impl Iterator<Item = (&Key, &GroupStats, &GroupMetrics)> {
        let groups = self.groups.iter();
        groups.map(|(key, handle)| (key, &*handle.stats, &*handle.metrics))
    }

    /// Applications and their counts.
    pub fn all_app_stats(&self) -> impl Iterator<Item = (&Key, &Arc<AppStats>)> {
        self.apps.iter()
    }
}
