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
    let seeds: u64 = std::env::var("SEEDS").map_or(1, |n| n.parse().unwrap());
    for (limits, max_batch) in GRIDS {
        for law in LAWS {
            let unit = (law.work)(1);
            let (mut parts, mut times, mut other, mut noise, mut same, mut same_noise) = (vec![], vec![], vec![], vec![], 0, 0);
            let (mut lost, mut lost_noise) = (0i64, 0i64);
            let mut anchors_all = std::collections::BTreeMap::<String, usize>::new();
            let mut forms = std::collections::BTreeMap::<String, usize>::new();
            let mut worst: Vec<f64> = vec![];
            for seed in 0..seeds {
                let full = measured(law, limits, max_batch, Grid::Full, 10 * seed + 1).await;
                let again = measured(law, limits, max_batch, Grid::Full, 10 * seed + 2).await;
                let adaptive = measured(law, limits, max_batch, Grid::Adaptive, 10 * seed + 3).await;
                parts.push(adaptive.batches as f64 / full.batches as f64);
                times.push(adaptive.seconds / full.seconds);
                let anchors: Vec<u32> = adaptive.fit.cpu.iter().filter(|fit| fit.interpolated.is_none()).map(|fit| fit.batch).collect();
                *anchors_all.entry(format!("{anchors:?} {} limits {} pods", adaptive.samples.len(), adaptive.pods)).or_default() += 1;
                *forms.entry(format!("{:?}/{:?}", adaptive.fit.choice.as_ref().unwrap().form, full.fit.choice.as_ref().unwrap().form)).or_default() += 1;
                worst.push(adaptive.fit.cpu.iter().zip(&full.fit.cpu).flat_map(|(a, f)| limits.iter().map(move |&m| (a.mean.mean(m as f64 / 1e3) / f.mean.mean(m as f64 / 1e3) - 1.0).abs())).fold(0.0, f64::max));
                for billing in [Billing::PerInvocation, Billing::PerReplica] {
                    for set in plans::SETS {
                        let plan = |fit| plans::planned(fit, billing, unit, set);
                        let (f, n, a) = (plan(&full.fit), plan(&again.fit), plan(&adaptive.fit));
                        let (fc, nc, ac) = (plans::cost(&f), plans::cost(&n), plans::cost(&a));
                        other.push(ac.0 / fc.0 - 1.0);
                        noise.push(nc.0 / fc.0 - 1.0);
                        lost += ac.1 as i64 - fc.1 as i64;
                        lost_noise += nc.1 as i64 - fc.1 as i64;
                        same += usize::from(plans::outline(&a) == plans::outline(&f));
                        same_noise += usize::from(plans::outline(&n) == plans::outline(&f));
                    }
                }
            }
            let stats = |v: &mut Vec<f64>| { v.sort_by(f64::total_cmp); let n = v.len(); format!("mean {:+.1}% min {:+.1}% max {:+.1}% within5 {}", 100.0 * v.iter().sum::<f64>() / n as f64, 100.0 * v[0], 100.0 * v[n - 1], v.iter().filter(|x| x.abs() <= 0.05).count()) };
            let n = other.len();
            println!("{} x {max_batch} {:22} batches {} time {} {anchors_all:?} {forms:?}\n    mean off {} cost {} same {same} lost {lost} / noise {} same {same_noise} lost {lost_noise} of {n}", limits.len(), law.name, stats(&mut parts), stats(&mut times), stats(&mut worst), stats(&mut other), stats(&mut noise));
        }
    }
}
