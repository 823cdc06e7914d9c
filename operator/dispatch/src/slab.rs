//! Waiting requests in one growing array, chained into first-in first-out lists by index.

use crate::Nanos;

/// No request: the end of a chain.
pub(crate) const NONE: u32 = u32::MAX;

/// Names one waiting request until it leaves; afterwards it names nothing, even when its storage is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(crate) index: u32,
    generation: u32,
}

#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) arrival: Nanos,
    pub(crate) rows: u32,
    pub(crate) lane: u32,
    pub(crate) member: u32,
    previous: u32,
    /// The next of its FIFO; of a free entry the next free one.
    next: u32,
    generation: u32,
    /// `None` marks a free entry.
    payload: Option<T>,
}

/// First and last of one chain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fifo {
    pub(crate) head: u32,
    tail: u32,
}

impl Fifo {
    pub(crate) const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
    };
}

#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: u32,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: NONE,
        }
    }

    pub(crate) fn get(&self, index: u32) -> &Entry<T> {
        &self.entries[index as usize]
    }

    /// The waiting request that a ticket names.
    pub(crate) fn find(&self, ticket: Ticket) -> Option<&Entry<T>> {
        let entry = self.entries.get(ticket.index as usize)?;
        (entry.generation == ticket.generation && entry.payload.is_some()).then_some(entry)
    }

    /// Whether one more request can be named.
    pub(crate) fn has_room(&self) -> bool {
        self.free != NONE || self.entries.len() < NONE as usize
    }

    /// Stores a request and chains it by arrival, behind those of the same arrival. Requests come in order of arrival but for those moved from another
    /// group, so that the walk from the end is nearly always no step.
    pub(crate) fn append(
        &mut self,
        fifo: &mut Fifo,
        arrival: Nanos,
        lane: u32,
        member: u32,
        rows: u32,
        payload: T,
    ) -> Ticket {
        let mut previous = fifo.tail;
        while previous != NONE && self.get(previous).arrival > arrival {
            previous = self.get(previous).previous;
        }
        let next = if previous == NONE {
            fifo.head
        } else {
            self.get(previous).next
        };
        let entry = Entry {
            arrival,
            rows,
            lane,
            member,
            previous,
            next,
            generation: 0,
            payload: Some(payload),
        };
        let ticket = self.store(entry);
        *self.link_after(fifo, previous) = ticket.index;
        *self.link_before(fifo, next) = ticket.index;
        ticket
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "has_room keeps the length below u32::MAX"
    )]
    fn store(&mut self, mut entry: Entry<T>) -> Ticket {
        let index = self.free;
        let Some(slot) = self.entries.get_mut(index as usize) else {
            let index = self.entries.len() as u32;
            self.entries.push(entry);
            return Ticket { index, generation: 0 };
        };
        self.free = slot.next;
        entry.generation = slot.generation;
        let generation = slot.generation;
        *slot = entry;
        Ticket { index, generation }
    }

    /// Takes a request out of its chain and frees its storage; `None` if it was free.
    pub(crate) fn remove(&mut self, fifo: &mut Fifo, index: u32) -> Option<T> {
        let free = self.free;
        let entry = &mut self.entries[index as usize];
        let payload = entry.payload.take()?;
        let (previous, next) = (entry.previous, entry.next);
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = free;
        self.free = index;
        *self.link_after(fifo, previous) = next;
        *self.link_before(fifo, next) = previous;
        Some(payload)
    }

    /// Takes the first request out of a chain that is not empty and frees its storage.
    pub(crate) fn pop(&mut self, fifo: &mut Fifo) -> Option<T> {
        let index = fifo.head;
        let entry = self.entries.get_mut(index as usize)?;
        let payload = entry.payload.take();
        let next = entry.next;
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = self.free;
        self.free = index;
        fifo.head = next;
        match self.entries.get_mut(next as usize) {
            Some(next) => next.previous = NONE,
            None => fifo.tail = NONE,
        }
        payload
    }

    fn link_after<'a>(&'a mut self, fifo: &'a mut Fifo, previous: u32) -> &'a mut u32 {
        self.entries
            .get_mut(previous as usize)
            .map_or(&mut fifo.head, |entry| &mut entry.next)
    }

    fn link_before<'a>(&'a mut self, fifo: &'a mut Fifo, next: u32) -> &'a mut u32 {
        self.entries
            .get_mut(next as usize)
            .map_or(&mut fifo.tail, |entry| &mut entry.previous)
    }

    /// All waiting requests with their payloads, in no order.
    pub(crate) fn into_waiting(self) -> impl Iterator<Item = (Nanos, u32, u32, u32, T)> {
        self.entries.into_iter().filter_map(|entry| {
            entry
                .payload
                .map(|payload| (entry.arrival, entry.lane, entry.member, entry.rows, payload))
        })
    }
}
