//! Finds the request that spoils its batch, so that it fails alone.
//!
//! A batch that its runtime refuses, or answers with what is no answer to it, is cut in two; each half goes out again before anything that waits, to
//! any replica that is free, and so on down to single requests. Where one half has been answered, the fault is in the other, which is cut without
//! being sent. One culprit among `b` requests so costs at most `2 log2 b + 1` calls more; no batch is given more than that, however many culprits it
//! has, and what is then still together fails together.
//!
//! Halves are sent twice to a runtime only where the model allows it, and as far as the group's [`RetryBudget`](super::retry::RetryBudget) goes.

use std::{collections::HashMap, sync::Arc};

use super::request::Queued;
use crate::{
    metrics::AppStats,
    protocol::{ApiError, Cause},
};

/// Numbers a batch that is being taken apart.
type IsolationId = u64;

/// Requests of such a batch that go out together.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) id: PartId,
    pub(super) requests: Vec<Queued>,
    /// The other half has been answered: the fault is in here.
    at_fault: bool,
}

/// Tells a part from others.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartId {
    of: IsolationId,
    number: u64,
    /// The number of the other half.
    sibling: u64,
}

impl Part {
    /// When the first of its requests should be answered.
    fn due(&self) -> u64 {
        let due = self.requests.iter().map(Queued::due);
        due.min().unwrap_or(u64::MAX)
    }
}

/// The application of a request that spoiled its batch.
#[derive(Clone, Debug)]
pub(super) struct Culprit {
    pub(super) app: Arc<str>,
    pub(super) stats: Arc<AppStats>,
}

impl Culprit {
    pub(super) fn of(request: &Queued) -> Self {
        Self {
            app: request.member.app.clone(),
            stats: request.stats.clone(),
        }
    }
}

/// A batch that is being taken apart.
#[derive(Debug)]
struct Isolation {
    /// Calls that no part has been given.
    calls_left: u32,
    /// Parts that wait or are in flight.
    parts: usize,
    /// Whether some part has been answered: the runtime does answer, and who failed alone is to blame.
    answered: bool,
    culprits: Vec<Culprit>,
    /// What those are told that could not be told apart.
    error: ApiError,
}

/// The batches of a group that are being taken apart.
#[derive(Debug, Default)]
pub(super) struct Isolations {
    open: HashMap<IsolationId, Isolation>,
    waiting: Vec<Part>,
    next_number: u64,
}

/// Requests that cannot be told apart any more, and what they are told.
pub(super) type GivenUp = (Vec<Queued>, ApiError);

impl Isolations {
    /// Whether nothing waits here. Parts in flight are counted where all batches are.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a batch of more than one request apart.
    pub(super) fn begin(&mut self, requests: Vec<Queued>, error: ApiError) {
        let of = self.number();
        let isolation = Isolation {
            calls_left: most_calls(requests.len()),
            parts: 0,
            answered: false,
            culprits: Vec::new(),
            error,
        };
        self.open.insert(of, isolation);
        self.cut(of, requests);
    }

    /// A part was refused as well. Gives back what is not cut any further.
    pub(super) fn refused(&mut self, part: PartId, requests: Vec<Queued>) -> Option<GivenUp> {
        let isolation = self.open.get_mut(&part.of)?;
        isolation.parts -= 1;
        if requests.len() > 1 && isolation.calls_left >= 2 {
            self.cut(part.of, requests);
            return None;
        }
        Some((requests, isolation.error.clone()))
    }

    /// A single request was refused.
    pub(super) fn found(&mut self, part: PartId, culprit: Culprit) {
        if let Some(isolation) = self.open.get_mut(&part.of) {
            isolation.parts -= 1;
            isolation.culprits.push(culprit);
        }
    }

    /// A part was answered: the fault is in its other half.
    pub(super) fn answered(&mut self, part: PartId) {
        if let Some(isolation) = self.open.get_mut(&part.of) {
            isolation.parts -= 1;
            isolation.answered = true;
        }
        let other = self
            .waiting
            .iter_mut()
            .find(|other| other.id.number == part.sibling);
        if let Some(other) = other {
            other.at_fault = true;
        }
    }

    /// A part came to an end that says nothing of its requests.
    pub(super) fn lost(&mut self, part: PartId) {
        if let Some(isolation) = self.open.get_mut(&part.of) {
            isolation.parts -= 1;
        }
    }

    /// A part that its replica has not seen waits again.
    pub(super) fn unsent(&mut self, part: PartId, requests: Vec<Queued>) {
        self.waiting.push(Part {
            id: part,
            requests,
            at_fault: false,
        });
    }

    /// The part to send next: the one that is due first.
    pub(super) fn take(&mut self) -> Option<Part> {
        loop {
            let first = (0..self.waiting.len()).min_by_key(|&index| self.waiting[index].due())?;
            let part = self.waiting.swap_remove(first);
            let isolation = self.open.get_mut(&part.id.of)?;
            // The call that it was given is one of the two that its halves need.
            if part.at_fault && part.requests.len() > 1 && isolation.calls_left >= 1 {
                isolation.parts -= 1;
                isolation.calls_left += 1;
                self.cut(part.id.of, part.requests);
                continue;
            }
            return Some(part);
        }
    }

    /// A part that is not to be sent. Gives it back.
    pub(super) fn give_up(&mut self, part: Part) -> GivenUp {
        let error = self.open.get_mut(&part.id.of).map(|isolation| {
            isolation.parts -= 1;
            isolation.error.clone()
        });
        let error = error.unwrap_or_else(|| ApiError::new(Cause::Internal, "the batch failed"));
        (part.requests, error)
    }

    /// Everything that waits, taken out.
    pub(super) fn take_all(&mut self) -> Vec<Queued> {
        for part in &self.waiting {
            if let Some(isolation) = self.open.get_mut(&part.id.of) {
                isolation.parts -= 1;
            }
        }
        self.waiting.drain(..).flat_map(|part| part.requests).collect()
    }

    /// Ends the batches that are done; gives the applications whose requests spoiled them, once for each request.
    pub(super) fn culprits(&mut self) -> Vec<Culprit> {
        let done = self.open.extract_if(|_, isolation| isolation.parts == 0);
        done.filter(|(_, isolation)| isolation.answered)
            .flat_map(|(_, isolation)| isolation.culprits)
            .collect()
    }

    /// In two, with as near the same number of rows as requests allow.
    fn cut(&mut self, of: IsolationId, mut requests: Vec<Queued>) {
        let rows: u64 = requests.iter().map(|request| u64::from(request.rows())).sum();
        let mut first = 0;
        let mut at = 0;
        while at + 1 < requests.len() && (at == 0 || 2 * (first + u64::from(requests[at].rows())) <= rows) {
            first += u64::from(requests[at].rows());
            at += 1;
        }
        let second = requests.split_off(at);
        let numbers = [self.number(), self.number()];
        for (index, requests) in [requests, second].into_iter().enumerate() {
            let id = PartId {
                of,
                number: numbers[index],
                sibling: numbers[1 - index],
            };
            self.waiting.push(Part {
                id,
                requests,
                at_fault: false,
            });
        }
        if let Some(isolation) = self.open.get_mut(&of) {
            isolation.parts += 2;
            isolation.calls_left = isolation.calls_left.saturating_sub(2);
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

/// `2 log2 b + 1`, rounded up.
fn most_calls(requests: usize) -> u32 {
    2 * requests.next_power_of_two().ilog2() + 1
}
