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
fn a_function_that_is_not_on_offer_or_too_small_is_found() {
    expect(
        &BILLINGS,
        &[
            (
                "between two limits of the grid",
                |plan| {
                    on_cpu(plan).device = Device::Cpu {
                        vcpu: Vcpu::from_millis(1001).unwrap(),
                    }
                },
                breach!(Breach::NotOffered { .. }),
            ),
            (
                "above the grid",
                |plan| {
                    on_cpu(plan).device = Device::Cpu {
                        vcpu: Vcpu::from_millis(16_050).unwrap(),
                    }
                },
                breach!(Breach::NotOffered { .. }),
            ),
            (
                "a share that the pool does not have",
                |plan| shared(plan).device = share("a10", 3),
                breach!(Breach::NotOffered { .. }),
            ),
            (
                "a pool that there is not",
                |plan| shared(plan).device = share("h100", 4),
                breach!(Breach::NotOffered { .. }),
            ),
            (
                "a pool that the profile does not know",
                |plan| shared(plan).device = share("t4", 4),
                breach!(Breach::NoProfile { .. }),
            ),
            (
                "a device that the profile does not know",
                |plan| {
                    shared(plan).device = Device::Cpu {
                        vcpu: Vcpu::from_millis(1000).unwrap(),
                    }
                },
                breach!(Breach::NoProfile { .. }),
            ),
            (
                "a batch that nobody profiled",
                |plan| on_cpu(plan).batch_size = BatchSize::new(5).unwrap(),
                breach!(Breach::BatchTooLarge { found: 5, limit: 4 }),
            ),
            (
                "a batch that the model does not take",
                |plan| shared(plan).batch_size = BatchSize::new(65).unwrap(),
                breach!(Breach::BatchTooLarge { found: 65, limit: 64 }),
            ),
            (
                // 1 Gi and 64 times 128 Mi, on 2 Gi.
                "a batch that does not fit the share",
                |plan| {
                    shared(plan).device = share("a10", 2);
                    shared(plan).batch_size = BatchSize::new(64).unwrap();
                },
                breach!(Breach::OutOfMemory {
                    batch: 64,
                    needed: Bytes(0x2_4000_0000),
                    available: Bytes(0x8000_0000)
                }),
            ),
            (
                "no replica",
                |plan| shared(plan).replicas = 0,
                breach!(Breach::WrongReplicas { found: 0, .. }),
            ),
            (
                "more replicas than the API takes",
                |plan| shared(plan).replicas = 10_001,
                breach!(Breach::WrongReplicas {
                    found: 10_001,
                    limit: 10_000
                }),
            ),
        ],
    );
}

#[test]
fn times_that_break_an_slo_are_found() {
    expect(
        &BILLINGS,
        &[
            (
                "a faster function than there is",
                |plan| shared(plan).predicted.mean_service = seconds(1e-4),
                breach!(Breach::Miscalculated {
                    figure: "mean service",
                    ..
                }),
            ),
            (
                "a shorter longest service",
                |plan| shared(plan).predicted.max_service = seconds(1e-4),
                breach!(Breach::Miscalculated {
                    figure: "longest service",
                    ..
                }),
            ),
            (
                "a bound above the slo",
                |plan| first(plan).latency_bound = seconds(first(plan).slo.get() + 0.001),
                breach!(Breach::BoundAboveSlo { .. }),
            ),
        ],
    );
}

#[test]
fn waits_that_break_an_slo_or_fill_other_batches_are_found() {
    expect(
        &[Billing::PerInvocation],
        &[
            (
                "a longer wait",
                |plan| first(plan).max_wait = seconds(first(plan).max_wait.get() + 1e-6),
                breach!(Breach::TooLate { .. }),
            ),
            (
                "a shorter wait, which fills smaller batches",
                |plan| first(plan).max_wait = seconds(first(plan).max_wait.get() / 2.0),
                breach!(Breach::Miscalculated {
                    figure: "mean batch",
                    ..
                }),
            ),
            (
                "no wait for a batch",
                |plan| shared(plan).dispatch = Dispatch::Eager,
                breach!(Breach::WaitsThoughEager { .. }),
            ),
            (
                "nobody waits",
                |plan| {
                    shared(plan).dispatch = Dispatch::Eager;
                    shared(plan)
                        .members
                        .iter_mut()
                        .for_each(|member| member.max_wait = Seconds::ZERO);
                },
                breach!(Breach::NotTimed),
            ),
            (
                "a verdict that no simulation gave",
                |plan| shared(plan).verified = true,
                breach!(Breach::WrongVerdict {
                    verified: true,
                    simulated: 0,
                    ..
                }),
            ),
        ],
    );
}

