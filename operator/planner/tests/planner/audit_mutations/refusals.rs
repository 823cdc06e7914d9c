//! Refusals without a cause, and devices that are not there.

use super::*;

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
