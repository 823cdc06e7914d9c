//! Measures how long a model takes for batches of every size, and fits the latency profile from which its groups are planned.
//!
//! ```text
//!  endpoint  <- tensors          asks an OIP v2 server, with rows made of its metadata
//!     ^
//!  measure   <- goal <- interval batch sizes in random order, until every mean and tail is known well enough
//!     |      <- design            which sizes that are, and which are only held to what lies between them: the whole grid, or a part of it
//!     |      <- pauses            before the others, batches that find the endpoint idle
//!     |      <- limits <- turns   under which CPU limit, if any, that is next, or which take turns
//!     |
//!  samples                       one JSON line a batch, written as it is measured: one file for each device or CPU limit
//!     v
//!  points    <- goal             the files merged: what is known at each (device, batch size)
//!     |
//!  judge     <- modality         what must not be fitted, point by point
//!     v
//!  fit::{exponential, line}      the planner's own forms, with the error of points that the fit did not see
//!     v
//!  model     <- machine          the InferenceModel, with where its figures come from
//! ```
//!
//! Everything below `measure` is a pure function of the samples. Invariants:
//!
//! - A sample is in the file before the next batch is sent: whatever ends a measurement, only the batch in flight is lost.
//! - The clock is read around a request and its whole answer, and nothing else: requests are made before, answers looked at after.
//! - An answer counts only if it has as many rows as the request. One that fails ends the measurement and is said.
//! - What idle time adds is measured beside batches of the same minute, and never put together with the others.
//! - Batch sizes take turns in random order, so that drift of the machine spreads over all of them.
//! - Nothing is fitted to points that [`judge`] names, unless the caller accepts that kind of problem by name.
//! - A fit has fewer coefficients than points, so that its error says something.
//!
//! Latencies are seconds, CPU limits vCPU, shares (precision, quantile, confidence) parts of one.

pub mod design;
pub mod endpoint;
pub mod fit;
pub mod goal;
pub mod interval;
pub mod judge;
pub mod limits;
pub mod machine;
pub mod measure;
pub mod modality;
pub mod model;
pub mod points;
pub mod samples;
pub mod tensors;
pub mod turns;
