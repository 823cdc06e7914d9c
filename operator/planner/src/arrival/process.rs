//! How the requests of an application are spread over time: evenly at random, in bursts, or as they once came.

use std::sync::Arc;

use crate::units::{Rate, Seconds};

/// How the requests of an application arrive. Its declared rate is the long-run mean under all of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ArrivalProcess {
    /// A Poisson process: requests do not know of each other.
    #[default]
    Poisson,
    /// Quiet times and bursts by turns.
    Burst(Burst),
    /// Arrival times that are replayed, again and again, with the time scaled so that their mean rate is the declared
    /// one; where the declared rate is [`Trace::rate`], as they are. Applications with the same trace that share a
    /// group are taken for parts of one stream: it is replayed once, at their total rate, and each request belongs to
    /// one of them in proportion to their rates.
    Trace(Arc<Trace>),
}

impl ArrivalProcess {
    /// Requests that come beyond `over` times the mean rate of `rate` a second (`over` above 1) before that much has made up for them: the depth of a
    /// leaky bucket that almost never overflows, or never where a trace is replayed. What is random within a stretch of constant rate is left out.
    pub fn excess(&self, rate: Rate, over: f64) -> f64 {
        /// Of exponential bursts one in eight thousand lasts longer than as many means.
        const LONGEST_BURST: f64 = 9.0;
        match self {
            Self::Poisson => 0.0,
            Self::Burst(burst) => {
                (burst.factor - over).max(0.0) * rate.get() * burst.duration.get() * LONGEST_BURST
            }
            Self::Trace(trace) => trace.deepest(over),
        }
    }
}

/// A two-state Markov-modulated Poisson process. With the declared rate `r`, factor `F` and duration `D`:
///
/// - in a burst requests are a Poisson process of rate `F r`; bursts last an exponential time of mean `D`;
/// - half of all requests arrive in bursts, so that bursts take the share `1 / (2 F)` of the time;
/// - between bursts the rate is `F / (2 F - 1) r` (for large `F` half the declared one), for an exponential time of mean
///   `(2 F - 1) D`, and the long-run mean is `r`.
///
/// The bursts of different applications are independent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    factor: f64,
    duration: Seconds,
}

/// Arrivals that are none.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ArrivalError {
    /// A burst of no or a too large factor.
    #[error("burst factor {found} must be above 1 and at most {}", Burst::LARGEST_FACTOR)]
    Factor {
        /// The factor that was found.
        found: f64,
    },
    /// A burst of no time.
    #[error("burst duration {found} must be above 0")]
    Duration {
        /// The duration that was found.
        found: Seconds,
    },
    /// Too few or too many times to replay.
    #[error(
        "a trace of {found} arrivals must have at least 2 and at most {}",
        Trace::MOST
    )]
    Length {
        /// How many times were found.
        found: usize,
    },
    /// A time that is no number, or earlier than the one before it.
    #[error("arrival {position} of the trace is at {found}: times must be finite and in order")]
    Order {
        /// Which of the times, from 1.
        position: usize,
        /// The time in seconds.
        found: f64,
    },
    /// All arrivals at the same time.
    #[error("all arrivals of the trace are at the same time: it has no rate")]
    NoSpan,
}

impl Burst {
    /// The largest factor.
    pub const LARGEST_FACTOR: f64 = 1000.0;

    /// Checks that the factor is above 1 and at most [`Self::LARGEST_FACTOR`], and that a burst takes time.
    pub fn new(factor: f64, duration: Seconds) -> Result<Self, ArrivalError> {
        if !(factor > 1.0 && factor <= Self::LARGEST_FACTOR) {
            return Err(ArrivalError::Factor { found: factor });
        }
        if duration.get() <= 0.0 {
            return Err(ArrivalError::Duration { found: duration });
        }
        Ok(Self { factor, duration })
    }

    /// How many times the mean rate requests arrive at in a burst.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// How long a burst lasts in the mean.
    pub fn duration(&self) -> Seconds {
        self.duration
    }
}

/// Arrival times to replay.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// From the first arrival, as parts of the period: the first is 0, all are below 1.
    parts: Vec<f64>,
    /// Seconds until the trace begins again: the time from the first arrival to the last, and one mean gap.
    period: f64,
    fingerprint: u64,
}

impl Trace {
    /// The most arrivals of a trace.
    pub const MOST: usize = 1_000_000;

    /// Takes times in seconds, in order, from any epoch.
    pub fn new(times: &[f64]) -> Result<Self, ArrivalError> {
        if times.len() < 2 || times.len() > Self::MOST {
            return Err(ArrivalError::Length { found: times.len() });
        }
        let mut before = f64::NEG_INFINITY;
        for (position, &found) in (1..).zip(times) {
            if !found.is_finite() || found < before {
                return Err(ArrivalError::Order { position, found });
            }
            before = found;
        }
        let first = times[0];
        #[expect(clippy::cast_precision_loss, reason = "at most a million arrivals")]
        let gaps = (times.len() - 1) as f64;
        let span = before - first;
        let period = span * ((gaps + 1.0) / gaps);
        if span <= 0.0 || !period.is_finite() {
            return Err(ArrivalError::NoSpan);
        }
        let parts: Vec<f64> = times.iter().map(|time| (time - first) / period).collect();
        let fingerprint = parts.iter().fold(period.to_bits(), |print, part| {
            crate::simulate::mix(print ^ part.to_bits())
        });
        Ok(Self {
            parts,
            period,
            fingerprint,
        })
    }

