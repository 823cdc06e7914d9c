//! The plan of one model: screen the applications, group them, provision the groups, explain.

use std::cmp::Ordering;

use crate::app::{App, ModelSet};
use crate::arrival::Load;
use crate::explain::{Alone, Explanation, RunnerUp};
use crate::group::{self, Cut};
use crate::latency::{Catalogue, Kind};
use crate::plan::{Dispatch, GroupPlan, InfeasibleApp, InfeasibleReason, Member, Plan, Predicted};
use crate::platform::{ArrivalModel, Billing, Planner, Platform};
use crate::provision::{Choice, Exact, MAX_REPLICAS, Paper, PerReplica, Provisioner};
use crate::units::{BatchSize, Seconds};

/// Plans the applications of one model.
pub(crate) fn plan_model(platform: &Platform, set: &ModelSet) -> Plan {
    let Planner::Optimal = platform.planner();
    match (platform.billing(), platform.arrivals()) {
        (Billing::PerReplica, _) => ModelPlanner::<PerReplica>::new(platform, set).plan(),
        (Billing::PerInvocation, ArrivalModel::Paper) => ModelPlanner::<Paper>::new(platform, set).plan(),
        (Billing::PerInvocation, ArrivalModel::Exact) => ModelPlanner::<Exact>::new(platform, set).plan(),
    }
}

/// An application that can be served, with the cheapest way to serve it alone.
struct Candidate<'a> {
    app: &'a App,
    load: Load,
    alone: Choice,
    runner_up: Option<Choice>,
}

/// Everything that planning one model needs to hold.
struct ModelPlanner<'a, P> {
    platform: &'a Platform,
    set: &'a ModelSet,
    catalogue: Catalogue,
    provisioner: P,
    by_kind: Vec<(Kind, P)>,
}

impl<'a, P: Provisioner> ModelPlanner<'a, P> {
    fn new(platform: &'a Platform, set: &'a ModelSet) -> Self {
        let catalogue = Catalogue::new(platform, set.profile());
        let provisioner = P::new(&catalogue, platform, None);
        let by_kind = catalogue
            .kinds()
            .into_iter()
            .map(|kind| (kind, P::new(&catalogue, platform, Some(kind))))
            .collect();
        Self {
            platform,
            set,
            catalogue,
            provisioner,
            by_kind,
        }
    }

    fn plan(&self) -> Plan {
        let (candidates, infeasible) = self.screen();
        let (isolated, shared): (Vec<_>, Vec<_>) = candidates
            .into_iter()
            .partition(|candidate| candidate.app.isolated);

        let loads: Vec<Load> = shared.iter().map(|candidate| candidate.load).collect();
        let cuts = group::cheapest_groups(&loads, &self.provisioner);
        let mut groups: Vec<GroupPlan> = cuts
            .into_iter()
            .map(|Cut { members, choice }| {
                let members: Vec<&Candidate> = members.iter().map(|&index| &shared[index]).collect();
                self.build_group(&members, &choice)
            })
            .chain(isolated.iter().map(|one| self.build_group(&[one], &one.alone)))
            .collect();
        groups.sort_by(|a, b| by_slo(&a.members[0], &b.members[0]));

        Plan {
            namespace: self.set.namespace().to_owned(),
            model: self.set.model().to_owned(),
            billing: self.platform.billing(),
            cost_per_second: groups.iter().map(|group| group.predicted.cost_per_second).sum(),
            groups,
            infeasible,
        }
    }

    /// Separates the applications that some function serves, tightest SLO first, from those that none does.
    fn screen(&self) -> (Vec<Candidate<'a>>, Vec<InfeasibleApp>) {
        let mut candidates = Vec::new();
        let mut infeasible = Vec::new();
        for app in self.set.apps() {
            let load = Load {
                slo: app.slo.get() - self.platform.overhead().get(),
                rate: app.rate.get(),
            };
            match self.alone(app, load) {
                Ok(alone) => {
                    let runner_up = self.runner_up(load, &alone);
                    candidates.push(Candidate {
                        app,
                        load,
                        alone,
                        runner_up,
                    });
                }
                Err(found) => infeasible.push(found),
            }
        }
        candidates.sort_by(|a, b| {
            a.load
                .slo
                .total_cmp(&b.load.slo)
                .then(a.app.name.cmp(&b.app.name))
        });
        infeasible.sort_by(|a, b| a.app.cmp(&b.app));
        (candidates, infeasible)
    }

