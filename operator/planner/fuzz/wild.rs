//! Requests from bytes: what users should not ask for, and now and then what they do.
//!
//! Every byte decides something, and where there are none left it is zero, so that all bytes mean some request. The fuzz target,
//! its corpus and the property test over random sets share this one decoder.

use std::num::NonZeroU16;
use std::sync::Arc;

use harmonybatch_planner::units::{BatchSize, Bytes, GpuUnits, Percentile, Price, Rate, Seconds, Vcpu};
use harmonybatch_planner::{
    AfterIdle, App, ArrivalModel, ArrivalProcess, Billing, Burst, CpuCurve, CpuGrid, CpuLatency, Exponential,
    GpuLatency, GpuPool, Hyperbolic, Memory, ModelProfile, ModelSet, PlanRequest, Planner, Platform, Prices,
    Sharing, Throttled, Trace, audit, plan_platform,
};

/// Plans what the bytes ask for and looks at the plan again; says what is wrong with it.
pub(crate) fn plan_and_audit(bytes: &[u8]) -> Result<(), String> {
    let request = request(bytes);
    let found = plan_platform(&request).map_err(|error| error.to_string())?;
    audit::check_thoroughly(&request, &found)
        .map_err(|violation| format!("{violation}\n{request:#?}\n{found:#?}"))
}

/// The request that the bytes mean.
pub(crate) fn request(bytes: &[u8]) -> PlanRequest {
    let mut source = Source(bytes);
    let platform = platform(&mut source);
    let few = platform.billing() == Billing::PerReplica;
    let count = [1, 1, 1, 1, 1, 2, 2, 0][source.below(8)];
    let models = (0..count)
        .filter_map(|index| {
            let profile = profile(&mut source)?;
            let apps = apps(&mut source, few);
            ModelSet::new("shop", format!("model-{index}"), profile, apps).ok()
        })
        .collect();
    PlanRequest { platform, models }
}

/// The bytes that are left.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    /// Once in `times`; never where there are no bytes left.
    fn once_in(&mut self, times: u8) -> bool {
        self.byte() % times == times - 1
    }

    fn bits(&mut self, bytes: u32) -> u64 {
        (0..bytes).fold(0, |bits, _| bits << 8 | u64::from(self.byte()))
    }

    /// Log-uniform between two positive numbers.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        let part = f64::from(u16::try_from(self.bits(2)).unwrap_or(u16::MAX)) / 65_535.0;
        (low.ln() + part * (high.ln() - low.ln())).exp().clamp(low, high)
    }

    /// Any 64 bits that there are.
    fn any(&mut self) -> f64 {
        f64::from_bits(self.bits(8))
    }

    /// Mostly something usual, sometimes the ends of what there is, or just anything.
    fn number(&mut self, usual: (f64, f64), least: f64, most: f64) -> f64 {
        match self.below(8) {
            0..=4 => self.between(usual.0, usual.1),
            5 => self.between(least.max(1e-300), most),
            6 => [0.0, least, most, -0.0][self.below(4)],
            _ => self.any(),
        }
    }
}

fn seconds(source: &mut Source<'_>, usual: (f64, f64)) -> Seconds {
    Seconds::new(source.number(usual, 1e-300, 1e6)).unwrap_or(Seconds::ZERO)
}

fn price(source: &mut Source<'_>, usual: f64) -> Price {
    let value = source.number((usual / 10.0, usual * 10.0), 1e-300, 1e6);
    Price::new(value)
        .or_else(|_| Price::new(0.0))
        .expect("zero is a price")
}

fn platform(source: &mut Source<'_>) -> Platform {
    // Plans for pods that stay up take a thousand times longer.
    let billing = if source.once_in(64) {
        Billing::PerReplica
    } else {
        Billing::PerInvocation
    };
    let prices = Prices {
        vcpu_second: price(source, 1.3e-5),
        gpu_unit_second: price(source, 1.5e-5),
        request: price(source, 1.3e-7),
    };
    let overhead = if source.once_in(4) {
        seconds(source, (1e-4, 0.1))
    } else {
        Seconds::ZERO
    };
    let cpu = cpu_grid(source);
    let count = [1, 1, 2, 0, 3][source.below(5)];
    let pools = (0..count)
        .filter_map(|index| pool(source, index, billing))
        .collect();
    let described = Platform::new(billing, prices, overhead, cpu, pools);
    let described =
        described.expect("pools have names of their own, and devices only where replicas are billed");
    let planner = if source.once_in(4) {
        Planner::TwoStage
    } else {
        Planner::Optimal
    };
    let arrivals = if source.once_in(4) {
        ArrivalModel::Paper
    } else {
        ArrivalModel::Exact
    };
    described.with_planner(planner).with_arrivals(arrivals)
}

