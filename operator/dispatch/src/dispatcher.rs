//! The state machine itself: arrivals, departures and batches.

use std::fmt;

use crate::{
    Lane, MemberRule, Nanos, Rule, RuleError, Ticket,
    lane::LaneQueue,
    rule::Waits,
    slab::{NONE, Slab},
    tournament::{NEVER, Tournament},
};

/// The waiting requests of one group and the rule by which they leave.
#[derive(Debug)]
pub struct Dispatcher<T> {
    batch_size: u32,
    members: Box<[MemberRule]>,
    waits: Waits,
    slab: Slab<T>,
    lanes: Vec<LaneQueue>,
    closed: Vec<u32>,
    /// Lanes that can be taken, by arrival + SLO.
    ready: Tournament,
    /// The other lanes that hold something, by the time at which they become ready. A lane is in one of the two trees.
    waiting: Tournament,
    /// The latest time that was given.
    clock: Nanos,
    rows: u64,
    entries: usize,
}

/// What made a lane ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its rows reached `batch_size`.
    Full,
    /// A request had waited as long as it may.
    MaxWait,
    /// A request that may not wait at all.
    Eager,
}

/// What [`Dispatcher::take`] took, beside the payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The lane that all its requests waited in.
    pub lane: Lane,
    /// Rows of all its requests; above `batch_size` only for a single oversize request.
    pub rows: u32,
    /// What made it ready.
    pub reason: Reason,
}

/// A request that is still waiting when its dispatcher ends, see [`Dispatcher::into_waiting`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting<T> {
    /// When it arrived.
    pub arrival: Nanos,
    /// The lane that it waited in.
    pub lane: Lane,
    /// Index of its application.
    pub member: u32,
    /// Its rows.
    pub rows: u32,
    /// What came with it.
    pub payload: T,
}

/// Why a request was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArriveError {
    /// The lane is not open.
    UnknownLane,
    /// No member has this index.
    UnknownMember,
    /// The request has no rows.
    NoRows,
    /// 2^32 - 1 requests are waiting.
    Exhausted,
}

impl fmt::Display for ArriveError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UnknownLane => "the lane is not open",
            Self::UnknownMember => "no member has this index",
            Self::NoRows => "a request needs at least one row",
            Self::Exhausted => "no more requests can be held",
        })
    }
}

impl std::error::Error for ArriveError {}

/// The lane still holds requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneNotEmpty;

impl fmt::Display for LaneNotEmpty {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the lane still holds requests")
    }
}

impl std::error::Error for LaneNotEmpty {}

impl<T> Dispatcher<T> {
    /// An empty dispatcher.
    ///
    /// # Errors
    /// Where the rule has no batch size or no members.
    pub fn new(rule: Rule) -> Result<Self, RuleError> {
        rule.check()?;
        Ok(Self {
            batch_size: rule.batch_size,
            waits: Waits::of(&rule.members),
            members: rule.members.into_boxed_slice(),
            slab: Slab::new(),
            lanes: Vec::new(),
            closed: Vec::new(),
            ready: Tournament::new(1),
            waiting: Tournament::new(1),
            clock: 0,
            rows: 0,
            entries: 0,
        })
    }

