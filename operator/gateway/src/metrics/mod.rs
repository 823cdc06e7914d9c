//! What the gateway counts: Prometheus metrics, and the windows of an hour (of applications) and of some minutes (of batches) that the controller reads.
//!
//! Labels are namespaces, applications and groups of the configuration and words from fixed lists, so there are never more series than the
//! configuration has names; those of a name that is gone are forgotten.

mod app;
mod conversions;
mod count;
mod dispersion;
mod families;
mod group;
mod labels;
mod scrape;
mod service_times;
mod window;

pub use app::{AppStats, Outcome};
pub use conversions::ConversionMetrics;
pub use families::Metrics;
pub use group::GroupMetrics;
pub use labels::BatchFailure;
pub use service_times::{GroupObservation, ServiceTimes, SizeObservation, WINDOW_SECONDS};
pub use window::{AppObservation, Window};
