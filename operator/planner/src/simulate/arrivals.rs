//! Where simulated requests come from.

use super::random::Random;
use crate::arrival::Load;

/// Poisson arrivals of several applications: exponential gaps of the total rate, and an application for each.
///
/// The application is drawn by Walker's alias method, so that it costs the same for two members and for thousands.
#[derive(Debug, Clone)]
pub(crate) struct Poisson {
    random: Random,
    now: f64,
    mean_gap: f64,
    alias: Vec<Slot>,
}

/// One slot of the alias table: `member` up to `threshold` (of 2^32), else `other`.
#[derive(Debug, Clone, Copy)]
struct Slot {
    threshold: u64,
    member: u32,
    other: u32,
}

impl Poisson {
    /// Arrivals with a mean gap in ticks, spread over members in proportion to `shares`.
    pub(crate) fn new(seed: u64, mean_gap: f64, shares: &[f64]) -> Self {
        Self {
            random: Random::seeded(seed),
            now: 0.0,
            mean_gap,
            alias: alias_table(shares),
        }
    }

    /// The next arrival: its tick and its member.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ticks are below 2^61; a slot's index is below the table's length"
    )]
    pub(crate) fn next(&mut self) -> (u64, u32) {
        self.now += self.random.exponential() * self.mean_gap;
        let member = match self.alias.as_slice() {
            [single] => single.member,
            slots => {
                let bits = self.random.bits();
                let slot = slots[(((bits >> 32) * slots.len() as u64) >> 32) as usize];
                if bits & 0xffff_ffff < slot.threshold {
                    slot.member
                } else {
                    slot.other
                }
            }
        };
        (self.now as u64, member)
    }
}

/// Walker's alias table in Vose's order.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "probabilities scaled to 32 bits, and fewer members than 2^32"
)]
fn alias_table(shares: &[f64]) -> Vec<Slot> {
    const ONE: f64 = 4_294_967_296.0;
    let total: f64 = shares.iter().sum();
    let mut scaled: Vec<f64> = shares
        .iter()
        .map(|share| share / total * shares.len() as f64)
        .collect();
    let mut slots: Vec<Slot> = (0..shares.len() as u32)
        .map(|member| Slot {
            threshold: ONE as u64,
            member,
            other: member,
        })
        .collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) =
        (0..scaled.len()).partition(|&member| scaled[member] < 1.0);
    while let (Some(little), Some(&much)) = (small.pop(), large.last()) {
        slots[little].threshold = (scaled[little] * ONE) as u64;
        slots[little].other = much as u32;
        scaled[much] -= 1.0 - scaled[little];
        if scaled[much] < 1.0 {
            large.pop();
            small.push(much);
        }
    }
    slots
}

/// The least share of arrivals that a member whose own samples count is given.
const LEAST_SHARE: f64 = 0.05;

/// The largest share that a strict percentile may ask for.
const LARGEST_SHARE: f64 = 0.2;

/// Members whose verdict no tighter member's can stand for: those with a stricter percentile than all tighter ones.
///
/// A later deadline at the same time of completion means an earlier arrival, which is served no later: how often an
/// application is late does not grow with its SLO, under either dispatch policy. (With several replicas a batch that
/// left earlier but holds more rows may end later; that is a small part of one service.) So the others are judged
/// together with tighter members.
pub(crate) fn leaders(loads: &[Load]) -> impl Iterator<Item = usize> + '_ {
    let mut least_miss = f64::INFINITY;
    loads.iter().enumerate().filter_map(move |(index, load)| {
        let stricter = load.miss < least_miss;
        least_miss = least_miss.min(load.miss);
        stricter.then_some(index)
    })
}

/// The shares of the members in the arrivals: those of their rates, except that a rare leader occurs often enough
/// to be judged within `arrivals`. The total rate, hence the load, stays what it is.
pub(crate) fn shares(loads: &[Load], arrivals: f64) -> Vec<f64> {
    /// Late requests that a verdict should rest on where just as many are late as may be.
    const LATE_REQUESTS: f64 = 20.0;
    let total: f64 = loads.iter().map(|load| load.rate).sum();
    let mut shares: Vec<f64> = loads.iter().map(|load| load.rate / total).collect();
    let leading: Vec<usize> = leaders(loads).collect();
    #[expect(clippy::cast_precision_loss, reason = "fewer members than 2^53")]
    let crowd = leading.len() as f64;
    for index in leading {
        let wanted =
            (LATE_REQUESTS / (loads[index].miss * arrivals)).clamp(LEAST_SHARE, LARGEST_SHARE) / crowd;
        shares[index] = shares[index].max(wanted);
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_occur_in_proportion_to_their_shares() {
        let shares = [0.5, 0.01, 0.29, 0.2];
        let mut arrivals = Poisson::new(3, 1000.0, &shares);
        let mut counts = [0.0; 4];
        let mut last = 0;
        for _ in 0..200_000 {
            let (tick, member) = arrivals.next();
            assert!(tick >= last);
            last = tick;
            counts[member as usize] += 1.0 / 200_000.0;
        }
        for (count, share) in counts.iter().zip(shares) {
            // Three standard deviations of a share of 200,000 draws.
            assert!(
                (count - share).abs() < 3.0 * (share * (1.0 - share) / 2e5).sqrt(),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn only_a_stricter_percentile_makes_a_looser_slo_lead() {
        let load = |slo, miss| Load { slo, rate: 1.0, miss };
        let loads = [
            load(0.1, 0.01),
            load(0.2, 0.05),
            load(0.3, 0.001),
            load(0.4, 0.01),
        ];
        assert_eq!(leaders(&loads).collect::<Vec<_>>(), [0, 2]);
        assert!((shares(&loads, 1e6).iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
}
