//! Where a number stands on an axis, as a percentage of the chart's width.

/// The part of an axis that a label takes on a narrow page.
const LABEL: f64 = 0.12;

/// How far an axis goes beyond the outermost values, as a factor.
const MARGIN: f64 = 1.3;

/// An axis and its ticks.
pub(crate) struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    ticks: Vec<f64>,
}

impl Axis {
    /// From a little below the least value to a little above the largest, equal factors equally far apart.
    pub(crate) fn logarithmic(values: impl Iterator<Item = f64>) -> Self {
        let positive = values.filter(|value| *value > 0.0);
        let (least, most) = positive.fold((f64::INFINITY, 0.0_f64), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let (least, most) = if most > 0.0 { (least, most) } else { (1.0, 1.0) };
        let (low, high) = (least / MARGIN, most * MARGIN);
        Self {
            low,
            high,
            logarithmic: true,
            ticks: log_ticks(low, high),
        }
    }

    /// From zero to the largest value, or to 1 where all are zero.
    pub(super) fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let most = values.fold(0.0_f64, f64::max);
        Self {
            low: 0.0,
            high: if most > 0.0 { most } else { 1.0 },
            logarithmic: false,
            ticks: Vec::new(),
        }
    }

    /// From zero to `high` with ticks of the caller's choice.
    pub(super) fn with_ticks(high: f64, ticks: &[f64]) -> Self {
        Self {
            low: 0.0,
            high,
            logarithmic: false,
            ticks: ticks.to_vec(),
        }
    }

    /// The place of a value, 0 to 100; what lies outside stands at the end.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        // NaN comes of a logarithm of what is below zero.
        if part.is_nan() {
            0.0
        } else {
            part.clamp(0.0, 1.0) * 100.0
        }
    }

    /// Round values on the axis, least first.
    pub(crate) fn ticks(&self) -> &[f64] {
        &self.ticks
    }
}

/// The finest round values whose labels stand apart.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    const STEPS: [&[f64]; 6] = [
        &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
        &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0],
        &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
        &[1.0, 2.0, 5.0],
        &[1.0, 3.0],
        &[1.0],
    ];
    let range = (high / low).ln();
    let of = |steps: &[f64], every: usize| -> Vec<f64> {
        (power_of(low)..=power_of(high))
            .step_by(every)
            .flat_map(|power| steps.iter().map(move |step| step * 10.0_f64.powi(power)))
            .filter(|tick| (low..=high).contains(tick))
            .collect()
    };
    let apart = |ticks: &Vec<f64>| {
        let mut pairs = ticks.windows(2);
        pairs.all(|pair| (pair[1] / pair[0]).ln() >= LABEL * range)
    };
    let finer = STEPS.iter().map(|steps| of(steps, 1));
    let coarser = (2..).map(|every| of(&[1.0], every));
    finer.chain(coarser).find(apart).unwrap_or_default()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "exponents of numbers that are not zero"
)]
fn power_of(value: f64) -> i32 {
    value.log10().floor() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_factors_are_equally_far_apart() {
        let axis = Axis::logarithmic([0.1, 10.0].into_iter());
        let (low, middle, high) = (axis.at(0.1), axis.at(1.0), axis.at(10.0));
        assert!((middle - 50.0).abs() < 1e-9);
        assert!((middle - low - (high - middle)).abs() < 1e-9 && low > 0.0 && high < 100.0);
        assert!(
            axis.at(0.0).abs() < 1e-9 && axis.at(-1.0).abs() < 1e-9 && (axis.at(1e9) - 100.0).abs() < 1e-9
        );
    }

    #[test]
    fn ticks_are_round_and_their_labels_stand_apart() {
        for (least, most, expected) in [
            (0.5, 1.0, &[0.4, 0.5, 0.6, 0.8, 1.0][..]),
            (0.01, 10.0, &[0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]),
            (0.3, 0.3, &[0.3]),
            (1e-6, 1e6, &[1e-5, 1e-3, 0.1, 10.0, 1e3, 1e5]),
        ] {
            let axis = Axis::logarithmic([least, most].into_iter());
            assert_eq!(axis.ticks().len(), expected.len(), "{:?}", axis.ticks());
            for (tick, expected) in axis.ticks().iter().zip(expected) {
                assert!((tick / expected - 1.0).abs() < 1e-9, "{:?}", axis.ticks());
            }
            let mut pairs = axis.ticks().windows(2);
            assert!(pairs.all(|pair| axis.at(pair[1]) - axis.at(pair[0]) >= LABEL * 100.0));
        }
        assert!(!Axis::logarithmic(std::iter::empty()).ticks().is_empty());
    }

    #[test]
    fn an_axis_of_nothing_has_a_length() {
        let axis = Axis::from_zero([0.0, 0.0].into_iter());
        assert!(axis.at(0.0).abs() < 1e-9 && (axis.at(1.0) - 100.0).abs() < 1e-9);
    }
}
