//! The planner from the outside: the worked example, the best of all partitions, properties, bad input.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod audit_mutations;
mod bad_input;
mod batch_law;
mod bursts;
mod corrected;
mod dispersion;
mod drift_under_quota;
mod equal_share;
mod evaluator;
mod explanation;
mod fixture;
mod headroom;
mod holdout;
mod least_change;
mod paper;
mod partitions;
mod plan_diff;
mod properties;
mod quota;
mod quota_played;
mod random;
mod recorded;
mod reference;
mod replanning;
mod session;
mod traces;

#[path = "../../fuzz/wild.rs"]
#[expect(clippy::expect_used, reason = "a test fails by panicking")]
mod wild;
mod wild_sets;
mod worked_example;
