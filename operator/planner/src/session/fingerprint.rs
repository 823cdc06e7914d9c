//! What an answer depends on, in 128 bits.

use crate::arrival::Load;
use crate::simulate::mix;

/// A hash of numbers in their order. Two that differ have the same one with a chance of 2^-128: it stands for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64, u64);

impl Fingerprint {
    pub(crate) const EMPTY: Self = Self(0x6861_726d_6f6e_7921, 0x2405_0563_3bad_c0de);

    pub(crate) fn add(self, bits: u64) -> Self {
        Self(
            mix(self.0 ^ bits),
            mix(self
                .1
                .rotate_left(17)
                .wrapping_add(bits.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        )
    }

    pub(crate) fn join(self, other: Self) -> Self {
        self.add(other.0).add(other.1)
    }

    pub(crate) fn of_numbers(self, numbers: impl IntoIterator<Item = f64>) -> Self {
        numbers
            .into_iter()
            .fold(self, |print, number| print.add(number.to_bits()))
    }

    /// Of applications as the models see them; a trace counts with what is in it.
    pub(crate) fn of_loads(loads: &[Load]) -> Self {
        loads.iter().fold(Self::EMPTY, |print, load| {
            let [kind, detail] = load.process.identity();
            print
                .of_numbers([load.slo, load.rate, load.miss])
                .add(kind)
                .add(detail)
        })
    }
}
