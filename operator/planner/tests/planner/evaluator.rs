//! An evaluator that shares no code with the planner: plain loops over every function and batch size.

use harmonybatch_planner::{App, Device};

use crate::fixture::{Coefficients, GPU_UNIT_SECOND, MAX_BATCH, REQUEST, TAU, UNITS, VCPU_SECOND};

/// Sums and products in another order differ by less than this, relatively.
pub(crate) const ROUNDING: f64 = 1e-9;

/// Mean and maximum service time of a batch, in seconds.
pub(crate) fn service(model: &Coefficients, device: &Device, batch: u32) -> Option<(f64, f64)> {
    match device {
        Device::Cpu { vcpu } => {
            let index = usize::try_from(batch).ok()?.checked_sub(1)?;
            let curve = |[alpha, beta, gamma]: [f64; 3]| alpha * (-vcpu.get() / beta).exp() + gamma;
            let mean = curve(*model.cpu_mean.get(index)?);
            Some((mean, curve(*model.cpu_max.get(index)?).max(mean)))
        }
        Device::Gpu { units, .. } => {
            let (share, all) = (f64::from(units.get()), f64::from(UNITS));
            let alone = model.per_row * f64::from(batch) + model.fixed;
            let mean = all / share * alone;
            let max = (alone / (share * TAU)).ceil() * (all - share) * TAU + alone;
            (batch <= MAX_BATCH).then_some((mean, max.max(mean)))
        }
    }
}

pub(crate) fn price_per_second(device: &Device) -> f64 {
    match device {
        Device::Cpu { vcpu } => vcpu.get() * VCPU_SECOND,
        Device::Gpu { units, .. } => f64::from(units.get()) * GPU_UNIT_SECOND,
    }
}

/// Eq. 5 applied to timeouts in increasing order, exactly as it is printed.
fn equivalent_timeout(timeouts_and_rates: &[(f64, f64)]) -> f64 {
    let mut sorted = timeouts_and_rates.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut folded = sorted[0];
    for &(timeout, rate) in &sorted[1..] {
        let total = folded.1 + rate;
        let wait = rate / total * (1.0 - (-folded.1 * (timeout - folded.0)).exp()) / folded.1;
        folded = (folded.0 + wait, total);
    }
    folded.0
}

fn all_devices() -> Vec<Device> {
    let cpu = (1..=320_u32).map(|step| Device::Cpu {
        vcpu: harmonybatch_planner::units::Vcpu::from_millis(step * 50).unwrap(),
    });
    let gpu = (1..=UNITS).map(|units| Device::Gpu {
        pool: "a10".to_owned(),
        units: harmonybatch_planner::units::GpuUnits::new(units).unwrap(),
    });
    cpu.chain(gpu).collect()
}

/// The cost per second of one configuration for a group under the paper's law, if it keeps the constraint.
pub(crate) fn paper_cost(
    model: &Coefficients,
    apps: &[&App],
    device: &Device,
    batch: u32,
    slack: f64,
) -> Option<f64> {
    let (mean, max) = service(model, device, batch)?;
    let rate: f64 = apps.iter().map(|app| app.rate.get()).sum();
    let tightest = apps.iter().map(|app| app.slo.get()).fold(f64::INFINITY, f64::min);
    let rows = f64::from(batch);
    let timeouts: Vec<(f64, f64)> = apps
        .iter()
        .map(|app| (app.slo.get() - max, app.rate.get()))
        .collect();
    let filled = rate * equivalent_timeout(&timeouts) + 1.0;
    let feasible = max <= tightest + slack && rows <= filled + slack;
    feasible.then_some(rate * (mean * price_per_second(device) + REQUEST) / rows)
}