#[test]
fn queues_that_break_an_slo_are_found() {
    expect(
        &[Billing::PerReplica],
        &[
            (
                "a wait that leaves no time for the service",
                |plan| {
                    shared(plan).dispatch = Dispatch::Timed;
                    first(plan).max_wait = seconds(first(plan).slo.get() - 0.005);
                },
                breach!(Breach::TooLate { .. }),
            ),
            (
                "a wait where nothing waits",
                |plan| first(plan).max_wait = seconds(0.001),
                breach!(Breach::WaitsThoughEager { .. }),
            ),
            (
                "a simulation that some members were not in",
                |plan| first(plan).simulated = None,
                breach!(Breach::WrongVerdict { verified: true, .. }),
            ),
            (
                "a verdict that was not told",
                |plan| shared(plan).verified = false,
                breach!(Breach::WrongVerdict { verified: false, .. }),
            ),
            (
                "an attainment below the percentile",
                |plan| first(plan).simulated.as_mut().unwrap().attainment = 0.989,
                breach!(Breach::NotAttained { .. }),
            ),
            (
                // One row takes up to 0.97 s.
                "a function that is too slow for one row",
                |plan| {
                    on_cpu(plan).device = Device::Cpu {
                        vcpu: Vcpu::from_millis(50).unwrap(),
                    };
                    set_times(on_cpu(plan), 1, 50);
                    on_cpu(plan).replicas = 100;
                },
                breach!(Breach::TooSlow { .. }),
            ),
            (
                "a batch that cannot keep up with the rate",
                |plan| {
                    let group = on_cpu(plan);
                    group.device = Device::Cpu {
                        vcpu: Vcpu::from_millis(50).unwrap(),
                    };
                    set_times(group, 4, 50);
                    group.replicas = 1;
                },
                breach!(Breach::Overloaded { .. }),
            ),
        ],
    );
}

#[test]
fn costs_that_are_wrong_or_do_not_add_up_are_found() {
    expect(
        &BILLINGS,
        &[
            (
                "a member pays double",
                |plan| first(plan).cost_per_second *= 2.0,
                breach!(Breach::DoesNotAddUp {
                    parts: "the members' costs",
                    ..
                }),
            ),
            (
                "the plan costs double",
                |plan| on_gpu(plan).cost_per_second *= 2.0,
                breach!(Breach::DoesNotAddUp {
                    parts: "the groups' costs",
                    ..
                }),
            ),
            (
                "a request of the group costs double",
                |plan| shared(plan).predicted.cost_per_request *= 2.0,
                breach!(Breach::Miscalculated {
                    figure: "cost per request",
                    ..
                }),
            ),
            (
                "a request of a member costs double",
                |plan| first(plan).cost_per_request *= 2.0,
                breach!(Breach::Miscalculated {
                    figure: "cost per request",
                    ..
                }),
            ),
            (
                "one member pays for another",
                |plan| {
                    let alone = first(plan).explanation.alone.cost_per_second;
                    let member = first(plan);
                    let more = alone * 1.001 - member.cost_per_second;
                    member.cost_per_second += more;
                    member.cost_per_request = member.cost_per_second / member.rate.get();
                    let other = &mut shared(plan).members[1];
                    other.cost_per_second -= more;
                    other.cost_per_request = other.cost_per_second / other.rate.get();
                },
                breach!(Breach::DearerThanAlone { .. } | Breach::OutOfBounds { .. }),
            ),
            (
                "everything costs double",
                |plan| scale_costs(plan, 2.0),
                breach!(
                    Breach::Miscalculated {
                        figure: "cost per second",
                        ..
                    } | Breach::OutOfBounds {
                        figure: "cost per second",
                        ..
                    }
                ),
            ),
            (
                "everything costs a millionth more",
                |plan| scale_costs(plan, 1.000_001),
                breach!(Breach::Miscalculated {
                    figure: "cost per second",
                    ..
                }),
            ),
        ],
    );
    expect(
        &[Billing::PerInvocation],
        &[
            (
                "a larger mean batch",
                |plan| {
                    let group = shared(plan);
                    group.predicted.mean_batch *= 1.001;
                    group.predicted.utilization /= 1.001;
                },
                breach!(Breach::Miscalculated {
                    figure: "mean batch",
                    ..
                }),
            ),
            (
                "another utilization",
                |plan| shared(plan).predicted.utilization *= 0.9,
                breach!(Breach::Miscalculated {
                    figure: "utilization",
                    ..
                }),
            ),
        ],
    );
}

