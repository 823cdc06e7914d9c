//! The plan's CPU size is what the kernel enforces.

use e2e::control_group::CpuQuota;

use crate::scenario::Scenario;
use harmonybatch_api::Device;

#[tokio::test(flavor = "multi_thread")]
async fn the_cpu_limit_in_the_kernel_is_that_of_the_plan() {
    let (scenario, apps) = Scenario::begin_served("limits").await;
    for app in apps {
        let group = scenario.group_of(&app).await;
        let Device::Cpu(cpu) = &group.spec.device else {
            panic!("a CPU plan, not {:?}", group.spec.device)
        };
        // As Kubernetes writes it: 1650m, or whole CPUs. The kernel's period is 100 ms.
        let milli = match cpu.limit.strip_suffix('m') {
            Some(milli) => milli.parse::<u64>().unwrap(),
            None => cpu.limit.parse::<u64>().unwrap() * 1000,
        };
        let pods = scenario.pods_of(group.metadata.name.as_deref().unwrap()).await;
        assert_eq!(
            pods.len(),
            usize::try_from(group.spec.replicas).unwrap(),
            "pods of {:?}",
            group.metadata.name
        );
        for pod in pods {
            let quota = scenario.cluster.cpu_quota(&pod, "runtime").unwrap();
            assert_eq!(
                quota,
                CpuQuota {
                    quota_us: Some(milli * 100),
                    period_us: 100_000
                }
            );
            let resources = pod.spec.unwrap().containers.remove(0).resources.unwrap();
            assert_eq!(
                resources.requests.unwrap()["cpu"],
                resources.limits.unwrap()["cpu"]
            );
        }
    }
    scenario.end().await;
}
