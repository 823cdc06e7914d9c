//! Latency under a CPU quota, as the kernel's bandwidth controller enforces a limit (`cpu.max`, `cpu.cfs_quota_us`).
//!
//! A container limited to `c` vCPU may use `q = c P` CPU seconds in each period `P` (100 ms unless the node says otherwise). At every
//! multiple of P it is given q anew, and what was left is lost. A batch that needs `W` CPU seconds and keeps `n` CPUs busy takes
//! `A = W / n` if nothing stops it. For `c >= n` nothing does. For `c < n` it spends a whole quota in `u = q / n < P`, and then stands
//! still for the rest of the period, `D = P - u`: a batch with less work than is left of the quota is not slowed at all, a longer one
//! waits each time that it meets the quota's end. With `x = W / q` (quotas that a batch needs):
//!
//! **Bound.** Nothing is assumed of what is left of the quota when the batch begins. At worst it is spent as early as it can be, at u
//! into the period, and the batch then begins: it waits D, runs for u, waits D, ... In k whole quotas it is stopped once before each, so
//! that it needs `ceil(x)` waits and its own time: `bound = A + ceil(x) D`.
//!
//! **Mean.** Of a replica that is never idle: batches follow each other, and the quota that earlier ones spent in this period, `y q`,
//! is anything between nothing and all with the same likelihood, since multiples of an irrational x are spread evenly between whole
//! numbers (Weyl). A batch meets `floor(x + y)` ends of a quota: `ceil(x)` with probability `x - floor(x)`, else `floor(x)`: two
//! clusters, D apart, and x in the mean. `mean = A + x D = A + (W / q) (P - q / n) = W / c`, so for all c `mean = max(W / n, W / c)`.
//!
//! **After idle time** a batch begins at any phase of the period with the same likelihood, and with the whole quota: one that arrives
//! alone. Let `N = ceil(x)`. If N is 1, it is not stopped: what of it falls into the next period finds a new quota. Else at phase
//! `p <= D` it spends the quota before the period ends and waits `N - 1` times, the first time only until the period's end:
//! `(N - 1) D - p`. At `p > D` it runs through the period's end into a new quota, with `A - (P - p)` of its own time left, and so
//! waits N - 1 times if that is more than `(N - 1) u`, else N - 2 times. The integral over p, divided by P, is
//! `after_idle = A + D (N - 1 - (N u - A + D / 2) / P)`.
//!
//! **What idle time costs** ([`AfterIdle`]): a batch that was stopped finds cold caches when it goes on. Where idle time `D` costs `p` CPU seconds, that much of each
//! quota is lost, and a stop takes `p / n` longer: `q - p` and `D + p / n` in the place of `q` and `D`, which is what all of the above says of the smaller limit
//! `c - p / P`. A batch after idle time needs its own `p` more, which is in none of the formulas.
//!
//! **What a plan assumes.** Requests arrive at random, so a batch finds something between these: at little use of the quota the whole
//! of it, at a use near 1 what the batch before it has left. Where pods stay up, the simulation that a plan rests on plays the quota of
//! every replica (`simulate::quota`), and latencies are those of what is left in it. The two figures of a function that a search looks at
//! before any simulation stay as they are. `max` takes the bound, which holds whatever was left; it is that of the mean work at least, so that
//! what is played is within it. `mean` is that of a replica that is never idle: it asks what a replica can do, and that is `c / W` batches a second
//! and no more, however fast single ones are. With the mean after idle time, batches of 5 ms under half a CPU would seem to need 0.5 % of it
//! each and need 1 %. Where functions are billed while they run nothing is played: a plan says too high a mean there for a replica with
//! little to do, by at most `x D`; never too low a one.
//!
//! **What is played.** The work of a batch is drawn with the mean curve's as its mean and the maximum curve's as the largest, and its CPUs are
//! those of the mean curve. Where no limit was measured beyond the CPUs that a batch keeps busy, a fit takes the largest limit for these: batches
//! that find the whole quota are then faster than the simulation has them. A limit that no batch size reaches is not played.

use super::{AfterIdle, ProfileError};

/// CPU time under a quota: `work` CPU seconds by `parallelism` CPUs at once, in periods of `period` seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throttled {
    work: f64,
    parallelism: f64,
    period: f64,
    after_idle: AfterIdle,
}

impl Throttled {
    /// Takes `work` in CPU seconds, at most one million; `parallelism` in CPUs, between a thousandth and 10,000: the CPUs that a batch
    /// keeps busy in the mean, less than one where it also waits for something else; and the `period` in seconds, 1 ms to 1 s as the
    /// kernel takes it.
    pub fn new(work: f64, parallelism: f64, period: f64) -> Result<Self, ProfileError> {
        let error = |coefficient, found, allowed| {
            Err(ProfileError::Curve {
                form: "a throttled",
                coefficient,
                found,
                allowed,
            })
        };
        if !(1e-9..=1e6).contains(&work) {
            return error("work", work, "above 0 and at most 1000000");
        }
        if !(1e-3..=1e4).contains(&parallelism) {
            return error("parallelism", parallelism, "between 0.001 and 10000");
        }
        if !(1e-3..=1.0).contains(&period) {
            return error("period", period, "between 0.001 and 1 seconds");
        }
        Ok(Self {
            work,
            parallelism,
            period,
            after_idle: AfterIdle::NOTHING,
        })
    }

