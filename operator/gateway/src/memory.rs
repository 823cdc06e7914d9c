//! A bound on the memory that requests hold in all, from their first byte to their answer.
//!
//! Every group bounds its own queue, but groups are many and bodies are large before they are in any queue: without a bound of the whole process
//! it would be ended for memory, with all that it holds.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory is counted in so many bytes, so that the largest amounts fit a semaphore's count.
const UNIT: usize = 1 << 10;

/// All of the memory that requests may hold.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Semaphore>);

/// Memory that one request holds, until this is dropped.
#[derive(Debug)]
pub struct Held {
    budget: Budget,
    permit: Option<OwnedSemaphorePermit>,
}

/// Other requests hold all the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl Budget {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(
            (bytes / UNIT).min(Semaphore::MAX_PERMITS),
        )))
    }

    /// Nothing yet.
    pub fn hold(&self) -> Held {
        Held {
            budget: self.clone(),
            permit: None,
        }
    }
}

impl Held {
    /// Nothing yet, of the same memory.
    #[must_use]
    pub fn nothing(&self) -> Self {
        self.budget.hold()
    }

    /// Holds so many bytes in all, or what it held before.
    ///
    /// # Errors
    /// Where so many are not left. It never waits: those that hold some might wait for each other.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(UNIT).saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| Exhausted)?;
        let taken = self.budget.0.clone().try_acquire_many_owned(more);
        let taken = taken.map_err(|_| Exhausted)?;
        match &mut self.permit {
            Some(permit) => permit.merge(taken),
            None => self.permit = Some(taken),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded_and_comes_back() {
        let budget = Budget::new(4096);
        let (mut first, mut second) = (budget.hold(), budget.hold());
        assert_eq!(first.grow_to(1), Ok(()));
        // Many small parts cost no more than one large one.
        assert_eq!(first.grow_to(1024), Ok(()));
        assert_eq!(first.grow_to(1025), Ok(()));
        assert_eq!(second.grow_to(2048), Ok(()));
        assert_eq!(second.grow_to(2049), Err(Exhausted));
        assert_eq!(first.grow_to(2048), Ok(()));
        drop(first);
        assert_eq!(second.grow_to(4096), Ok(()));
    }
}
