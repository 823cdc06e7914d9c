//! Open-loop load generator for the Open Inference Protocol v2: Poisson arrivals for each application, latency from the
//! time at which a request was meant to be sent, a verdict on every SLO, and a nonce in every row.
//!
//! [`run`] takes a [`Plan`] and gives a [`Report`]; [`start`] gives a handle to change rates, look at the report so far, and
//! stop, so that a test can change things under load. An open loop sends when a request is due, whether or not earlier ones
//! were answered: a server that stalls is charged for everybody who came meanwhile (no coordinated omission).
//!
//! [`closed`] is for the most that a server can do: callers that each ask again as soon as they are answered.
//!
//! [`measure`] drives one endpoint with one batch at a time, and [`fit`] turns such measurements at several CPU limits into the
//! coefficients of a latency profile; [`profile`] does both with a runtime of its own.

mod alarm;
mod arrivals;
mod client;
pub mod closed;
mod exchange;
pub mod fit;
mod generator;
pub mod measure;
mod plan;
pub mod profile;
mod report;

pub use generator::{Running, run, start};
pub use plan::{App, Plan, PlanError, parse_duration, parse_rate};
pub use report::{AppReport, Failure, Outcome, Report, Sample};
