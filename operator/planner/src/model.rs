//! The plan of one model: screen the applications, group them, provision the groups, explain.

pub(crate) mod replan;

use std::cmp::Ordering;
use std::sync::Arc;

use crate::app::{App, ModelSet};
use crate::arrival::{Load, Process, Traces};
use crate::explain::{Alone, Explanation, RunnerUp};
use crate::group::Cut;
use crate::latency::{Catalogue, Kind};
use crate::plan::{GroupPlan, InfeasibleApp, InfeasibleReason, Member, Plan, Predicted, Simulated};
use crate::platform::{ArrivalModel, Billing, Planner, Platform};
use crate::provision::{
    Choice, Exact, MAX_REPLICAS, Operation, Paper, PerReplica, Provisioner, Repriced, TwoStage,
};
use crate::session::{Choices, Fingerprint, Session, Stop};
use crate::units::{BatchSize, Seconds};

/// Sums of the same costs differ by less than this, relatively.
const ROUNDING: f64 = 1e-9;

/// The strictest percentile that a simulation can confirm.
const STRICTEST: f64 = 99.999;

/// Plans the applications of one model.
pub(crate) fn plan_model(platform: &Platform, set: &ModelSet, session: &Session) -> Plan {
    let paper = platform.arrivals() == ArrivalModel::Paper;
    match (platform.billing(), platform.planner()) {
        (Billing::PerReplica, Planner::Optimal) => {
            ModelPlanner::<PerReplica>::new(platform, set, session).plan()
        }
        (Billing::PerReplica, Planner::TwoStage) => {
            ModelPlanner::<TwoStage<PerReplica>>::new(platform, set, session).plan()
        }
        (Billing::PerInvocation, Planner::Optimal) if paper => {
            ModelPlanner::<Paper>::new(platform, set, session).plan()
        }
        (Billing::PerInvocation, Planner::Optimal) => {
            ModelPlanner::<Exact>::new(platform, set, session).plan()
        }
        (Billing::PerInvocation, Planner::TwoStage) if paper => {
            ModelPlanner::<TwoStage<Paper>>::new(platform, set, session).plan()
        }
        (Billing::PerInvocation, Planner::TwoStage) => {
            ModelPlanner::<TwoStage<Repriced>>::new(platform, set, session).plan()
        }
    }
}

/// An application that can be served, with the cheapest way to serve it alone.
struct Candidate<'a> {
    app: &'a App,
    load: Load,
    alone: Choice,
    runner_up: Option<Choice>,
}

/// A group as it is served.
struct Settled<'c, 'a> {
    members: Vec<&'c Candidate<'a>>,
    /// What serves each member alone, as far as it was looked at.
    alone: Vec<Choice>,
    choice: Choice,
    /// None where no configuration stood up to a closer look: the group is planned, but not verified.
    operation: Option<Operation>,
}

/// Everything that planning one model needs to hold.
struct ModelPlanner<'a, P> {
    platform: &'a Platform,
    set: &'a ModelSet,
    catalogue: Catalogue,
    /// How each application's requests arrive, in the order of the set.
    processes: Vec<Process>,
    provisioner: P,
    by_kind: Vec<(Kind, P)>,
    /// What was chosen before.
    choices: Arc<Choices>,
    stop: Stop,
}

impl<'a, P: Provisioner> ModelPlanner<'a, P> {
    fn new(platform: &'a Platform, set: &'a ModelSet, session: &Session) -> Self {
        let catalogue = Catalogue::new(platform, set.profile());
        let mut traces = Traces::default();
        let processes = set.apps().iter().map(|app| traces.add(&app.arrivals)).collect();
        let (memory, stop) = (session.memory(platform, &catalogue), session.stop());
        let prepared = |kind| P::new(&catalogue, platform, kind).simulating(&traces, &memory, &stop);
        let provisioner = prepared(None);
        let by_kind = catalogue
            .kinds()
            .into_iter()
            .map(|kind| (kind, prepared(Some(kind))))
            .collect();
        Self {
            platform,
            set,
            catalogue,
            processes,
            provisioner,
            by_kind,
            choices: memory.choices,
            stop,
        }
    }