fn cpu_grid(source: &mut Source<'_>) -> Option<CpuGrid> {
    let vcpu = |millis: u64| Vcpu::from_millis(u32::try_from(millis).unwrap_or(u32::MAX)).ok();
    let (min, max, step) = match source.below(4) {
        0 => return None,
        1 => (50, 16_000, 50),
        2 => (1000, 4000, 1000),
        _ => {
            let (min, step) = (1 + source.bits(2), 1 + source.bits(2));
            (min, min + step * source.bits(1), step)
        }
    };
    CpuGrid::new(vcpu(min)?, vcpu(max)?, vcpu(step)?).ok()
}

fn pool(source: &mut Source<'_>, index: usize, billing: Billing) -> Option<GpuPool> {
    let units = match source.below(4) {
        0 | 1 => 24,
        2 => 1 + u32::try_from(source.below(32)).ok()?,
        _ => 1 + u32::try_from(source.bits(2) % 1024).ok()?,
    };
    let shares: Vec<GpuUnits> = match source.below(4) {
        0 | 1 => (1..=units.min(64))
            .filter_map(|units| GpuUnits::new(units).ok())
            .collect(),
        2 => GpuUnits::new(units).into_iter().collect(),
        _ => {
            let mut some = || 1 + u32::try_from(source.bits(2)).unwrap_or(0) % units;
            [some(), some(), some()]
                .into_iter()
                .filter_map(|units| GpuUnits::new(units).ok())
                .collect()
        }
    };
    let memory = Bytes(memory(source, 1 << 30));
    let tau = match source.below(3) {
        0 => Seconds::new(0.002).ok()?,
        _ => seconds(source, (1e-4, 0.1)),
    };
    let sharing = match source.below(4) {
        0 => Sharing::EqualShare { tenants: None },
        1 => Sharing::EqualShare {
            tenants: NonZeroU16::new(u16::try_from(source.bits(1)).ok()?),
        },
        _ => Sharing::FixedShare,
    };
    let device = ["a10", "t4"][source.below(2)];
    let name = format!("pool-{index}");
    let pool = GpuPool::new(
        name,
        device,
        GpuUnits::new(units).ok()?,
        memory,
        tau,
        sharing,
        shares,
    )
    .ok()?;
    let limited = source.once_in(2);
    let devices = u32::from(source.byte() % 9);
    Some(pool.with_devices((limited && billing == Billing::PerReplica).then_some(devices)))
}

fn memory(source: &mut Source<'_>, usual: u64) -> u64 {
    match source.below(8) {
        0..=5 => usual,
        6 => source.bits(8),
        _ => 0,
    }
}

fn profile(source: &mut Source<'_>) -> Option<ModelProfile> {
    let entries = [4, 1, 0, 6][source.below(4)];
    let mut cpu = Vec::new();
    let mut forms = Forms::Undecided;
    for batch in 1..=entries {
        let grown = f64::from(batch);
        let mut mean = || curve(source, grown, &mut forms);
        let (mean, max) = (mean()?, mean()?);
        cpu.push(CpuLatency {
            batch: BatchSize::new(batch).ok()?,
            mean,
            max,
        });
    }
    let devices = [&["a10"][..], &["t4", "a10"], &[]][source.below(3)];
    let mut gpu = Vec::new();
    for device in devices {
        let per_row = source.number((1e-4, 0.05), 0.0, 1e3);
        let fixed = match source.below(4) {
            0 => -per_row * f64::from(source.byte()) / 256.0,
            _ => source.number((1e-4, 0.3), 0.0, 1e3),
        };
        let memory = match source.below(4) {
            0 => Memory {
                base: Bytes(memory(source, 1 << 30)),
                per_row: Bytes(memory(source, 1 << 27)),
            },
            _ => Memory::default(),
        };
        gpu.extend(GpuLatency::new(*device, per_row, fixed, memory));
    }
    let largest = [32, 8, 1, 4, 32, 64, 128, 1024][source.below(8)];
    let after_idle = if source.once_in(3) {
        AfterIdle::new(
            source.number((1e-5, 0.01), 0.0, 3_600.0),
            source.number((1e-3, 0.1), 1e-9, 3_600.0),
        )
        .ok()?
    } else {
        AfterIdle::NOTHING
    };
    let profile = ModelProfile::new(cpu, gpu, BatchSize::new(largest).ok()?).ok()?;
    Some(profile.with_after_idle(after_idle))
}

