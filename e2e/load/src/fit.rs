//! Coefficients of the CPU latency model of HarmonyBatch (arXiv 2405.05633, Eq. 1-2) from measurements:
//! `latency(c) = alpha exp(-c / beta) + gamma`, with c in vCPU and latencies in seconds.
//!
//! For a given beta the model is linear in alpha and gamma; beta comes from a grid. Squares are of *relative* errors, because
//! latencies at a tenth of a core are ten times those at a whole one and would else be all that counts.

/// Smallest and largest beta of the grid, and its steps (logarithmic).
const BETAS: (f64, f64, u32) = (0.01, 20.0, 2000);

/// `alpha exp(-c / beta) + gamma`: seconds, vCPU, seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exponential {
    /// How much latency falls from no CPU to plenty.
    pub alpha: f64,
    /// How fast it falls.
    pub beta: f64,
    /// What remains with plenty.
    pub gamma: f64,
}

/// One measured latency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// CPU limit.
    pub vcpu: f64,
    /// Latency.
    pub seconds: f64,
}

/// Why there are no coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// Three coefficients need three points.
    #[error("three coefficients need measurements at three CPU limits, found {0}")]
    TooFew(usize),
    /// A latency or a limit that cannot be.
    #[error("a measurement is not a positive number")]
    NotPositive,
    /// No curve that falls with the CPU limit describes them.
    #[error("latency does not fall with the CPU limit: were the limits in force?")]
    Rising,
}

impl Exponential {
    /// The latency at a CPU limit.
    pub fn at(&self, vcpu: f64) -> f64 {
        self.alpha * (-vcpu / self.beta).exp() + self.gamma
    }

    /// Mean and largest relative error at the measured points.
    #[expect(clippy::cast_precision_loss, reason = "a handful of points")]
    pub fn errors(&self, points: &[Point]) -> (f64, f64) {
        let errors = points
            .iter()
            .map(|point| (self.at(point.vcpu) / point.seconds - 1.0).abs());
        let (sum, largest) = errors.fold((0.0, 0.0_f64), |(sum, largest), error| {
            (sum + error, largest.max(error))
        });
        (sum / points.len().max(1) as f64, largest)
    }
}

/// The curve of least relative squares, with `alpha > 0` and `gamma >= 0`.
pub fn fit(points: &[Point]) -> Result<Exponential, FitError> {
    best(points, 0.0, |curve| curve)
}

/// A curve that no measured point exceeds: for each beta the curve of least squares is scaled up until it bounds the points,
/// and the beta with the smallest squares after that wins. With plenty of CPU it stays at `floor` seconds or more, which keeps
/// a curve of maxima above that of the means where nothing was measured.
pub fn fit_above(points: &[Point], floor: f64) -> Result<Exponential, FitError> {
    best(points, floor, |curve| {
        let scale = points
            .iter()
            .map(|point| point.seconds / curve.at(point.vcpu))
            .fold(0.0, f64::max);
        Exponential {
            alpha: curve.alpha * scale,
            gamma: curve.gamma * scale,
            ..curve
        }
    })
}

fn best(
    points: &[Point],
    floor: f64,
    adjust: impl Fn(Exponential) -> Exponential,
) -> Result<Exponential, FitError> {
    let mut limits = points.iter().map(|point| point.vcpu).collect::<Vec<_>>();
    limits.sort_by(f64::total_cmp);
    limits.dedup();
    if limits.len() < 3 {
        return Err(FitError::TooFew(limits.len()));
    }
    let positive = |value: f64| value.is_finite() && value > 0.0;
    if !points
        .iter()
        .all(|point| positive(point.vcpu) && positive(point.seconds))
    {
        return Err(FitError::NotPositive);
    }
    let (low, high, steps) = BETAS;
    (0..=steps)
        .map(|step| low * (high / low).powf(f64::from(step) / f64::from(steps)))
        .filter_map(|beta| linear(points, beta, floor))
        .map(&adjust)
        .min_by(|one, other| squares(one, points).total_cmp(&squares(other, points)))
        .ok_or(FitError::Rising)
}

