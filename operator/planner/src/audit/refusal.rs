//! Applications that are refused: what is said to stand in their way does.

use std::cell::OnceCell;

use super::function::Function;
use super::violation::Breach;
use super::{MOST_REPLICAS, ROUNDING, at_most, close};
use crate::app::App;
use crate::arrival::ArrivalProcess;
use crate::plan::{Device, InfeasibleApp, InfeasibleReason};
use crate::platform::{Billing, Platform};
use crate::profile::ModelProfile;
use crate::units::{Bytes, Headroom, Seconds};

/// The strictest percentile that a simulation can confirm.
const STRICTEST: f64 = 99.999;

/// A load is refused from this part of what the most replicas can serve: near all of it queues grow without end, and the
/// search counts in strides.
const REFUSED_FROM: f64 = 0.5;

/// What the refusals of one model are held against.
pub(super) struct Refusals<'a> {
    platform: &'a Platform,
    profile: &'a ModelProfile,
    /// The shortest latency of one row on anything, with the headroom used up and without the overhead.
    fastest: OnceCell<f64>,
}

impl<'a> Refusals<'a> {
    pub(super) fn new(platform: &'a Platform, profile: &'a ModelProfile) -> Self {
        Self {
            platform,
            profile,
            fastest: OnceCell::new(),
        }
    }

    pub(super) fn check(&self, app: &App, refused: &InfeasibleApp) -> Result<(), Breach> {
        let per_replica = self.platform.billing() == Billing::PerReplica;
        let is_so = match &refused.reason {
            InfeasibleReason::NoDevice => !self.is_profiled_somewhere(),
            InfeasibleReason::OutOfMemory { needed, largest } => self.is_short_of(*needed, *largest),
            InfeasibleReason::SloTooTight { slo, fastest, device } => {
                let there = self.on(device)?;
                there.holds(1)?;
                let stated = fastest.get();
                slo.get().to_bits() == app.slo.get().to_bits()
                    && close(stated, self.with_overhead(there.longest(1)))
                    && close(stated, self.with_overhead(self.fastest()))
                    && stated >= app.slo.get() * (1.0 - ROUNDING)
            }
            InfeasibleReason::RateTooHigh {
                rate,
                needed,
                limit,
                device,
            } => {
                let there = self.on(device)?;
                rate.to_bits() == app.rate.get().to_bits()
                    && at_most(self.with_overhead(self.fastest()), app.slo.get())
                    && *limit == MOST_REPLICAS
                    && *needed > u64::from(*limit)
                    && if per_replica {
                        self.is_overloaded(app)
                    } else {
                        wants_more_at_a_time(&there, app)
                    }
            }
            InfeasibleReason::PoolExhausted { pool, devices } => {
                let mut pools = self.platform.gpu_pools().iter();
                pools.any(|known| known.name() == pool && known.devices() == Some(*devices))
            }
            InfeasibleReason::PercentileUnattainable => per_replica && app.percentile.get() > STRICTEST,
            InfeasibleReason::ArrivalsNotPoisson => !per_replica && app.arrivals != ArrivalProcess::Poisson,
        };
        if !is_so {
            let reason = refused.reason.clone();
            return Err(Breach::Groundless { reason });
        }
        self.check_nearest_slo(refused)?;
        self.check_nearest_headroom(app, refused)
    }

    /// Who is refused for too tight an SLO is offered a smaller headroom if that keeps it: the largest one, in tenths of a percent.
    fn check_nearest_headroom(&self, app: &App, refused: &InfeasibleApp) -> Result<(), Breach> {
        const TENTH: f64 = 1e-3;
        let (slo, in_force) = (app.slo.get(), self.platform.headroom().get());
        let fastest = |headroom: f64| {
            let functions = Function::all(self.platform, self.profile);
            let longest = functions.map(|it| it.times_as_long(1.0 + headroom).longest(1));
            longest.fold(f64::INFINITY, f64::min) + self.platform.overhead().get()
        };
        let too_tight = matches!(refused.reason, InfeasibleReason::SloTooTight { .. });
        let is_right = match refused.nearest_headroom.map(Headroom::get) {
            None => !too_tight || in_force <= 0.0 || at_most(slo, fastest(0.0)),
            Some(nearest) => {
                let next = nearest + TENTH;
                too_tight
                    && nearest < in_force
                    && at_most(fastest(nearest), slo)
                    && (at_most(in_force, next) || at_most(slo, fastest(next)))
            }
        };
        if is_right {
            return Ok(());
        }
        Err(Breach::WrongNearestHeadroom {
            found: refused.nearest_headroom,
            in_force: self.platform.headroom(),
        })
    }

