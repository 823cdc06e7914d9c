//! The last word on a configuration: arrivals that the search has never seen, and until the verdict is sure.
//!
//! A configuration is confirmed where, for every application, the share of late requests is below what its
//! percentile allows with 99 % confidence (99.87 % where the run ends early, since it looks more often). Late
//! requests come in clusters; the bounds are widened by how much more the counts of equal stretches of the run vary
//! than those of independent events.

use super::search::in_flight;
use super::{Choice, MAX_REPLICAS, Operation, PerReplica};
use crate::arrival::{Load, Process};
use crate::provision::{MemberOperation, SimulatedLatency};
use crate::session::{Confirmed, Fingerprint};
use crate::simulate::{
    Bounds, Confidence, Horizon, Look, Outcome, Pace, Setup, Tally, Verdict, mix, simulate,
};

/// Arrivals of a confirmation, where the verdict is not sure earlier.
const ARRIVALS: u64 = 1_000_000;

/// The most that a strict percentile or many replicas may ask for.
pub(super) const MOST_ARRIVALS: u64 = 5_000_000;

/// Checks of the verdict in one run.
const BLOCKS: u64 = 100;

/// Bursts of each application that a confirmation sees, and rounds of a trace.
const BURSTS: f64 = 200.0;
const ROUNDS: u64 = 5;

/// 99.87 %, one-sided.
const EARLY: Confidence = Confidence(3.0);

/// 99 %, one-sided.
const FINAL: Confidence = Confidence(2.33);

/// Late requests of a rare application that the verdict rests on.
const LATE_REQUESTS: f64 = 20.0;

/// Arrivals from which the attainment with the slowest batches is estimated.
const SLOWEST_ARRIVALS: u64 = 50_000;

/// Dearer configurations that are tried where the chosen one fails.
const REPAIRS: u32 = 100;

/// Arrivals after which no dearer configuration is tried any more, where bursts or traces make runs long.
const REPAIR_ARRIVALS: u64 = 30_000_000;

/// Each cost at which all failed, but the first few, raises the least cost of the next try by this part of the first cost, so that the tries
/// reach far enough.
const STRIDE: f64 = 0.01;

/// The costs that are tried one after the other.
const PATIENT_COSTS: u32 = 5;

impl PerReplica {
    /// The choice or the cheapest dearer one that a simulation confirms, and what it does; none where all that are
    /// tried fail.
    pub(super) fn confirmed(&self, loads: &[Load], choice: &Choice) -> Option<(Choice, Operation)> {
        if choice.replicas == 0 {
            return None;
        }
        let random = loads.iter().all(|load| load.process == Process::Poisson);
        let budget = if random {
            u64::MAX
        } else {
            REPAIR_ARRIVALS * self.effort
        };
        let mut played = 0;
        if let Some(operation) = self.confirm(loads, choice, &mut played) {
            return Some((*choice, operation));
        }
        let dearer = self.dearer(loads, choice);
        for dearer in &dearer {
            if played >= budget {
                break;
            }
            if let Some(operation) = self.confirm(loads, dearer, &mut played) {
                return Some((*dearer, operation));
            }
        }
        None
    }

    /// What the choice does if it keeps every promise; adds the requests that were looked at to `played`.
    pub(in crate::provision) fn confirm(
        &self,
        loads: &[Load],
        choice: &Choice,
        played: &mut u64,
    ) -> Option<Operation> {
        let confirmed = Confirmed {
            loads: Fingerprint::of_loads(loads),
            function: choice.function,
            batch: choice.batch,
            replicas: choice.replicas,
            dispatch: choice.dispatch,
        };
        let verdicts = &self.verdicts.confirmed;
        let (operation, requests) = verdicts.get_or(&self.stop, confirmed, || self.play(loads, choice));
        *played += requests;
        operation
    }

