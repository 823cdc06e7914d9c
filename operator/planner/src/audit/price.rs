//! What functions cost that are billed while they run: the paper's formula, and the exact law by quadrature.
//!
//! With the waits `t_j`, total rate `R` and `Lambda(u) = sum of r_j min(u, t_j)`, a batch is open at age `u` with probability
//! `S(u) = [sum over t_i > u of r_i/R] * product of exp(-r_j max(u - t_j, 0))`, and
//! `P(B > k) = R * integral of S(u) Poisson(k-1; Lambda(u)) du`. The integrand is smooth between two waits; the planner
//! integrates by parts, here it is Gauss and Legendre's rule.

use super::function::Function;
use super::group::rate_of;
use super::violation::Breach;
use super::{ROUNDING, at_most, close};
use crate::plan::{GroupPlan, Member};
use crate::platform::{ArrivalModel, Platform};
use crate::profile::ModelProfile;

/// Nodes and weights of the rule of order 8 on [-1, 1], half of each (they are symmetric).
const RULE: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_48),
    (0.960_289_856_497_536_3, 0.101_228_536_290_376_26),
];

/// Rows that come in one step of the quadrature.
const STEP: f64 = 2.0;

/// A batch is open with less than `exp(-NEGLIGIBLE)` from here on.
const NEGLIGIBLE: f64 = 45.0;

/// Compares mean batch and cost of a group with those of the platform's law.
pub(super) fn check(platform: &Platform, profile: &ModelProfile, group: &GroupPlan) -> Result<(), Breach> {
    let function = Function::on(&group.device, platform, profile)?;
    match platform.arrivals() {
        ArrivalModel::Paper => as_the_paper(platform, &function, group),
        ArrivalModel::Exact => exactly(platform, &function, group),
    }
}

/// Eq. 5 of the paper: every batch is full, and fills within the equivalent timeout.
pub(super) fn as_the_paper(
    platform: &Platform,
    function: &Function<'_>,
    group: &GroupPlan,
) -> Result<(), Breach> {
    let (rate, batch) = (rate_of(group), group.batch_size.get());
    let longest = function.using(platform.headroom()).longest(batch) + platform.overhead().get();
    let mut members = group.members.iter();
    let timeout = |member: &Member| (member.slo.get() - longest).max(0.0);
    let (mut folded, mut so_far) = members
        .next()
        .map_or((0.0, 0.0), |first| (timeout(first), first.rate.get()));
    for member in members {
        let (gap, total) = ((timeout(member) - folded).max(0.0), so_far + member.rate.get());
        // -expm1(-x) is 1 - exp(-x) without cancellation for small x.
        folded += member.rate.get() / total * -(-so_far * gap).exp_m1() / so_far;
        so_far = total;
    }
    let rows = f64::from(batch);
    // Timeouts are differences of SLOs: they are known no better than those.
    let slack = ROUNDING * group.members.last().map_or(0.0, |loosest| loosest.slo.get());
    let filled = rate * (folded + slack) + 1.0;
    if !at_most(rows, filled) {
        return Err(Breach::DoesNotFill { batch, filled });
    }
    let cost = function.invoked_mean(batch) * function.price + platform.prices().request.get();
    same("mean batch", group.predicted.mean_batch, rows, ROUNDING)?;
    same(
        "cost per second",
        group.predicted.cost_per_second,
        rate * cost / rows,
        ROUNDING,
    )
}

/// Renewal reward: the mean cost of a batch by its mean size.
fn exactly(platform: &Platform, function: &Function<'_>, group: &GroupPlan) -> Result<(), Breach> {
    let (rate, batch) = (rate_of(group), group.batch_size.get());
    let exceedance = exceedance(&group.members, batch);
    let fee = platform.prices().request.get();
    let cost_of = |rows: u32| function.invoked_mean(rows) * function.price + fee;
    let mut mean_batch = 1.0;
    let mut cost = cost_of(1);
    for (rows, more) in (1_u32..).zip(&exceedance) {
        mean_batch += more;
        cost += more * (cost_of(rows + 1) - cost_of(rows));
    }
    // Waits are differences of SLOs, known to a few units in their last place, in which so many rows come.
    let loosest = group.members.last().map_or(0.0, |member| member.slo.get());
    let rounding = ROUNDING + 8.0 * f64::EPSILON * loosest * rate;
    same("mean batch", group.predicted.mean_batch, mean_batch, rounding)?;
    let expected = rate * cost / mean_batch;
    let found = group.predicted.cost_per_second;
    if (found - expected).abs() <= rate * rounding_of_sums(platform, function, batch) {
        return Ok(());
    }
    same("cost per second", found, expected, rounding)
}

