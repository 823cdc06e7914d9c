//! Two measurements of the whole grid, and one of what the rest does not tell.

use harmonybatch_planner::{Billing, Plan};
use harmonybatch_profiler::design::Grid;

use crate::plans::{SETS, cost, outline, planned};
use crate::runtime::{Law, Measured, measured};

pub(crate) struct Compared {
    pub(crate) full: Measured,
    /// The same once more, with other noise.
    pub(crate) again: Measured,
    pub(crate) adaptive: Measured,
    /// What one row takes on a whole CPU.
    unit: f64,
}

pub(crate) async fn compared(law: Law, limits: &[u64], max_batch: u32, seed: u64) -> Compared {
    let seed = 10 * seed;
    Compared {
        full: measured(law, limits, max_batch, Grid::Full, seed + 1).await,
        again: measured(law, limits, max_batch, Grid::Full, seed + 2).await,
        adaptive: measured(law, limits, max_batch, Grid::Adaptive, seed + 3).await,
        unit: law.mean(1, 1.0),
    }
}

/// Cost of a plan, and how many applications it cannot serve.
type Cost = (f64, usize);

impl Compared {
    /// Plans of the first and of another measurement, for all sets and both ways to bill.
    fn plans(&self, other: &Measured) -> Vec<(Plan, Plan)> {
        let each = [Billing::PerInvocation, Billing::PerReplica]
            .into_iter()
            .flat_map(|billing| SETS.map(|set| (billing, set)));
        each.map(|(billing, set)| {
            let plan = |measured: &Measured| planned(&measured.fit, billing, self.unit, set);
            (plan(&self.full), plan(other))
        })
        .collect()
    }

    /// Of the full and of the adaptive measurement.
    pub(crate) fn costs(&self) -> Vec<(Cost, Cost)> {
        let plans = self.plans(&self.adaptive);
        plans
            .iter()
            .map(|(full, other)| (cost(full), cost(other)))
            .collect()
    }
}

/// How far costs are off, and how many plans are the same.
fn off(pairs: &[(Plan, Plan)]) -> String {
    let off = pairs.iter().map(|(one, other)| cost(other).0 / cost(one).0 - 1.0);
    let mut off: Vec<f64> = off.collect();
    off.sort_by(f64::total_cmp);
    let count = off.len();
    let within = |part: f64| off.iter().filter(|off| off.abs() <= part).count();
    let same = pairs
        .iter()
        .filter(|(one, other)| outline(one) == outline(other))
        .count();
    let served = pairs
        .iter()
        .filter(|(one, other)| cost(one).1 == cost(other).1)
        .count();
    format!(
        "of {count} plans {same} the same, {} within 1 %, {} within 5 %, {:+.1} to {:+.1} %, mean {:+.2} %, as many served {served}",
        within(0.01),
        within(0.05),
        off[0] * 100.0,
        off[count - 1] * 100.0,
        off.iter().sum::<f64>() / count as f64 * 100.0,
    )
}

/// What several comparisons came to.
pub(crate) fn told(all: &[Compared]) -> String {
    let range = |part: fn(&Compared) -> f64| {
        let mut parts: Vec<f64> = all.iter().map(part).collect();
        parts.sort_by(f64::total_cmp);
        format!("{:.1}-{:.1} %", parts[0] * 100.0, parts[parts.len() - 1] * 100.0)
    };
    let plans = |other: fn(&Compared) -> &Measured| {
        off(&all
            .iter()
            .flat_map(|each| each.plans(other(each)))
            .collect::<Vec<_>>())
    };
    let limits: Vec<usize> = all.iter().map(|each| each.adaptive.samples.len()).collect();
    let pods: Vec<usize> = all.iter().map(|each| each.adaptive.pods).collect();
    format!(
        "{} of the batches, {} of the time, limits {limits:?}, pods {pods:?};\n    adaptive: {}\n    full again: {}",
        range(|each| each.adaptive.batches as f64 / each.full.batches as f64),
        range(|each| each.adaptive.seconds / each.full.seconds),
        plans(|each| &each.adaptive),
        plans(|each| &each.again),
    )
}
