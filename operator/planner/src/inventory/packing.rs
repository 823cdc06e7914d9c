//! Shares on whole devices.

use std::collections::BTreeMap;

/// Devices of `size` units that hold the shares, given as units and how often; none is larger than a device. Largest first, each where least is left.
pub(super) fn devices_for(mut shares: Vec<(u64, u64)>, size: u64) -> u64 {
    shares.sort_unstable_by(|a, b| b.cmp(a));
    // How many devices have so many units free, for each number.
    let mut free = BTreeMap::<u64, u64>::new();
    let mut devices = 0;
    for (units, mut count) in shares {
        // What fits into devices that were begun.
        while count > 0 {
            let Some((&room, &there)) = free.range(units..).next() else {
                break;
            };
            let fit = room / units;
            // As many of these devices as can be filled up alike, or one that is filled in part.
            let whole = (count / fit).min(there);
            let (used, each) = if whole > 0 { (whole, fit) } else { (1, count) };
            take(&mut free, room, used);
            put(&mut free, room - each * units, used);
            count -= used * each;
        }
        let fit = (size / units).max(1);
        devices += count.div_ceil(fit);
        put(&mut free, size.saturating_sub(fit * units), count / fit);
        if count % fit > 0 {
            put(&mut free, size - count % fit * units, 1);
        }
    }
    devices
}

fn take(free: &mut BTreeMap<u64, u64>, room: u64, count: u64) {
    if let Some(there) = free.get_mut(&room) {
        *there -= count;
        if *there == 0 {
            free.remove(&room);
        }
    }
}

fn put(free: &mut BTreeMap<u64, u64>, room: u64, count: u64) {
    if room > 0 && count > 0 {
        *free.entry(room).or_default() += count;
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::random::Random;

    /// Best fit decreasing, one share at a time, as textbooks have it.
    pub(in crate::inventory) fn best_fit_decreasing(shares: &[(u64, u64)], size: u64) -> usize {
        let mut one_by_one: Vec<u64> = shares
            .iter()
            .flat_map(|&(units, count)| (0..count).map(move |_| units))
            .collect();
        one_by_one.sort_unstable_by(|a, b| b.cmp(a));
        let mut devices: Vec<u64> = Vec::new();
        for units in one_by_one {
            match devices.iter_mut().filter(|room| **room >= units).min() {
                Some(room) => *room -= units,
                None => devices.push(size - units),
            }
        }
        devices.len()
    }

    #[test]
    fn shares_are_packed_as_best_fit_decreasing_packs_them() {
        for (shares, devices) in [
            (vec![], 0),
            (vec![(13, 2)], 2),
            (vec![(12, 2)], 1),
            (vec![(7, 10)], 4),
            (vec![(13, 1), (11, 1)], 1),
            (vec![(16, 3), (8, 3)], 3),
            (vec![(1, 10_000)], 417),
        ] {
            assert_eq!(devices_for(shares.clone(), 24), devices, "{shares:?}");
        }
        let mut random = Random::seeded(5);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small and positive"
        )]
        let mut below = |limit: f64| (random.unit() * limit).ceil() as u64;
        for _ in 0..2_000 {
            let shares: Vec<(u64, u64)> = (0..below(6.0)).map(|_| (below(24.0), below(9.0))).collect();
            assert_eq!(
                usize::try_from(devices_for(shares.clone(), 24)).unwrap(),
                best_fit_decreasing(&shares, 24),
                "{shares:?}"
            );
        }
    }
}
