//! The paper's law: one timeout that stands for those of all applications, and batches that are always full.

use super::Load;

/// A run of applications in order of SLO, folded into one with an equivalent timeout (Eq. 5 of the paper).
///
/// For two applications with timeouts `T1 <= T2` and rates `r1`, `r2`, a batch waits on average for
/// `T12 = T1 + r2/(r1+r2) * (1 - exp(-r1 (T2-T1)))/r1`. Timeouts are `slo - L_max`, so `T - T1` does not depend
/// on the function: a run is the triple (total rate, tightest SLO, `delay`), extended one application at a
/// time, and the equivalent timeout on any function is `slo + delay - L_max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct EquivalentTimeout {
    /// Total rate, R.
    pub(crate) rate: f64,
    /// The tightest SLO, s_1.
    pub(crate) slo: f64,
    /// How much longer than the tightest member's timeout the equivalent timeout is.
    pub(crate) delay: f64,
}

impl EquivalentTimeout {
    pub(crate) fn of(load: Load) -> Self {
        Self {
            rate: load.rate,
            slo: load.slo,
            delay: 0.0,
        }
    }

    /// Folds loads in order of SLO, if there are any.
    pub(crate) fn of_run(run: &[Load]) -> Option<Self> {
        let (&first, others) = run.split_first()?;
        let mut folded = Self::of(first);
        for &load in others {
            folded.extend(load);
        }
        Some(folded)
    }

    /// Adds the next application, whose SLO is no tighter than those of the run.
    pub(crate) fn extend(&mut self, load: Load) {
        let gap = (load.slo - self.slo - self.delay).max(0.0);
        let rate = self.rate + load.rate;
        // -expm1(-x) is 1 - exp(-x) without cancellation for small x.
        self.delay += load.rate / rate * -(-self.rate * gap).exp_m1() / self.rate;
        self.rate = rate;
    }

    /// The longest batch that the function may take so that batches of `batch` rows fill in time:
    /// `batch <= floor(R T) + 1` and `L_max <= s_1`, solved for `L_max`.
    pub(crate) fn longest_service(&self, batch: u32) -> f64 {
        self.slo + (self.delay - (f64::from(batch) - 1.0) / self.rate).min(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arrival::Process;

    const TOLERANCE: f64 = 1e-12;

    #[test]
    fn two_equal_timeouts_stay_what_they_are() {
        let mut run = EquivalentTimeout::of(Load {
            slo: 0.5,
            rate: 3.0,
            miss: 0.01,
            process: Process::Poisson,
        });
        run.extend(Load {
            slo: 0.5,
            rate: 7.0,
            miss: 0.01,
            process: Process::Poisson,
        });
        assert!(run.delay.abs() < TOLERANCE && (run.rate - 10.0).abs() < TOLERANCE);
    }

    /// Eq. 5 by hand for the first two applications of the worked example:
    /// `10/15 * (1 - exp(-5 * 0.3)) / 5 = 0.10358264...`.
    #[test]
    fn eq_5_folds_two_applications() {
        let mut run = EquivalentTimeout::of(Load {
            slo: 0.5,
            rate: 5.0,
            miss: 0.01,
            process: Process::Poisson,
        });
        run.extend(Load {
            slo: 0.8,
            rate: 10.0,
            miss: 0.01,
            process: Process::Poisson,
        });
        assert!((run.delay - 0.103_582_645_313_6).abs() < 1e-10, "{}", run.delay);
    }

    #[test]
    fn the_equivalent_timeout_stays_between_tightest_and_loosest() {
        let mut run = EquivalentTimeout::of(Load {
            slo: 0.1,
            rate: 1e-9,
            miss: 0.01,
            process: Process::Poisson,
        });
        for step in 1..200_u32 {
            let slo = 0.1 + f64::from(step) * 0.01;
            run.extend(Load {
                slo,
                rate: if step % 2 == 0 { 1e9 } else { 1e-9 },
                miss: 0.01,
                process: Process::Poisson,
            });
            assert!(run.delay >= 0.0 && run.slo + run.delay <= slo + TOLERANCE);
        }
    }
}
