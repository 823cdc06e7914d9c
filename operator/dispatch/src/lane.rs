//! The waiting requests of one lane: a FIFO a member, and who of them is most urgent.

use crate::{Nanos, slab::Fifo, tournament::Tournament};

/// Names a lane from [`open_lane`](crate::Dispatcher::open_lane) to [`close_lane`](crate::Dispatcher::close_lane).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

#[derive(Debug)]
pub(crate) struct LaneQueue {
    pub(crate) open: bool,
    pub(crate) generation: u32,
    pub(crate) rows: u64,
    pub(crate) entries: u32,
    /// By member index.
    pub(crate) fifos: Box<[Fifo]>,
    /// Members by arrival + SLO of their first request.
    pub(crate) by_deadline: Tournament,
    /// Members by arrival + `max_wait` of their first request.
    pub(crate) by_flush: Tournament,
}

impl LaneQueue {
    pub(crate) fn new(members: usize) -> Self {
        Self {
            open: true,
            generation: 0,
            rows: 0,
            entries: 0,
            fifos: vec![Fifo::EMPTY; members].into_boxed_slice(),
            by_deadline: Tournament::new(members),
            by_flush: Tournament::new(members),
        }
    }

    /// Where the lane stands in the order of lanes, given that it is `full` or not.
    pub(crate) fn standing(&self, full: bool, clock: Nanos) -> Standing {
        let (Some((flush_at, _)), Some((deadline, _))) = (self.by_flush.min(), self.by_deadline.min()) else {
            return Standing::Empty;
        };
        if full || flush_at <= clock {
            Standing::Ready { deadline }
        } else {
            Standing::Waiting { flush_at }
        }
    }
}

/// Whether a lane can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Empty,
    Waiting { flush_at: Nanos },
    Ready { deadline: Nanos },
}
