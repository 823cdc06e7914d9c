//! The waiting requests of one lane: a FIFO a member, and who of them is most urgent.

use crate::{rule::Waits, slab::Fifo, tournament::Tournament};

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
    /// Members by arrival + `max_wait` of their first request, where that is another order.
    pub(crate) by_flush: Option<Tournament>,
}

impl LaneQueue {
    pub(crate) fn new(members: usize, waits: Waits) -> Self {
        Self {
            open: true,
            generation: 0,
            rows: 0,
            entries: 0,
            fifos: vec![Fifo::EMPTY; members].into_boxed_slice(),
            by_deadline: Tournament::new(members),
            by_flush: (waits == Waits::Other).then(|| Tournament::new(members)),
        }
    }

    /// The member whose first request is the first to have waited long enough.
    pub(crate) fn first_to_flush(&self) -> Option<u32> {
        let order = self.by_flush.as_ref().unwrap_or(&self.by_deadline);
        order.min().map(|(_, member)| member)
    }
}
