//! Under a quota: the factor on the CPU work of batches that explains what they took.
//!
//! What a batch takes is no multiple of its work there. It depends on what is left of the quota, hence on how often the replica is idle; and a runtime that needs more
//! work is also idle less often. So the group that was seen is played as a plan has it played (`simulate`: its size, replicas, batches and
//! dispatch, requests at the rate that was seen), with its work times `f`, and `f` is looked for. With `n_k` batches of `k` rows seen, of the mean `m_k`:
//!
//! ```text
//! g(f) = sum n_k E_k(f)        g(f) = sum n_k m_k
//! ```
//!
//! `E_k(f)` is the mean of the batches of `k` rows that were played; g grows with f. Of a replica that is never idle `E_k(f) = f E_k(1)`; at other times the
//! mean of what finds the whole quota is most of it. Played are f and rates on grids of their logarithms, always with the same random numbers, between which
//! logarithms are interpolated; 1 is on the grid, so that what is as the profile has it is found without any interpolation of f. Beyond the [`BOUNDS`] of a
//! correction times go with f.
//!
//! **Errors.** With `s = d ln g / d ln f`, an error of `ln m` makes one of `1 / s` as much in `ln f`. That of `m` is counted with what batches were seen to depend on each other in
//! what was played (they share queues and quotas). To it comes what no number of batches helps against: the noise of what was played, and what
//! rate it should have been played at, by the counting noise of requests and [`RATE`].
//!
//! **Sizes that hardly occur** where the group is played are taken to lie as far between the mean after idle time and that of a replica that is never idle as
//! all batches do; [`LIKE_ALL`] batches of their own weigh as much as that.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use super::batches::Expected;
use crate::arrival::{Load, Process, Traces};
use crate::diff::GroupOutline;
use crate::latency::{Profiled, Service};
use crate::plan::{Device, Dispatch};
use crate::platform::{Billing, Platform};
use crate::simulate::{Played, Setup, play_batches};

/// Steps of `ln f`, and how many there are on either side of 1: as far as a correction goes.
const STEP: f64 = LN_2 / 8.0;
const STEPS: i32 = 16;
/// Steps of the logarithm of the rate.
const RATE_STEP: f64 = 0.1;
/// What a rate is off by that is taken for the same all the time: it is not quite.
const RATE: f64 = 0.05;
/// Arrivals that are played.
const ARRIVALS: u64 = 20_000;
/// Batches of a size in what was played that weigh as much as those of all sizes.
const LIKE_ALL: f64 = 20.0;
/// The least that the mean goes with the factor: errors are no more than so many times those of the mean.
const LEAST_SLOPE: f64 = 0.5;
/// What is kept of what was played: a factor and a rate that change by little ask for the same again.
const MOST_KEPT: usize = 256;

/// Batches of one size that were seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows {
    /// Their rows.
    pub rows: u32,
    /// How many were answered.
    pub count: u64,
    /// Their mean time in seconds.
    pub mean: f64,
}

/// A group of pods that stay up, under a quota that stops some of its batches.
#[derive(Debug, Clone)]
pub struct UnderQuota {
    group: Group,
    /// By the steps of rate and factor.
    played: BTreeMap<(i32, i32), Played>,
}

/// All that is played.
#[derive(Debug, Clone, PartialEq)]
struct Group {
    /// Of all sizes that the profile knows.
    service: Vec<Service>,
    batch_size: usize,
    replicas: u32,
    dispatch: Dispatch,
    members: Vec<Waiting>,
}

/// Times in seconds; the rate is a part of that of all.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Waiting {
    slo: f64,
    max_wait: f64,
    share: f64,
}

impl UnderQuota {
    /// The group that runs so; none where no quota stops any of its batches, or functions are billed while they run.
    pub fn new(platform: &Platform, profiled: &[Profiled], running: &GroupOutline) -> Option<Self> {
        let service: Vec<Service> = profiled.iter().map(Profiled::service).collect();
        let batch_size = running.batch_size.get() as usize;
        let is_played = service.first().is_some_and(|service| service.work.is_some());
        let is_cpu = matches!(running.device, Device::Cpu { .. });
        let total: f64 = running.members.iter().map(|member| member.rate.get()).sum();
        let known = is_played
            && is_cpu
            && platform.billing() == Billing::PerReplica
            && batch_size <= service.len()
            && running.replicas > 0
            && total > 0.0;
        let members = running.members.iter().map(|member| Waiting {
            slo: member.slo.get(),
            max_wait: member.max_wait.get(),
            share: member.rate.get() / total,
        });
        known.then(|| Self {
            group: Group {
                service,
                batch_size,
                replicas: running.replicas,
                dispatch: running.dispatch,
                members: members.collect(),
            },
            played: BTreeMap::new(),
        })
    }

