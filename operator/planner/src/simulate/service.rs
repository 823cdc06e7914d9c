//! How long batches take in a run: drawn from a law, or played under a CPU quota.

use super::quota::{Quotas, Speed};
use super::random::{Random, mix, unit_of};
use super::{Look, Pace, Setup, to_ticks};
use crate::latency::{Service, Spread, Work};
use crate::profile::AfterIdle;

/// The time of a batch of one size: `least`, plus `spread` always (`chance` above every draw), with a chance, or in part; and the penalty if it finds the replica idle.
#[derive(Debug, Clone, Copy)]
struct Duration {
    least: u64,
    spread: f64,
    after_idle: AfterIdle,
    /// What none takes longer than.
    longest: u64,
    chance: f64,
    law: Spread,
    /// Where a quota is played.
    work: Option<Metered>,
}

/// The CPU time of a batch of one size, in ticks of one CPU; drawn as a duration is.
#[derive(Debug, Clone, Copy)]
struct Metered {
    least: f64,
    spread: f64,
    after_idle: AfterIdle,
    chance: f64,
    law: Spread,
    speed: Speed,
    /// What a stop costs.
    lost_by_stop: f64,
}

/// What a batch takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) ticks: u64,
    /// Ticks of one CPU; 0 where no quota is played.
    pub(super) cpu_time: f64,
}

/// Says how long batches take.
pub(super) struct ServiceTimes {
    /// Of 1, 2, ... rows.
    durations: Vec<Duration>,
    pace: Pace,
    random: Random,
    /// Where a quota is played.
    quotas: Option<Quotas>,
}

impl ServiceTimes {
    pub(super) fn new(setup: &Setup<'_>, ticks: f64, look: &Look) -> Self {
        let mut random = Random::seeded(mix(look.seed ^ 0x5e41));
        // All sizes of a function have one quota, or none has.
        let work = setup.service.first().and_then(|service| service.work);
        let quotas = work.filter(|_| look.pace == Pace::Drawn).map(|work| {
            let period = to_ticks(work.period(), ticks);
            Quotas::new(work.vcpu(), period, setup.replicas, &mut random)
        });
        let metered = |work: Work, quotas: &Quotas| Metered {
            least: work.least * ticks,
            spread: (work.most - work.least) * ticks,
            after_idle: work.after_idle.scaled(ticks, 1.0),
            chance: work.chance_of_most(),
            law: work.spread,
            speed: quotas.speed(work.parallelism()),
            lost_by_stop: work.lost_by_stop() * ticks,
        };
        let duration = |service: &Service| Duration {
            least: to_ticks(service.least, ticks),
            #[expect(clippy::cast_precision_loss, reason = "ticks of one batch")]
            spread: (to_ticks(service.busy_max(), ticks).saturating_sub(to_ticks(service.least, ticks)))
                as f64,
            after_idle: service.after_idle.scaled(ticks, 1.0),
            longest: to_ticks(service.max, ticks),
            chance: service.chance_of_max(),
            law: service.spread,
            work: service
                .work
                .zip(quotas.as_ref())
                .map(|(work, quotas)| metered(work, quotas)),
        };
        Self {
            durations: setup.service.iter().map(duration).collect(),
            pace: look.pace,
            random,
            quotas,
        }
    }

    /// What a batch takes which begins now on the replica, which was idle for so many ticks.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ticks of one batch, not negative"
    )]
    pub(super) fn of_batch(&mut self, rows: u32, replica: u32, now: u64, idle: u64) -> Taken {
        let duration = &self.durations[rows as usize - 1];
        if let (Some(quotas), Some(work)) = (&mut self.quotas, duration.work) {
            let part = part(Pace::Drawn, work.law, work.chance, &mut self.random);
            let needed = work.least + work.spread * part + added(work.after_idle, idle);
            let (taken, stops) = quotas.run(replica, now, needed, work.speed);
            #[expect(clippy::cast_precision_loss, reason = "a few stops")]
            let cpu_time = needed + stops as f64 * work.lost_by_stop;
            return Taken {
                // But for rounding it is no longer anyway.
                ticks: taken.min(duration.longest),
                cpu_time,
            };
        }
        let of = |ticks| Taken { ticks, cpu_time: 0.0 };
        if self.pace == Pace::Slowest {
            return of(duration.longest);
        }
        let part = part(self.pace, duration.law, duration.chance, &mut self.random);
        of(duration.least + (duration.spread * part + added(duration.after_idle, idle)) as u64)
    }
}

/// What so many idle ticks add, in ticks.
#[expect(clippy::cast_precision_loss, reason = "an idle time")]
fn added(after_idle: AfterIdle, idle: u64) -> f64 {
    // Mostly there is none, or it costs nothing: that is known without an exponential.
    if idle == 0 || after_idle.work() <= 0.0 {
        0.0
    } else {
        after_idle.after(idle as f64)
    }
}

/// How much of the way from the least to the most.
fn part(pace: Pace, law: Spread, chance: f64, random: &mut Random) -> f64 {
    match (pace, law) {
        (Pace::Slowest, _) => 1.0,
        (Pace::Drawn, Spread::Uniform) => unit_of(random.bits()),
        (Pace::Drawn, Spread::Skewed) => random.exponential().min(Spread::CUT) / Spread::CUT,
        (Pace::Drawn, Spread::TwoPoints) => f64::from(u8::from(random.unit() <= chance)),
    }
}