#[test]
fn what_is_no_number_is_found() {
    expect(
        &BILLINGS,
        &[
            (
                "NaN for the group's cost",
                |plan| shared(plan).predicted.cost_per_second = f64::NAN,
                breach!(Breach::OutOfBounds { figure: "cost per second", found, .. } if found.is_nan()),
            ),
            (
                "infinity for a member's cost",
                |plan| first(plan).cost_per_second = f64::INFINITY,
                breach!(Breach::OutOfBounds {
                    figure: "cost per second",
                    ..
                }),
            ),
            (
                "a negative cost of a request",
                |plan| first(plan).cost_per_request = -1e-9,
                breach!(Breach::OutOfBounds {
                    figure: "cost per request",
                    ..
                }),
            ),
            (
                "NaN for the plan's cost",
                |plan| on_gpu(plan).cost_per_second = f64::NAN,
                breach!(Breach::DoesNotAddUp { .. }),
            ),
            (
                "more than all the time",
                |plan| shared(plan).predicted.utilization = 1.01,
                breach!(Breach::OutOfBounds {
                    figure: "utilization",
                    ..
                }),
            ),
            (
                "batches of less than a row",
                |plan| shared(plan).predicted.mean_batch = 0.9,
                breach!(Breach::OutOfBounds {
                    figure: "mean batch",
                    ..
                }),
            ),
            (
                "batches above their size",
                |plan| shared(plan).predicted.mean_batch = 65.0,
                breach!(Breach::OutOfBounds {
                    figure: "mean batch",
                    ..
                }),
            ),
            (
                "a saving above everything",
                |plan| first(plan).explanation.saving = 1.5,
                breach!(Breach::OutOfBounds { figure: "saving", .. }),
            ),
            (
                "NaN for a cost alone",
                |plan| first(plan).explanation.alone.cost_per_second = f64::NAN,
                breach!(Breach::OutOfBounds {
                    figure: "cost alone",
                    ..
                }),
            ),
        ],
    );
}

