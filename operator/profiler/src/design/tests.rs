use super::*;
use crate::points::tests::goal;
use crate::samples::Samples;

const SIZES: u32 = 8;

/// So many samples of each size that spread evenly over a tenth of what the law says, up and down: a coefficient of variation of 5.8 %.
fn known(law: impl Fn(u32) -> f64, count: impl Fn(u32) -> usize, seed: u64) -> Known {
    let mut random = fastrand::Rng::with_seed(seed);
    let samples: Samples = (1..=SIZES)
        .map(|size| {
            let sample = (0..count(size)).map(|_| law(size) * (0.9 + 0.2 * random.f64()));
            (size, sample.collect())
        })
        .collect();
    goal().known(&samples)
}

fn line(size: u32) -> f64 {
    0.02 + 0.01 * f64::from(size)
}

/// The ends in full, which 36 samples are, and half as many of the others.
fn few(size: u32) -> usize {
    if size == 1 || size == SIZES { 36 } else { 18 }
}

fn asked(grid: Grid) -> Asked {
    Asked {
        grid,
        max_batch: SIZES,
        limits: 1,
        goal: goal(),
    }
}

fn design(limits: &[&Known]) -> Design {
    Design::of(asked(Grid::Adaptive), limits)
}

fn anchors(limits: &[&Known]) -> Vec<u32> {
    design(limits).anchors().iter().copied().collect()
}

#[test]
fn sizes_on_a_straight_line_are_known_by_a_few_batches() {
    for seed in 0..50 {
        let known = known(line, few, seed);
        let design = design(&[&known]);
        assert_eq!(design.anchors(), &BTreeSet::from([1, SIZES]), "{seed}");
        for (&size, level) in design.levels() {
            assert!(
                level.is_known && level.between == (1, SIZES),
                "{seed} {size}: {level:?}"
            );
            // Twice a 95 % interval is four standard errors.
            assert!(
                (level.found - 1.0).abs() <= 2.0 * level.known_to,
                "{seed} {size}: {level:?}"
            );
        }
        assert!(design.is_known(&known), "{seed}");
    }
}

#[test]
fn both_sides_of_a_step_are_measured_in_full() {
    for seed in 0..50 {
        let known = known(|size| line(size) * if size > 5 { 1.5 } else { 1.0 }, few, seed);
        assert_eq!(anchors(&[&known]), [1, 5, 6, SIZES], "{seed}");
        assert!(!design(&[&known]).is_known(&known));
    }
}

#[test]
fn a_single_row_that_takes_another_way_makes_an_anchor_of_two() {
    let known = known(|size| if size == 1 { 0.01 } else { line(size) }, few, 1);
    assert_eq!(anchors(&[&known]), [1, 2, SIZES]);
}

#[test]
fn a_size_that_is_off_under_one_limit_only_is_seen_though_the_others_know_better() {
    let good: Vec<Known> = (0..3).map(|seed| known(line, |_| 400, seed)).collect();
    let bad = known(|size| line(size) * if size == 4 { 1.4 } else { 1.0 }, few, 9);
    let limits: Vec<&Known> = good.iter().chain([&bad]).collect();
    // It is on no line with its neighbours there, nor these with others over it.
    assert_eq!(anchors(&limits), [1, 3, 4, 5, SIZES]);
}

#[test]
fn a_cluster_that_few_samples_have_missed_makes_no_anchor() {
    // A tenth of the batches take nine times as long, and ten in a row are fast in a third of all cases: size 4 has not one slow one.
    let mut samples: Samples = (1..=SIZES)
        .map(|size| {
            let slow = |index: usize| if index.is_multiple_of(10) { 9.0 } else { 1.0 };
            let sample = (0..few(size).max(20)).map(|index| line(size) * slow(index));
            (size, sample.collect())
        })
        .collect();
    samples.insert(4, vec![line(4); 10]);
    let known = goal().known(&samples);
    assert_eq!(anchors(&[&known]), [1, SIZES]);
    assert!(design(&[&known]).missing(4, &known) > 0);
}

#[test]
fn a_size_is_looked_at_again_with_every_32_batches_of_the_anchors() {
    for (anchors, wanted) in [(0, 10), (31, 10), (32, 11), (320, 20)] {
        let known = known(
            line,
            |size| if size == 1 || size == SIZES { anchors } else { 0 },
            1,
        );
        assert_eq!(design(&[&known]).missing(3, &known), wanted);
    }
}

#[test]
fn a_noisy_size_is_looked_at_until_all_limits_together_know_it() {
    // 36 samples with a coefficient of variation of a third: t(0.975, 35) / 3 / 6 is 11 %, and nine limits together know a third of that.
    let noisy = |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let samples: Samples = (1..=SIZES)
            .map(|size| {
                let count = if size == 1 || size == SIZES { 3_000 } else { 36 };
                let spread = 3.0_f64.sqrt() / 3.0;
                let sample = (0..count).map(|_| line(size) * (1.0 - spread + 2.0 * spread * random.f64()));
                (size, sample.collect())
            })
            .collect();
        goal().known(&samples)
    };
    let limits: Vec<Known> = (0..9).map(noisy).collect();
    let missing = |limits: &[&Known]| {
        let known = limits[0].clone();
        // Those that are due with 3,000 of the anchors are not the question.
        let due = 10 + 3_000 / SPREAD - 36;
        (2..SIZES)
            .map(|size| design(limits).missing(size, &known) - due)
            .sum::<usize>()
    };
    assert_eq!(missing(&limits.iter().collect::<Vec<_>>()), 0);
    let alone = design(&[&limits[0]]);
    assert!(alone.levels().values().all(|level| !level.is_known), "{alone:?}");
}

#[test]
fn the_full_grid_has_no_size_between_others() {
    let known = known(line, few, 1);
    let design = Design::of(asked(Grid::Full), &[&known]);
    assert_eq!(design.anchors().len(), SIZES as usize);
    assert!(design.levels().is_empty());
    assert!(!design.is_known(&known));
}
