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
/// Model with profile.from Measure: its profile is measured, and of what it runs now.
pub const PROFILED: &str = "Profiled";
/// Platform with GPU pools: the devices of those whose number is limited suffice for the cheapest plans.
pub const DEVICES_SUFFICE: &str = "DevicesSuffice";

/// Model: its batches take so much longer or shorter than its profile says that the profile should be measured again. Unknown before enough of them were seen.
pub const PROFILE_DRIFT: &str = "ProfileDrift";

/// Reasons that more than one crate must agree on. A reconciler's own errors give the others: the variant's name is the reason.
pub mod reason {
    /// All is well.
    pub const OK: &str = "OK";
    /// The app names a model that does not exist.
    pub const MODEL_NOT_FOUND: &str = "ModelNotFound";
    /// The model names a platform that does not exist.
    pub const PLATFORM_NOT_FOUND: &str = "PlatformNotFound";
    /// The app names recorded arrivals that do not exist, or that the controller may not read.
    pub const TRACE_NOT_FOUND: &str = "TraceNotFound";
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
    /// The API server does not take an object; the message is the API server's.
    pub const REFUSED: &str = "Refused";
    /// Fewer requests than the percentile asks for kept the SLO.
    pub const SLO_MISSED: &str = "SLOMissed";
    /// Knative was asked for, and its API is not served.
    pub const KNATIVE_NOT_FOUND: &str = "KnativeNotFound";
    /// Some apps cannot be placed on the devices that there are; the message names them.
    pub const APPS_NOT_PLACED: &str = "AppsNotPlaced";
    /// Every app is served, some by dearer groups than with more devices; the message says how much dearer.
    pub const PLANS_DEARER: &str = "PlansDearer";
    /// No pool of the platform says how many devices it has.
    pub const NOT_LIMITED: &str = "NotLimited";
    /// No model is planned on the platform.
    pub const NOTHING_PLANNED: &str = "NothingPlanned";
    /// It is being found out.
    pub const BEING_ASSESSED: &str = "BeingAssessed";
    /// A measurement of the model waits or runs, and there is none yet.
    pub const MEASURING: &str = "Measuring";
    /// The profile was measured of what the model runs now.
    pub const MEASURED: &str = "Measured";
    /// The profile was measured of what the model ran before; it stays in use until the new one is there.
    pub const STALE: &str = "Stale";
    /// The measurement did not come to a profile; the message says why.
    pub const FAILED: &str = "Failed";
    /// The model's profile is to be measured, and there is none yet.
    pub const NOT_PROFILED: &str = "NotProfiled";
    /// Not enough requests yet to tell.
    pub const TOO_FEW_REQUESTS: &str = "TooFewRequests";
    /// Not enough batches yet to tell.
    pub const TOO_FEW_BATCHES: &str = "TooFewBatches";
    /// Batches take longer than the profile says.
    pub const SLOWER: &str = "Slower";
    /// Batches take less than the profile says.
    pub const FASTER: &str = "Faster";
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        let Ok(time) = k8s_openapi::jiff::Timestamp::from_second(second) else {
            unreachable!("a small number of seconds")
        };
        Time(time)
    }

    fn observe(status: Status, reason: &str) -> Vec<Observation> {
        vec![Observation::new(READY, status, reason, "because")]
    }

    #[test]
    fn a_transition_time_changes_with_the_status_and_with_nothing_else() {
        let first = update(&[], &observe(Status::False, "Starting"), Some(1), &at(10));
        assert_eq!(first[0].last_transition_time, at(10));
        let same = update(&first, &observe(Status::False, "Unschedulable"), Some(2), &at(20));
        assert_eq!(
            (
                &same[0].last_transition_time,
                same[0].reason.as_str(),
                same[0].observed_generation
            ),
            (&at(10), "Unschedulable", Some(2))
        );
        let other = update(&same, &observe(Status::True, "OK"), Some(2), &at(30));
        assert_eq!(other[0].last_transition_time, at(30));
        assert!(is_true(&other, READY) && !is_true(&same, READY));
    }

    #[test]
    fn the_same_observation_gives_the_same_conditions() {
        let first = update(&[], &observe(Status::Unknown, "TooFewRequests"), None, &at(10));
        assert_eq!(
            update(&first, &observe(Status::Unknown, "TooFewRequests"), None, &at(99)),
            first
        );
    }

    #[test]
    fn conditions_of_other_writers_are_not_repeated() {
        let others = update(&[], &[Observation::new(SLO_MET, true, "OK", "")], None, &at(1));
        let ours = update(&others, &observe(Status::True, "OK"), None, &at(2));
        assert_eq!(
            ours.iter()
                .map(|condition| condition.type_.as_str())
                .collect::<Vec<_>>(),
            [READY]
        );
    }

    #[test]
    fn a_message_too_long_for_the_schema_is_cut() {
        let long = [Observation::new(READY, false, "Unschedulable", "ü".repeat(5000))];
        assert_eq!(update(&[], &long, None, &at(1))[0].message.chars().count(), 4096);
    }
}
