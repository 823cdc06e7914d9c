//! What can be wrong with a plan, and where.

use std::fmt;

use crate::plan::{Device, InfeasibleReason};
use crate::platform::Billing;
use crate::units::{Bytes, Headroom, Seconds};

/// A promise that a plan breaks.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{place}: {breach}")]
pub struct Violation {
    /// Where.
    pub place: Place,
    /// What was found and what is allowed.
    pub breach: Box<Breach>,
}

/// A part of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The plans of a platform together.
    Platform,
    /// What the plans take of a pool.
    Pool(String),
    /// The plan of a model.
    Model {
        /// The model's namespace.
        namespace: String,
        /// The model.
        model: String,
    },
    /// A group of a model's plan.
    Group {
        /// The model's namespace.
        namespace: String,
        /// The model.
        model: String,
        /// Which of the plan's groups, from 0.
        group: usize,
    },
    /// An application of a model's plan.
    App {
        /// The model's namespace.
        namespace: String,
        /// The model.
        model: String,
        /// The application.
        app: String,
    },
}

impl fmt::Display for Place {
    /// `model shop/vgg19, group 2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => write!(f, "platform"),
            Self::Pool(pool) => write!(f, "gpu pool {pool}"),
            Self::Model { namespace, model } => write!(f, "model {namespace}/{model}"),
            Self::Group {
                namespace,
                model,
                group,
            } => write!(f, "model {namespace}/{model}, group {group}"),
            Self::App {
                namespace,
                model,
                app,
            } => write!(f, "model {namespace}/{model}, application {app}"),
        }
    }
}

