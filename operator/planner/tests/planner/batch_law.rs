//! The exact law of the batch size against batches that are really filled.
//!
//! What a sample of batches costs has an error of its own, so every group is judged by the standard error of its own sample: a
//! ratio of two means, whose variance is that of `cost - ratio * rows` over independent batches (delta method). At a million batches
//! it is up to 0.07 %, and the largest of 300 deviations is more than twice that: where it takes more batches to tell, more are drawn.

use harmonybatch_planner::{Device, GroupPlan};

use crate::fixture::{
    Coefficients, GPU_UNIT_SECOND, MODELS, REQUEST, UNITS, VCPU_SECOND, VGG19, app, plan_exactly,
};
use crate::random::Random;

/// What the issue allows: a tenth of a percent.
const ALLOWED: f64 = 0.001;

/// Standard errors that one of 300 independent normal samples exceeds, to either side, with a probability of 1 % (Bonferroni:
/// 3.3e-5 for each).
const ANY_OF_300: f64 = 4.15;

/// Batches from which the spread of a group is estimated before the others are drawn.
const PILOT: u32 = 100_000;

/// Mean price of running a batch, request fee included, from the published coefficients.
fn batch_price(model: &Coefficients, device: &Device, rows: usize) -> f64 {
    let running = match device {
        Device::Cpu { vcpu } => {
            let [alpha, beta, gamma] = model.cpu_mean[rows - 1];
            (alpha * (-vcpu.get() / beta).exp() + gamma) * vcpu.get() * VCPU_SECOND
        }
        Device::Gpu { .. } => {
            let rows = f64::from(u32::try_from(rows).unwrap());
            (model.per_row * rows + model.fixed) * f64::from(UNITS) * GPU_UNIT_SECOND
        }
    };
    running + REQUEST
}

/// Sums over batches that were filled.
#[derive(Debug, Default)]
struct Filled {
    batches: f64,
    rows: f64,
    cost: f64,
    rows_squared: f64,
    cost_squared: f64,
    product: f64,
}

impl Filled {
    fn add(&mut self, rows: f64, cost: f64) {
        self.batches += 1.0;
        self.rows += rows;
        self.cost += cost;
        self.rows_squared += rows * rows;
        self.cost_squared += cost * cost;
        self.product += rows * cost;
    }

    fn cost_per_request(&self) -> f64 {
        self.cost / self.rows
    }

    fn mean_batch(&self) -> f64 {
        self.rows / self.batches
    }

    /// Standard deviation of what one batch adds to the relative error of the cost per request.
    fn spread_of_cost(&self) -> f64 {
        let ratio = self.cost_per_request();
        let sum = self.cost_squared - 2.0 * ratio * self.product + ratio * ratio * self.rows_squared;
        (sum.max(0.0) / self.batches).sqrt() / (ratio * self.mean_batch())
    }

    /// The same for the mean batch.
    fn spread_of_batch(&self) -> f64 {
        let mean = self.mean_batch();
        (self.rows_squared / self.batches - mean * mean).max(0.0).sqrt() / mean
    }
}

/// Fills `batches` more batches with Poisson arrivals.
fn fill(model: &Coefficients, group: &GroupPlan, batches: f64, random: &mut Random, filled: &mut Filled) {
    let rate: f64 = group.members.iter().map(|member| member.rate.get()).sum();
    let size = group.batch_size.get() as usize;
    let price: Vec<f64> = (1..=size)
        .map(|rows| batch_price(model, &group.device, rows))
        .collect();
    let wait_of_any = |random: &mut Random| {
        let mut left = random.unit() * rate;
        for member in &group.members {
            left -= member.rate.get();
            if left <= 0.0 {
                return member.max_wait.get();
            }
        }
        group.members[0].max_wait.get()
    };
    let enough = filled.batches + batches;
    while filled.batches < enough {
        let mut rows = 1;
        let mut now = 0.0;
        let mut closes = wait_of_any(random);
        while rows < size {
            now += random.exponential(rate);
            if now > closes {
                break;
            }
            rows += 1;
            closes = closes.min(now + wait_of_any(random));
        }
        filled.add(f64::from(u32::try_from(rows).unwrap()), price[rows - 1]);
    }
}

/// How far the predicted costs of many groups are from those of their samples.
#[derive(Debug, Default)]
struct Comparison {
    groups: f64,
    /// Relative errors.
    sum: f64,
    worst: f64,
    /// The worst error in standard errors of its sample, and of the mean batch.
    worst_in_errors: f64,
    worst_batch_in_errors: f64,
    /// The largest error that a group has with the confidence of [`ANY_OF_300`].
    at_most: f64,
    most_batches: f64,
}

