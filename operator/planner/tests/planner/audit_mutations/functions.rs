//! Functions, times, waits and queues that do not keep what is promised.

use super::*;

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