/// What is wrong with a part of a plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Breach {
    /// The plans are not those of the requested models, in order of namespace and model.
    #[error("the plans are of {found}; the models that were asked for are {expected}")]
    WrongModels {
        /// Namespaces and models of the plans.
        found: String,
        /// Those of the request, in order.
        expected: String,
    },
    /// The plan is made for another billing.
    #[error("the plan is made for {found:?}; the platform bills {expected:?}")]
    WrongBilling {
        /// The plan's.
        found: Billing,
        /// The platform's.
        expected: Billing,
    },
    /// The plan leaves another headroom.
    #[error("the plan leaves a headroom of {found}; the platform's is {expected}")]
    WrongHeadroom {
        /// The plan's.
        found: Headroom,
        /// The platform's.
        expected: Headroom,
    },
    /// An application that the model does not have.
    #[error("the model has no such application")]
    UnknownApp,
    /// An application that occurs twice.
    #[error("it is planned more than once")]
    PlannedTwice,
    /// An application that occurs nowhere.
    #[error("it is in no group and is not said to be infeasible")]
    Forgotten,
    /// A group without members.
    #[error("it has no members")]
    NoMembers,
    /// A group with more members than the API takes.
    #[error("it has {found} members; at most {limit} are allowed")]
    TooManyMembers {
        /// How many it has.
        found: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Something is not where the order asks for it.
    #[error("{list} are not in order: {second} comes after {first}")]
    OutOfOrder {
        /// What is listed.
        list: &'static str,
        /// What comes first.
        first: String,
        /// What comes after it and should not.
        second: String,
    },
    /// An application that asked to be alone shares a batch.
    #[error("it is isolated, and shares a group with {others} others")]
    IsolationBroken {
        /// How many others there are.
        others: usize,
    },
    /// A promise is not the one that was asked for.
    #[error("{figure} {found} is not the declared {declared}")]
    NotAsDeclared {
        /// The field.
        figure: &'static str,
        /// What the plan says.
        found: f64,
        /// What the application says.
        declared: f64,
    },
    /// The platform has no device of this size.
    #[error("the platform does not offer {device}")]
    NotOffered {
        /// Device and size.
        device: Device,
    },
    /// Nobody knows how long the model takes there.
    #[error("the model has no latency profile for {device}")]
    NoProfile {
        /// Device and size.
        device: Device,
    },
    /// A larger batch than the model takes, or than it was profiled for.
    #[error("batch {found} exceeds the {limit} rows that the model and its profile allow")]
    BatchTooLarge {
        /// The batch.
        found: u32,
        /// The largest that is allowed.
        limit: u32,
    },
    /// The share has too little memory for the batch.
    #[error("a batch of {batch} rows needs {needed} of device memory; the share has {available}")]
    OutOfMemory {
        /// The batch.
        batch: u32,
        /// What it needs.
        needed: Bytes,
        /// What there is.
        available: Bytes,
    },
    /// A number of replicas that is not allowed.
    #[error("replicas {found} must be between 1 and {limit}")]
    WrongReplicas {
        /// The number.
        found: u32,
        /// The largest that is allowed.
        limit: u32,
    },
    /// The replicas are too slow for the load.
    #[error("its rate of {rate}/s exceeds the {capacity}/s that its replicas can serve")]
    Overloaded {
        /// Rows per second of all members.
        rate: f64,
        /// Rows per second that all replicas serve in full batches.
        capacity: f64,
    },
    /// Functions that cost while they run wait for their batches.
    #[error("dispatch is Eager; functions that are billed by invocation are Timed")]
    NotTimed,
    /// A wait where nothing waits.
    #[error("max wait {found} must be 0 where dispatch is Eager")]
    WaitsThoughEager {
        /// The wait.
        found: Seconds,
    },
    /// Wait and longest service exceed the SLO.
    #[error("max wait {wait}, longest service {service} and overhead {overhead} exceed the slo {slo}")]
    TooLate {
        /// How long a request may wait.
        wait: Seconds,
        /// The longest service of a batch of any size up to the group's.
        service: Seconds,
        /// The platform's overhead.
        overhead: Seconds,
        /// The SLO.
        slo: Seconds,
    },
    /// Not even one row alone is in time.
    #[error("one row takes up to {service} with an overhead of {overhead}; the slo is {slo}")]
    TooSlow {
        /// The longest service of one row.
        service: Seconds,
        /// The platform's overhead.
        overhead: Seconds,
        /// The SLO.
        slo: Seconds,
    },
    /// The latency that the plan holds below the SLO is not below it.
    #[error("latency bound {found} exceeds the slo {slo}")]
    BoundAboveSlo {
        /// The bound.
        found: Seconds,
        /// The SLO.
        slo: Seconds,
    },
    /// Under the paper's law: batches that do not fill in time.
    #[error("batches of {batch} rows do not fill in time: {filled} rows come within the equivalent timeout")]
    DoesNotFill {
        /// The batch.
        batch: u32,
        /// What comes in time.
        filled: f64,
    },
    /// A verdict without, or in spite of, what it rests on.
    #[error("verified is {verified}, and {simulated} of {members} members were simulated")]
    WrongVerdict {
        /// Whether the group counts as verified.
        verified: bool,
        /// Members with a simulation.
        simulated: usize,
        /// All members.
        members: usize,
    },
    /// The simulation that verified the group says otherwise.
    #[error("attainment {found} is below the {needed} that its percentile asks for")]
    NotAttained {
        /// The simulated attainment.
        found: f64,
        /// The percentile, as a fraction.
        needed: f64,
    },
    /// A number that is none, or out of its bounds.
    #[error("{figure} {found:e} must be between {least:e} and {most:e}")]
    OutOfBounds {
        /// The field.
        figure: &'static str,
        /// What was found.
        found: f64,
        /// The least that is allowed.
        least: f64,
        /// The most that is allowed.
        most: f64,
    },
    /// A number that is not what the definitions give.
    #[error("{figure} {found:e} is not the {expected:e} that the definitions give")]
    Miscalculated {
        /// The field.
        figure: &'static str,
        /// What was found.
        found: f64,
        /// What it should be.
        expected: f64,
    },
    /// Parts that do not sum to the whole.
    #[error("{parts} sum to {sum:e}, not to {whole:e}")]
    DoesNotAddUp {
        /// What is summed.
        parts: &'static str,
        /// Their sum.
        sum: f64,
        /// What it should be.
        whole: f64,
    },
    /// An application pays for its neighbours.
    #[error("it pays {found:e} a second; alone it would pay {alone:e}")]
    DearerThanAlone {
        /// Its part of the group's cost.
        found: f64,
        /// Its cost alone.
        alone: f64,
    },
    /// An application is refused for something that is not so.
    #[error("it is refused without a cause: {reason}")]
    Groundless {
        /// The reason that was given.
        reason: InfeasibleReason,
    },
    /// A refused application is offered an SLO that it could not have.
    #[error("nearest slo {found} must be given for an slo that is too tight, and be at least {fastest}")]
    WrongNearestSlo {
        /// What was offered; infinity for nothing.
        found: f64,
        /// The smallest SLO in seconds that anything keeps.
        fastest: f64,
    },
    /// A refused application is offered a headroom that it could not have, or another one than the largest, or none.
    #[error("nearest headroom {} must be given where the headroom {in_force} makes an slo too tight, and be the largest that does not", .found.map_or_else(|| "-".to_owned(), |found| found.to_string()))]
    WrongNearestHeadroom {
        /// What was offered.
        found: Option<Headroom>,
        /// The platform's.
        in_force: Headroom,
    },
    /// The pools are not those of the platform, in order of name.
    #[error("the pools are {found}; the platform's are {expected}")]
    WrongPools {
        /// Those of the plan.
        found: String,
        /// Those of the platform.
        expected: String,
    },
    /// The use of a pool is not what the groups take.
    #[error("{figure} {found} is not {expected}")]
    WrongPoolUse {
        /// The field.
        figure: &'static str,
        /// What was found.
        found: u64,
        /// What it should be.
        expected: u64,
    },
    /// The groups take more devices than there are.
    #[error("its shares need {needed} devices; there are {limit}")]
    PoolFull {
        /// What the shares were packed onto.
        needed: u64,
        /// What there is.
        limit: u32,
    },
    /// A shortage that is none, or that is not told.
    #[error("a shortage of devices is told where there is none, or not told where there is one")]
    WrongShortage,
}
