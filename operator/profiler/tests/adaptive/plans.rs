//! What is planned from a fit.

use harmonybatch_planner::units::{BatchSize, Percentile, Price, Rate, Seconds, Vcpu};
use harmonybatch_planner::{
    App, ArrivalProcess, Billing, CpuCurve, CpuGrid, CpuLatency, Exponential, Hyperbolic, ModelProfile,
    ModelSet, Plan, PlanRequest, Platform, Prices, Throttled, plan,
};
use harmonybatch_profiler::fit::Fit;
use harmonybatch_profiler::fit::form::Curve;
use harmonybatch_profiler::fit::throttled::PERIOD;

fn curve(curve: &Curve) -> CpuCurve {
    match *curve {
        Curve::Hyperbolic(curve) => CpuCurve::Hyperbolic(Hyperbolic::new(curve.work, curve.fixed).unwrap()),
        Curve::Exponential(curve) => {
            CpuCurve::Exponential(Exponential::new(curve.alpha, curve.beta, curve.gamma).unwrap())
        }
        Curve::Throttled(curve) => {
            CpuCurve::Throttled(Throttled::new(curve.work, curve.parallelism, PERIOD).unwrap())
        }
    }
}

fn profile(fit: &Fit) -> ModelProfile {
    let cpu = fit.cpu.iter().map(|size| CpuLatency {
        batch: BatchSize::new(size.batch).unwrap(),
        mean: curve(&size.mean),
        max: curve(&size.tail),
    });
    let largest = BatchSize::new(u32::try_from(fit.cpu.len()).unwrap()).unwrap();
    ModelProfile::new(cpu.collect(), Vec::new(), largest).unwrap()
}

/// Sets of applications (SLO as a multiple of what one row takes on a whole CPU, requests per that time).
pub(crate) const SETS: [&[(f64, f64)]; 4] = [
    &[(3.0, 0.2), (5.0, 0.4), (8.0, 0.8)],
    &[(4.0, 2.0), (12.0, 1.0)],
    &[(10.0, 0.05), (20.0, 3.0), (40.0, 1.0)],
    &[(6.0, 0.5), (6.5, 0.5), (30.0, 4.0), (60.0, 0.1)],
];

/// The plan for a set; `unit` is what one row takes on a whole CPU.
pub(crate) fn planned(fit: &Fit, billing: Billing, unit: f64, set: &[(f64, f64)]) -> Plan {
    let apps = set.iter().enumerate().map(|(number, &(slo, rate))| App {
        name: format!("app-{number}"),
        slo: Seconds::new(slo * unit).unwrap(),
        percentile: Percentile::new(99.0).unwrap(),
        rate: Rate::new(rate / unit).unwrap(),
        isolated: false,
        arrivals: ArrivalProcess::Poisson,
    });
    let millis = |millis| Vcpu::from_millis(millis).unwrap();
    let platform = Platform::new(
        billing,
        Prices {
            vcpu_second: Price::new(1.3e-5).unwrap(),
            gpu_unit_second: Price::new(1.5e-5).unwrap(),
            request: Price::new(1.3e-7).unwrap(),
        },
        Seconds::new(0.0).unwrap(),
        Some(CpuGrid::new(millis(250), millis(4000), millis(50)).unwrap()),
        Vec::new(),
    )
    .unwrap();
    let models = vec![ModelSet::new("shop", "law", profile(fit), apps.collect()).unwrap()];
    plan(&PlanRequest { platform, models }).unwrap().remove(0)
}

/// What a plan costs, and how many applications it cannot serve.
pub(crate) fn cost(plan: &Plan) -> (f64, usize) {
    (
        plan.groups
            .iter()
            .map(|group| group.predicted.cost_per_second)
            .sum(),
        plan.infeasible.len(),
    )
}

/// What is run: device, batch size, replicas and applications of each group.
pub(crate) fn outline(plan: &Plan) -> Vec<String> {
    let mut groups: Vec<String> = plan
        .groups
        .iter()
        .map(|group| {
            let members: Vec<&str> = group.members.iter().map(|member| member.app.as_str()).collect();
            format!(
                "{} b{} x{} {}",
                group.device,
                group.batch_size.get(),
                group.replicas,
                members.join("+")
            )
        })
        .collect();
    groups.sort();
    groups
}