    /// The same where idle time costs so much.
    #[must_use]
    pub fn with_after_idle(self, after_idle: AfterIdle) -> Self {
        Self { after_idle, ..self }
    }

    /// CPUs that a batch keeps busy: no higher limit makes it faster.
    pub fn parallelism(&self) -> f64 {
        self.parallelism
    }

    /// CPU seconds of a batch.
    pub(crate) fn work(&self) -> f64 {
        self.work
    }

    /// Between two quotas, in seconds.
    pub(crate) fn period(&self) -> f64 {
        self.period
    }

    /// So many times as much work.
    pub(crate) fn times(self, factor: f64) -> Self {
        let work = self.work * factor;
        Self { work, ..self }
    }

    /// So many CPU seconds more.
    pub(crate) fn plus(self, work: f64) -> Self {
        let work = self.work + work;
        Self { work, ..self }
    }

    /// What so much more CPU work takes a replica that is never idle, in seconds.
    pub(crate) fn seconds_of(&self, work: f64, vcpu: f64) -> f64 {
        work / self.left_of(vcpu).min(self.parallelism)
    }

    /// `c - p / P`: what is left of a limit in vCPU by which batches are stopped, when what they lose by each stop is taken off. A tenth at least: who never
    /// gets anywhere is no batch that was measured.
    pub(crate) fn left_of(&self, vcpu: f64) -> f64 {
        const LEAST: f64 = 0.1;
        if vcpu >= self.parallelism {
            return vcpu;
        }
        let lost = self
            .after_idle
            .after(self.period * (1.0 - vcpu / self.parallelism));
        (vcpu - lost / self.period).max(LEAST * vcpu)
    }

    /// `A`: the latency in seconds of a batch that nothing stops.
    fn alone(&self) -> f64 {
        self.work / self.parallelism
    }

    /// `x`: quotas that a batch needs.
    fn quotas(&self, vcpu: f64) -> f64 {
        self.work / (self.left_of(vcpu) * self.period)
    }

    /// `D`: how long a batch stands still at a quota's end, in seconds; 0 under a limit that never stops it.
    fn wait(&self, vcpu: f64) -> f64 {
        self.period * (1.0 - self.left_of(vcpu) / self.parallelism).max(0.0)
    }

    /// The mean latency in seconds on a replica that is never idle: `max(W / n, W / c)`.
    pub fn mean(&self, vcpu: f64) -> f64 {
        self.seconds_of(self.work, vcpu)
    }

    /// The latency in seconds that no batch exceeds, whatever is left of the quota when it begins: `A + ceil(x) D`.
    pub fn bound(&self, vcpu: f64) -> f64 {
        self.alone() + self.quotas(vcpu).ceil() * self.wait(vcpu)
    }

    /// The largest work in CPU seconds whose [`bound`](Self::bound) is no more than so many seconds. The bound of k whole quotas is k periods; what
    /// is above that must first wait once more.
    pub(crate) fn work_within(&self, seconds: f64, vcpu: f64) -> f64 {
        let wait = self.wait(vcpu);
        if wait <= 0.0 {
            return seconds * self.parallelism;
        }
        let quotas = (seconds / self.period).floor();
        let beyond = seconds - quotas * self.period;
        quotas * self.left_of(vcpu) * self.period + (beyond - wait).max(0.0) * self.parallelism
    }

    /// The least work in CPU seconds whose [`bound`](Self::bound) is no less than so many seconds. After k whole periods no bound lies within a wait: what
    /// is a little more than k quotas waits once more, and is beyond all of that.
    pub(crate) fn work_reaching(&self, seconds: f64, vcpu: f64) -> f64 {
        /// More than a factor loses where it is written in thousandths, of the least that is written.
        const A_LITTLE: f64 = 0.003;
        let wait = self.wait(vcpu);
        if wait <= 0.0 {
            return seconds * self.parallelism;
        }
        let quotas = ((seconds / self.period).ceil() - 1.0).max(0.0);
        let beyond = seconds - quotas * self.period - wait;
        let whole = quotas * self.left_of(vcpu) * self.period;
        whole + (beyond * self.parallelism).max(A_LITTLE * whole)
    }

    /// The shorter of the two latencies in seconds on a replica that is never idle: `A + floor(x) D`.
    pub fn shortest(&self, vcpu: f64) -> f64 {
        self.alone() + self.quotas(vcpu).floor() * self.wait(vcpu)
    }

    /// The mean latency in seconds of a batch that begins after idle time, over all phases of the period.
    pub fn mean_after_idle(&self, vcpu: f64) -> f64 {
        let (alone, wait) = (self.alone(), self.wait(vcpu));
        let needed = self.quotas(vcpu).ceil();
        if needed <= 1.0 {
            return alone;
        }
        let spent_in = self.period - wait;
        let not_waited = (needed * spent_in - alone + wait / 2.0) / self.period;
        alone + wait * (needed - 1.0 - not_waited)
    }
}
