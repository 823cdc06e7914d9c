//! The way to a group's task, and who is let through.

use std::{sync::Arc, time::Duration};

use harmonybatch_dispatch::Nanos;

use super::request::{GroupStats, Place, Queued, Submission};
use crate::{
    admission::{Backlog, Standing},
    config::{GroupConfig, MemberConfig},
    metrics::{AppStats, GroupMetrics},
    protocol::{ApiError, Cause},
    sync::{atomic::Ordering, mpsc},
    timer::nanos,
};

/// The way to a group's task.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    /// Boxed, since a channel has room for 32 of them from its first moment, and most groups are idle.
    pub(super) inbox: mpsc::Sender<Box<Queued>>,
    pub(super) left: mpsc::UnboundedSender<u64>,
    pub(super) stats: Arc<GroupStats>,
    pub(super) metrics: Arc<GroupMetrics>,
    pub(super) config: Arc<GroupConfig>,
    /// The SLOs of the group's members and their counts.
    pub(super) members: Arc<[(Nanos, Arc<AppStats>)]>,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "rows and times to estimate with, far below 2^53"
)]
fn rows(count: u64) -> f64 {
    count as f64
}

/// How long an answer will take.
struct Expected {
    /// If nothing overtakes it.
    least: Nanos,
    /// With what has lately overtaken its kind.
    likely: Nanos,
}

/// Part of its SLO within which an answer must be expected in an overload.
const SLO_IN_OVERLOAD: f64 = 0.75;
/// The longest that a caller is told to wait.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Rows of an application that wait and are served by its SLO.
fn regular_rows(stats: &AppStats) -> u64 {
    let yielding = stats.yielding_rows.load(Ordering::Acquire);
    stats.queued_rows.load(Ordering::Acquire).saturating_sub(yielding)
}

impl Handle {
    /// Whether a request is let in by its application's contract and can be answered in time.
    pub(super) fn admit(
        &self,
        member: &MemberConfig,
        stats: &AppStats,
        submission: &Submission,
    ) -> Result<Standing, ApiError> {
        let now = submission.arrival;
        let standing = match &member.contract {
            None => Standing::Regular,
            Some(contract) => stats.bucket.standing(contract, now).map_err(|exceeded| {
                let (app, rate, most) = (&member.app, contract.rate, contract.most);
                let message = format!(
                    "InferenceApp {app} sends more than its contract of {rate} rows/s with {most} rows at once; raise its spec.rate, or let overflow be BestEffort"
                );
                ApiError::new(Cause::ExceedsContract, message).retry_after(exceeded.retry_after)
            })?,
        };
        if let Some(expected) = self.expect(member, stats, standing, now) {
            let Expected { least, likely } = expected;
            let refused = match standing {
                Standing::Regular => {
                    // Around the SLO as many would miss it as keep it.
                    let too_late = likely > nanos(member.slo.mul_f64(SLO_IN_OVERLOAD));
                    least > nanos(member.timeout) || (too_late && stats.overload.refuses(member.slo, now))
                }
                // It has had its share: more is for what the others leave, or for an application that can wait.
                Standing::Yielding => {
                    let can_wait = member.contract.is_some_and(|contract| contract.best_effort);
                    !can_wait || likely > nanos(member.timeout)
                }
            };
            if refused {
                let expected = Duration::from_nanos(likely).min(LONGEST_RETRY);
                let (group, app) = (&self.config.key.name, &member.app);
                let message = format!(
                    "group {group} is overloaded: an answer for InferenceApp {app} would take about {expected:.1?}"
                );
                return Err(ApiError::new(Cause::Overloaded, message).retry_after(expected));
            }
        }
        if let Some(contract) = &member.contract {
            stats.bucket.count(contract, submission.request.rows(), now);
        }
        Ok(standing)
    }

    /// How long it will take to answer a request that comes now, as far as is known; `None` where it need not wait.
    fn expect(
        &self,
        member: &MemberConfig,
        stats: &AppStats,
        standing: Standing,
        now: Nanos,
    ) -> Option<Expected> {
        let service = self.stats.service.load(Ordering::Acquire);
        let replicas = self.stats.endpoints.load(Ordering::Acquire);
        let free = replicas.saturating_sub(self.stats.in_flight.load(Ordering::Acquire));
        let queued = self.stats.queued_rows.load(Ordering::Acquire);
        let batch = u64::from(self.config.batch_size);
        if service == 0 || replicas == 0 || (free > 0 && queued < batch) {
            return None;
        }
        let yielding = self.stats.yielding_rows.load(Ordering::Acquire);
        let (before, of_its_kind, drain) = match standing {
            Standing::Yielding => (rows(queued), yielding, &self.stats.yielding_drain),
            Standing::Regular => {
                // Less than a batch is before it anyway: whose rows they are makes no difference then.
                let before = if queued < batch {
                    rows(queued)
                } else {
                    self.rows_before(nanos(member.slo), service)
                };
                (before, regular_rows(stats), &stats.drain)
            }
        };
        let backlog = Backlog {
            rows: before,
            batch_size: self.config.batch_size,
            replicas,
            free,
            service,
        };
        let least = backlog.time_to_answer();
        // What will overtake it is seen from how fast its kind leave; a few rows that leave now and then say nothing.
        let likely = if of_its_kind < batch {
            least
        } else {
            least.max(drain.wait(of_its_kind, now).saturating_add(service))
        };
        Some(Expected { least, likely })
    }

    /// Rows that leave before a regular one with this SLO: those of members whose SLO is no longer, and of others those that have waited for longer than
    /// their SLO is longer. They wait for between nothing and what their SLO leaves beside a service, and are taken to be spread evenly over that.
    fn rows_before(&self, slo: Nanos, service: Nanos) -> f64 {
        let left = |slo: Nanos| rows(slo.saturating_sub(service));
        let before = self.members.iter().map(|(its_slo, stats)| {
            let regular = rows(regular_rows(stats));
            if *its_slo > slo {
                regular * left(slo) / left(*its_slo).max(1.0)
            } else {
                regular
            }
        });
        before.sum()
    }

    pub(super) fn place(&self) -> Place {
        Place {
            group: self.stats.clone(),
            left: self.left.clone(),
        }
    }
}
