//! Which points must not be fitted, and why.
//!
//! A curve goes through anything; what it goes through is looked at before. Two points contradict each other only where their confidence
//! intervals are apart and the difference is more than the wanted precision, so that noise is no contradiction. Two clusters are what a CPU quota makes
//! of batches that follow each other; where they are its two times in their proportion, and the form that is fitted knows them, they are no problem.

use std::collections::BTreeSet;

use crate::fit::form::Form;
use crate::fit::throttled;
use crate::goal::Goal;
use crate::points::Point;

/// A kind of problem, by which it may be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Too little is known.
    Noisy,
    /// Latency falls where it must not.
    NonMonotone,
    /// Latencies come in two clusters that nothing explains.
    Throttled,
}

/// Why a point must not be fitted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    /// The mean's interval is too wide.
    #[error("{point}: the mean of {count} samples is known to {:.1}%, {:.1}% are wanted: measure longer (--budget), on a quieter machine, or with a wider --precision", .found * 100.0, .wanted * 100.0)]
    Noisy {
        /// The point.
        point: String,
        /// Its samples.
        count: usize,
        /// Half the interval as a part of the mean.
        found: f64,
        /// The same, as it is wanted.
        wanted: f64,
    },
    /// The tail has no upper end.
    #[error("{point}: {count} samples do not bound the {}th percentile, {needed} do: measure longer (--budget), or ask for a lower --quantile", percent(*.quantile))]
    NoTail {
        /// The point.
        point: String,
        /// Its samples.
        count: usize,
        /// Samples that are needed.
        needed: usize,
        /// Of the tail.
        quantile: f64,
    },
    /// A size that was not measured in full is not known well enough to lie between others.
    #[error("batch {batch}, between {} and {}: how its latency compares with theirs is known to {:.1}%, {:.1}% are wanted: measure longer (--budget), or all sizes in full (--grid full)", .between.0, .between.1, .found * 100.0, .wanted * 100.0)]
    Unchecked {
        /// The size.
        batch: u32,
        /// The sizes that were measured in full below and above it.
        between: (u32, u32),
        /// Half the interval of their ratio.
        found: f64,
        /// The same, as it is wanted.
        wanted: f64,
    },
    /// Two clusters.
    #[error("{point}: {:.0}% of the batches take about {:.1} ms and the others about {:.1} ms: {}", (1.0 - .slow_part) * 100.0, .fast * 1e3, .slow * 1e3, unexplained(*.expected, *.form))]
    Throttled {
        /// The point.
        point: String,
        /// Mean of the faster cluster.
        fast: f64,
        /// Mean of the slower cluster.
        slow: f64,
        /// Part of the slower cluster.
        slow_part: f64,
        /// The part that a quota would make slow, where it does not explain them.
        expected: Option<f64>,
        /// The form that was chosen, where a quota would.
        form: Option<Form>,
    },
    /// A larger batch is faster.
    #[error("{larger} takes {:.1} ms, {smaller} {:.1} ms: more rows take no less time, so that one of them was disturbed", .fast * 1e3, .slow * 1e3)]
    FallsWithBatch {
        /// The smaller batch.
        smaller: String,
        /// The larger one.
        larger: String,
        /// Mean of the larger one.
        fast: f64,
        /// Mean of the smaller one.
        slow: f64,
    },
    /// More CPU is slower.
    #[error("{more} takes {:.1} ms, {less} {:.1} ms: more CPU does not slow a batch: were the limits in force?", .slow * 1e3, .fast * 1e3)]
    RisesWithCpu {
        /// With less CPU.
        less: String,
        /// With more.
        more: String,
        /// Mean with less CPU.
        fast: f64,
        /// Mean with more.
        slow: f64,
    },
}

impl Problem {
    /// What kind it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Noisy { .. } | Self::NoTail { .. } | Self::Unchecked { .. } => Kind::Noisy,
            Self::Throttled { .. } => Kind::Throttled,
            Self::FallsWithBatch { .. } | Self::RisesWithCpu { .. } => Kind::NonMonotone,
        }
    }
}

/// A part of one in percent without zeros at its end.
fn percent(part: f64) -> f64 {
    (part * 1e8).round() / 1e6
}