    /// Arrivals a second, as the times were given.
    pub fn rate(&self) -> f64 {
        self.arrivals() / self.period
    }

    /// Seconds from the first arrival until the trace begins again.
    pub fn period(&self) -> f64 {
        self.period
    }

    /// Arrivals in a bucket that leaks `over` times the mean rate, when most are in it.
    fn deepest(&self, over: f64) -> f64 {
        let leak = over * self.arrivals();
        let (mut level, mut deepest, mut before) = (0.0_f64, 0.0_f64, 0.0);
        // The end of a round goes into the next one.
        for round in [0.0, 1.0] {
            for part in &self.parts {
                level = (level - (round + part - before) * leak).max(0.0) + 1.0;
                before = round + part;
                deepest = deepest.max(level);
            }
        }
        deepest
    }

    #[expect(clippy::cast_precision_loss, reason = "at most a million arrivals")]
    pub(crate) fn arrivals(&self) -> f64 {
        self.parts.len() as f64
    }

    pub(crate) fn parts(&self) -> &[f64] {
        &self.parts
    }
}

/// An [`ArrivalProcess`] as the models see it; a trace is an index into those of the model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Process {
    Poisson,
    /// Factor, and mean duration in seconds.
    Burst {
        factor: f64,
        duration: f64,
    },
    Trace {
        index: usize,
        fingerprint: u64,
    },
}

impl Process {
    /// What the process is, in bits: equal for equal ones, whatever the order in which applications are listed.
    pub(crate) fn identity(self) -> [u64; 2] {
        match self {
            Self::Poisson => [0, 0],
            Self::Burst { factor, duration } => [factor.to_bits(), duration.to_bits()],
            Self::Trace { fingerprint, .. } => [1, fingerprint],
        }
    }
}

/// The traces of a model, each once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traces(Vec<Arc<Trace>>);

impl Traces {
    /// The process, with its trace added to those that are known.
    pub(crate) fn add(&mut self, process: &ArrivalProcess) -> Process {
        match process {
            ArrivalProcess::Poisson => Process::Poisson,
            ArrivalProcess::Burst(burst) => Process::Burst {
                factor: burst.factor,
                duration: burst.duration.get(),
            },
            ArrivalProcess::Trace(trace) => {
                let same = |known: &Arc<Trace>| Arc::ptr_eq(known, trace) || known == trace;
                let index = self.0.iter().position(same).unwrap_or_else(|| {
                    self.0.push(Arc::clone(trace));
                    self.0.len() - 1
                });
                Process::Trace {
                    index,
                    fingerprint: trace.fingerprint,
                }
            }
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Arc<Trace>> {
        self.0.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_arrival_process_is_refused() {
        let second = Seconds::clamped(1.0);
        for factor in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1.0, 1000.1, 1e308] {
            assert!(
                matches!(Burst::new(factor, second), Err(ArrivalError::Factor { .. })),
                "{factor}"
            );
        }
        assert!(matches!(
            Burst::new(2.0, Seconds::ZERO),
            Err(ArrivalError::Duration { .. })
        ));
        assert_eq!(Trace::new(&[1.0]), Err(ArrivalError::Length { found: 1 }));
        assert_eq!(Trace::new(&[1.0, 1.0]), Err(ArrivalError::NoSpan));
        assert_eq!(Trace::new(&[-1e308, 1e308]), Err(ArrivalError::NoSpan));
        let backwards = Trace::new(&[1.0, 2.0, 1.5]);
        assert_eq!(
            backwards,
            Err(ArrivalError::Order {
                position: 3,
                found: 1.5
            })
        );
        assert!(matches!(
            Trace::new(&[0.0, f64::NAN]),
            Err(ArrivalError::Order { position: 2, .. })
        ));
    }

    #[test]
    fn what_comes_beyond_the_mean_fits_into_the_bucket() {
        let Ok(rate) = Rate::new(10.0) else { unreachable!() };
        assert!(ArrivalProcess::Poisson.excess(rate, 1.25).abs() < 1e-12);
        // 2.75 times ten a second, for nine times two seconds.
        let burst = Burst::new(4.0, Seconds::clamped(2.0)).map(ArrivalProcess::Burst);
        assert!(burst.is_ok_and(|burst| (burst.excess(rate, 1.25) - 495.0).abs() < 1e-9));
        // Four at once, then one every second: 4 of 7 at the beginning of 7 s with their mean gap. The bucket leaks 1.25 a second.
        let trace = Trace::new(&[0.0, 0.0, 0.0, 0.0, 2.0, 4.0, 6.0])
            .map(|trace| ArrivalProcess::Trace(Arc::new(trace)));
        assert!(trace.is_ok_and(|trace| (trace.excess(rate, 1.25) - 4.0).abs() < 1e-9));
    }

    #[test]
    fn the_rate_of_a_trace_counts_the_gap_before_it_begins_again() {
        // Three arrivals in two seconds, and the mean gap of one second before the next round.
        let trace = Trace::new(&[10.0, 10.5, 12.0]);
        assert!(trace.is_ok_and(|trace| (trace.rate() - 1.0).abs() < 1e-12));
    }
}