/// Which forms the curves of a profile have: where the first one is of work under a quota, all are, and of one period, which is then played.
#[derive(Clone, Copy)]
enum Forms {
    Undecided,
    Any,
    Period(f64),
}

/// A curve of any form that usually grows with the batch.
fn curve(source: &mut Source<'_>, grown: f64, forms: &mut Forms) -> Option<CpuCurve> {
    let form = match (source.below(4), *forms) {
        (_, Forms::Period(_)) => 3,
        (form, _) => form,
    };
    if form != 3 {
        *forms = Forms::Any;
    }
    match form {
        2 => {
            let work = source.number((0.1 * grown, 2.0 * grown), 1e-300, 1e6);
            let fixed = source.number((1e-3, 0.1), 1e-300, 1e6);
            Hyperbolic::new(work, fixed).ok().map(CpuCurve::from)
        }
        3 => {
            let work = source.number((2e-3 * grown, grown), 1e-9, 1e6);
            let parallelism = source.number((0.5, 4.0), 1e-3, 1e4);
            let drawn = [0.1, 0.1, 0.01, 1.0, 1e-3][source.below(5)];
            let period = match *forms {
                Forms::Period(period) => period,
                _ => drawn,
            };
            if matches!(forms, Forms::Undecided) {
                *forms = Forms::Period(period);
            }
            Throttled::new(work, parallelism, period).ok().map(CpuCurve::from)
        }
        _ => exponential(source, grown).map(CpuCurve::from),
    }
}

/// A curve that usually grows with the batch.
fn exponential(source: &mut Source<'_>, grown: f64) -> Option<Exponential> {
    let alpha = source.number((0.5 * grown, 5.0 * grown), 1e-300, 1e6);
    let beta = source.number((0.2, 2.0), 1e-9, 1e6);
    let gamma = source.number((0.05 * grown, 0.3 * grown), 1e-300, 1e6);
    Exponential::new(alpha, beta, gamma)
        .or_else(|_| Exponential::new(grown, 0.5, 0.1 * grown))
        .ok()
}

fn apps(source: &mut Source<'_>, few: bool) -> Vec<App> {
    let many = source.byte();
    let count = match many {
        // As many as one group cannot hold.
        255 if !few => 300,
        _ => usize::from(many % if few { 5 } else { 14 }),
    };
    let first = app(source, few);
    (0..count)
        .map(|index| {
            let like_the_first = count > 20 || source.once_in(8);
            let described = if index == 0 || like_the_first {
                first.clone()
            } else {
                app(source, few)
            };
            App {
                name: format!("app-{index}"),
                ..described
            }
        })
        .collect()
}

fn app(source: &mut Source<'_>, few: bool) -> App {
    let slo = match source.below(3) {
        0 => Seconds::new(0.25 * f64::from(1 + source.byte() % 8)).unwrap_or(Seconds::ZERO),
        _ => seconds(source, (0.01, 10.0)),
    };
    let rate = source.number((1e-2, 200.0), 1e-9, if few { 1e5 } else { 1e9 });
    let percentile = match source.below(8) {
        0 => source.between(1e-6, 100.0),
        1 => [100.0, 99.9999, 99.999, 99.99][source.below(4)],
        2 => source.between(50.0, 99.9),
        _ => 99.0,
    };
    App {
        name: String::new(),
        slo,
        percentile: Percentile::new(percentile)
            .or_else(|_| Percentile::new(99.0))
            .expect("99 is a percentile"),
        rate: Rate::new(rate)
            .or_else(|_| Rate::new(1.0))
            .expect("one is a rate"),
        isolated: source.once_in(8),
        arrivals: arrivals(source),
    }
}

fn arrivals(source: &mut Source<'_>) -> ArrivalProcess {
    match source.byte() {
        ..=223 => ArrivalProcess::Poisson,
        224..=239 => {
            let factor = source.between(1.000_001, 1000.0);
            let duration = seconds(source, (0.1, 100.0));
            Burst::new(factor, duration).map_or(ArrivalProcess::Poisson, ArrivalProcess::Burst)
        }
        240.. => {
            let mut now = 0.0;
            let times: Vec<f64> = (0..2 + source.below(30))
                .map(|_| {
                    now += f64::from(source.byte()) / 16.0;
                    now
                })
                .collect();
            let trace = Trace::new(&times);
            trace.map_or(ArrivalProcess::Poisson, |trace| {
                ArrivalProcess::Trace(Arc::new(trace))
            })
        }
    }
}