    /// Whether both are the same group of the same profile, so that what was played of one holds for the other.
    pub fn is_like(&self, other: &Self) -> bool {
        self.group == other.group
    }

    /// What batches of each size that was seen would take as the profile has them, so that what they took is `f` times as much, where `rate` rows came a second.
    /// Each thing to be played is taken off `budget`; none where that is spent, or nothing was seen. What was played until then is kept.
    pub fn explain(&mut self, rate: f64, seen: &[Rows], budget: &mut u32) -> Option<Vec<Expected>> {
        let place = Place::new(rate)?;
        let batches: f64 = seen.iter().map(|rows| count(rows.count)).sum();
        let took: f64 = seen.iter().map(|rows| count(rows.count) * rows.mean).sum();
        let known = seen
            .iter()
            .all(|rows| (1..=self.group.service.len()).contains(&(rows.rows as usize)));
        if !known || took.is_nan() || took <= 0.0 {
            return None;
        }
        let kept = |(step, _): &(i32, i32)| *step == place.step || *step == place.step + 1;
        if self.played.len() > MOST_KEPT {
            self.played.retain(|key, _| kept(key));
        }
        let mut look = Look {
            under: self,
            place,
            seen,
            budget,
        };
        let found = look.find(took.ln())?;
        let (slope, by_rate) = (look.slope(found)?, look.by_rate(found)?);
        let means = look.means(found)?;
        let (dependence, noise) = look.errors(found)?;
        let factor = found.factor;
        let error = (noise.powi(2) + by_rate.powi(2) * (RATE.powi(2) + 1.0 / batches)).sqrt();
        // What is interpolated for each size adds up to all but exactly what was seen.
        let sum: f64 = seen
            .iter()
            .zip(&means)
            .map(|(rows, mean)| count(rows.count) * mean)
            .sum();
        let of =
            |mean: f64| Expected::played(mean * took / sum / factor, dependence, slope, error.min(slope));
        Some(means.into_iter().map(of).collect())
    }
}

impl Group {
    fn play(&self, rate_step: i32, factor_step: i32) -> Played {
        let rate = (f64::from(rate_step) * RATE_STEP).exp();
        let service: Vec<Service> = self.service[..self.batch_size]
            .iter()
            .map(|service| service.with_work_times(at(factor_step)))
            .collect();
        let slowest = service.last().map_or(0.0, |service| service.max);
        let load = |member: &Waiting| Load {
            // The gateway waits for as long as the plan said, whatever batches take.
            slo: match self.dispatch {
                Dispatch::Eager => member.slo,
                Dispatch::Timed => member.max_wait + slowest,
            },
            rate: member.share * rate,
            miss: 0.01,
            process: Process::Poisson,
        };
        let loads: Vec<Load> = self.members.iter().map(load).collect();
        let setup = Setup {
            loads: &loads,
            traces: &Traces::default(),
            service: &service,
            replicas: self.replicas,
            dispatch: self.dispatch,
            waits: None,
        };
        play_batches(&setup, 1, ARRIVALS)
    }

    /// The mean of batches of each size that was seen, in seconds.
    fn means(&self, played: &Played, seen: &[Rows], factor: f64) -> Vec<f64> {
        // The mean after idle time, and how much more or less it is of a replica that is never idle.
        let ends = |rows: usize| {
            let work = self.service[rows - 1].work.map(|work| work.times(factor, factor));
            work.map_or((0.0, 0.0), |work| {
                let (idle, busy) = (work.mean_after_idle(), work.never_idle());
                (idle, busy - idle)
            })
        };
        let (mut beyond, mut width) = (0.0, 0.0);
        for (rows, size) in (1..).zip(&played.sizes) {
            let (idle, more) = ends(rows);
            // Least squares: for some sizes the one may be the longer, for others the other.
            beyond += more * (size.sum - size.count * idle);
            width += size.count * more.powi(2);
        }
        let part = if width > 0.0 {
            (beyond / width).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let mean = |rows: &Rows| {
            let (idle, more) = ends(rows.rows as usize);
            let own = played
                .sizes
                .get(rows.rows as usize - 1)
                .copied()
                .unwrap_or_default();
            (own.sum + LIKE_ALL * (idle + part * more)) / (own.count + LIKE_ALL)
        };
        seen.iter().map(mean).collect()
    }
}

/// A rate between two steps.
#[derive(Debug, Clone, Copy)]
struct Place {
    step: i32,
    /// How far it is to the next one.
    part: f64,
}

impl Place {
    #[expect(clippy::cast_possible_truncation, reason = "of a logarithm")]
    fn new(rate: f64) -> Option<Self> {
        let known = (1e-6..=1e6).contains(&rate);
        let steps = rate.ln() / RATE_STEP;
        known.then(|| Self {
            step: steps.floor() as i32,
            part: steps - steps.floor(),
        })
    }
}

/// A factor, and where it is between two steps.
#[derive(Debug, Clone, Copy)]
struct Found {
    step: i32,
    part: f64,
    factor: f64,
}

/// One look at batches.
struct Look<'a> {
    under: &'a mut UnderQuota,
    place: Place,
    seen: &'a [Rows],
    budget: &'a mut u32,
}

