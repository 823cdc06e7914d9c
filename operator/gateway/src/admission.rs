//! What is let in: the contract of an application, and whether an answer can come in time.
//!
//! A [`Bucket`] is a leaky bucket (GCRA, ITU-T I.371, in its virtual-scheduling form): one number, the time at which the bucket will be empty. A request
//! is counted with all its rows once it is let in, however full they make the bucket. Up to the contract's `burst` a request is served on a par with
//! others', up to `most` behind them, and beyond that refused: an application that sends ten times what it has declared so delays itself and no other.
//!
//! [`Backlog`] says when a request that comes now can be answered, from what waits before it and what batches take.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use harmonybatch_dispatch::Nanos;

use crate::{config::Contract, timer::nanos};

/// How a request is served that is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// By its SLO.
    Regular,
    /// Behind all that are served by theirs: its application has sent more than its contract says.
    Yielding,
}

/// Why a request is not let in, and when one would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Until the bucket has room again.
    pub retry_after: Duration,
}

/// The bucket of one application.
#[derive(Debug, Default)]
pub struct Bucket {
    /// When it will be empty.
    empty_at: AtomicU64,
}

impl Bucket {
    /// How a request that comes now would be served. It is not counted yet.
    ///
    /// # Errors
    /// Where the bucket is full.
    pub fn standing(&self, contract: &Contract, now: Nanos) -> Result<Standing, Exceeded> {
        let level = self.empty_at.load(Ordering::Acquire).saturating_sub(now);
        let most = leaking(contract, contract.most);
        if level <= leaking(contract, contract.burst) {
            Ok(Standing::Regular)
        } else if level <= most || contract.best_effort {
            Ok(Standing::Yielding)
        } else {
            let retry_after = Duration::from_nanos(level - most);
            Err(Exceeded { retry_after })
        }
    }

    /// Counts a request that was let in. What is beyond `most` leaves no trace: it is served in vain of the contract.
    pub fn count(&self, contract: &Contract, rows: u32, now: Nanos) {
        let (most, own) = (leaking(contract, contract.most), leaking(contract, rows.into()));
        // Never refused: the change always gives a time.
        let _ = self
            .empty_at
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |empty_at| {
                let beyond = empty_at.saturating_sub(now) > most;
                Some(if beyond {
                    empty_at
                } else {
                    empty_at.max(now).saturating_add(own)
                })
            });
    }
}

/// How long the bucket takes to leak so many rows.
fn leaking(contract: &Contract, rows: f64) -> Nanos {
    nanos(Duration::try_from_secs_f64(rows / contract.rate).unwrap_or(Duration::MAX))
}

/// What a request that comes now finds before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backlog {
    /// Rows that leave before it.
    pub rows: f64,
    /// Rows of a full batch.
    pub batch_size: u32,
    /// Replicas, and how many of them are free.
    pub replicas: usize,
    /// Of these.
    pub free: usize,
    /// What a batch takes at its replica.
    pub service: Nanos,
}

impl Backlog {
    /// How long it will most likely take until the request is answered. With `c` replicas, `f` of them free, and `k` full batches that leave before its
    /// own: at once where `k < f`; otherwise the first replica is free after `1 / (c + 1)` of a service, as the rests of `c` services are spread, and
    /// another one every `1 / c` of a service after it.
    pub fn time_to_answer(&self) -> Nanos {
        let batches = (self.rows / f64::from(self.batch_size.max(1))).floor();
        #[expect(
            clippy::cast_precision_loss,
            reason = "few replicas, and times far below 2^53"
        )]
        let (replicas, service, free) = (self.replicas.max(1) as f64, self.service as f64, self.free as f64);
        let waits = if batches < free {
            0.0
        } else {
            1.0 / (replicas + 1.0) + (batches - free) / replicas
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is not negative"
        )]
        let time = (service * (1.0 + waits)) as Nanos;
        time
    }
}

/// How fast a queue empties: the rows that leave it a second, over the last second or so.
///
/// By Little's law a row that joins `q` rows of a queue that `d` leave a second waits for about `q / d`, whoever else is served meanwhile.
#[derive(Debug, Default)]
pub struct Drain {
    /// Rows per second at the time of the last one, as bits of a double.
    rate: AtomicU64,
    at: AtomicU64,
}

impl Drain {
    /// Time after which a row counts for a third.
    const MEMORY: f64 = 1.0;

    /// Rows left. Called by one task only.
    pub fn left(&self, rows: u32, now: Nanos) {
        let rate = self.rate(now) + f64::from(rows) / Self::MEMORY;
        self.rate.store(rate.to_bits(), Ordering::Release);
        self.at.store(now, Ordering::Release);
    }

    fn rate(&self, now: Nanos) -> f64 {
        let age = Duration::from_nanos(now.saturating_sub(self.at.load(Ordering::Acquire))).as_secs_f64();
        f64::from_bits(self.rate.load(Ordering::Acquire)) * (-age / Self::MEMORY).exp()
    }

    /// How long a row that joins `queued` others will wait.
    pub fn wait(&self, queued: u64, now: Nanos) -> Nanos {
        #[expect(clippy::cast_precision_loss, reason = "few rows")]
        let seconds = queued as f64 / self.rate(now);
        nanos(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

/// Whether an application has been served late for so long that letting more in helps nobody.
///
/// A request that would miss its SLO is served all the same, late, as long as that is a matter of chance. Where all of an application's have left late
/// for a second and for as long as the SLO, it is overloaded, and what would be late is refused, until nothing had to be for ten seconds.
#[derive(Debug, Default)]
pub struct Overload {
    /// Since when every request has left too late; 0 where the last one did not.
    late_since: AtomicU64,
    /// Until when what would be late is refused.
    until: AtomicU64,
}

impl Overload {
    const LEAST: Duration = Duration::from_secs(1);
    const LINGERS: Duration = Duration::from_secs(10);

    /// A request left for its replica, too late or in time.
    pub fn left(&self, late: bool, now: Nanos) {
        if !late {
            self.late_since.store(0, Ordering::Release);
        } else if self.late_since.load(Ordering::Acquire) == 0 {
            self.late_since.store(now.max(1), Ordering::Release);
        }
    }

    /// Whether a request that would be late is to be refused.
    pub fn refuses(&self, slo: Duration, now: Nanos) -> bool {
        let since = self.late_since.load(Ordering::Acquire);
        let persists = since > 0 && now.saturating_sub(since) > nanos(slo.max(Self::LEAST));
        let refuses = persists || self.until.load(Ordering::Acquire) > now;
        if refuses {
            self.until
                .store(now.saturating_add(nanos(Self::LINGERS)), Ordering::Release);
        }
        refuses
    }
}

#[cfg(test)]
mod tests;
