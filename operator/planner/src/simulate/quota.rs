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

    /// Ticks that a batch takes which begins now on a replica that is free, and needs so much CPU time on so many CPUs.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ticks of one batch, not negative"
    )]
    pub(super) fn run(&mut self, replica: u32, now: u64, work: f64, parallelism: f64) -> u64 {
        let replica = &mut self.replicas[replica as usize];
        if now >= replica.refill_at {
            let periods = (now - replica.refill_at) / self.period + 1;
            replica.refill_at += periods * self.period;
            replica.left = self.quota;
        }
        let until_refill = (replica.refill_at - now) as f64;
        let is_stopped = self.vcpu < parallelism;
        let mut in_period = parallelism * until_refill;
        if is_stopped {
            in_period = in_period.min(replica.left);
        }
        if work <= in_period {
            replica.left = (replica.left - work).max(0.0);
            return (work / parallelism).round() as u64;
        }
        // Of what is left at the first refill all but the last part, which may be a whole one, fills periods.
        let period = self.period as f64;
        let at_refill = work - in_period;
        let each = if is_stopped {
            self.quota
        } else {
            parallelism * period
        };
        let whole = ((at_refill / each).ceil() - 1.0).max(0.0);
        let last = (at_refill - whole * each).max(0.0);
        replica.refill_at += (whole as u64 + 1) * self.period;
        replica.left = (self.quota - last).max(0.0);
        (until_refill + whole * period + last / parallelism).round() as u64
    }
}

#[cfg(test)]
mod tests;
