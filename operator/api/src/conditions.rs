//! Conditions as a pure function: what was there, what is observed, and now give what is to be written.
//!
//! Every writer owns the conditions of its types and applies only those; the lists in the schema are keyed by type, so writers do not disturb each
//! other under server-side apply.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// App, model, platform: the object is well formed, and what it refers to exists.
pub const ACCEPTED: &str = "Accepted";
/// App, model: it is in a plan that keeps its SLO.
pub const PLANNED: &str = "Planned";
/// App: callers are answered. Group: as many replicas are ready as the plan wants.
///
/// While False, its reason is that of the first condition that stands in the way, because the column REASON shows this one.
pub const READY: &str = "Ready";
/// App: the SLO was kept over the last hour. Unknown below 1 / (1 - percentile) requests.
pub const SLO_MET: &str = "SLOMet";
/// Group: it comes nearer to what the plan wants. False when it is stuck, with the reason.
pub const PROGRESSING: &str = "Progressing";

/// Reasons that more than one crate must agree on. A reconciler's own errors give the others: the variant's name is the reason.
pub mod reason {
    /// All is well.
    pub const OK: &str = "OK";
    /// The app names a model that does not exist.
    pub const MODEL_NOT_FOUND: &str = "ModelNotFound";
    /// The model names a platform that does not exist.
    pub const PLATFORM_NOT_FOUND: &str = "PlatformNotFound";
    /// A field is wrong; the message names it.
    pub const INVALID: &str = "Invalid";
    /// A Service of the wanted name exists and is not ours.
    pub const SERVICE_NAME_TAKEN: &str = "ServiceNameTaken";
    /// No configuration keeps the SLO; the message has the nearest SLO that can be kept.
    pub const INFEASIBLE: &str = "Infeasible";
    /// Pods are being started.
    pub const STARTING: &str = "Starting";
    /// The scheduler finds no place for a pod; the message is the scheduler's.
    pub const UNSCHEDULABLE: &str = "Unschedulable";
    /// A rollout needs GPU shares that are not free.
    pub const NO_SPARE_SHARES: &str = "NoSpareShares";
    /// Knative was asked for, and its API is not served.
    pub const KNATIVE_NOT_FOUND: &str = "KnativeNotFound";
    /// Not enough requests yet to tell.
    pub const TOO_FEW_REQUESTS: &str = "TooFewRequests";
}

/// Longest message that the schema takes, in characters.
const MAX_MESSAGE: usize = 4096;

/// Status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It cannot be told.
    Unknown,
}

impl Status {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Status {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What is observed of one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// Type of the condition: one of the constants of this module.
    pub type_: &'static str,
    /// Whether it holds.
    pub status: Status,
    /// One CamelCase word for machines.
    pub reason: String,
    /// What was found, what is allowed, what to do.
    pub message: String,
}

impl Observation {
    /// An observation of its parts.
    pub fn new(
        type_: &'static str,
        status: impl Into<Status>,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_,
            status: status.into(),
            reason: reason.into(),
            message: message.into(),
        }
    }
}

/// The conditions to write for `observed`, in its order.
///
/// A condition whose status has not changed keeps the time of its last transition. `old` may hold conditions of other writers: they are not repeated.
pub fn update(
    old: &[Condition],
    observed: &[Observation],
    generation: Option<i64>,
    now: &Time,
) -> Vec<Condition> {
    observed
        .iter()
        .map(|observation| {
            let status = observation.status.as_str();
            let last_transition_time = find(old, observation.type_)
                .filter(|condition| condition.status == status)
                .map_or_else(|| now.clone(), |condition| condition.last_transition_time.clone());
            Condition {
                type_: observation.type_.to_owned(),
                status: status.to_owned(),
                reason: observation.reason.clone(),
                message: observation.message.chars().take(MAX_MESSAGE).collect(),
                observed_generation: generation,
                last_transition_time,
            }
        })
        .collect()
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether the condition of a type is there and True.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == Status::True.as_str())
}
