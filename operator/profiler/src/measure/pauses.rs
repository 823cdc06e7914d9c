//! Batches after pauses: what idle time adds.
//!
//! In each round batches of one row follow each other until caches are warm, and what the last of them took is what they take then; after them come a few, each
//! after a pause of random length, so that what idle time adds is seen against the same minute. Pauses are spread evenly over the logarithm of their length: short ones tell the time
//! constant, long ones the whole of it. What is added does not depend on the batch size, and one row is what it is seen best beside.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Observer, Progress, Timed};
use crate::fit::after_idle;
use crate::samples::{AfterPause, Samples};

/// Batches of one row.
const BATCH: u32 = 1;
/// Batches that follow each other, at most and, where they are long, at least; and how long they may take between.
const MOST_WARM: usize = 10;
const FEWEST_WARM: usize = 3;
const WARM_FOR: Duration = Duration::from_millis(100);
/// Pauses of a round, the shortest, and how many times as long the longest one is.
const PAUSES: usize = 5;
const SHORTEST: f64 = 0.001;
const RANGE: f64 = 100.0;
/// Rounds at most and at least.
const MOST: usize = 30;
const FEWEST: usize = 4;
/// What idle time adds is known well enough to this part of what a batch takes.
const KNOWN_TO: f64 = 0.01;

/// Measures until it is known or the budget is spent.
pub(super) async fn measure<T: Timed, O: Observer<Error: From<T::Error>>>(
    target: &mut T,
    samples: &mut Samples,
    observer: &mut O,
    random: &mut fastrand::Rng,
    budget: Duration,
) -> Result<(), O::Error> {
    let begun = Instant::now();
    while !is_known(&samples.after_pauses) {
        let mut warm = Vec::new();
        let started = Instant::now();
        while warm.len() < FEWEST_WARM || (warm.len() < MOST_WARM && started.elapsed() < WARM_FOR) {
            if begun.elapsed() >= budget {
                return Ok(());
            }
            observer.show(&Progress::AfterPauses {
                done: samples.after_pauses.len(),
                of: MOST * PAUSES,
            });
            warm.push(target.time(BATCH).await?.as_secs_f64());
        }
        let busy = median(&mut warm.split_off(warm.len() / 2));
        for _ in 0..PAUSES {
            let pause = SHORTEST * RANGE.powf(random.f64());
            let idle_since = Instant::now();
            // It is this idle time that is asked about.
            sleep(Duration::from_secs_f64(pause)).await;
            let idle = idle_since.elapsed().as_secs_f64();
            let sample = AfterPause {
                batch: BATCH,
                seconds: target.time(BATCH).await?.as_secs_f64(),
                idle,
                busy,
            };
            observer.keep_after_pause(&sample)?;
            samples.after_pauses.push(sample);
        }
    }
    Ok(())
}

/// Whether as much is known as is wanted, or as many were sent as may be.
fn is_known(samples: &[AfterPause]) -> bool {
    let Some(found) = after_idle::of(samples, 1.0) else {
        return false;
    };
    let busy = samples
        .iter()
        .map(|sample| sample.busy)
        .fold(f64::INFINITY, f64::min);
    samples.len() >= MOST * PAUSES || (samples.len() >= FEWEST * PAUSES && found.error <= KNOWN_TO * busy)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