    /// A new lane, with nothing in it.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "2^32 lanes do not fit into memory"
    )]
    pub fn open_lane(&mut self) -> Lane {
        if let Some(index) = self.closed.pop() {
            let lane = &mut self.lanes[index as usize];
            lane.open = true;
            return Lane {
                index,
                generation: lane.generation,
            };
        }
        let index = self.lanes.len() as u32;
        self.lanes.push(LaneQueue::new(self.members.len(), self.waits));
        self.ready.grow(self.lanes.len());
        self.waiting.grow(self.lanes.len());
        Lane { index, generation: 0 }
    }

    /// Forgets an empty lane; one that is not open is forgotten already.
    ///
    /// # Errors
    /// Where it still holds requests.
    pub fn close_lane(&mut self, lane: Lane) -> Result<(), LaneNotEmpty> {
        let Some(queue) = self
            .lanes
            .get_mut(lane.index as usize)
            .filter(|queue| queue.is(lane))
        else {
            return Ok(());
        };
        if queue.entries > 0 {
            return Err(LaneNotEmpty);
        }
        queue.open = false;
        queue.generation = queue.generation.wrapping_add(1);
        self.closed.push(lane.index);
        Ok(())
    }

    /// A request of `rows` rows of `member` begins to wait. `arrival` is usually now; an earlier one (a request moved here from another group) is put
    /// in its place.
    ///
    /// # Errors
    /// Where lane, member or rows are not valid; nothing has changed then.
    pub fn arrive(
        &mut self,
        arrival: Nanos,
        lane: Lane,
        member: u32,
        rows: u32,
        payload: T,
    ) -> Result<Ticket, ArriveError> {
        let queue = self
            .lanes
            .get_mut(lane.index as usize)
            .filter(|queue| queue.is(lane))
            .ok_or(ArriveError::UnknownLane)?;
        let fifo = queue
            .fifos
            .get_mut(member as usize)
            .ok_or(ArriveError::UnknownMember)?;
        if rows == 0 {
            return Err(ArriveError::NoRows);
        }
        if !self.slab.has_room() {
            return Err(ArriveError::Exhausted);
        }
        let head = fifo.head;
        let ticket = self.slab.append(fifo, arrival, lane.index, member, rows, payload);
        let is_first = fifo.head != head;
        if is_first {
            let rule = self.members[member as usize];
            queue.by_deadline.lower(member, rule.deadline(arrival));
            if let Some(by_flush) = &mut queue.by_flush {
                by_flush.lower(member, rule.flush_at(arrival));
            }
        }
        let batch_size = u64::from(self.batch_size);
        let was_full = queue.rows >= batch_size;
        queue.rows += u64::from(rows);
        queue.entries += 1;
        let became_full = !was_full && queue.rows >= batch_size;
        self.rows += u64::from(rows);
        self.entries += 1;
        self.clock = self.clock.max(arrival);
        if is_first || became_full {
            self.refile(lane.index);
        }
        Ok(ticket)
    }

    /// The caller of a waiting request left: its payload, or `None` if it has left already.
    pub fn cancel(&mut self, ticket: Ticket) -> Option<T> {
        let entry = self.slab.find(ticket)?;
        let lane = entry.lane;
        let payload = self.remove(lane, entry.member, ticket.index);
        self.refile(lane);
        payload
    }

    /// The earliest time at which a batch is ready if nothing more arrives; `None` if nothing waits. A time that is not after the latest one
    /// given means now.
    pub fn next_ready(&self) -> Option<Nanos> {
        if self.ready.min().is_some() {
            return Some(self.clock);
        }
        self.waiting.min().map(|(flush_at, _)| flush_at)
    }

    /// A replica is free: takes the batch that is due, if one is ready at `now`, and appends its payloads to `out` in the order of arrival + SLO.
    pub fn take(&mut self, now: Nanos, out: &mut Vec<T>) -> Option<Batch> {
        self.clock = self.clock.max(now);
        while let Some((flush_at, index)) = self.waiting.min() {
            if flush_at > self.clock {
                break;
            }
            self.refile(index);
        }
        let (_, index) = self.ready.min()?;
        let reason = self.reason(index);
        let queue = &mut self.lanes[index as usize];
        let (mut rows, mut requests) = (0_u32, 0);
        while let Some((_, member)) = queue.by_deadline.min() {
            let fifo = &mut queue.fifos[member as usize];
            let more = self.slab.get(fifo.head).rows;
            let fits = rows.checked_add(more).is_some_and(|sum| sum <= self.batch_size);
            if rows > 0 && !fits {
                break;
            }
            out.extend(self.slab.pop(fifo));
            queue.requeue(member, self.members[member as usize], &self.slab);
            rows = rows.saturating_add(more);
            requests += 1;
            if rows == self.batch_size {
                break;
            }
        }
        queue.rows -= u64::from(rows);
        queue.entries -= requests;
        self.rows -= u64::from(rows);
        self.entries -= requests as usize;
        self.refile(index);
        Some(Batch {
            lane: Lane {
                index,
                generation: self.lanes[index as usize].generation,
            },
            rows,
            reason,
        })
    }

    /// Ends the dispatcher: what still waits, by arrival, for another one. Tickets and lanes name nothing afterwards.
    pub fn into_waiting(self) -> Vec<Waiting<T>> {
        let Self { slab, lanes, .. } = self;
        let mut waiting: Vec<Waiting<T>> = slab
            .into_waiting()
            .map(|(arrival, index, member, rows, payload)| Waiting {
                arrival,
                lane: Lane {
                    index,
                    generation: lanes[index as usize].generation,
                },
                member,
                rows,
                payload,
            })
            .collect();
        waiting.sort_by_key(|request| request.arrival);
        waiting
    }

    /// Rows that wait.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Requests that wait in a lane; 0 if it is not open.
    pub fn lane_len(&self, lane: Lane) -> usize {
        self.lanes
            .get(lane.index as usize)
            .filter(|queue| queue.is(lane))
            .map_or(0, |queue| queue.entries as usize)
    }

    fn reason(&self, index: u32) -> Reason {
        let lane = &self.lanes[index as usize];
        if lane.rows >= u64::from(self.batch_size) {
            return Reason::Full;
        }
        let may_wait = lane
            .first_to_flush()
            .is_some_and(|member| self.members[member as usize].max_wait > 0);
        if may_wait { Reason::MaxWait } else { Reason::Eager }
    }

    /// Takes a request out of everything but the order of lanes.
    fn remove(&mut self, lane: u32, member: u32, index: u32) -> Option<T> {
        let rows = self.slab.get(index).rows;
        let queue = &mut self.lanes[lane as usize];
        let fifo = &mut queue.fifos[member as usize];
        let was_first = fifo.head == index;
        let payload = self.slab.remove(fifo, index)?;
        queue.rows -= u64::from(rows);
        queue.entries -= 1;
        self.rows -= u64::from(rows);
        self.entries -= 1;
        if was_first {
            queue.requeue(member, self.members[member as usize], &self.slab);
        }
        Some(payload)
    }

    /// Puts a lane where it belongs in the order of lanes.
    fn refile(&mut self, index: u32) {
        let lane = &self.lanes[index as usize];
        let (ready, waiting) = match lane.by_deadline.min() {
            None => (NEVER, NEVER),
            Some((deadline, _)) => {
                let full = lane.rows >= u64::from(self.batch_size);
                let flush_at = self
                    .flush_at(lane)
                    .filter(|&flush_at| !full && flush_at > self.clock);
                flush_at.map_or((deadline, NEVER), |flush_at| (NEVER, flush_at))
            }
        };
        self.ready.set(index, ready);
        self.waiting.set(index, waiting);
    }

    /// When a lane is ready whatever else arrives; `None` if nothing in it may wait.
    fn flush_at(&self, lane: &LaneQueue) -> Option<Nanos> {
        if self.waits == Waits::None {
            return None;
        }
        let member = lane.first_to_flush()?;
        let head = lane.fifos[member as usize].head;
        Some(self.members[member as usize].flush_at(self.slab.get(head).arrival))
    }
}

impl LaneQueue {
    /// The first request of a member left: sets its keys in the trees.
    fn requeue<T>(&mut self, member: u32, rule: MemberRule, slab: &Slab<T>) {
        let head = self.fifos[member as usize].head;
        let first = (head != NONE).then(|| slab.get(head).arrival);
        self.by_deadline
            .set(member, first.map_or(NEVER, |arrival| rule.deadline(arrival)));
        if let Some(by_flush) = &mut self.by_flush {
            by_flush.set(member, first.map_or(NEVER, |arrival| rule.flush_at(arrival)));
        }
    }

    fn is(&self, lane: Lane) -> bool {
        self.open && self.generation == lane.generation
    }
}
