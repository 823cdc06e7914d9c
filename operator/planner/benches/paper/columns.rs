//! What every way to serve the same applications costs, priced by one evaluator that shares no code with the planner.

use harmonybatch_planner::units::BatchSize;
use harmonybatch_planner::{App, ArrivalModel, Baseline, Billing, Device, Plan, PlanRequest, baseline};

use crate::evaluator::{ROUNDING, exact_cost, paper_cost, price_per_second, service};
use crate::fixture::{Coefficients, app, plan, request};

/// What a plan is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Law {
    /// Eq. 5 and 6 of the paper: a function costs while it runs, and every batch is full.
    Paper,
    /// The same prices for the batches that Poisson arrivals make.
    Exact,
    /// Pods cost while they are up.
    Replicas,
}

impl Law {
    pub(crate) const ALL: [Self; 3] = [Self::Paper, Self::Exact, Self::Replicas];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper's law",
            Self::Exact => "exact law",
            Self::Replicas => "pods that stay up",
        }
    }
}

/// A function for a group of applications, whoever chose it.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) members: Vec<App>,
    pub(crate) device: Device,
    pub(crate) batch: u32,
    pub(crate) replicas: u32,
}

/// A way to serve applications.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) cost_per_second: f64,
    pub(crate) groups: usize,
    /// Groups that break the SLO of a member.
    pub(crate) late: usize,
    /// What the planner itself says that it costs.
    pub(crate) stated: f64,
}

/// The cost per second of a group, waiting for as long as its SLOs leave; none if it is late.
pub(crate) fn price(law: Law, model: &Coefficients, served: &Served) -> Option<f64> {
    let members: Vec<&App> = served.members.iter().collect();
    match law {
        Law::Paper => paper_cost(model, &members, &served.device, served.batch, ROUNDING),
        Law::Exact => exact_cost(model, &members, &served.device, served.batch),
        Law::Replicas => Some(f64::from(served.replicas) * price_per_second(&served.device)),
    }
}

/// The cost per second of groups, those that are late as if their SLOs were as long as it takes, and how many are late.
pub(crate) fn price_all(law: Law, model: &Coefficients, groups: &[Served]) -> (f64, usize) {
    let mut late = 0;
    let cost = groups.iter().map(|group| {
        price(law, model, group).unwrap_or_else(|| {
            late += 1;
            let (_, longest) = service(model, &group.device, group.batch).unwrap();
            let members = group
                .members
                .iter()
                .map(|member| app(&member.name, member.slo.get().max(longest), member.rate.get()));
            let in_time = Served {
                members: members.collect(),
                ..group.clone()
            };
            price(law, model, &in_time).unwrap()
        })
    });
    let cost = cost.sum();
    (cost, late)
}

/// The functions of a plan.
pub(crate) fn served(plan: &Plan) -> Vec<Served> {
    let groups = plan.groups.iter().map(|group| Served {
        members: group
            .members
            .iter()
            .map(|member| app(&member.app, member.slo.get(), member.rate.get()))
            .collect(),
        device: group.device.clone(),
        batch: group.batch_size.get(),
        replicas: group.replicas,
    });
    groups.collect()
}

/// The request that plans a model under a law.
pub(crate) fn request_under(law: Law, model: &Coefficients, apps: &[App]) -> PlanRequest {
    let (billing, arrivals) = match law {
        Law::Paper => (Billing::PerInvocation, ArrivalModel::Paper),
        Law::Exact => (Billing::PerInvocation, ArrivalModel::Exact),
        Law::Replicas => (Billing::PerReplica, ArrivalModel::Exact),
    };
    let PlanRequest { platform, models } = request(billing, model, apps.to_vec());
    PlanRequest {
        platform: platform.with_arrivals(arrivals),
        models,
    }
}

/// Ours, and every baseline. All applications must be feasible.
pub(crate) fn columns(law: Law, model: &Coefficients, apps: &[App]) -> Vec<Column> {
    let request = request_under(law, model, apps);
    let ours = plan(&request).remove(0);
    assert!(ours.infeasible.is_empty(), "{:?}", ours.infeasible);
    let groups = served(&ours);
    let (cost_per_second, late) = price_all(law, model, &groups);
    let mut columns = vec![Column {
        name: "ours",
        cost_per_second,
        groups: groups.len(),
        late,
        stated: ours.cost_per_second,
    }];
    let others = [
        ("two-stage", Baseline::TwoStage),
        ("alone", Baseline::Alone),
        ("BATCH", Baseline::Batch),
        ("MBS+", Baseline::Mbs),
    ];
    for (name, which) in others {
        columns.push(baseline_column(law, model, &request, &ours, which, name));
    }
    columns
}

/// BATCH as the paper has it: a batch takes its mean time, so that the SLO holds for most requests at best. Its waits leave no more
/// than the mean, and what it costs is priced with these waits.
pub(crate) fn batch_by_mean(law: Law, model: &Coefficients, apps: &[App]) -> Column {
    let optimist = Coefficients {
        cpu_max: model.cpu_mean,
        ..*model
    };
    let request = request_under(law, &optimist, apps);
    let ours = plan(&request).remove(0);
    let mut column = baseline_column(law, &optimist, &request, &ours, Baseline::Batch, "BATCH by mean");
    let found = baseline(&request.platform, &request.models[0], &ours, Baseline::Batch);
    column.late = found
        .functions
        .iter()
        .filter(|function| {
            let batch = function.batch_size;
            let (mean, longest) = service(model, &function.device, batch.get()).unwrap();
            let slo = function.members[0].0;
            let wait = if batch == BatchSize::ONE { 0.0 } else { slo - mean };
            function.late || wait + longest > slo
        })
        .count();
    column
}

fn baseline_column(
    law: Law,
    model: &Coefficients,
    request: &PlanRequest,
    ours: &Plan,
    which: Baseline,
    name: &'static str,
) -> Column {
    let found = baseline(&request.platform, &request.models[0], ours, which);
    let groups: Vec<Served> = found
        .functions
        .iter()
        .map(|function| Served {
            members: (1..)
                .zip(&function.members)
                .map(|(number, &(slo, rate))| app(&format!("member-{number}"), slo, rate))
                .collect(),
            device: function.device.clone(),
            batch: function.batch_size.get(),
            replicas: function.replicas,
        })
        .collect();
    let (cost_per_second, late) = price_all(law, model, &groups);
    Column {
        name,
        cost_per_second,
        groups: groups.len(),
        // Where pods stay up the verdict is that of the baseline's own simulation.
        late: late.max(found.late),
        stated: found.cost_per_second,
    }
}
