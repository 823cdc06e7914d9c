//! The paper's two-stage merging, Algorithm 1 of arXiv 2405.05633, with its function provisioning, Algorithm 2.
//!
//! Every application, in order of SLO, starts as a group of its own. Stage 1 brings together neighbours on CPU until their rate
//! exceeds the knee point, from which on a GPU function is cheaper than a CPU function. Stage 2 merges neighbours of which one is
//! on a GPU. A merger stays where it is cheaper than its parts under the paper's prices.
//!
//! Algorithm 2 searches sizes and batch sizes of each device for the cheapest one; here its whole grid is known beforehand
//! ([`Paper`]), so what it looks for is found exactly. A merged group may be on any device, as in the paper's text; the authors'
//! program gives it a GPU only. Unlike there, no group grows beyond what the API takes.

use std::ops::Range;

use crate::arrival::Load;
use crate::group::MOST_MEMBERS;
use crate::latency::{Catalogue, Kind};
use crate::platform::Platform;
use crate::provision::{Choice, Paper, Provisioner};

/// Rates between which the knee point is looked for, in rows per second.
const KNEE: (f64, f64) = (1e-4, 1e6);

/// Equal costs, summed in another order, differ by less than this, relatively.
const ROUNDING: f64 = 1e-9;

/// Halvings of the logarithm of the rate: to six digits.
const HALVINGS: u32 = 24;

/// Merges groups under the paper's prices.
#[derive(Debug)]
pub(crate) struct Merger {
    paper: Paper,
    on_cpu: Vec<bool>,
}

#[derive(Debug)]
struct Group {
    members: Range<usize>,
    choice: Choice,
}

impl Merger {
    pub(crate) fn new(catalogue: &Catalogue, platform: &Platform, only: Option<Kind>) -> Self {
        let kinds = catalogue.functions.iter().map(|function| function.site.kind());
        Self {
            paper: Paper::new(catalogue, platform, only),
            on_cpu: kinds.map(|kind| kind == Kind::Cpu).collect(),
        }
    }

    /// The paper's function for a group.
    pub(crate) fn choose(&self, loads: &[Load]) -> Option<Choice> {
        self.paper.choose(loads)
    }

    /// The members of each group, of loads that are sorted by SLO and feasible one by one.
    pub(crate) fn groups(&self, loads: &[Load]) -> Vec<Range<usize>> {
        let mut groups: Vec<Group> = loads
            .iter()
            .enumerate()
            .filter_map(|(index, load)| {
                let choice = self.paper.choose(std::slice::from_ref(load))?;
                Some(Group {
                    members: index..index + 1,
                    choice,
                })
            })
            .collect();
        self.merge_on_cpu(loads, &mut groups);
        self.merge_with_gpu(loads, &mut groups);
        groups.into_iter().map(|group| group.members).collect()
    }

    fn is_on_cpu(&self, group: &Group) -> bool {
        self.on_cpu[group.choice.function]
    }

    /// Stage 1.
    fn merge_on_cpu(&self, loads: &[Load], groups: &mut Vec<Group>) {
        let mut start = 0;
        while start < groups.len() {
            if !self.is_on_cpu(&groups[start]) {
                start += 1;
                continue;
            }
            let knee = self.knee(loads[groups[start].members.start]);
            let mut rate = 0.0;
            let mut end = start;
            while end < groups.len()
                && self.is_on_cpu(&groups[end])
                && rate <= knee
                && groups[end].members.end - groups[start].members.start <= MOST_MEMBERS
            {
                rate += loads[groups[end].members.clone()]
                    .iter()
                    .map(|load| load.rate)
                    .sum::<f64>();
                end += 1;
            }
            start = if self.merge(loads, groups, start..end) {
                start + 1
            } else {
                end
            };
        }
    }

    /// Stage 2.
    fn merge_with_gpu(&self, loads: &[Load], groups: &mut Vec<Group>) {
        let mut start = 0;
        while start + 1 < groups.len() {
            let both_on_cpu = self.is_on_cpu(&groups[start]) && self.is_on_cpu(&groups[start + 1]);
            if both_on_cpu || !self.merge(loads, groups, start..start + 2) {
                start += 1;
            }
        }
    }

    /// Makes one group of several neighbours if that is cheaper.
    fn merge(&self, loads: &[Load], groups: &mut Vec<Group>, parts: Range<usize>) -> bool {
        let members = groups[parts.start].members.start..groups[parts.end - 1].members.end;
        if parts.len() < 2 || members.len() > MOST_MEMBERS {
            return false;
        }
        let apart: f64 = groups[parts.clone()]
            .iter()
            .map(|group| group.choice.cost_per_second)
            .sum();
        let together = self
            .paper
            .choose(&loads[members.clone()])
            .filter(|choice| choice.cost_per_second < apart * (1.0 - ROUNDING));
        let Some(choice) = together else {
            return false;
        };
        groups.splice(parts, [Group { members, choice }]);
        true
    }

    /// The rate from which on an application with the SLO of this one is cheaper on a GPU.
    fn knee(&self, load: Load) -> f64 {
        let gpu_at = |rate| {
            let choice = self.paper.choose(&[Load { rate, ..load }]);
            choice.is_some_and(|choice| !self.on_cpu[choice.function])
        };
        let (mut low, mut high) = KNEE;
        if !gpu_at(high) {
            return f64::INFINITY;
        }
        for _ in 0..HALVINGS {
            let middle = (low * high).sqrt();
            if gpu_at(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }
}