    /// The cheapest way to serve one application alone, or why there is none.
    fn alone(&self, app: &App, load: Load) -> Result<Choice, InfeasibleApp> {
        let refuse = |reason, nearest_slo| {
            Err(InfeasibleApp {
                app: app.name.clone(),
                reason,
                nearest_slo,
            })
        };
        if self.platform.billing() == Billing::PerReplica && app.percentile.get() >= 100.0 {
            return refuse(InfeasibleReason::PercentileUnattainable, None);
        }
        let run = P::open(load);
        if let Some(choice) = self.provisioner.choose(&run) {
            return Ok(choice);
        }
        let Some(fastest) = P::fastest(&self.catalogue) else {
            let reason = self
                .catalogue
                .shortage
                .map_or(InfeasibleReason::NoDevice, |shortage| {
                    InfeasibleReason::OutOfMemory {
                        needed: shortage.needed,
                        largest: shortage.largest,
                    }
                });
            return refuse(reason, None);
        };
        let device = |function: usize| self.catalogue.functions[function].site.device(self.platform);
        if fastest.latency <= load.slo
            && let Some((function, replicas)) = self.provisioner.fewest_replicas(&run)
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive, saturates"
            )]
            let needed = replicas as u64;
            let reason = InfeasibleReason::RateTooHigh {
                rate: load.rate,
                needed,
                limit: MAX_REPLICAS,
                device: device(function),
            };
            return refuse(reason, None);
        }
        let reason = InfeasibleReason::SloTooTight {
            slo: app.slo,
            fastest: Seconds::clamped(fastest.latency + self.platform.overhead().get()),
            device: device(fastest.function),
        };
        refuse(
            reason,
            nearest_whole_millisecond(fastest.latency, self.platform.overhead()),
        )
    }

    /// The cheapest way to serve one application alone on another kind of device.
    fn runner_up(&self, load: Load, alone: &Choice) -> Option<Choice> {
        let kind = self.catalogue.functions[alone.function].site.kind();
        let others = self.by_kind.iter().filter(|(other, _)| *other != kind);
        others
            .filter_map(|(_, provisioner)| provisioner.choose(&P::open(load)))
            .min_by(Choice::compare)
    }

    fn build_group(&self, members: &[&Candidate<'_>], choice: &Choice) -> GroupPlan {
        let function = &self.catalogue.functions[choice.function];
        let service = function.service[choice.batch as usize - 1];
        let mut run = P::open(members[0].load);
        members[1..]
            .iter()
            .for_each(|member| P::extend(&mut run, member.load));
        let strictest = members
            .iter()
            .map(|member| member.app.percentile.fraction())
            .fold(0.0, f64::max);
        let operation = P::operate(&self.catalogue, &run, choice, strictest);

        let rate: f64 = members.iter().map(|member| member.load.rate).sum();
        let alone: f64 = members.iter().map(|member| member.alone.cost_per_second).sum();
        let members = members
            .iter()
            .enumerate()
            .map(|(index, member)| {
                let max_wait = match operation.dispatch {
                    Dispatch::Eager => 0.0,
                    Dispatch::Timed => member.load.slo - operation.reserve,
                };
                // Where nothing costs, every split of the cost is the same.
                let share = if alone > 0.0 {
                    member.alone.cost_per_second / alone
                } else {
                    0.0
                };
                let cost_per_second = choice.cost_per_second * share;
                Member {
                    app: member.app.name.clone(),
                    slo: member.app.slo,
                    percentile: member.app.percentile,
                    rate: member.app.rate,
                    max_wait: Seconds::clamped(max_wait),
                    latency_bound: Seconds::clamped(
                        max_wait + operation.latency + self.platform.overhead().get(),
                    ),
                    cost_per_second,
                    cost_per_request: cost_per_second / member.load.rate,
                    explanation: self.explain(members, index, cost_per_second),
                }
            })
            .collect();

        GroupPlan {
            device: function.site.device(self.platform),
            batch_size: BatchSize::new(choice.batch).unwrap_or(BatchSize::ONE),
            dispatch: operation.dispatch,
            replicas: operation.replicas,
            members,
            predicted: Predicted {
                cost_per_second: choice.cost_per_second,
                cost_per_request: choice.cost_per_second / rate,
                mean_batch: operation.mean_batch,
                utilization: operation.utilization,
                mean_service: Seconds::clamped(service.mean),
                max_service: Seconds::clamped(service.max),
            },
            verified: false,
        }
    }

    fn explain(&self, members: &[&Candidate<'_>], index: usize, cost_per_second: f64) -> Explanation {
        let member = members[index];
        let device = |choice: &Choice| {
            self.catalogue.functions[choice.function]
                .site
                .device(self.platform)
        };
        let alone_cost = member.alone.cost_per_second;
        let others = members[..index].iter().chain(&members[index + 1..]);
        Explanation {
            shares_with: Explanation::list_names(others.map(|other| other.app.name.as_str())),
            others: members.len() - 1,
            isolated: member.app.isolated,
            alone: Alone {
                device: device(&member.alone),
                replicas: member.alone.replicas,
                batch_size: BatchSize::new(member.alone.batch).unwrap_or(BatchSize::ONE),
                cost_per_second: alone_cost,
                cost_per_request: alone_cost / member.load.rate,
            },
            runner_up: member
                .runner_up
                .filter(|_| alone_cost > 0.0)
                .map(|choice| RunnerUp {
                    device: device(&choice),
                    replicas: choice.replicas,
                    factor: choice.cost_per_second / alone_cost,
                }),
            saving: if alone_cost > 0.0 {
                (1.0 - cost_per_second / alone_cost).max(0.0)
            } else {
                0.0
            },
        }
    }
}

/// Tightest SLO first, equal SLOs by name.
fn by_slo(a: &Member, b: &Member) -> Ordering {
    a.slo.get().total_cmp(&b.slo.get()).then(a.app.cmp(&b.app))
}

/// The smallest SLO in whole milliseconds that leaves `latency` after the overhead, if a user may write it.
fn nearest_whole_millisecond(latency: f64, overhead: Seconds) -> Option<Seconds> {
    let first = ((latency + overhead.get()) * 1000.0).floor();
    // Rounding may leave the first candidates a hair too short.
    (0..3)
        .map(|more| (first + f64::from(more)) / 1000.0)
        .find(|slo| slo - overhead.get() >= latency)
        .and_then(|slo| Seconds::new(slo).ok())
}
