//! The kernel's bandwidth controller: what is left of each replica's CPU quota.
//!
//! A replica is given the quota `q = c P` at every multiple of the period P from a moment of its own on, and what was left is lost; the multiples stay
//! where they are while it is idle, as the kernel's timer is forwarded by whole periods (`hrtimer_forward`). A batch runs at n CPUs while
//! there is quota and stands still until the period ends where there is none. Under `c >= n` nothing stops it: a whole period of it is within the quota.
//!
//! The kernel hands a quota out in slices of 5 ms, looks at what was spent at its ticks, and lets what was spent too much be paid back later. Of
//! this nothing is played: it moves a stop by some milliseconds, and adds up to nothing.

use super::random::Random;

/// The quotas of all replicas of a group. Times are ticks, CPU time is ticks of one CPU.
#[derive(Debug)]
pub(super) struct Quotas {
    vcpu: f64,
    period: u64,
    quota: f64,
    replicas: Vec<Replica>,
}

/// One replica in its present period, or in the last one in which it did something.
#[derive(Debug, Clone, Copy)]
struct Replica {
    /// When the period ends and a new quota is given.
    refill_at: u64,
    /// CPU time that is left until then.
    left: f64,
}

/// How batches of one size go, and what is computed of that once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speed {
    /// CPUs that they keep busy.
    parallelism: f64,
    /// Whether the quota stops them at all.
    is_stopped: bool,
    /// CPU time that one gets in a whole period.
    in_period: f64,
    /// Ticks for each tick of CPU time.
    per_work: f64,
    /// Whole periods for each tick of CPU time.
    periods_per_work: f64,
}

impl Quotas {
    /// Replicas under a limit, each with the whole quota in a period that began at a random moment.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ticks of one period, not negative"
    )]
    pub(super) fn new(vcpu: f64, period: u64, replicas: u32, random: &mut Random) -> Self {
        // A run of eons has ticks of more than a period, and so no quota to speak of.
        let period = period.max(1);
        let quota = vcpu * period as f64;
        let mut replica = || Replica {
            refill_at: (random.unit() * period as f64).ceil() as u64,
            left: quota,
        };
        Self {
            vcpu,
            period,
            quota,
            replicas: (0..replicas).map(|_| replica()).collect(),
        }
    }

    /// How batches go that keep so many CPUs busy.
    #[expect(clippy::cast_precision_loss, reason = "ticks of one period")]
    pub(super) fn speed(&self, parallelism: f64) -> Speed {
        let is_stopped = self.vcpu < parallelism;
        let in_period = if is_stopped {
            self.quota
        } else {
            parallelism * self.period as f64
        };
        Speed {
            parallelism,
            is_stopped,
            in_period,
            per_work: 1.0 / parallelism,
            periods_per_work: 1.0 / in_period,
        }
    }

    /// Ticks that a batch takes which begins now on a replica that is free, and needs so much CPU time, and how often it is stopped.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ticks of one batch, not negative"
    )]
    pub(super) fn run(&mut self, replica: u32, now: u64, work: f64, speed: Speed) -> (u64, u64) {
        let replica = &mut self.replicas[replica as usize];
        if now >= replica.refill_at {
            let late = now - replica.refill_at;
            let periods = if late < self.period { 0 } else { late / self.period };
            replica.refill_at += (periods + 1) * self.period;
            replica.left = self.quota;
        }
        let until_refill = (replica.refill_at - now) as f64;
        let mut before_refill = speed.parallelism * until_refill;
        let is_stopped_first = speed.is_stopped && replica.left < before_refill;
        if is_stopped_first {
            before_refill = replica.left;
        }
        if work <= before_refill {
            replica.left = (replica.left - work).max(0.0);
            return ((work * speed.per_work) as u64, 0);
        }
        // Of what is left at the first refill all but the last part, which may be a whole one, fills periods.
        let after_refill = work - before_refill;
        let mut whole = (after_refill * speed.periods_per_work) as u64;
        let mut last = after_refill - whole as f64 * speed.in_period;
        if last <= 0.0 && whole > 0 {
            whole -= 1;
            last += speed.in_period;
        }
        let last = last.max(0.0);
        replica.refill_at += (whole + 1) * self.period;
        replica.left = (self.quota - last).max(0.0);
        let taken = (until_refill + last * speed.per_work) as u64 + whole * self.period;
        let later = if speed.is_stopped { whole } else { 0 };
        (taken, u64::from(is_stopped_first) + later)
    }
}

#[cfg(test)]
mod tests;