/// What the mean cost of a batch is off by where one of the sizes costs so much more than another that the sum loses the
/// smaller one's digits.
pub(super) fn rounding_of_sums(platform: &Platform, function: &Function<'_>, batch: u32) -> f64 {
    const ROUNDINGS: f64 = 64.0;
    let dearest = (1..=batch)
        .map(|rows| function.invoked_mean(rows))
        .fold(0.0, f64::max);
    ROUNDINGS * f64::EPSILON * (dearest * function.price + platform.prices().request.get())
}

fn same(figure: &'static str, found: f64, expected: f64, rounding: f64) -> Result<(), Breach> {
    if close(found, expected) || (found - expected).abs() <= rounding * expected.abs() {
        return Ok(());
    }
    Err(Breach::Miscalculated {
        figure,
        found,
        expected,
    })
}

/// `P(B > k)` for k from 1 below the batch size, from the members' waits.
fn exceedance(members: &[Member], batch: u32) -> Vec<f64> {
    let sizes = batch.saturating_sub(1);
    let mut law = Quadrature {
        rate: members.iter().map(|member| member.rate.get()).sum(),
        patient: members.iter().map(|member| member.rate.get()).sum(),
        age: 0.0,
        arrived: 0.0,
        closed: 0.0,
        ranks: (1..=sizes).map(f64::from).collect(),
        exceedance: vec![0.0; sizes as usize],
    };
    let mut waits: Vec<(f64, f64)> = members
        .iter()
        .map(|member| (member.max_wait.get(), member.rate.get()))
        .collect();
    waits.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (index, &(wait, _)) in waits.iter().enumerate() {
        law.integrate(wait);
        // What is left is added up anew: small rates do not survive the subtraction of large ones.
        law.patient = waits[index + 1..].iter().map(|(_, rate)| rate).sum();
    }
    law.exceedance
}

/// The integral up to some age.
struct Quadrature {
    rate: f64,
    /// Rate of those whose wait is not over.
    patient: f64,
    age: f64,
    /// `Lambda`.
    arrived: f64,
    /// The exponent of the batch being open.
    closed: f64,
    ranks: Vec<f64>,
    exceedance: Vec<f64>,
}

impl Quadrature {
    /// Goes on to the next wait, as far as anything comes of it.
    fn integrate(&mut self, until: f64) {
        let length = (until - self.age).max(0.0);
        // Beyond so many rows every batch is full.
        let sizes = f64::from(u32::try_from(self.ranks.len()).unwrap_or(u32::MAX));
        let far = sizes + 12.0 * sizes.sqrt() + 2.0 * NEGLIGIBLE;
        let rows = (length * self.rate).min((far - self.arrived).max(0.0) * self.rate / self.patient);
        let rows = rows.min((far + NEGLIGIBLE - self.arrived - self.closed).max(0.0));
        let steps = (rows / STEP).ceil();
        let mut at = 0.0;
        while at < steps && self.closed < NEGLIGIBLE {
            let (from, to) = (rows * at / steps, rows * (at + 1.0) / steps);
            for (node, weight) in RULE {
                self.add(
                    from.midpoint(to) - node * (to - from) / 2.0,
                    weight * (to - from) / 2.0,
                );
                self.add(
                    from.midpoint(to) + node * (to - from) / 2.0,
                    weight * (to - from) / 2.0,
                );
            }
            at += 1.0;
        }
        let part = self.patient / self.rate;
        self.arrived += part * length * self.rate;
        self.closed += (1.0 - part) * length * self.rate;
        self.age = until;
    }

    /// Adds the integrand so many rows after the last wait; `weight` is in rows as well.
    fn add(&mut self, rows: f64, weight: f64) {
        let part = self.patient / self.rate;
        let arrived = self.arrived + part * rows;
        let closed = self.closed + (1.0 - part) * rows;
        let joining = part * weight * (-closed).exp();
        let mut exponent = -arrived;
        let growth = arrived.ln();
        for (more, rank) in self.exceedance.iter_mut().zip(&self.ranks) {
            *more += joining * exponent.exp();
            exponent += growth - rank.ln();
        }
    }
}
