//! The paper's two-stage merging in the place of dynamic programming: the groups are those that Algorithm 1 makes under the
//! paper's own prices, whatever prices them afterwards.

use super::{Choice, Exact, Fastest, Operation, Paper, Provisioner, exact};
use crate::arrival::{Load, Traces};
use crate::baseline::Merger;
use crate::group::Cut;
use crate::latency::{Catalogue, Kind};
use crate::platform::Platform;
use crate::session::{Memory, Stop};

/// The paper's groups, on the functions that another provisioner gives them.
#[derive(Debug)]
pub(crate) struct TwoStage<P> {
    merger: Merger,
    provisioner: P,
}

impl<P: Provisioner> Provisioner for TwoStage<P> {
    fn new(catalogue: &Catalogue, platform: &Platform, only: Option<Kind>) -> Self {
        Self {
            merger: Merger::new(catalogue, platform, only),
            provisioner: P::new(catalogue, platform, only),
        }
    }

    fn simulating(self, traces: &Traces, memory: &Memory, stop: &Stop) -> Self {
        Self {
            provisioner: self.provisioner.simulating(traces, memory, stop),
            ..self
        }
    }

    fn choose(&self, run: &[Load]) -> Option<Choice> {
        self.provisioner.choose(run)
    }

    fn choose_above(&self, run: &[Load], floor: f64) -> Option<Choice> {
        self.provisioner.choose_above(run, floor)
    }

    fn groups(&self, loads: &[Load], alone: &[Choice]) -> Vec<Cut> {
        let mut cuts = Vec::new();
        for group in self.merger.groups(loads) {
            match self.choose(&loads[group.clone()]) {
                Some(choice) => cuts.push(Cut {
                    members: group.collect(),
                    choice,
                }),
                None => cuts.extend(group.map(|member| Cut {
                    members: vec![member],
                    choice: alone[member],
                })),
            }
        }
        cuts
    }

    fn settle(&self, catalogue: &Catalogue, loads: &[Load], choice: &Choice) -> Option<(Choice, Operation)> {
        self.provisioner.settle(catalogue, loads, choice)
    }

    fn least_cost(&self, loads: &[Load]) -> f64 {
        self.provisioner.least_cost(loads)
    }

    fn fastest(catalogue: &Catalogue) -> Option<Fastest> {
        P::fastest(catalogue)
    }

    fn fewest_replicas(&self, catalogue: &Catalogue, run: &[Load]) -> Option<(usize, f64)> {
        self.provisioner.fewest_replicas(catalogue, run)
    }
}

/// The paper's functions (its Algorithm 2) at what they cost under the exact law.
#[derive(Debug)]
pub(crate) struct Repriced {
    paper: Paper,
    exact: Exact,
}

impl Provisioner for Repriced {
    fn new(catalogue: &Catalogue, platform: &Platform, only: Option<Kind>) -> Self {
        Self {
            paper: Paper::new(catalogue, platform, only),
            exact: Exact::new(catalogue, platform, only),
        }
    }

    fn choose(&self, run: &[Load]) -> Option<Choice> {
        let choice = self.paper.choose(run)?;
        let cost_per_second = self.exact.price(run, choice.function, choice.batch)?;
        Some(Choice {
            cost_per_second,
            ..choice
        })
    }

    fn groups(&self, loads: &[Load], alone: &[Choice]) -> Vec<Cut> {
        let mut cuts = self.paper.groups(loads, alone);
        for cut in &mut cuts {
            let members: Vec<Load> = cut.members.iter().map(|&member| loads[member]).collect();
            if let Some(cost) = self.exact.price(&members, cut.choice.function, cut.choice.batch) {
                cut.choice.cost_per_second = cost;
            }
        }
        cuts
    }

    fn settle(&self, catalogue: &Catalogue, loads: &[Load], choice: &Choice) -> Option<(Choice, Operation)> {
        self.exact.settle(catalogue, loads, choice)
    }

    fn least_cost(&self, loads: &[Load]) -> f64 {
        self.exact.least_cost(loads)
    }

    fn fastest(catalogue: &Catalogue) -> Option<Fastest> {
        Paper::fastest(catalogue)
    }

    fn fewest_replicas(&self, catalogue: &Catalogue, run: &[Load]) -> Option<(usize, f64)> {
        let choice = self.choose(run)?;
        let operation = exact::operation(catalogue, run, &choice)?;
        Some((choice.function, f64::from(operation.replicas)))
    }
}