fn unexplained(expected: Option<f64>, form: Option<Form>) -> String {
    match (expected, form) {
        (Some(expected), _) => format!(
            "something stops some of them, and it is no CPU quota with a period of {:.0} ms, which would stop {:.0}%: look for what else runs on the machine",
            throttled::PERIOD * 1e3,
            expected * 100.0
        ),
        (None, Some(form)) => format!(
            "a CPU quota stops some of them, which the {} form, the best for their means, does not know",
            form.name()
        ),
        (None, None) => "something stops some of them, and the device has no CPU quota".to_owned(),
    }
}

/// Every problem of the points, in the order of the points. `form` is that of latency against the CPU limit, where the points could be fitted.
pub fn problems(points: &[Point], goal: Goal, form: Option<Form>) -> Vec<Problem> {
    let mut found: Vec<Problem> = points.iter().flat_map(|point| alone(point, goal, form)).collect();
    found.extend(unchecked(points, goal));
    for (index, one) in points.iter().enumerate() {
        found.extend(
            points[index + 1..]
                .iter()
                .filter_map(|other| between(one, other, goal)),
        );
    }
    found
}

fn alone(point: &Point, goal: Goal, form: Option<Form>) -> impl Iterator<Item = Problem> {
    let summary = point.summary;
    let in_full = point.check.is_none();
    let noisy = (in_full && summary.mean.relative() > goal.precision()).then(|| Problem::Noisy {
        point: point.to_string(),
        count: summary.count,
        found: summary.mean.relative(),
        wanted: goal.precision(),
    });
    let no_tail = (in_full && summary.tail.high.is_none()).then(|| Problem::NoTail {
        point: point.to_string(),
        count: summary.count,
        needed: goal.least(),
        quantile: goal.quantile(),
    });
    let throttled = summary.clusters.and_then(|clusters| {
        let on_cpu = point.vcpu().is_some();
        let by_a_quota = on_cpu && throttled::explains(&clusters, summary.count);
        let other_form = form.filter(|&form| form != Form::Throttled);
        (!by_a_quota || other_form.is_some()).then(|| Problem::Throttled {
            point: point.to_string(),
            fast: clusters.fast,
            slow: clusters.slow,
            slow_part: clusters.slow_part,
            expected: (on_cpu && !by_a_quota).then(|| throttled::slow_part(&clusters)),
            form: other_form.filter(|_| by_a_quota),
        })
    });
    noisy.into_iter().chain(no_tail).chain(throttled)
}

/// Sizes that were not measured in full and should have been looked at longer, each once.
fn unchecked(points: &[Point], goal: Goal) -> impl Iterator<Item = Problem> {
    let mut seen = BTreeSet::new();
    points.iter().filter_map(move |point| {
        let level = point.check.as_ref()?.level;
        let is_new = !level.is_known && seen.insert((point.vcpu().is_some(), point.batch));
        is_new.then(|| Problem::Unchecked {
            batch: point.batch,
            between: level.between,
            found: level.known_to,
            wanted: goal.precision(),
        })
    })
}

/// Points that differ in one thing only, and in the wrong direction.
fn between(one: &Point, other: &Point, goal: Goal) -> Option<Problem> {
    if one.device == other.device {
        let (smaller, larger) = if one.batch < other.batch {
            (one, other)
        } else {
            (other, one)
        };
        return slower(smaller, larger, goal).then(|| Problem::FallsWithBatch {
            smaller: smaller.to_string(),
            larger: larger.to_string(),
            fast: larger.summary.mean.value,
            slow: smaller.summary.mean.value,
        });
    }
    if one.batch != other.batch {
        return None;
    }
    let (less, more) = if one.vcpu()? < other.vcpu()? {
        (one, other)
    } else {
        (other, one)
    };
    slower(more, less, goal).then(|| Problem::RisesWithCpu {
        less: less.to_string(),
        more: more.to_string(),
        fast: less.summary.mean.value,
        slow: more.summary.mean.value,
    })
}

