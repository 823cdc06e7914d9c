//! The planner from the outside: the worked example, the best of all partitions, properties, bad input.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_input;
mod batch_law;
mod explanation;
mod fixture;
mod holdout;
mod partitions;
mod plan_diff;
mod properties;
mod random;
mod replanning;
mod validator;
mod worked_example;