    fn plan(&self) -> Plan {
        let (candidates, infeasible) = self.screen();
        let (isolated, shared): (Vec<_>, Vec<_>) = candidates
            .into_iter()
            .partition(|candidate| candidate.app.isolated);

        let loads: Vec<Load> = shared.iter().map(|candidate| candidate.load).collect();
        let alone: Vec<Choice> = shared.iter().map(|candidate| candidate.alone).collect();
        let mut groups: Vec<GroupPlan> = isolated
            .iter()
            .map(|one| self.build_group(&self.settle_alone(one)))
            .collect();
        let cuts = self
            .choices
            .cuts
            .get_or(&self.stop, Fingerprint::of_loads(&loads), || {
                self.provisioner.groups(&loads, &alone)
            });
        for Cut { members, choice } in cuts {
            let members: Vec<&Candidate> = members.iter().map(|&index| &shared[index]).collect();
            let settled = self.settle(&members, &choice);
            groups.extend(settled.iter().map(|group| self.build_group(group)));
        }
        let served: Vec<Load> = isolated.iter().map(|one| one.load).chain(loads).collect();
        self.plan_of(groups, infeasible, &served)
    }

    /// The plan with these groups, which serve these loads.
    fn plan_of(&self, mut groups: Vec<GroupPlan>, infeasible: Vec<InfeasibleApp>, served: &[Load]) -> Plan {
        groups.sort_by(|a, b| by_slo(&a.members[0], &b.members[0]));
        Plan {
            namespace: self.set.namespace().to_owned(),
            model: self.set.model().to_owned(),
            billing: self.platform.billing(),
            headroom: self.platform.headroom(),
            cost_per_second: groups.iter().map(|group| group.predicted.cost_per_second).sum(),
            least_cost_per_second: self.provisioner.least_cost(served),
            groups,
            infeasible,
        }
    }