/// Weighted linear least squares of alpha and `gamma >= floor` at a beta; weights are those of relative errors, `1 / latency^2`.
fn linear(points: &[Point], beta: f64, floor: f64) -> Option<Exponential> {
    let (mut weight, mut x, mut xx, mut y, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for point in points {
        let w = point.seconds.powi(-2);
        let e = (-point.vcpu / beta).exp();
        weight += w;
        x += w * e;
        xx += w * e * e;
        y += w * point.seconds;
        xy += w * e * point.seconds;
    }
    let determinant = weight * xx - x * x;
    // Where all exponentials are nearly equal, alpha and gamma cannot be told apart.
    if determinant <= 1e-12 * weight * xx {
        return None;
    }
    let alpha = (weight * xy - x * y) / determinant;
    let gamma = (xx * y - x * xy) / determinant;
    let (alpha, gamma) = if gamma < floor {
        ((xy - floor * x) / xx, floor)
    } else {
        (alpha, gamma)
    };
    (alpha > 0.0 && alpha.is_finite()).then_some(Exponential { alpha, beta, gamma })
}

fn squares(curve: &Exponential, points: &[Point]) -> f64 {
    points
        .iter()
        .map(|point| (curve.at(point.vcpu) / point.seconds - 1.0).powi(2))
        .sum()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const LIMITS: [f64; 7] = [0.1, 0.2, 0.3, 0.5, 0.8, 1.0, 2.0];

    fn points(law: impl Fn(f64) -> f64) -> Vec<Point> {
        LIMITS
            .iter()
            .map(|&vcpu| Point {
                vcpu,
                seconds: law(vcpu),
            })
            .collect()
    }

    #[test]
    fn known_coefficients_are_recovered() {
        // The first is VGG-19 on CPU in the paper, batch 1.
        for (alpha, beta, gamma) in [
            (1.82607, 0.52837, 0.180_154),
            (0.4, 0.11, 0.02),
            (0.05, 1.7, 0.001),
        ] {
            let known = Exponential { alpha, beta, gamma };
            let found = fit(&points(|vcpu| known.at(vcpu))).unwrap();
            // Neighbours on the grid of beta are 0.4 % apart.
            assert!((found.alpha / alpha - 1.0).abs() < 0.01, "{found:?}");
            assert!((found.beta / beta - 1.0).abs() < 0.004, "{found:?}");
            assert!((found.gamma / gamma - 1.0).abs() < 0.15, "{found:?}");
            assert!(
                found.errors(&points(|vcpu| known.at(vcpu))).1 < 0.005,
                "{found:?}"
            );
        }
    }

    #[test]
    fn the_bounding_curve_lies_above_every_point_and_near_them() {
        let measured = points(|vcpu| 0.02 / vcpu + if vcpu < 0.25 { 0.05 } else { 0.0 });
        let curve = fit_above(&measured, 0.008).unwrap();
        for point in &measured {
            assert!(
                curve.at(point.vcpu) >= point.seconds * (1.0 - 1e-9),
                "{curve:?} at {}",
                point.vcpu
            );
        }
        assert!(curve.gamma >= 0.008, "{curve:?}");
        assert!(curve.errors(&measured).0 < 0.5, "{curve:?}");
    }

    #[test]
    fn coefficients_stay_physical_where_the_law_is_another() {
        let curve = fit(&points(|vcpu| 0.01 / vcpu)).unwrap();
        assert!(
            curve.alpha > 0.0 && curve.beta > 0.0 && curve.gamma >= 0.0,
            "{curve:?}"
        );
    }

    #[test]
    fn what_cannot_be_fitted_is_said() {
        assert_eq!(fit(&points(|vcpu| vcpu)[..2]), Err(FitError::TooFew(2)));
        assert_eq!(
            fit(&[Point {
                vcpu: 1.0,
                seconds: 0.1
            }; 5]),
            Err(FitError::TooFew(1))
        );
        assert_eq!(fit(&points(|_| 0.0)), Err(FitError::NotPositive));
        assert_eq!(fit(&points(|vcpu| 1.0 + vcpu)), Err(FitError::Rising));
    }
}
