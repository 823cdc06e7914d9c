//! The audit by mutation: valid plans, each broken in one way, and exactly the violation that this should be.

use harmonybatch_planner::audit::{Breach, Place, check, check_thoroughly};
use harmonybatch_planner::units::{BatchSize, Bytes, GpuUnits, Percentile, Rate, Seconds, Vcpu};
use harmonybatch_planner::{
    App, ArrivalModel, Billing, Device, Dispatch, GpuLatency, GpuPool, GroupPlan, InfeasibleReason, Member,
    Memory, ModelProfile, ModelSet, Plan, PlanRequest, Platform, PlatformPlan, Sharing, plan_platform,
};

use crate::fixture::{TAU, UNITS, VGG19, app, grid, prices, profile, seconds};

const BILLINGS: [Billing; 2] = [Billing::PerReplica, Billing::PerInvocation];

/// A model with groups of several members on GPU shares that its memory fills, an isolated application and a refused one,
/// and a model on CPU.
fn request(billing: Billing) -> PlanRequest {
    let shares = [2, 4, 8, 16, 24].map(|units| GpuUnits::new(units).unwrap());
    let pool = |name: &str, devices| {
        let units = GpuUnits::new(UNITS).unwrap();
        let pool = GpuPool::new(
            name,
            name,
            units,
            Bytes(1 << 30),
            seconds(TAU),
            Sharing::FixedShare,
            shares.to_vec(),
        );
        pool.unwrap().with_devices(devices)
    };
    let devices = (billing == Billing::PerReplica).then_some(3);
    let pools = vec![pool("a10", devices), pool("t4", None)];
    let platform = Platform::new(billing, prices(), seconds(0.005), Some(grid()), pools).unwrap();
    let memory = Memory {
        base: Bytes(1 << 30),
        per_row: Bytes(1 << 27),
    };
    let gpu = GpuLatency::new("a10", VGG19.per_row, VGG19.fixed, memory).unwrap();
    let fast_profile = ModelProfile::new(vec![], vec![gpu], BatchSize::new(64).unwrap()).unwrap();
    let isolated = App {
        isolated: true,
        ..app("alone", 0.9, 5.0)
    };
    let apps = vec![
        app("cart", 0.5, 40.0),
        app("feed", 0.8, 60.0),
        app("search", 1.0, 100.0),
        isolated,
        app("tight", 0.003, 1.0),
    ];
    let slow_profile = ModelProfile::new(profile(&VGG19).cpu().to_vec(), vec![], BatchSize::new(4).unwrap());
    let models = vec![
        ModelSet::new("shop", "vgg19", fast_profile, apps).unwrap(),
        ModelSet::new(
            "shop",
            "late",
            slow_profile.unwrap(),
            vec![app("slow", 2.0, 0.2), app("slower", 3.0, 0.3)],
        )
        .unwrap(),
    ];
    PlanRequest { platform, models }
}

/// The plan of the model on GPUs; that of the model on CPU comes before it.
fn on_gpu(found: &mut PlatformPlan) -> &mut Plan {
    &mut found.plans[1]
}

/// Its group of several members.
fn shared(found: &mut PlatformPlan) -> &mut GroupPlan {
    let mut groups = on_gpu(found).groups.iter_mut();
    groups.find(|group| group.members.len() > 1).unwrap()
}

fn first(found: &mut PlatformPlan) -> &mut Member {
    &mut shared(found).members[0]
}

fn on_cpu(found: &mut PlatformPlan) -> &mut GroupPlan {
    &mut found.plans[0].groups[0]
}

type Mutation = fn(&mut PlatformPlan);
type Expected = fn(&Breach) -> bool;

/// Breaks a plan of each billing in every way and compares what is found.
fn expect(billings: &[Billing], mutations: &[(&str, Mutation, Expected)]) {
    for &billing in billings {
        let request = request(billing);
        let valid = plan_platform(&request).unwrap();
        check_thoroughly(&request, &valid).unwrap();
        for (what, mutate, expected) in mutations {
            let mut broken = valid.clone();
            mutate(&mut broken);
            let found = check_thoroughly(&request, &broken);
            assert!(
                found.as_ref().is_err_and(|violation| expected(&violation.breach)),
                "{billing:?}, {what}: {found:?}"
            );
        }
    }
}

macro_rules! breach {
    ($pattern:pat $(if $guard:expr)?) => { |breach| matches!(breach, $pattern $(if $guard)?) };
}

// After the macro, which they use.
mod costs;
mod functions;
mod refusals;

