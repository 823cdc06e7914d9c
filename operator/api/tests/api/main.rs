//! What the API server would say to objects: the schemas and CEL rules of the definitions, run on tables of good and bad ones.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod decide;
mod definitions;
mod fields;
mod quantities;
mod samples;
mod structural;
mod tables;
