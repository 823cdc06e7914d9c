//! SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). The weights of the demo network are a contract (the same seed is the
//! same network on every machine and in every release), so the generator is written down here and not left to a library.

/// A generator of 64-bit words; equal seeds give equal words.
#[derive(Debug, Clone)]
pub(crate) struct SplitMix64(u64);

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of many generators that share a seed, so that a tensor does not depend on the length of those before it.
    pub(crate) fn stream(seed: u64, index: u64) -> Self {
        Self(seed ^ index.wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// Uniform in `[0, 1)`, 24 bits: every value is exact in single precision.
    #[expect(clippy::cast_precision_loss, reason = "24 bits fit the mantissa of an f32")]
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// Uniform in `[-limit, limit)`.
    pub(crate) fn symmetric(&mut self, limit: f32) -> f32 {
        (self.unit() * 2.0 - 1.0) * limit
    }

    /// As many numbers, uniform in `[-limit, limit)`.
    pub(crate) fn uniform(&mut self, count: usize, limit: f32) -> Vec<f32> {
        (0..count).map(|_| self.symmetric(limit)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_sequence() {
        // First words for seed 1234567, from the reference implementation (Vigna, splitmix64.c).
        let mut random = SplitMix64::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
        assert_eq!(random.next(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn unit_stays_below_one() {
        let mut random = SplitMix64::new(7);
        for _ in 0..10_000 {
            let value = random.unit();
            assert!((0.0..1.0).contains(&value), "{value}");
        }
    }
}
