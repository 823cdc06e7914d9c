//! From measurements to the `cpu` profile of an InferenceModel.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::fit::{Exponential, FitError, Point, fit, fit_above};
use crate::measure::Measurement;

/// Both curves of one batch size.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves {
    /// Rows of a batch.
    pub batch: usize,
    /// Of the mean latency.
    pub mean: Exponential,
    /// Above the longest latency at every measured limit.
    pub max: Exponential,
    /// Mean relative error of `mean`.
    pub mean_error: f64,
    /// Largest relative error of `mean`.
    pub largest_error: f64,
}

/// Where the measurements come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The machine.
    pub hardware: String,
    /// The day, `2026-03-31`.
    pub date: String,
}

/// A batch size whose measurements give no curve.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("batch of {batch}: {source}")]
pub struct CurvesError {
    /// Rows of the batch.
    pub batch: usize,
    /// Why.
    pub source: FitError,
}

/// Fits both curves of every batch size that was measured, smallest first. Measurements without a CPU limit do not count.
pub fn curves(measurements: &[Measurement]) -> Result<Vec<Curves>, CurvesError> {
    let mut batches = BTreeMap::<usize, (Vec<Point>, Vec<Point>)>::new();
    for measured in measurements {
        let Some(vcpu) = measured.vcpu else { continue };
        let (means, longest) = batches.entry(measured.batch).or_default();
        means.push(Point {
            vcpu,
            seconds: measured.mean_ms / 1e3,
        });
        longest.push(Point {
            vcpu,
            seconds: measured.max_ms / 1e3,
        });
    }
    let fitted = batches.into_iter().map(|(batch, (means, longest))| {
        let failed = |source| CurvesError { batch, source };
        let mean = fit(&means).map_err(failed)?;
        // The curve of the maximum bounds that of the mean too, where both are fitted.
        let bounded = longest.iter().map(|point| Point {
            seconds: point.seconds.max(mean.at(point.vcpu)),
            ..*point
        });
        let max = fit_above(&bounded.collect::<Vec<_>>(), mean.gamma).map_err(failed)?;
        let (mean_error, largest_error) = mean.errors(&means);
        Ok(Curves {
            batch,
            mean,
            max,
            mean_error,
            largest_error,
        })
    });
    fitted.collect()
}

/// `spec.profile` of an InferenceModel.
pub fn yaml(curves: &[Curves], origin: &Origin) -> String {
    let mut text = String::from("profile:\n  cpu:\n");
    for fitted in curves {
        let (mean, max) = (coefficients(&fitted.mean), coefficients(&fitted.max));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  - {{batch: {}, mean: {mean}, max: {max}}}", fitted.batch);
    }
    let largest = curves
        .iter()
        .map(|fitted| fitted.largest_error)
        .fold(0.0, f64::max)
        * 100.0;
    let Origin { hardware, date } = origin;
    let _ = writeln!(
        text,
        "  provenance: {{source: Measured, hardware: \"{hardware}\", date: \"{date}\", fitError: \"{largest:.1}%\"}}"
    );
    text
}

/// Coefficients to the microsecond, which is finer than anything that was measured; maxima are rounded up by the ceiling.
fn coefficients(curve: &Exponential) -> String {
    let millis = |seconds: f64| (seconds * 1e6).ceil() / 1e3;
    format!(
        "{{exponential: {{alpha: \"{}ms\", beta: \"{:.6}\", gamma: \"{}ms\"}}}}",
        millis(curve.alpha),
        curve.beta,
        millis(curve.gamma)
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn measured(batch: usize, vcpu: f64, mean_ms: f64, max_ms: f64) -> Measurement {
        Measurement {
            vcpu: Some(vcpu),
            batch,
            iterations: 1,
            mean_ms,
            p50_ms: mean_ms,
            max_ms,
        }
    }

    #[test]
    fn measurements_become_a_profile() {
        let law = |vcpu: f64| 90.0 * (-vcpu / 0.25).exp() + 10.0;
        let limits = [0.1, 0.2, 0.3, 0.5, 0.8, 1.0];
        let measurements = limits.iter().flat_map(|&vcpu| {
            [
                measured(2, vcpu, law(vcpu), 2.0 * law(vcpu)),
                measured(1, vcpu, law(vcpu) / 2.0, law(vcpu)),
            ]
        });
        let curves = curves(&measurements.collect::<Vec<_>>()).unwrap();
        assert_eq!(curves.iter().map(|curve| curve.batch).collect::<Vec<_>>(), [1, 2]);
        assert!(curves[1].largest_error < 0.005, "{curves:?}");
        for vcpu in limits {
            assert!(curves[1].max.at(vcpu) >= 2e-3 * law(vcpu) * (1.0 - 1e-9));
            assert!(curves[0].max.at(vcpu) >= curves[0].mean.at(vcpu));
        }
        let origin = Origin {
            hardware: "a machine".to_owned(),
            date: "2026-03-31".to_owned(),
        };
        let text = yaml(&curves, &origin);
        assert!(
            text.starts_with("profile:\n  cpu:\n  - {batch: 1, mean: {exponential: {alpha: \"4"),
            "{text}"
        );
        assert!(
            text.contains("provenance: {source: Measured, hardware: \"a machine\", date: \"2026-03-31\""),
            "{text}"
        );
        assert_eq!(text.lines().count(), 5);
    }

    #[test]
    fn one_limit_is_no_profile() {
        let error = curves(&[measured(4, 1.0, 10.0, 12.0)]).unwrap_err();
        assert!(error.to_string().contains("batch of 4"), "{error}");
    }
}