    /// The function on a device, whose batches use up the platform's headroom.
    fn on(&self, device: &Device) -> Result<Function<'a>, Breach> {
        let function = Function::on(device, self.platform, self.profile)?;
        Ok(function.using(self.platform.headroom()))
    }

    /// Only who asks for too tight an SLO is offered another, and one that something keeps.
    fn check_nearest_slo(&self, refused: &InfeasibleApp) -> Result<(), Breach> {
        let too_tight = matches!(refused.reason, InfeasibleReason::SloTooTight { .. });
        let fastest = self.fastest() + self.platform.overhead().get();
        let is_right = match refused.nearest_slo {
            // The next millisecond may be no duration any more.
            None => !too_tight || fastest > 1e6 - 1e-3,
            Some(nearest) => {
                let a_millisecond_less = nearest.get() - 1e-3;
                too_tight && at_most(fastest, nearest.get()) && at_most(a_millisecond_less, fastest)
            }
        };
        let found = refused.nearest_slo.map_or(f64::INFINITY, Seconds::get);
        if is_right {
            Ok(())
        } else {
            Err(Breach::WrongNearestSlo { found, fastest })
        }
    }

    fn with_overhead(&self, latency: f64) -> f64 {
        (latency + self.platform.overhead().get()).min(1e6)
    }

    fn functions(&self) -> impl Iterator<Item = Function<'a>> + use<'a> {
        let headroom = self.platform.headroom();
        Function::all(self.platform, self.profile).map(move |function| function.using(headroom))
    }

    fn fastest(&self) -> f64 {
        let longest = || self.functions().map(|function| function.longest(1));
        *self
            .fastest
            .get_or_init(|| longest().fold(f64::INFINITY, f64::min))
    }

    fn is_on_cpu(&self) -> bool {
        self.platform.cpu().is_some() && !self.profile.cpu().is_empty()
    }

    /// What a batch of one row needs, and what the largest share has, on every pool that the profile knows.
    fn memory(&self) -> impl Iterator<Item = (Bytes, Bytes)> {
        self.platform.gpu_pools().iter().filter_map(|pool| {
            let mut latencies = self.profile.gpu().iter();
            let latency = latencies.find(|latency| latency.device() == pool.device())?;
            let largest = pool.shares().iter().map(|share| share.get()).max()?;
            let available = pool.memory_per_unit().0.saturating_mul(u64::from(largest));
            Some((latency.memory().with_batch(1), Bytes(available)))
        })
    }

    fn is_profiled_somewhere(&self) -> bool {
        self.is_on_cpu() || self.memory().next().is_some()
    }

    fn is_short_of(&self, needed: Bytes, largest: Bytes) -> bool {
        !self.is_on_cpu()
            && self
                .memory()
                .all(|(needed, available)| needed > available || needed == Bytes(u64::MAX))
            && self.memory().any(|short| short == (needed, largest))
    }

    /// Whether everything that is fast enough is busy for most of the time with the most replicas.
    fn is_overloaded(&self, app: &App) -> bool {
        let slo = app.slo.get() - self.platform.overhead().get();
        let fast = |function: &Function<'_>| function.longest(1) <= slo;
        self.functions().filter(fast).all(|function| {
            let per_replica = sizes(&function).map(|rows| f64::from(rows) / function.mean(rows));
            let capacity = per_replica.fold(0.0, f64::max) * f64::from(MOST_REPLICAS);
            app.rate.get() >= REFUSED_FROM * capacity
        })
    }
}

/// Where every batch has a function of its own: whether at some size so many run at a time.
fn wants_more_at_a_time(function: &Function<'_>, app: &App) -> bool {
    let busy = |rows: u32| app.rate.get() * function.mean(rows) / f64::from(rows);
    sizes(function).any(|rows| busy(rows) >= REFUSED_FROM * f64::from(MOST_REPLICAS))
}

/// The batches that a function takes.
fn sizes(function: &Function<'_>) -> impl Iterator<Item = u32> {
    (1..=function.largest_batch).take_while(|&rows| function.holds(rows).is_ok())
}
