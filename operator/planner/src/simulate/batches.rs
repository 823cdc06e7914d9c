//! What batches of a group take, by their rows: their means, and how surely a number of them tells these.
//!
//! Batches that follow each other share a queue and what is left of a quota, so that n of them tell their mean by less than n independent ones would. The variance of
//! the sums over blocks of batches, each longer than they remember each other, is what n of them add up to (batch means).

use super::{Look, Observer, Pace, Setup, play};

/// Batches of a block.
const BLOCK: f64 = 250.0;

/// Batches of a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Played {
    /// Of 1, 2, ... rows.
    pub(crate) sizes: Vec<Size>,
    /// How many times the variance of the sum of batches is that of as many independent ones of the same sizes.
    pub(crate) dependence: f64,
    /// Standard error of the mean of all of them, as a part of it.
    pub(crate) error: f64,
}

/// Batches of one size, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Size {
    pub(crate) count: f64,
    /// The sum of their times.
    pub(crate) sum: f64,
    squares: f64,
}

impl Size {
    fn mean(self) -> f64 {
        if self.count > 0.0 {
            self.sum / self.count
        } else {
            0.0
        }
    }
}

/// Plays so many arrivals of the setup.
pub(crate) fn play_batches(setup: &Setup<'_>, seed: u64, arrivals: u64) -> Played {
    let look = Look {
        seed,
        arrivals,
        block: arrivals.max(1),
        early: None,
        last: None,
        with_latencies: false,
        pace: Pace::Drawn,
        late_requests: 0.0,
    };
    let mut record = Record {
        sizes: vec![Size::default(); setup.service.len()],
        blocks: Vec::new(),
        left: 0.0,
    };
    let outcome = play(setup, &look, false, &mut record);
    record.played(outcome.ticks)
}

/// Times are ticks.
struct Record {
    sizes: Vec<Size>,
    /// Blocks of batches: of each size how many, and the sum of their times.
    blocks: Vec<Vec<(f64, f64)>>,
    /// Batches that the last block still takes.
    left: f64,
}

impl Observer for Record {
    #[expect(clippy::cast_precision_loss, reason = "ticks of one batch")]
    fn batch(&mut self, rows: u32, service: u64) {
        let (index, time) = (rows as usize - 1, service as f64);
        let size = &mut self.sizes[index];
        size.count += 1.0;
        size.sum += time;
        size.squares += time * time;
        if self.left <= 0.0 {
            self.blocks.push(vec![(0.0, 0.0); self.sizes.len()]);
            self.left = BLOCK;
        }
        self.left -= 1.0;
        if let Some(block) = self.blocks.last_mut() {
            block[index].0 += 1.0;
            block[index].1 += time;
        }
    }
}

impl Record {
    fn played(mut self, ticks: f64) -> Played {
        if self.left > 0.0 {
            self.blocks.pop();
        }
        let (batches, sum) = self.sizes.iter().fold((0.0, 0.0), |(batches, sum), size| {
            (batches + size.count, sum + size.sum)
        });
        let within = |size: &Size| size.squares - size.count * size.mean().powi(2);
        let within: f64 = self.sizes.iter().map(within).sum::<f64>().max(0.0);
        let over_blocks: f64 = self.blocks.iter().map(|block| self.off(block).powi(2)).sum();
        #[expect(clippy::cast_precision_loss, reason = "a few blocks")]
        let in_blocks = BLOCK * self.blocks.len() as f64;
        // What is exactly as the mean tells it to any precision: so does a single batch.
        let dependence = if within > 0.0 && in_blocks > 0.0 {
            (over_blocks / in_blocks) / (within / batches)
        } else {
            1.0
        };
        let error = if sum > 0.0 {
            (dependence.max(1.0) * within).sqrt() / sum
        } else {
            0.0
        };
        let in_seconds = |size: &Size| Size {
            count: size.count,
            sum: size.sum / ticks,
            squares: size.squares / ticks.powi(2),
        };
        Played {
            sizes: self.sizes.iter().map(in_seconds).collect(),
            dependence,
            error,
        }
    }

    /// What a block's batches took beyond the means of their sizes.
    fn off(&self, block: &[(f64, f64)]) -> f64 {
        let sizes = self.sizes.iter().zip(block);
        sizes.map(|(size, (count, sum))| sum - count * size.mean()).sum()
    }
}