    /// Plays the choice until the verdict is sure, and says how many requests that took.
    fn play(&self, loads: &[Load], choice: &Choice) -> (Option<Operation>, u64) {
        if self.stop.is_requested() {
            return (None, 0);
        }
        let usual = ARRIVALS
            .max(20 * in_flight(loads, choice))
            .max(for_strictest(loads));
        let replayed = loads
            .iter()
            .all(|load| matches!(load.process, Process::Trace { .. }));
        let bounds = Bounds {
            // What is replayed is known: more of it only tells more of service times.
            least: if replayed { usual / 10 } else { usual }.min(MOST_ARRIVALS) * self.effort,
            most: MOST_ARRIVALS * self.effort,
            blocks: BLOCKS,
            bursts: BURSTS,
            rounds: ROUNDS,
        };
        let Horizon { arrivals, block } = Horizon::new(loads, &self.traces, &bounds);
        let look = Look {
            seed: seed(loads),
            arrivals,
            block,
            early: Some(EARLY),
            last: Some(FINAL),
            with_latencies: true,
            pace: Pace::Drawn,
            late_requests: LATE_REQUESTS,
        };
        let setup = self.setup(loads, choice);
        let outcome = simulate(&setup, &look);
        let played = outcome.tally.rows;
        let kept = match outcome.verdict {
            Verdict::Kept => true,
            Verdict::Broken => false,
            Verdict::Open => outcome.tally.verdict(loads, FINAL) == Verdict::Kept,
        };
        if !kept {
            return (None, played);
        }
        let waits: Vec<f64> = (0..loads.len()).map(|member| setup.max_wait(member)).collect();
        let expected = self.expected(choice, &setup, &waits);
        let outcome = if self.headroom.is_none() {
            outcome
        } else {
            let shown = simulate(&expected, &as_long(&look, played));
            // What is faster is hardly ever later, but batches are others.
            if shown.tally.verdict(loads, FINAL) != Verdict::Kept {
                return (None, 2 * played);
            }
            shown
        };
        let bounds = Bounds {
            least: SLOWEST_ARRIVALS.max(in_flight(loads, choice)),
            most: MOST_ARRIVALS,
            blocks: 1,
            bursts: BURSTS / 5.0,
            rounds: 1,
        };
        let Horizon { arrivals, block } = Horizon::new(loads, &self.traces, &bounds);
        let slowest = Look {
            arrivals,
            block,
            early: None,
            last: None,
            with_latencies: false,
            pace: Pace::Slowest,
            ..look
        };
        let slowest = simulate(&expected, &slowest).tally;
        let played = if self.headroom.is_none() {
            played
        } else {
            2 * played
        };
        (Some(operation(&expected, choice, &outcome, &slowest)), played)
    }

    /// The setup with batches that use none of the headroom, while requests wait as if they did.
    fn expected<'a>(&'a self, choice: &Choice, setup: &Setup<'a>, waits: &'a [f64]) -> Setup<'a> {
        Setup {
            service: &self.functions[choice.function].expected[..choice.batch as usize],
            waits: Some(waits),
            ..*setup
        }
    }

    /// Other configurations that cost as much or more: of the same size first other batch sizes, then larger sizes
    /// and one replica more or less, cheapest first.
    fn dearer(&self, loads: &[Load], choice: &Choice) -> Vec<Choice> {
        let rate: f64 = loads.iter().map(|load| load.rate).sum();
        let slo = loads.first().map_or(0.0, |load| load.slo);
        let replicas = choice.replicas.saturating_sub(1).max(1)..=(choice.replicas + 2).min(MAX_REPLICAS);
        let mut places: Vec<(f64, u32, usize)> = self
            .kinds
            .iter()
            .flatten()
            .filter(|size| size.single <= slo)
            .flat_map(|size| {
                replicas
                    .clone()
                    .map(move |count| (f64::from(count) * size.price, count, size))
            })
            .filter(|(cost, count, size)| {
                *cost >= choice.cost_per_second && f64::from(*count) * size.capacity >= rate
            })
            .map(|(cost, count, size)| (cost, count, size.function))
            .collect();
        places.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        // All that costs the same is tried before anything dearer: another batch size is often what is missing.
        let (mut tried, mut costs, mut cost) = (0, 0, choice.cost_per_second);
        places
            .into_iter()
            .flat_map(|(_, count, function)| self.candidates(loads, function, count))
            .filter(|other| {
                let further = f64::from(u32::saturating_sub(costs, PATIENT_COSTS)) * STRIDE;
                let is_dearer = other.cost_per_second > cost;
                let next = other != choice
                    && tried < REPAIRS
                    && (!is_dearer || other.cost_per_second >= choice.cost_per_second * (1.0 + further));
                if next {
                    tried += 1;
                    costs += u32::from(is_dearer);
                    cost = other.cost_per_second;
                }
                next
            })
            .collect()
    }
}