#[test]
fn a_refusal_without_a_cause_is_found() {
    let refuse = |plan: &mut PlatformPlan, reason| on_gpu(plan).infeasible[0].reason = reason;
    for billing in BILLINGS {
        let request = request(billing);
        let valid = plan_platform(&request).unwrap();
        let InfeasibleReason::SloTooTight { slo, fastest, device } =
            valid.plans[1].infeasible[0].reason.clone()
        else {
            panic!("{:?}", valid.plans[1].infeasible)
        };
        let tight = |slo, fastest, device| InfeasibleReason::SloTooTight { slo, fastest, device };
        let wrong = [
            InfeasibleReason::NoDevice,
            InfeasibleReason::OutOfMemory {
                needed: Bytes(1 << 40),
                largest: Bytes(1 << 30),
            },
            tight(seconds(0.004), fastest, device.clone()),
            tight(slo, seconds(0.02), device.clone()),
            tight(slo, fastest, share("a10", 2)),
            InfeasibleReason::RateTooHigh {
                rate: 1.0,
                needed: 10_001,
                limit: 10_000,
                device: device.clone(),
            },
            InfeasibleReason::PoolExhausted {
                pool: "t4".into(),
                devices: 3,
            },
            InfeasibleReason::PercentileUnattainable,
            InfeasibleReason::ArrivalsNotPoisson,
        ];
        for reason in wrong {
            let mut broken = valid.clone();
            refuse(&mut broken, reason.clone());
            let found = check(&request, &broken).unwrap_err();
            assert_eq!(*found.breach, Breach::Groundless { reason }, "{billing:?}");
            let place = Place::App {
                namespace: "shop".into(),
                model: "vgg19".into(),
                app: "tight".into(),
            };
            assert_eq!(found.place, place);
        }
        for nearest in [None, Some(seconds(0.003)), Some(seconds(0.5))] {
            let mut broken = valid.clone();
            on_gpu(&mut broken).infeasible[0].nearest_slo = nearest;
            let found = check(&request, &broken).unwrap_err();
            assert!(matches!(*found.breach, Breach::WrongNearestSlo { .. }), "{found}");
        }
    }
}

#[test]
fn devices_that_are_miscounted_or_missing_are_found() {
    expect(
        &BILLINGS,
        &[
            (
                "fewer units than the groups take",
                |plan| plan.pools[0].units -= 1,
                breach!(Breach::WrongPoolUse { figure: "units", .. }),
            ),
            (
                "fewer devices than the shares need",
                |plan| plan.pools[0].devices -= 1,
                breach!(Breach::WrongPoolUse {
                    figure: "devices",
                    ..
                }),
            ),
            (
                "another limit",
                |plan| plan.pools[0].limit = Some(7),
                breach!(Breach::WrongPoolUse { figure: "limit", .. }),
            ),
            (
                "a pool is missing",
                |plan| drop(plan.pools.pop()),
                breach!(Breach::WrongPools { .. }),
            ),
        ],
    );
    // The same plan on a platform with fewer devices than it takes.
    let wanted = request(Billing::PerReplica);
    let mut found = plan_platform(&wanted).unwrap();
    let pools = wanted.platform.gpu_pools().iter();
    let none = pools.map(|pool| pool.clone().with_devices(Some(0))).collect();
    let platform = Platform::new(Billing::PerReplica, prices(), seconds(0.005), Some(grid()), none);
    let scarce = PlanRequest {
        platform: platform.unwrap(),
        ..wanted
    };
    found.pools.iter_mut().for_each(|used| used.limit = Some(0));
    let breach = check(&scarce, &found).unwrap_err().breach;
    assert!(
        matches!(
            *breach,
            Breach::PoolFull {
                needed: 1..,
                limit: 0
            }
        ),
        "{breach}"
    );
}

#[test]
fn under_the_papers_law_batches_that_do_not_fill_are_found() {
    let PlanRequest { platform, models } = request(Billing::PerInvocation);
    let request = PlanRequest {
        platform: platform.with_arrivals(ArrivalModel::Paper),
        models,
    };
    let valid = plan_platform(&request).unwrap();
    check_thoroughly(&request, &valid).unwrap();
    // Half a row a second, and hardly two seconds to wait: four rows do not come in time.
    let mut broken = valid.clone();
    let group = on_cpu(&mut broken);
    let rate: f64 = group.members.iter().map(|member| member.rate.get()).sum();
    group.device = Device::Cpu {
        vcpu: Vcpu::from_millis(16_000).unwrap(),
    };
    set_times(group, 4, 16_000);
    group.predicted.mean_batch = 4.0;
    let (mean, longest) = (
        group.predicted.mean_service.get(),
        group.predicted.max_service.get(),
    );
    group.predicted.utilization = rate / 4.0 * mean / f64::from(group.replicas);
    for member in &mut group.members {
        member.max_wait = seconds(member.slo.get() - 0.005 - longest);
    }
    let found = check(&request, &broken).unwrap_err().breach;
    assert!(
        matches!(*found, Breach::DoesNotFill { batch: 4, filled } if filled < 2.5),
        "{found}"
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
