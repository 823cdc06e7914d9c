//! What the gateway counts: Prometheus metrics, and the window of an hour that the controller reads.
//!
//! Labels are namespaces, applications and groups of the configuration and words from fixed lists, so there are never more series than the
//! configuration has names; those of a name that is gone are forgotten.

mod app;
mod conversions;
mod count;
mod families;
mod group;
mod labels;
mod scrape;
mod window;

pub use app::{AppStats, Outcome};
pub use conversions::ConversionMetrics;
pub use families::Metrics;
pub use group::GroupMetrics;
pub use labels::BatchFailure;
pub use window::{AppObservation, Window};