/// What was played, as long as so many requests take, whatever the verdict.
fn as_long(look: &Look, requests: u64) -> Look {
    Look {
        arrivals: requests.max(1),
        early: None,
        last: None,
        ..*look
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn operation(setup: &Setup<'_>, choice: &Choice, outcome: &Outcome, slowest: &Tally) -> Operation {
    let tally = &outcome.tally;
    let attained = tally.attainments().into_iter().zip(slowest.attainments());
    let members = (setup.loads.iter().enumerate())
        .zip(tally.members.iter().zip(attained))
        .map(|((member, load), (seen, (attainment, attainment_if_slowest)))| {
            let percentile = seen
                .quantile(1.0 - load.miss)
                .map_or(load.slo, |latency| latency / outcome.ticks);
            MemberOperation {
                max_wait: setup.max_wait(member),
                bound: percentile.min(load.slo),
                simulated: Some(SimulatedLatency {
                    mean: seen.mean() / outcome.ticks,
                    attainment,
                    attainment_if_slowest,
                }),
            }
        })
        .collect();
    Operation {
        dispatch: choice.dispatch,
        replicas: choice.replicas,
        mean_batch: tally.rows as f64 / tally.batches.max(1) as f64,
        utilization: (tally.busy / outcome.span / f64::from(choice.replicas)).min(1.0),
        members,
    }
}

/// Arrivals that let the strictest member's percentile be told from a stricter one, with its share of them at least
/// that of a rare one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates"
)]
fn for_strictest(loads: &[Load]) -> u64 {
    const REQUESTS: f64 = 12.0;
    const SHARE: f64 = 0.2;
    let strictest = loads.iter().map(|load| load.miss).fold(1.0, f64::min);
    (REQUESTS / (strictest * SHARE)) as u64
}

/// A seed of the group's own, so that one unlucky stream does not decide about all groups.
fn seed(loads: &[Load]) -> u64 {
    loads.iter().fold(0x636f_6e66_6972_6d21, |seed, load| {
        let numbers = [load.slo, load.rate, load.miss].map(f64::to_bits);
        let process = match load.process {
            Process::Poisson => Vec::new(),
            process => process.identity().to_vec(),
        };
        numbers
            .iter()
            .chain(&process)
            .fold(seed, |seed, bits| mix(seed ^ bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{MODELS, platform, profile};
    use crate::latency::Catalogue;
    use crate::platform::Billing;
    use crate::provision::Provisioner;
    use crate::random::Random;

    /// A batch size that the search did not like may be what its arrivals never showed: it costs nothing more.
    #[test]
    fn all_that_costs_the_same_is_tried_before_anything_dearer() {
        let mut random = Random::seeded(23);
        for set in 0..40 {
            let platform = platform(Billing::PerReplica);
            let catalogue = Catalogue::new(&platform, &profile(&MODELS[set % 4]));
            let provisioner = PerReplica::new(&catalogue, &platform, None);
            let apps = random.apps(1 + set % 5, (0.3, 2.0), (0.05, 30.0));
            let mut loads: Vec<Load> = apps.iter().map(Load::poisson).collect();
            loads.sort_by(|a, b| a.slo.total_cmp(&b.slo));
            let Some(choice) = provisioner.choose(&loads) else {
                continue;
            };
            let repairs = provisioner.dearer(&loads, &choice);
            assert!(!repairs.contains(&choice));
            assert!(repairs.is_sorted_by(|a, b| a.cost_per_second <= b.cost_per_second * (1.0 + 1e-9)));
            let same_size = provisioner.candidates(&loads, choice.function, choice.replicas);
            for other in same_size.filter(|other| *other != choice) {
                assert!(repairs.contains(&other), "{other:?} beside {choice:?}");
            }
            let dearest = repairs
                .iter()
                .map(|repair| repair.cost_per_second)
                .fold(0.0, f64::max);
            assert!(repairs.len() < 100 || dearest > 1.05 * choice.cost_per_second);
        }
    }
}
