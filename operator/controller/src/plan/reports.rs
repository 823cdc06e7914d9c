//! The reports on the pools of every platform, made beside the plans: a report searches several times as long as a plan does, and nobody's group
//! shall wait for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use harmonybatch_planner::Session;
use tokio::sync::{Notify, oneshot};

use super::decide::Decided;
use super::pools::PoolReport;

/// The newest report on each platform that has limited pools.
#[derive(Debug)]
pub(crate) struct Reports {
    platforms: BTreeMap<String, Reported>,
    /// The one that plans: what it has found for a plan is not looked for again.
    session: Arc<Session>,
}

#[derive(Debug)]
struct Reported {
    /// What the newest report is about, or the one that is being made.
    about: Decided,
    /// The report that is being made.
    awaited: Option<oneshot::Receiver<PoolReport>>,
    newest: Option<PoolReport>,
}

impl Reports {
    /// No report yet.
    pub(crate) fn new(session: Arc<Session>) -> Self {
        Self {
            platforms: BTreeMap::new(),
            session,
        }
    }

    /// Takes the reports that are done, and begins one on every platform whose plans or pools have changed; one at a time a platform. `changed` is told
    /// when there is a new one.
    pub(crate) fn follow(&mut self, decided: &BTreeMap<String, Decided>, changed: &Arc<Notify>) {
        self.platforms
            .retain(|platform, _| decided.get(platform).is_some_and(Decided::has_limited_pools));
        for (platform, decided) in decided.iter().filter(|(_, decided)| decided.has_limited_pools()) {
            match self.platforms.get_mut(platform) {
                None => {
                    let reported = Reported {
                        about: decided.clone(),
                        awaited: Some(begin(decided.clone(), &self.session, changed)),
                        newest: None,
                    };
                    self.platforms.insert(platform.clone(), reported);
                }
                Some(reported) => {
                    reported.take(platform);
                    if reported.awaited.is_none() && !reported.about.uses_pools_as(decided) {
                        reported.about = decided.clone();
                        reported.awaited = Some(begin(decided.clone(), &self.session, changed));
                    }
                }
            }
        }
    }

    /// The newest report on a platform, which may be on the plans before the present ones while another is being made.
    pub(crate) fn newest(&self, platform: &str) -> Option<&PoolReport> {
        self.platforms.get(platform)?.newest.as_ref()
    }
}

impl Reported {
    fn take(&mut self, platform: &str) {
        let Some(awaited) = &mut self.awaited else { return };
        match awaited.try_recv() {
            Ok(report) => self.newest = Some(report),
            Err(oneshot::error::TryRecvError::Empty) => return,
            // Without another change it would fail again.
            Err(oneshot::error::TryRecvError::Closed) => {
                tracing::warn!(%platform, "the report on the GPU pools failed");
            }
        }
        self.awaited = None;
    }
}

/// A process that ends does not wait for a report.
impl Drop for Reports {
    fn drop(&mut self) {
        self.session.stop().request();
    }
}

/// Makes a report off the runtime's threads; nothing comes where it fails.
fn begin(decided: Decided, session: &Arc<Session>, changed: &Arc<Notify>) -> oneshot::Receiver<PoolReport> {
    let (sender, receiver) = oneshot::channel();
    let (session, changed) = (Arc::clone(session), Arc::clone(changed));
    tokio::task::spawn_blocking(move || {
        if let Ok(report) = decided.pool_report(&session) {
            // Nobody waits for it where the platform is gone.
            let _ = sender.send(report);
        }
        changed.notify_one();
    });
    receiver
}

#[cfg(test)]
mod tests;