/// Compares `groups` random shared groups, each on so many batches that [`ANY_OF_300`] standard errors are `half_width`.
fn compare(groups: u32, half_width: f64) -> Comparison {
    let mut random = Random::seeded(1);
    let mut arrivals = Random::seeded(2);
    let mut found = Comparison::default();
    for model in MODELS.iter().cycle() {
        let apps = random.apps(4, (0.05, 5.0), (0.05, 50.0));
        for group in plan_exactly(model, apps).groups {
            if group.members.len() < 2 {
                continue;
            }
            let mut filled = Filled::default();
            fill(model, &group, f64::from(PILOT), &mut arrivals, &mut filled);
            let needed = (ANY_OF_300 * filled.spread_of_cost() / half_width).powi(2);
            fill(model, &group, needed - filled.batches, &mut arrivals, &mut filled);

            let standard_error = filled.spread_of_cost() / filled.batches.sqrt();
            let error = (group.predicted.cost_per_request / filled.cost_per_request() - 1.0).abs();
            let batch_error = (group.predicted.mean_batch / filled.mean_batch() - 1.0).abs();
            // Batches that are all equal have no spread: what is left then is rounding.
            let in_errors = |error: f64, standard_error: f64| error / (standard_error + 1e-12);
            found.groups += 1.0;
            found.sum += error;
            found.worst = found.worst.max(error);
            found.worst_in_errors = found.worst_in_errors.max(in_errors(error, standard_error));
            found.worst_batch_in_errors = found.worst_batch_in_errors.max(in_errors(
                batch_error,
                filled.spread_of_batch() / filled.batches.sqrt(),
            ));
            found.at_most = found.at_most.max(error + ANY_OF_300 * standard_error);
            found.most_batches = found.most_batches.max(filled.batches);
            if found.groups >= f64::from(groups) {
                return found;
            }
        }
    }
    found
}

#[test]
fn the_predicted_cost_is_what_filled_batches_cost() {
    // Six times what the long test asks for, so a thirtieth of its batches.
    let found = compare(40, 6.0 * ALLOWED / 2.0);
    assert!(
        found.worst_in_errors < ANY_OF_300 && found.worst_batch_in_errors < ANY_OF_300,
        "{found:#?}"
    );
    assert!(found.sum / found.groups < ALLOWED, "{found:#?}");
}

/// With 99 % confidence, no predicted cost of 300 groups is further from the truth than a tenth of a percent.
#[test]
#[ignore = "samples of up to tens of millions of batches take minutes: cargo test --release -p harmonybatch-planner -- --ignored tenth"]
#[expect(clippy::print_stderr, reason = "the figures are what a person runs this for")]
fn the_predicted_cost_is_within_a_tenth_of_a_percent() {
    let found = compare(300, ALLOWED / 2.0);
    eprintln!(
        "cost against {} simulated groups: mean error {:.2e}, worst {:.2e}; worst {:.2} standard errors (mean batch: {:.2}); \
         at most {:.2e} with 99 % confidence; up to {:.2e} batches",
        found.groups,
        found.sum / found.groups,
        found.worst,
        found.worst_in_errors,
        found.worst_batch_in_errors,
        found.at_most,
        found.most_batches
    );
    assert!(
        found.worst_in_errors < ANY_OF_300 && found.worst_batch_in_errors < ANY_OF_300,
        "{found:#?}"
    );
    assert!(found.at_most < ALLOWED, "{found:#?}");
}

/// The paper's law takes every batch to be full and so promises the example for 2.2583e-5 $/s.
#[test]
fn the_worked_example_costs_what_its_batches_cost() {
    let apps = vec![
        app("search", 0.5, 5.0),
        app("cart", 0.8, 10.0),
        app("feed", 1.0, 20.0),
    ];
    let plan = plan_exactly(&VGG19, apps);
    assert_eq!(plan.groups.len(), 1);
    let mut filled = Filled::default();
    fill(
        &VGG19,
        &plan.groups[0],
        200_000.0,
        &mut Random::seeded(2),
        &mut filled,
    );
    assert!((plan.cost_per_second / (35.0 * filled.cost_per_request()) - 1.0).abs() < 0.001);
    assert!(
        (plan.cost_per_second / 2.2626e-5 - 1.0).abs() < 0.001,
        "{:e}",
        plan.cost_per_second
    );
}
