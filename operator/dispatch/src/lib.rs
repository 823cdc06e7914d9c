//! The batching rule of HarmonyBatch as a pure state machine.
//!
//! A [`Dispatcher`] holds the waiting requests of one group. It knows neither a clock nor I/O: every call brings the time, and the caller asks
//! for a batch with [`Dispatcher::take`] whenever a replica is free. The gateway drives it with real requests, the planner's simulation with
//! drawn ones, so that what is planned is what is done.
//!
//! **The rule.** Requests wait in *lanes*: two requests of one lane can share a batch, two of different lanes never. A lane is ready when its
//! rows reach `batch_size`, or when the earliest arrival + `max_wait` of its requests has come (at once where `max_wait` is 0: Eager). A free
//! replica takes the ready lane that holds the earliest arrival + SLO. The batch takes the lane's requests in order of arrival + SLO while they
//! fit; a request of more rows than `batch_size` goes alone. While no replica is free, lanes keep filling.
//!
//! **Cost.** Requests lie in a slab, chained into one FIFO for each lane and member. A member's SLO and wait are constant, so the first of a
//! FIFO is its most urgent, and two tournament trees a lane over those firsts (by arrival + SLO, by arrival + `max_wait`; one where both orders
//! are the same) find the most urgent of all. Two more trees order the lanes: the ready ones by arrival + SLO, the others by the time at which they become ready. An arrival
//! behind others touches no tree; no event allocates once slab and trees have grown.
//!
//! ```
//! use harmonybatch_dispatch::{Dispatcher, MemberRule, Reason, Rule};
//!
//! let members = vec![MemberRule { slo: 500, max_wait: 200 }, MemberRule { slo: 900, max_wait: 600 }];
//! let mut dispatcher = Dispatcher::new(Rule { batch_size: 4, members })?;
//! let lane = dispatcher.open_lane();
//! dispatcher.arrive(0, lane, 1, 1, "relaxed")?;
//! dispatcher.arrive(100, lane, 0, 1, "urgent")?;
//! assert_eq!(dispatcher.next_ready(), Some(300)); // the urgent one's arrival + max_wait
//! let mut batch = Vec::new();
//! let taken = dispatcher.take(300, &mut batch).map(|taken| (taken.rows, taken.reason));
//! assert_eq!(taken, Some((2, Reason::MaxWait)));
//! assert_eq!(batch, ["urgent", "relaxed"]); // arrival + SLO: 600 before 900
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dispatcher;
mod lane;
mod rule;
mod slab;
mod tournament;

pub use dispatcher::{ArriveError, Batch, Dispatcher, LaneNotEmpty, Reason, Waiting};
pub use lane::Lane;
pub use rule::{MemberRule, Rule, RuleError};
pub use slab::Ticket;

/// Time in nanoseconds since an epoch of the caller's choice, or a span in nanoseconds.
pub type Nanos = u64;
