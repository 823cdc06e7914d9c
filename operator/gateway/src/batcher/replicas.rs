//! The replicas of one group: which are free, and which rest after a failure.

use std::time::Duration;

use harmonybatch_dispatch::Nanos;

use crate::{config::GroupConfig, timer::nanos, upstream::Replica};

/// Rest of a replica after it failed a batch; doubled with each further failure up to the second one.
const FIRST_REST: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(2);

/// How a replica did with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conduct {
    /// It answered.
    Answered,
    /// It answered 5xx. That may be the batch's fault, or all replicas' alike.
    Failed,
    /// It could not be reached, or it broke off.
    Lost,
}

/// Where batches can be sent. `C` is the connection kept to a replica.
#[derive(Debug)]
pub(super) struct Replicas<C> {
    slots: Vec<Slot<C>>,
}

#[derive(Debug)]
struct Slot<C> {
    replica: Replica,
    /// Listed still. One that is not gets no new batch and goes when its last one is done.
    listed: bool,
    busy: bool,
    connection: Option<C>,
    free_since: Nanos,
    failures: u32,
    resting_until: Nanos,
}

impl<C> Replicas<C> {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new() }
    }

    /// Follows a changed list. A replica that was known keeps its connection and its batch.
    pub(super) fn set(&mut self, config: &GroupConfig) {
        let wanted = |replica: &Replica| match replica {
            Replica::Endpoint(address) => config.endpoints.contains(address),
            // While a replica is ready, nothing has to be woken.
            Replica::Wake(wake) => config.endpoints.is_empty() && config.wake.as_ref() == Some(wake),
        };
        for slot in &mut self.slots {
            slot.listed = wanted(&slot.replica);
        }
        self.slots.retain(|slot| slot.listed || slot.busy);
        let endpoints = config.endpoints.iter().copied().map(Replica::Endpoint);
        let wake = config.wake.clone().map(Replica::Wake).filter(wanted);
        for replica in endpoints.chain(wake) {
            if !self.slots.iter().any(|slot| slot.replica == replica) {
                self.slots.push(Slot {
                    replica,
                    listed: true,
                    busy: false,
                    connection: None,
                    free_since: 0,
                    failures: 0,
                    resting_until: 0,
                });
            }
        }
    }

    /// Whether a batch can ever be sent with this list.
    pub(super) fn is_empty(&self) -> bool {
        !self.slots.iter().any(|slot| slot.listed)
    }

    /// The free replica that has had no batch for longest, with the connection kept to it and since when it could be had. It is busy from now on.
    pub(super) fn acquire(&mut self, now: Nanos) -> Option<(Replica, Option<C>, Nanos)> {
        let free = self
            .slots
            .iter_mut()
            .filter(|slot| slot.is_free() && slot.resting_until <= now);
        let slot = free.min_by_key(|slot| slot.free_since)?;
        slot.busy = true;
        let since = slot.free_since.max(slot.resting_until);
        Some((slot.replica.clone(), slot.connection.take(), since))
    }

    /// When a replica can take a batch: a time in the past if one can now, `None` if all are busy.
    pub(super) fn next_free(&self) -> Option<Nanos> {
        self.slots
            .iter()
            .filter(|slot| slot.is_free())
            .map(|slot| slot.resting_until)
            .min()
    }

    /// A batch is done. A replica that fails fast is free early and would be given most of the batches: it rests.
    pub(super) fn release(&mut self, replica: &Replica, connection: Option<C>, conduct: Conduct, now: Nanos) {
        let Some(index) = self.slots.iter().position(|slot| slot.replica == *replica) else {
            return;
        };
        if !self.slots[index].listed {
            self.slots.swap_remove(index);
            return;
        }
        let mut others = self.slots.iter().enumerate();
        let has_other =
            others.any(|(other, slot)| other != index && slot.listed && slot.resting_until <= now);
        let slot = &mut self.slots[index];
        slot.busy = false;
        slot.connection = connection;
        slot.free_since = now;
        let rests = match conduct {
            Conduct::Answered => {
                slot.failures = 0;
                false
            }
            // Where there is no better one, answers that fail are told from nothing but later ones.
            Conduct::Failed => has_other,
            Conduct::Lost => true,
        };
        if rests {
            let rest = FIRST_REST
                .saturating_mul(1 << slot.failures.min(10))
                .min(LONGEST_REST);
            slot.failures = slot.failures.saturating_add(1);
            slot.resting_until = now.saturating_add(nanos(rest));
        } else {
            slot.resting_until = 0;
        }
    }
}

impl<C> Slot<C> {
    fn is_free(&self) -> bool {
        self.listed && !self.busy
    }
}
