//! Names that several processes must agree on: the API group, labels, field managers, and how the names of made objects are built.

use crate::quantity::Cpu;

/// API group of every kind.
pub const GROUP: &str = "harmonybatch.dev";
/// API version of every kind.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of every kind.
pub const API_VERSION: &str = "harmonybatch.dev/v1alpha1";

/// Name of the InferencePlatform that a model uses unless it names another, and which the controller creates when it is absent.
pub const DEFAULT_PLATFORM: &str = "default";

/// Label on everything made for a group: the group's name.
pub const GROUP_LABEL: &str = "harmonybatch.dev/group";
/// Label on everything made for a group: the name of the group's model.
pub const MODEL_LABEL: &str = "harmonybatch.dev/model";
/// Label on the Service made for an application's callers: the application's name.
pub const APP_LABEL: &str = "harmonybatch.dev/app";
/// Label on everything made for a model's measurement: the model's name.
pub const PROFILED_MODEL_LABEL: &str = "harmonybatch.dev/profiled-model";
/// The standard label that says who manages an object; its value here is [`MANAGED_BY`].
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`] on everything that the operator makes.
pub const MANAGED_BY: &str = "harmonybatch";

/// Field manager of the plan reconciler: group specs, caller Services, and the status of apps, models and platforms.
pub const PLAN_MANAGER: &str = "harmonybatch-plan";
/// Field manager of the serve reconciler: serving objects and the status of groups.
pub const SERVE_MANAGER: &str = "harmonybatch-serve";
/// Field manager of the observer: `status.observed` and the condition `SLOMet` of apps.
pub const OBSERVE_MANAGER: &str = "harmonybatch-observe";
/// Field manager of the profiles reconciler: the condition `Profiled` of models, and what is made for measurements.
pub const MEASURE_MANAGER: &str = "harmonybatch-measure";
/// Field manager of `harmonybatch profile`: a model's `status.profile`, or with --apply the profile in its spec.
pub const PROFILE_MANAGER: &str = "harmonybatch-profile";

/// Name of the container that runs the model.
pub const RUNTIME_CONTAINER: &str = "runtime";
/// Name of the runtime's port, in the container, the Service and the EndpointSlices.
pub const RUNTIME_PORT: &str = "http";
/// Port on which a runtime listens unless the model says otherwise.
pub const DEFAULT_RUNTIME_PORT: i32 = 8080;
/// Path that answers 200 once a runtime's model is loaded, unless the model says otherwise: the Open Inference Protocol's.
pub const DEFAULT_READINESS_PATH: &str = "/v2/health/ready";

/// Longest name of an InferenceApp or InferenceModel: leaves room, within the 63 characters of a DNS label, for what is appended to it
/// (`-k4x2p` by us, `-00001-deployment` by Knative).
pub const MAX_NAME_LENGTH: usize = 40;

/// Letters and digits that Kubernetes itself uses in generated names: no vowels, so no words; no 0, 1, 3, so nothing to mistake.
const SUFFIX_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;

/// Name of a group: `<model>-<5 characters>`, the characters a hash of `seed`.
///
/// The same seed gives the same name, in every process and version. Where the name is taken by another group, the caller adds to the seed.
pub fn group_name(model: &str, seed: &str) -> String {
    let mut hash = fnv(seed);
    // Its low bits are the well-mixed ones only after folding.
    hash ^= hash >> 32;
    let alphabet = SUFFIX_ALPHABET.len() as u64;
    let mut name = String::with_capacity(model.len() + 1 + SUFFIX_LENGTH);
    name.push_str(model);
    name.push('-');
    for _ in 0..SUFFIX_LENGTH {
        let index = usize::try_from(hash % alphabet).unwrap_or_default();
        name.push(char::from(SUFFIX_ALPHABET[index]));
        hash /= alphabet;
    }
    name
}

/// A text's hash in 16 hexadecimal digits: the same in every process and version.
pub fn hash(text: &str) -> String {
    format!("{:016x}", fnv(text))
}

/// FNV-1a, 64 bits: stable by definition, unlike the standard library's hasher.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Name of the Job that measures a model: `<model>-profile-<5 characters>`, the characters a hash of `seed`.
pub fn profile_job_name(model: &str, seed: &str) -> String {
    group_name(&profiler_name(model), seed)
}

/// Name of the ServiceAccount, Role and RoleBinding of a model's measurement: `<model>-profile`.
pub fn profiler_name(model: &str) -> String {
    format!("{model}-profile")
}

/// Name of the pod that is measured under a CPU limit: `<model>-profile-<limit>`.
pub fn measured_pod_name(model: &str, cpu: Cpu) -> String {
    format!("{model}-profile-{}m", cpu.millis())
}

/// Name of a group's Deployment and headless Service: `<group>-serve`. It differs from the Knative Service's name (`<group>`), so that switching
/// between the two never clashes.
pub fn serving_name(group: &str) -> String {
    format!("{group}-serve")
}

/// Name of the Service for an application's callers, unless `spec.serviceName` says otherwise: `<app>-infer`.
pub fn caller_service_name(app: &str) -> String {
    format!("{app}-infer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_name_depends_on_model_and_seed_only() {
        assert_eq!(
            group_name("vgg19", "cpu 1650m b8"),
            group_name("vgg19", "cpu 1650m b8")
        );
        assert_ne!(
            group_name("vgg19", "cpu 1650m b8"),
            group_name("vgg19", "cpu 1700m b8")
        );
        // Published in statuses and object names: a changed hash would rename every group of a running cluster.
        assert_eq!(group_name("vgg19", ""), "vgg19-7qmr2");
    }

    #[test]
    fn the_longest_model_name_leaves_room_for_knatives_suffix() {
        let group = group_name(&"m".repeat(MAX_NAME_LENGTH), "seed");
        assert!(group.len() + "-00001-deployment".len() <= 63, "{group}");
        assert!(serving_name(&group).len() <= 63);
        let job = profile_job_name(&"m".repeat(MAX_NAME_LENGTH), "seed");
        assert!(job.len() + "-abcde".len() <= 63, "{job}");
        let pod = measured_pod_name(&"m".repeat(MAX_NAME_LENGTH), Cpu::from_millis(10_000_000));
        assert!(pod.len() <= 63, "{pod}");
    }

    #[test]
    fn different_seeds_rarely_meet() {
        let names: std::collections::BTreeSet<_> =
            (0..2000).map(|i| group_name("m", &format!("seed {i}"))).collect();
        // 2000 draws out of 27^5 = 14.3 million: 0.14 expected collisions.
        assert!(names.len() >= 1998, "{} different names", names.len());
    }
}
