//! The adaptive measurement against the full one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod plans;
mod runtime;

use harmonybatch_planner::Billing;
use harmonybatch_profiler::design::Grid;
use runtime::{Law, Slowed, measured};

const LAWS: [Law; 8] = [
    Law { name: "affine", work: |b| 0.010 + 0.008 * f64::from(b), slowed: Slowed::Shared { fixed: 0.004 }, noise: 0.05 },
    Law { name: "affine, noisy", work: |b| 0.010 + 0.008 * f64::from(b), slowed: Slowed::Shared { fixed: 0.004 }, noise: 0.2 },
    Law { name: "affine, exponential", work: |b| 0.02 + 0.015 * f64::from(b), slowed: Slowed::Exponential, noise: 0.05 },
    Law { name: "affine, quota", work: |b| 0.010 + 0.008 * f64::from(b), slowed: Slowed::Quota { parallelism: 1.0 }, noise: 0.05 },
    Law { name: "affine, quota of two", work: |b| 0.006 + 0.012 * f64::from(b), slowed: Slowed::Quota { parallelism: 1.7 }, noise: 0.1 },
    Law { name: "sublinear", work: |b| 0.015 * f64::from(b).powf(0.8), slowed: Slowed::Shared { fixed: 0.002 }, noise: 0.05 },
    Law { name: "step", work: |b| (0.010 + 0.008 * f64::from(b)) * if b > 5 { 1.4 } else { 1.0 }, slowed: Slowed::Shared { fixed: 0.004 }, noise: 0.05 },
    Law { name: "padded", work: |b| 0.010 + 0.008 * f64::from(b.next_multiple_of(4)), slowed: Slowed::Shared { fixed: 0.004 }, noise: 0.05 },
];

const GRIDS: [(&[u64], u32); 3] = [
    (&[250, 500, 1000, 2000], 8),
    (&[250, 500, 1000, 2000], 16),
    (&[250, 500, 750, 1000, 1500, 2000, 3000, 4000], 16),
];

#[tokio::test(start_paused = true)]
async fn report() {
    for (limits, max_batch) in GRIDS {
        for law in LAWS {
            let full = measured(law, limits, max_batch, Grid::Full, 1).await;
            let adaptive = measured(law, limits, max_batch, Grid::Adaptive, 2).await;
            let anchors: Vec<u32> = adaptive.fit.cpu.iter().filter(|fit| fit.interpolated.is_none()).map(|fit| fit.batch).collect();
            let measured_at: Vec<String> = adaptive.samples.keys().map(ToString::to_string).collect();
            println!(
                "{} x {max_batch} {:22} batches {:6} of {:6} {:.1}%  time {:7.0} of {:7.0} {:.1}%  pods {} limits {} form {:?}/{:?} anchors {anchors:?}",
                limits.len(), law.name, adaptive.batches, full.batches, 100.0 * adaptive.batches as f64 / full.batches as f64,
                adaptive.seconds, full.seconds, 100.0 * adaptive.seconds / full.seconds, adaptive.pods, measured_at.join(","),
                adaptive.fit.choice.as_ref().unwrap().form, full.fit.choice.as_ref().unwrap().form,
            );
        }
    }
    let _ = Billing::PerInvocation;
}