/// Whether the one is slower than the other beyond doubt.
fn slower(one: &Point, other: &Point, goal: Goal) -> bool {
    let (one, other) = (one.summary.mean, other.summary.mean);
    one.value - one.half_width > other.value + other.half_width
        && one.value > other.value * (1.0 + goal.precision())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::points::tests::{cpu, goal, gpu, point};

    /// A hundred samples within 2 % of a mean.
    fn around(mean: f64) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(5);
        (0..100).map(|_| mean * (0.98 + 0.04 * random.f64())).collect()
    }

    fn told(points: &[Point]) -> Vec<String> {
        problems(points, goal(), None)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn good_points_have_no_problem() {
        let points = [
            point(cpu(500), 1, &around(0.1)),
            point(cpu(500), 2, &around(0.15)),
            point(cpu(1000), 1, &around(0.05)),
            point(cpu(1000), 2, &around(0.0499)),
            point(gpu(), 1, &around(0.2)),
        ];
        assert_eq!(told(&points), Vec::<String>::new());
    }

    #[test]
    fn a_noisy_point_says_what_is_known_and_what_helps() {
        // Mean 2, deviation 1.03 (n = 16): t(0.975, 15) = 2.1314, so that half the interval is 0.55 or 27.5 %; no 90th percentile below 36 samples.
        let sample: Vec<f64> = (0..16)
            .map(|index| if index % 2 == 0 { 1.0 } else { 3.0 })
            .collect();
        let found = problems(&[point(cpu(500), 3, &sample)], goal(), None);
        let found: Vec<_> = found
            .iter()
            .map(|problem| (problem.kind(), problem.to_string()))
            .collect();
        assert_eq!(
            found,
            [
                (Kind::Noisy, "batch 3 on cpu 500m: the mean of 16 samples is known to 27.5%, 5.0% are wanted: measure longer (--budget), on a quieter machine, or with a wider --precision".to_owned()),
                (Kind::Noisy, "batch 3 on cpu 500m: 16 samples do not bound the 90th percentile, 36 do: measure longer (--budget), or ask for a lower --quantile".to_owned()),
            ]
        );
    }

    /// A third takes 30 ms and the others `slow`.
    fn two_clusters(slow: f64) -> Vec<f64> {
        [around(0.03), around(slow), around(slow)].concat()
    }

    #[test]
    fn two_clusters_that_are_not_a_quotas_are_named() {
        // Two thirds take 50 ms: 43 ms in the mean need 0.43 of a quota, and so many would wait.
        let found = told(&[point(cpu(500), 1, &two_clusters(0.05))]);
        assert_eq!(
            found[found.len() - 1],
            "batch 1 on cpu 500m: 33% of the batches take about 30.0 ms and the others about 50.0 ms: something stops some of them, and it is no CPU quota \
             with a period of 100 ms, which would stop 43%: look for what else runs on the machine"
        );
        let found = told(&[point(gpu(), 1, &two_clusters(0.08))]);
        assert!(
            found[found.len() - 1].ends_with("the device has no CPU quota"),
            "{found:?}"
        );
    }

    #[test]
    fn two_clusters_of_a_quota_are_named_only_where_the_form_does_not_know_them() {
        // Two thirds take 80 ms: 63 ms in the mean need 0.63 of a quota.
        let points = [point(cpu(500), 1, &two_clusters(0.08))];
        let throttled = |form| -> Vec<String> {
            let found = problems(&points, goal(), form);
            let found = found.iter().filter(|problem| problem.kind() == Kind::Throttled);
            found.map(ToString::to_string).collect()
        };
        assert_eq!(throttled(None), Vec::<String>::new());
        assert_eq!(throttled(Some(Form::Throttled)), Vec::<String>::new());
        let found = throttled(Some(Form::Hyperbolic));
        assert!(
            found[0].ends_with("a CPU quota stops some of them, which the hyperbolic form, the best for their means, does not know"),
            "{found:?}"
        );
    }

    #[test]
    fn a_larger_batch_that_is_faster_is_named_with_the_smaller_one() {
        let points = [
            point(gpu(), 1, &around(0.1)),
            point(gpu(), 2, &around(0.12)),
            point(gpu(), 3, &around(0.09)),
        ];
        let found = told(&points);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[1].starts_with("batch 3 on a10 takes 90.0 ms, batch 2 on a10 12"),
            "{found:?}"
        );
    }

    #[test]
    fn more_cpu_that_is_slower_is_named_with_less() {
        let points = [
            point(cpu(500), 2, &around(0.1)),
            point(cpu(1000), 2, &around(0.11)),
            point(cpu(1000), 1, &around(0.05)),
        ];
        let found = problems(&points, goal(), None);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].kind(), Kind::NonMonotone);
        assert!(
            found[0].to_string().starts_with("batch 2 on cpu 1 takes 11"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn a_difference_below_the_precision_is_no_contradiction() {
        // 4 % apart, each known to well below 1 %, where 5 % are wanted.
        assert_eq!(
            told(&[point(gpu(), 1, &around(0.104)), point(gpu(), 2, &around(0.1))]),
            Vec::<String>::new()
        );
    }
}
