//! `slope x + fixed`, neither negative (non-negative least squares of relative errors).

use super::Observation;

/// Coefficients, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Of each unit of x.
    pub slope: f64,
    /// At x = 0.
    pub fixed: f64,
}

impl Line {
    /// Latency at x.
    pub fn at(&self, x: f64) -> f64 {
        self.slope * x + self.fixed
    }
}

/// The line of least relative squares. None for fewer than two observations, or where a latency is not positive.
///
/// With weights `w = 1 / seconds^2` the normal equations are those of two unknowns. Where one of these would be negative the best line lies on
/// the border of what is allowed, where it is 0: of the two borders the better one.
pub fn through(observations: &[Observation]) -> Option<Line> {
    let positive = |&(x, seconds): &Observation| x.is_finite() && seconds.is_finite() && seconds > 0.0;
    if observations.len() < 2 || !observations.iter().all(positive) {
        return None;
    }
    let weighted = |term: fn(f64, f64) -> f64| -> f64 {
        observations
            .iter()
            .map(|&(x, seconds)| term(x, seconds) / (seconds * seconds))
            .sum()
    };
    let weight = weighted(|_, _| 1.0);
    let (x, y) = (
        weighted(|x, _| x) / weight,
        weighted(|_, seconds| seconds) / weight,
    );
    // About the weighted means, because the plain determinant loses its digits where all x are nearly equal.
    let (mut squares, mut products) = (0.0, 0.0);
    for &(at, seconds) in observations {
        squares += (at - x).powi(2) / (seconds * seconds);
        products += (at - x) * (seconds - y) / (seconds * seconds);
    }
    let slope = products / squares;
    let free = Line {
        slope,
        fixed: y - slope * x,
    };
    if slope >= 0.0 && free.fixed >= 0.0 {
        return Some(free);
    }
    let flat = Line { slope: 0.0, fixed: y };
    let steep = Line {
        slope: weighted(|x, seconds| x * seconds) / weighted(|x, _| x * x),
        fixed: 0.0,
    };
    let error = |line: &Line| -> f64 {
        observations
            .iter()
            .map(|&(x, seconds)| (line.at(x) / seconds - 1.0).powi(2))
            .sum()
    };
    let allowed = [flat, steep]
        .into_iter()
        .filter(|line| line.slope >= 0.0 && line.fixed >= 0.0);
    allowed.min_by(|one, other| error(one).total_cmp(&error(other)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_line_is_recovered() {
        let found = through(&[(1.0, 5.0), (2.0, 7.0), (8.0, 19.0)]).unwrap();
        assert!(
            (found.slope - 2.0).abs() < 1e-12 && (found.fixed - 3.0).abs() < 1e-12,
            "{found:?}"
        );
    }

    /// By hand, with y = (1, 2) at x = 1 and 1 at x = 2, so w = (1, 1/4, 1): the squares of `a x + c - y` weighted so have their least at
    /// a = -1/5 and c = 7/5; not allowed. With a = 0, c = sum w y / sum w = 2.5 / 2.25; with c = 0, a = 3.5 / 5.25, which is worse.
    #[test]
    fn a_line_that_would_fall_is_flat() {
        let found = through(&[(1.0, 1.0), (1.0, 2.0), (2.0, 1.0)]).unwrap();
        assert!(
            found.slope == 0.0 && (found.fixed - 2.5 / 2.25).abs() < 1e-12,
            "{found:?}"
        );
    }

    /// Through (1, 1) and (3, 4) with a fixed part of -1/2; from 0 the slope is `sum x / y / sum (x / y)^2 = (1 + 3/4) / (1 + 9/16) = 1.12`.
    #[test]
    fn a_line_that_would_begin_below_nothing_begins_there() {
        let found = through(&[(1.0, 1.0), (3.0, 4.0)]).unwrap();
        assert!(
            found.fixed == 0.0 && (found.slope - 1.12).abs() < 1e-12,
            "{found:?}"
        );
    }

    #[test]
    fn what_is_no_latency_has_no_line() {
        assert_eq!(through(&[(1.0, 1.0)]), None);
        assert_eq!(through(&[(1.0, 1.0), (2.0, 0.0)]), None);
        assert_eq!(through(&[(1.0, 1.0), (2.0, f64::NAN)]), None);
    }
}