/// The cost per second of one configuration for a group under the exact law, if every request can be in time: the
/// integral of `R S(u) Poisson(k-1; Lambda(u))` by quadrature, where the planner has a recursion.
pub(crate) fn exact_cost(model: &Coefficients, apps: &[&App], device: &Device, batch: u32) -> Option<f64> {
    let (_, max) = service(model, device, batch)?;
    let rate: f64 = apps.iter().map(|app| app.rate.get()).sum();
    let mut waits: Vec<(f64, f64)> = apps
        .iter()
        .map(|app| (app.slo.get() - max, app.rate.get()))
        .collect();
    waits.sort_by(|a, b| a.0.total_cmp(&b.0));
    if waits[0].0 < -ROUNDING {
        return None;
    }
    let price = |rows: u32| {
        let (mean, _) = service(model, device, rows)?;
        Some(mean * price_per_second(device) + REQUEST)
    };
    let mut exceedance = vec![0.0; batch as usize - 1];
    let mut start = 0.0;
    for &(end, _) in &waits {
        integrate(&waits, rate, start, end.max(0.0), &mut exceedance);
        start = end.max(0.0);
    }
    let (mut rows, mut cost) = (1.0, price(1)?);
    for (size, more) in (1_u32..).zip(&exceedance) {
        rows += more;
        cost += more * (price(size + 1)? - price(size)?);
    }
    Some(rate * cost / rows)
}

/// Adds the part of `P(B > k)` that requests at ages between `start` and `end` bring, for each `k`.
fn integrate(waits: &[(f64, f64)], rate: f64, start: f64, end: f64, exceedance: &mut [f64]) {
    /// Nodes and weights of Gauss-Legendre quadrature of order 8 on [-1, 1], half of each (they are symmetric).
    const NODES: [(f64, f64); 4] = [
        (0.183_434_642_495_649_8, 0.362_683_783_378_362),
        (0.525_532_409_916_329, 0.313_706_645_877_887_3),
        (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
        (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
    ];
    // Batches fill up or close long before so many arrivals.
    const FAR: f64 = 2000.0;
    let pieces = ((end - start).min(FAR / rate) * rate / 2.0).ceil().max(1.0);
    let piece = (end - start).min(FAR / rate) / pieces;
    let mut from = start;
    for _ in 0..u32::MAX {
        if from >= start + piece * (pieces - 0.5) || piece <= 0.0 {
            return;
        }
        for (position, weight) in NODES {
            for position in [-position, position] {
                let age = from + piece / 2.0 * (1.0 + position);
                let patient: f64 = waits
                    .iter()
                    .filter(|(wait, _)| *wait > age)
                    .map(|(_, rate)| rate)
                    .sum();
                let closed: f64 = waits
                    .iter()
                    .map(|(wait, rate)| rate * (age - wait).max(0.0))
                    .sum();
                let arrived: f64 = waits.iter().map(|(wait, rate)| rate * age.min(*wait)).sum();
                let joining = patient * (-closed).exp() * weight * piece / 2.0;
                let mut factor = -arrived;
                let mut rank = 0.0;
                for more in exceedance.iter_mut() {
                    *more += joining * factor.exp();
                    rank += 1.0;
                    factor += (arrived / rank).ln();
                }
            }
        }
        from += piece;
    }
}

/// The cost of the cheapest configuration for a group under the paper's law, found by looking at all of them.
pub(crate) fn cheapest(model: &Coefficients, apps: &[&App]) -> Option<f64> {
    cheapest_device(model, apps).map(|(cost, _)| cost)
}

/// The same, and its device.
pub(crate) fn cheapest_device(model: &Coefficients, apps: &[&App]) -> Option<(f64, Device)> {
    all_devices()
        .into_iter()
        .flat_map(|device| (1..=MAX_BATCH).map(move |batch| (device.clone(), batch)))
        .filter_map(|(device, batch)| Some((paper_cost(model, apps, &device, batch, 0.0)?, device)))
        .min_by(|a, b| a.0.total_cmp(&b.0))
}

pub(crate) fn assert_close(found: f64, expected: f64) {
    assert!(
        (found - expected).abs() <= ROUNDING * expected.abs(),
        "{found:e} is not {expected:e}"
    );
}