impl Look<'_> {
    fn played(&mut self, rate: i32, factor: i32) -> Option<&Played> {
        let key = (rate, factor);
        if !self.under.played.contains_key(&key) {
            *self.budget = self.budget.checked_sub(1)?;
            self.under.played.insert(key, self.under.group.play(rate, factor));
        }
        self.under.played.get(&key)
    }

    fn means_at(&mut self, rate: i32, factor: i32) -> Option<Vec<f64>> {
        self.played(rate, factor)?;
        let under = &*self.under;
        let played = under.played.get(&(rate, factor))?;
        Some(under.group.means(played, self.seen, at(factor)))
    }

    fn sum_at(&mut self, rate: i32, factor: i32) -> Option<f64> {
        let means = self.means_at(rate, factor)?;
        let seen = self.seen.iter().zip(means);
        Some(
            seen.map(|(rows, mean)| count(rows.count) * mean)
                .sum::<f64>()
                .ln(),
        )
    }

    /// `ln g` at a step of the factor.
    fn log(&mut self, factor: i32) -> Option<f64> {
        let Place { step, part } = self.place;
        Some(between(
            self.sum_at(step, factor)?,
            self.sum_at(step + 1, factor)?,
            part,
        ))
    }

    /// Where `ln g` is so much.
    fn find(&mut self, wanted: f64) -> Option<Found> {
        let (mut low, mut high) = (-STEPS, STEPS);
        for end in [low, high] {
            let off = wanted - self.log(end)?;
            // Beyond the ends times go with the factor.
            if (off < 0.0) == (end == low) {
                return Some(Found {
                    step: end.min(STEPS - 1),
                    part: f64::from(end - end.min(STEPS - 1)),
                    factor: at(end) * off.exp(),
                });
            }
        }
        while high - low > 1 {
            let middle = i32::midpoint(low, high);
            if self.log(middle)? <= wanted {
                low = middle;
            } else {
                high = middle;
            }
        }
        let (below, above) = (self.log(low)?, self.log(high)?);
        let part = if above > below {
            ((wanted - below) / (above - below)).clamp(0.0, 1.0)
        } else {
            0.5
        };
        Some(Found {
            step: low,
            part,
            factor: ((f64::from(low) + part) * STEP).exp(),
        })
    }

    /// `d ln g / d ln f`, over a step more on either side.
    fn slope(&mut self, found: Found) -> Option<f64> {
        let (low, high) = ((found.step - 1).max(-STEPS), (found.step + 2).min(STEPS));
        let slope = (self.log(high)? - self.log(low)?) / (f64::from(high - low) * STEP);
        Some(slope.max(LEAST_SLOPE))
    }

    /// `d ln g / d ln rate`.
    fn by_rate(&mut self, found: Found) -> Option<f64> {
        let step = self.place.step;
        let mut at = |factor| Some((self.sum_at(step + 1, factor)? - self.sum_at(step, factor)?) / RATE_STEP);
        Some(between(at(found.step)?, at(found.step + 1)?, found.part).abs())
    }

    /// The means of the sizes that were seen.
    fn means(&mut self, found: Found) -> Option<Vec<f64>> {
        let Place { step, part } = self.place;
        let mut at = |factor| {
            let pairs = self
                .means_at(step, factor)?
                .into_iter()
                .zip(self.means_at(step + 1, factor)?);
            Some(
                pairs
                    .map(|(low, high)| between(low.ln(), high.ln(), part))
                    .collect::<Vec<f64>>(),
            )
        };
        let pairs = at(found.step)?.into_iter().zip(at(found.step + 1)?);
        Some(
            pairs
                .map(|(low, high)| between(low, high, found.part).exp())
                .collect(),
        )
    }

    /// What batches depend on each other, and the noise of the mean of what was played: the larger ones of the four.
    fn errors(&mut self, found: Found) -> Option<(f64, f64)> {
        let step = self.place.step;
        let corners = [(0, 0), (0, 1), (1, 0), (1, 1)];
        corners
            .iter()
            .try_fold((0.0_f64, 0.0_f64), |(dependence, error), (rate, factor)| {
                let played = self.played(step + rate, found.step + factor)?;
                Some((dependence.max(played.dependence), error.max(played.error)))
            })
    }
}

/// The factor of a step.
fn at(step: i32) -> f64 {
    (f64::from(step) * STEP).exp()
}

fn between(low: f64, high: f64, part: f64) -> f64 {
    low + part * (high - low)
}

#[expect(clippy::cast_precision_loss, reason = "batches of some minutes")]
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