    /// The group as it is served after a closer look; where that makes it dearer than its members alone, or nothing
    /// stands up, one group for each.
    fn settle<'c>(&self, members: &[&'c Candidate<'a>], choice: &Choice) -> Vec<Settled<'c, 'a>> {
        if let [single] = members {
            return vec![self.settle_alone(single)];
        }
        let loads: Vec<Load> = members.iter().map(|member| member.load).collect();
        let alone = members.iter().map(|member| member.alone).collect::<Vec<_>>();
        // Equal costs may be summed in another order.
        let sum = |choices: &[Choice]| {
            choices.iter().map(|choice| choice.cost_per_second).sum::<f64>() * (1.0 + ROUNDING)
        };
        let settled = self.provisioner.settle(&self.catalogue, &loads, choice);
        let together = settled.map(|(choice, operation)| Settled {
            members: members.to_vec(),
            alone,
            choice,
            operation: Some(operation),
        });
        match together {
            Some(group) if group.choice.cost_per_second <= sum(&group.alone) => vec![group],
            together => {
                let apart: Vec<Settled> = members.iter().map(|member| self.settle_alone(member)).collect();
                let alone: Vec<Choice> = apart.iter().map(|group| group.choice).collect();
                match together {
                    Some(group) if group.choice.cost_per_second <= sum(&alone) => {
                        vec![Settled { alone, ..group }]
                    }
                    _ => apart,
                }
            }
        }
    }

    fn settle_alone<'c>(&self, single: &'c Candidate<'a>) -> Settled<'c, 'a> {
        let settled = self
            .provisioner
            .settle(&self.catalogue, &[single.load], &single.alone);
        let (choice, operation) = match settled {
            Some((choice, operation)) => (choice, Some(operation)),
            None => (single.alone, None),
        };
        Settled {
            members: vec![single],
            alone: vec![choice],
            choice,
            operation,
        }
    }

    /// Separates the applications that some function serves, tightest SLO first, from those that none does.
    fn screen(&self) -> (Vec<Candidate<'a>>, Vec<InfeasibleApp>) {
        let mut candidates = Vec::new();
        let mut infeasible = Vec::new();
        for (app, &process) in self.set.apps().iter().zip(&self.processes) {
            let load = Load {
                slo: app.slo.get() - self.platform.overhead().get(),
                rate: app.rate.get(),
                miss: 1.0 - app.percentile.fraction(),
                process,
            };
            match self.alone(app, load) {
                Ok(alone) => candidates.push(Candidate {
                    app,
                    load,
                    alone,
                    runner_up: self.runner_up(load, &alone),
                }),
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
        let refused = |reason| InfeasibleApp {
            app: app.name.clone(),
            reason,
            nearest_slo: None,
            nearest_headroom: None,
        };
        let refuse = |reason| Err(refused(reason));
        if self.platform.billing() == Billing::PerReplica && app.percentile.get() > STRICTEST {
            return refuse(InfeasibleReason::PercentileUnattainable);
        }
        if self.platform.billing() == Billing::PerInvocation && load.process != Process::Poisson {
            return refuse(InfeasibleReason::ArrivalsNotPoisson);
        }
        let run = [load];
        if let Some(choice) = self.cheapest_alone(load, None, &self.provisioner, 0.0) {
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
            return refuse(reason);
        };
        let device = |function: usize| self.catalogue.functions[function].site.device(self.platform);
        if fastest.latency <= load.slo
            && let Some((function, replicas)) = self.provisioner.fewest_replicas(&self.catalogue, &run)
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
            return refuse(reason);
        }
        let reason = InfeasibleReason::SloTooTight {
            slo: app.slo,
            fastest: Seconds::clamped(fastest.latency + self.platform.overhead().get()),
            device: device(fastest.function),
        };
        Err(InfeasibleApp {
            nearest_slo: nearest_whole_millisecond(fastest.latency, self.platform.overhead()),
            nearest_headroom: self.catalogue.headroom_within(load.slo, self.platform.headroom()),
            ..refused(reason)
        })
    }

    /// The cheapest way to serve one application alone on another kind of device.
    fn runner_up(&self, load: Load, alone: &Choice) -> Option<Choice> {
        let kind = self.catalogue.functions[alone.function].site.kind();
        let others = self.by_kind.iter().filter(|(other, _)| *other != kind);
        others
            .filter_map(|(kind, provisioner)| {
                // What is cheaper than the cheapest of all kinds keeps no SLO on any.
                self.cheapest_alone(load, Some(*kind), provisioner, alone.cost_per_second)
            })
            .min_by(Choice::compare)
    }

    /// What the provisioner of one kind of device, or of all, chooses for one application, given that nothing costs less than `floor`; many
    /// have the same numbers.
    fn cheapest_alone(&self, load: Load, kind: Option<Kind>, provisioner: &P, floor: f64) -> Option<Choice> {
        let run = [load];
        let key = (Fingerprint::of_loads(&run), kind);
        // Where functions cost while they run, more may run at a time than the API takes.
        let within_limits = |choice: &Choice| {
            self.platform.billing() == Billing::PerReplica
                || provisioner.settle(&self.catalogue, &run, choice).is_some()
        };
        let choices = &self.choices.alone;
        choices.get_or(&self.stop, key, || {
            provisioner.choose_above(&run, floor).filter(within_limits)
        })
    }

    /// What a choice costs in truth, per second: a search may have priced its share higher.
    fn bill(&self, choice: &Choice) -> f64 {
        match self.platform.billing() {
            Billing::PerReplica => {
                f64::from(choice.replicas) * self.catalogue.functions[choice.function].paid
            }
            // Pools are not limited there.
            Billing::PerInvocation => choice.cost_per_second,
        }
    }

    fn build_group(&self, group: &Settled<'_, '_>) -> GroupPlan {
        let Settled {
            members,
            alone,
            choice,
            operation,
        } = group;
        let function = &self.catalogue.functions[choice.function];
        let service = function.expected[choice.batch as usize - 1];
        let overhead = self.platform.overhead().get();
        let rate: f64 = members.iter().map(|member| member.load.rate).sum();
        let alone_cost: f64 = alone.iter().map(|choice| choice.cost_per_second).sum();
        let planned = members
            .iter()
            .zip(alone)
            .enumerate()
            .map(|(index, (member, alone))| {
                let operation = operation.as_ref().map(|operation| operation.members[index]);
                let simulated = operation.and_then(|operation| operation.simulated);
                // Where nothing costs, every split of the cost is the same.
                let share = if alone_cost > 0.0 {
                    alone.cost_per_second / alone_cost
                } else {
                    0.0
                };
                let cost_per_second = self.bill(choice) * share;
                Member {
                    app: member.app.name.clone(),
                    slo: member.app.slo,
                    percentile: member.app.percentile,
                    rate: member.app.rate,
                    max_wait: Seconds::clamped(operation.map_or(0.0, |operation| operation.max_wait)),
                    latency_bound: Seconds::clamped(
                        operation.map_or(member.load.slo, |operation| operation.bound) + overhead,
                    ),
                    simulated: simulated.map(|seen| Simulated {
                        mean: Seconds::clamped(seen.mean + overhead),
                        attainment: seen.attainment,
                        attainment_if_slowest: seen.attainment_if_slowest,
                    }),
                    cost_per_second,
                    cost_per_request: cost_per_second / member.load.rate,
                    explanation: self.explain(members, index, alone, cost_per_second),
                }
            })
            .collect();

        GroupPlan {
            device: function.site.device(self.platform),
            batch_size: BatchSize::new(choice.batch).unwrap_or(BatchSize::ONE),
            dispatch: operation
                .as_ref()
                .map_or(choice.dispatch, |operation| operation.dispatch),
            replicas: operation
                .as_ref()
                .map_or(choice.replicas, |operation| operation.replicas),
            members: planned,
            predicted: Predicted {
                cost_per_second: self.bill(choice),
                cost_per_request: self.bill(choice) / rate,
                mean_batch: operation.as_ref().map_or(1.0, |operation| operation.mean_batch),
                utilization: operation.as_ref().map_or(0.0, |operation| operation.utilization),
                mean_service: Seconds::clamped(service.mean),
                max_service: Seconds::clamped(service.max),
            },
            verified: operation
                .as_ref()
                .is_some_and(|operation| operation.members.iter().all(|member| member.simulated.is_some())),
        }
    }

    fn explain(
        &self,
        members: &[&Candidate<'_>],
        index: usize,
        alone: &Choice,
        cost_per_second: f64,
    ) -> Explanation {
        let member = members[index];
        let device = |choice: &Choice| {
            self.catalogue.functions[choice.function]
                .site
                .device(self.platform)
        };
        let alone_cost = self.bill(alone);
        let others = members[..index].iter().chain(&members[index + 1..]);
        Explanation {
            shares_with: Explanation::list_names(others.map(|other| other.app.name.as_str())),
            others: members.len() - 1,
            isolated: member.app.isolated,
            alone: Alone {
                device: device(alone),
                replicas: alone.replicas,
                batch_size: BatchSize::new(alone.batch).unwrap_or(BatchSize::ONE),
                cost_per_second: alone_cost,
                cost_per_request: alone_cost / member.load.rate,
            },
            runner_up: member
                .runner_up
                .filter(|_| alone_cost > 0.0)
                .map(|choice| RunnerUp {
                    device: device(&choice),
                    replicas: choice.replicas,
                    factor: (self.bill(&choice) / alone_cost).max(1.0),
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
