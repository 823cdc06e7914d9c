//! A small seeded generator, so that a plan is the same on every machine and with every version of a library.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): 64 bits of state, equidistributed, one multiplication chain a
/// number.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

/// The increment of the state, 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Uniform in (0, 1].
    pub(crate) fn unit(&mut self) -> f64 {
        unit_of(self.bits())
    }

    /// Exponential with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }
}

/// Spreads 64 bits over 64 bits; also joins what a seed depends on.
pub(crate) fn mix(bits: u64) -> u64 {
    let mut z = bits;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The upper 53 bits as a number in (0, 1].
#[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64")]
pub(crate) fn unit_of(bits: u64) -> f64 {
    ((bits >> 11) + 1) as f64 * (1.0 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs for seed 1234567, as the authors' reference implementation prints them.
    #[test]
    fn it_is_the_published_generator() {
        let mut random = Random::seeded(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_mean_of_an_exponential_is_one() {
        let mut random = Random::seeded(1);
        let sum: f64 = (0..100_000).map(|_| random.exponential()).sum();
        assert!((sum / 1e5 - 1.0).abs() < 0.01, "{}", sum / 1e5);
    }
}
