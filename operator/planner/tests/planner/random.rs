//! A small seeded generator: tests draw the same numbers for ever.

use harmonybatch_planner::App;

use crate::fixture::app;

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1].
    #[expect(clippy::cast_precision_loss, reason = "53 bits are kept")]
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn exponential(&mut self, rate: f64) -> f64 {
        -self.unit().ln() / rate
    }

    pub(crate) fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        (low.ln() + self.unit() * (high / low).ln()).exp()
    }

    /// Applications with log-uniform SLOs and rates.
    pub(crate) fn apps(&mut self, count: usize, slo: (f64, f64), rate: (f64, f64)) -> Vec<App> {
        (0..count)
            .map(|index| {
                let (slo, rate) = (self.log_uniform(slo.0, slo.1), self.log_uniform(rate.0, rate.1));
                app(&format!("app-{index}"), slo, rate)
            })
            .collect()
    }
}
