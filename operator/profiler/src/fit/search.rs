//! The best value of a coefficient for which the others follow: on a logarithmic grid, and then between the neighbours of its best value by the
//! golden section.

const GRID: u32 = 200;
/// Halvings of an interval of a few percent: down to a millionth.
const SECTIONS: u32 = 24;

/// The curve of least squares that `at` makes of a value between `low` and `high`, both positive. None where it makes none of any.
pub(super) fn search<C>(low: f64, high: f64, at: impl Fn(f64) -> Option<(f64, C)>) -> Option<C> {
    let at = |step: f64| at(low * (high / low).powf(step / f64::from(GRID)));
    let squares = |step: f64| at(step).map_or(f64::INFINITY, |(squares, _)| squares);
    let best = (0..=GRID)
        .map(f64::from)
        .min_by(|&one, &other| squares(one).total_cmp(&squares(other)))?;
    let golden = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut left, mut right) = ((best - 1.0).max(0.0), (best + 1.0).min(f64::from(GRID)));
    for _ in 0..SECTIONS {
        let (inner, outer) = (right - golden * (right - left), left + golden * (right - left));
        if squares(inner) < squares(outer) {
            right = outer;
        } else {
            left = inner;
        }
    }
    // Between the ends the squares may have two valleys; the grid's own best is never given away.
    let found = [best, f64::midpoint(left, right)].into_iter().filter_map(at);
    found
        .min_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, curve)| curve)
}
