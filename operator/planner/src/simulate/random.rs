//! A small seeded generator, so that a plan is the same on every machine and with every version of a library.

use std::sync::LazyLock;

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): 64 bits of state, equidistributed, one multiplication chain a
/// number.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

/// The seed of all simulations of a search, so that configurations are compared on the same arrivals.
pub(crate) const SEARCH_SEED: u64 = 0x4861_726d_6f6e_7942;

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

/// Exponential gaps of mean 1, as [`Random::exponential`] draws them. A search plays the same arrivals thousands of times, at other rates: those are kept.
#[derive(Debug)]
pub(super) struct Gaps {
    kept: std::slice::Iter<'static, f64>,
    random: Random,
}

impl Gaps {
    pub(super) fn of_stream(seed: u64) -> Self {
        static OF_SEARCHES: LazyLock<Vec<f64>> = LazyLock::new(|| {
            let mut random = Random::seeded(stream_seed(SEARCH_SEED, 0));
            (0..KEPT).map(|_| random.exponential()).collect()
        });
        /// Arrivals of a usual simulation of a search, and those before it counts.
        const KEPT: u64 = 24_000;
        if seed != SEARCH_SEED {
            return Self {
                kept: [].iter(),
                random: Random::seeded(stream_seed(seed, 0)),
            };
        }
        let drawn = GOLDEN.wrapping_mul(KEPT);
        Self {
            kept: OF_SEARCHES.iter(),
            random: Random::seeded(stream_seed(seed, 0).wrapping_add(drawn)),
        }
    }

    pub(super) fn next(&mut self) -> f64 {
        match self.kept.next() {
            Some(&gap) => gap,
            None => self.random.exponential(),
        }
    }
}

/// The seed of one of several streams of arrivals.
pub(super) fn stream_seed(seed: u64, stream: u64) -> u64 {
    mix(seed ^ stream.wrapping_mul(GOLDEN))
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
    fn gaps_that_are_kept_are_those_that_would_be_drawn() {
        for seed in [SEARCH_SEED, 3] {
            let mut random = Random::seeded(stream_seed(seed, 0));
            let mut gaps = Gaps::of_stream(seed);
            assert!((0..50_000).all(|_| gaps.next().to_bits() == random.exponential().to_bits()));
        }
    }

    #[test]
    fn the_mean_of_an_exponential_is_one() {
        let mut random = Random::seeded(1);
        let sum: f64 = (0..100_000).map(|_| random.exponential()).sum();
        assert!((sum / 1e5 - 1.0).abs() < 0.01, "{}", sum / 1e5);
    }
}