#[test]
fn whoever_is_left_out_doubled_or_moved_is_found() {
    expect(
        &BILLINGS,
        &[
            (
                "a member is dropped",
                |plan| drop(shared(plan).members.remove(0)),
                breach!(Breach::Forgotten),
            ),
            (
                "a member stands twice",
                |plan| {
                    let member = first(plan).clone();
                    shared(plan).members.insert(0, member);
                },
                breach!(Breach::PlannedTwice),
            ),
            (
                "a member is refused as well",
                |plan| {
                    let mut refused = on_gpu(plan).infeasible[0].clone();
                    refused.app.clone_from(&first(plan).app);
                    on_gpu(plan).infeasible.insert(0, refused);
                },
                breach!(Breach::PlannedTwice),
            ),
            (
                "a member of no model",
                |plan| first(plan).app = "nobody".into(),
                breach!(Breach::UnknownApp),
            ),
            (
                "two members are swapped",
                |plan| shared(plan).members.swap(0, 1),
                breach!(Breach::OutOfOrder { list: "members", .. }),
            ),
            (
                "two groups are swapped",
                |plan| on_gpu(plan).groups.swap(0, 1),
                breach!(Breach::OutOfOrder { list: "groups", .. }),
            ),
            (
                "two plans are swapped",
                |plan| plan.plans.swap(0, 1),
                breach!(Breach::WrongModels { .. }),
            ),
            (
                "a plan is missing",
                |plan| drop(plan.plans.pop()),
                breach!(Breach::WrongModels { .. }),
            ),
            (
                "the isolated one has company",
                |plan| {
                    let mut groups = on_gpu(plan).groups.iter();
                    let index = groups.position(|group| group.members[0].app == "alone").unwrap();
                    let alone = on_gpu(plan).groups.remove(index);
                    let place = shared(plan)
                        .members
                        .iter()
                        .position(|member| member.slo > alone.members[0].slo);
                    let place = place.unwrap_or(shared(plan).members.len());
                    shared(plan).members.insert(place, alone.members[0].clone());
                },
                breach!(Breach::IsolationBroken { others } if *others > 0),
            ),
            (
                "a group without members",
                |plan| {
                    let mut empty = shared(plan).clone();
                    empty.members.clear();
                    on_gpu(plan).groups.push(empty);
                },
                breach!(Breach::NoMembers),
            ),
            (
                "another billing",
                |plan| {
                    let other = match plan.plans[0].billing {
                        Billing::PerReplica => Billing::PerInvocation,
                        Billing::PerInvocation => Billing::PerReplica,
                    };
                    plan.plans[0].billing = other;
                },
                breach!(Breach::WrongBilling { .. }),
            ),
        ],
    );
}

#[test]
fn a_promise_that_is_not_the_declared_one_is_found() {
    expect(
        &BILLINGS,
        &[
            (
                "a looser slo",
                |plan| first(plan).slo = seconds(0.51),
                breach!(Breach::NotAsDeclared { figure: "slo", .. }),
            ),
            (
                "a laxer percentile",
                |plan| first(plan).percentile = Percentile::new(98.0).unwrap(),
                breach!(Breach::NotAsDeclared {
                    figure: "percentile",
                    ..
                }),
            ),
            (
                "a lower rate",
                |plan| first(plan).rate = Rate::new(39.0).unwrap(),
                breach!(Breach::NotAsDeclared { figure: "rate", .. }),
            ),
        ],
    );
}

#[test]
fn a_violation_says_where_what_and_what_is_allowed() {
    let request = request(Billing::PerInvocation);
    let mut broken = plan_platform(&request).unwrap();
    first(&mut broken).max_wait = seconds(0.49);
    let text = check(&request, &broken).unwrap_err().to_string();
    assert!(
        text.starts_with("model shop/vgg19, application cart: max wait 490ms, longest service ")
            && text.ends_with(" and overhead 5ms exceed the slo 500ms"),
        "{text}"
    );
}

fn share(pool: &str, units: u32) -> Device {
    Device::Gpu {
        pool: pool.to_owned(),
        units: GpuUnits::new(units).unwrap(),
    }
}

/// What the published curves give for the batch under the limit.
fn set_times(group: &mut GroupPlan, batch: u32, millis: u32) {
    let vcpu = f64::from(millis) / 1000.0;
    let at = |[alpha, beta, gamma]: [f64; 3]| alpha * (-vcpu / beta).exp() + gamma;
    let index = batch as usize - 1;
    group.batch_size = BatchSize::new(batch).unwrap();
    group.predicted.mean_batch = 1.0;
    group.predicted.mean_service = seconds(at(VGG19.cpu_mean[index]));
    group.predicted.max_service = seconds(at(VGG19.cpu_max[index]).max(at(VGG19.cpu_mean[index])));
}

/// All costs of the plan on GPUs, consistently.
fn scale_costs(found: &mut PlatformPlan, factor: f64) {
    let plan = on_gpu(found);
    plan.cost_per_second *= factor;
    for group in &mut plan.groups {
        group.predicted.cost_per_second *= factor;
        group.predicted.cost_per_request *= factor;
        for member in &mut group.members {
            member.cost_per_second *= factor;
            member.cost_per_request *= factor;
            member.explanation.alone.cost_per_second *= factor;
        }
    }
}
