//! What a connection's reader and its service know together.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::time::Instant;

use super::refusal::Refusal;

/// Requests of one connection.
#[derive(Debug)]
pub(super) struct Exchange {
    begun: AtomicU64,
    ended: AtomicU64,
    /// Which request is refused before anybody reads it. It is the last one.
    refused: Mutex<Option<(u64, Refusal)>>,
    idle_since: Mutex<Instant>,
    /// Whether a part of a request has come that is not in flight yet.
    coming: AtomicBool,
}

/// A request from its begin to the end of its answer.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Exchange>);

impl Exchange {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            refused: Mutex::new(None),
            idle_since: Mutex::new(Instant::now()),
            coming: AtomicBool::new(false),
        })
    }

    /// One more request has begun. Its number, from 0.
    pub(super) fn begin(&self) -> u64 {
        self.begun.fetch_add(1, Ordering::AcqRel)
    }

    /// Ends one when it is dropped.
    pub(super) fn in_flight(self: &Arc<Self>) -> InFlight {
        InFlight(self.clone())
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire) > 0
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ended.load(Ordering::Acquire) >= self.begun.load(Ordering::Acquire)
    }

    pub(super) fn idle_since(&self) -> Instant {
        *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_coming(&self, coming: bool) {
        self.coming.store(coming, Ordering::Release);
    }

    pub(super) fn is_coming(&self) -> bool {
        self.coming.load(Ordering::Acquire)
    }

    /// Marks a request as refused.
    pub(super) fn refuse(&self, number: u64, refusal: Refusal) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, refusal));
    }

    /// Why a request is refused, if it is.
    pub(super) fn refusal_of(&self, number: u64) -> Option<Refusal> {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.and_then(|(refused, refusal)| (refused == number).then_some(refusal))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.ended.fetch_add(1, Ordering::AcqRel);
    }
}
