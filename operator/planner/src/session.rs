//! What planning keeps from one call to the next, and how it is stopped.
//!
//! A plan depends on its input alone. But the next input is mostly like the last, and a search asks the same questions under many prices: a
//! [`Session`] remembers answers, each under everything that it depends on, so that it is faster and never different. Three kinds are worth it:
//! what serves one application alone, how applications are cut into groups ([`Choices`], which depend on prices), and what simulations said
//! ([`Verdicts`], which do not).

mod fingerprint;
mod recent;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use fingerprint::Fingerprint;
use recent::Recent;

use crate::audit::Violation;
use crate::group::Cut;
use crate::latency::{Catalogue, Kind};
use crate::plan::Dispatch;
use crate::platform::Platform;
use crate::provision::{Choice, Operation};

/// Models, at certain prices, whose answers are kept.
const MODELS: usize = 256;

/// Answers of each kind that are kept of a model.
const ANSWERS: usize = 1 << 17;

/// Cuts that are kept of a model: each is as long as its applications are many.
const CUTS: usize = 64;

/// Plans again and again: keeps what it found, and can be stopped from another thread.
///
/// The free functions of this crate use one session for each call. Whoever plans repeatedly, as a controller does, keeps one.
#[derive(Debug, Default)]
pub struct Session {
    choices: Remembered<Arc<Choices>>,
    verdicts: Remembered<Arc<Verdicts>>,
    stop: Stop,
}

/// Stops what a [`Session`] is doing, from any thread; clones stop the same session.
///
/// It is noticed before the next simulation and between the steps of a search: usually within a millisecond, at worst within the time of one
/// confirmation (about 0.2 s).
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the session to stop: what it is doing, and whatever it is asked afterwards, ends as [`PlanError::Stopped`].
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// [`Stop::request`] was called.
    #[error("planning was stopped before it ended")]
    Stopped,
    /// The plan that was found breaks a promise: an error of the planner, which nobody shall follow.
    #[error("the planner made a mistake, and its plan is not used; please report this: {0}")]
    Unsound(#[from] Violation),
}

/// What a model's planner remembers.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    pub(crate) choices: Arc<Choices>,
    pub(crate) verdicts: Arc<Verdicts>,
}

/// What was chosen of the functions of one model at certain prices.
#[derive(Debug)]
pub(crate) struct Choices {
    /// By the application's load and the kind of device that was allowed.
    pub(crate) alone: Remembered<Option<Choice>, (Fingerprint, Option<Kind>)>,
    /// By the loads, in order.
    pub(crate) cuts: Remembered<Vec<Cut>>,
}

/// What simulations said of the functions of one model.
#[derive(Debug)]
pub(crate) struct Verdicts {
    /// The batch size and policy with which a number of replicas of a function keeps every promise.
    pub(crate) tested: Remembered<Option<(u32, Dispatch)>, Tested>,
    /// What a configuration does if it keeps every promise, and the requests that were looked at to tell.
    pub(crate) confirmed: Remembered<(Option<Operation>, u64), Confirmed>,
}

/// What a test of the search depends on beside the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Tested {
    pub(crate) loads: Fingerprint,
    pub(crate) function: usize,
    pub(crate) replicas: u32,
    pub(crate) arrivals: u64,
}

/// What a confirmation depends on beside the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Confirmed {
    pub(crate) loads: Fingerprint,
    pub(crate) function: usize,
    pub(crate) batch: u32,
    pub(crate) replicas: u32,
    pub(crate) dispatch: Dispatch,
}

/// Answers under what they depend on; of each only the recent ones.
#[derive(Debug)]
pub(crate) struct Remembered<V, K = Fingerprint>(Mutex<Recent<K, V>>);

impl Session {
    /// A session that knows nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What stops this session.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Ends in an error once a stop was requested: what a search found since then means nothing.
    pub(crate) fn check(&self) -> Result<(), PlanError> {
        if self.stop.is_requested() {
            Err(PlanError::Stopped)
        } else {
            Ok(())
        }
    }

    /// What is remembered of a catalogue of functions on a platform.
    pub(crate) fn memory(&self, platform: &Platform, catalogue: &Catalogue) -> Memory {
        let services = catalogue.services().add(u64::from(platform.simulation_effort()));
        let prices = catalogue
            .prices()
            .join(services)
            .add(platform.prices().request.get().to_bits())
            .add(platform.billing() as u64)
            .add(platform.arrivals() as u64)
            .add(platform.planner() as u64);
        Memory {
            choices: self.choices.get_or(&self.stop, prices, Arc::default),
            verdicts: self.verdicts.get_or(&self.stop, services, Arc::default),
        }
    }
}

impl Default for Verdicts {
    fn default() -> Self {
        Self {
            tested: Remembered::new(ANSWERS),
            confirmed: Remembered::new(ANSWERS),
        }
    }
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            alone: Remembered::new(ANSWERS),
            cuts: Remembered::new(CUTS),
        }
    }
}

impl<V> Default for Remembered<V> {
    fn default() -> Self {
        Self::new(MODELS)
    }
}

impl<K: Copy + Eq + std::hash::Hash, V: Clone> Remembered<V, K> {
    /// The answer, found now if it is not known. What is found while a stop is requested is no answer to remember.
    pub(crate) fn get_or(&self, stop: &Stop, key: K, find: impl FnOnce() -> V) -> V {
        let known = self.lock(|recent| recent.get(&key));
        known.unwrap_or_else(|| {
            let found = find();
            if !stop.is_requested() {
                self.lock(|recent| recent.insert(key, found.clone()));
            }
            found
        })
    }
}

impl<V, K> Remembered<V, K> {
    fn new(most: usize) -> Self {
        Self(Mutex::new(Recent::new(most)))
    }

    /// A panic elsewhere leaves nothing half done in there.
    fn lock<R>(&self, look: impl FnOnce(&mut Recent<K, V>) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
